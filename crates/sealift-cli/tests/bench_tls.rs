//! `sealift bench tls` as a script runs it.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::*;

/// The bench as short as it can be: more than a record on each of two connections.
const SHORT: [&str; 10] =
    ["bench", "tls", "--size", "100K", "--write", "5000", "--connections", "2", "--rounds", "1"];

fn bench(arguments: &[&str]) -> Command {
    let mut command = sealift();
    command.args(SHORT).args(arguments);
    command
}

fn refused(arguments: &[&str], words: &str) {
    misused(&mut bench(arguments), words);
}

#[test]
fn every_kind_moves_bytes_and_answers_pings() {
    let output = run(&mut bench(&["--json", "-"]));
    assert!(output.status.success(), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["bench"], "tls");
    let rows = report["rows"].as_array().unwrap();
    for kind in ["plain", "tls-inline", "tls-workers", "tls-ipsec-mb"] {
        let row = |name: String| {
            let found = rows.iter().find(|row| row["name"] == *name);
            found.unwrap_or_else(|| panic!("there is no row {name}"))
        };
        let (bulk, trips) = (row(format!("{kind}/2/5000")), row(format!("{kind}/ping-pong")));
        if kind == "tls-ipsec-mb" && bulk["skipped"].is_string() {
            // Where its library is not installed, the row is there and says so.
            assert!(trips["skipped"].is_string() && bulk["ratio"].is_null(), "{bulk}");
            continue;
        }
        assert!(bulk["bytes_per_second"].as_f64().unwrap() > 0.0, "{bulk}");
        assert_eq!((&bulk["kind"], &bulk["connections"]), (&kind.into(), &2.into()));
        assert_eq!(
            (&bulk["total_bytes"], &bulk["payload_bytes"]),
            (&102_400.into(), &5_000.into())
        );
        assert_eq!(bulk["ratio_to"], "plain/2/5000");
        for end in ["sender", "receiver"] {
            let seconds = bulk[format!("cpu_seconds_per_gb_{end}")].as_f64().unwrap();
            assert!(seconds > 0.0, "{bulk}");
        }
        // A write of 5,000 bytes is a record, and is sealed from where it lies.
        let copies = if kind == "plain" { 0.0 } else { 1.0 };
        assert_eq!(
            (&bulk["copies_per_byte"], &bulk["p50_nanoseconds"]),
            (&copies.into(), &Value::Null)
        );
        let [p50, p99] = ["p50_nanoseconds", "p99_nanoseconds"].map(|key| trips[key].as_f64());
        assert!(p50 > Some(0.0) && p50 <= p99, "{trips}");
        assert!(trips["cpu_seconds_per_gb_sender"].is_null(), "{trips}");
    }
    let received = |name: &str| {
        let row = rows.iter().find(|row| row["name"] == name).unwrap();
        row["copies_per_byte_received"].as_f64().unwrap()
    };
    // An engine opens ahead, into memory of its own; without one it is into the reader's.
    assert_eq!((received("tls-inline/2/5000"), received("tls-workers/2/5000")), (1.0, 2.0));
}

#[test]
fn few_rows_are_measured_by_name_or_by_its_beginning() {
    let output =
        run(&mut bench(&["--row", "tls-inline/2,plain/ping-pong", "--write", "900,20000"]));
    assert!(output.status.success(), "{}", stderr(&output));
    let table = stdout(&output);
    let names: Vec<&str> = table
        .lines()
        .filter_map(|line| {
            line.split_whitespace()
                .next()
                .filter(|name| name.contains("tls-") || name.contains("plain"))
        })
        .collect();
    let expected =
        ["tls-inline/2/900", "tls-inline/2/5000", "tls-inline/2/20000", "plain/ping-pong"];
    assert_eq!(names, expected, "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
}

#[test]
fn what_cannot_be_measured_is_refused_with_a_clear_line() {
    refused(&["--row", "fast"], "[rows: plain, tls-inline, tls-workers, tls-ipsec-mb]");
    refused(&["--row", "plain/3"], "no row is called 'plain/3'");
    refused(&["--write", "0"], "0 is not in 1..=");
    refused(&["--connections", "65"], "65 is not in 1..=64");
    let output = run(sealift().args(["bench", "tls", "--size", "much"]));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("'much' is no unit of bytes; use K, M or G"));
    refused(&["--json", "-", "--html", "-"], "one report");
}

#[test]
fn the_page_and_the_report_go_to_files_beside_the_table() {
    let scratch = Scratch::new();
    let (html, json) = (scratch.join("html"), scratch.join("json"));
    let files = ["--html", html.to_str().unwrap(), "--json", json.to_str().unwrap()];
    let output = run(bench(&["--row", "plain", "--write", "20000"]).args(files));
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("20,000 bytes a write"), "{}", stdout(&output));
    let page = fs::read_to_string(&html).unwrap();
    assert!(page.contains("What TLS costs on this machine") && page.ends_with("</html>\n"));
    let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert_eq!(report["rows"].as_array().unwrap().len(), 3, "{report}");
}

#[test]
fn a_far_end_by_itself_says_who_starts_it() {
    let output = run(sealift().args(["bench", "tls", "--far"]));
    assert_failed(&output, "set up on the far end: the other end has gone without a word");
}

#[test]
fn a_far_end_ends_with_the_near_one() {
    let mut command = sealift();
    command.args(["bench", "tls", "--far"]).stdin(Stdio::piped());
    let mut far = start(&mut command);
    let mut orders = far.child().stdin.take().unwrap();
    let order = r#"{"kind":"tls-inline","exchange":{"ping-pong":{"trips":1}}}"#;
    orders.write_all(format!("{order}\n").as_bytes()).unwrap();
    let mut answers = BufReader::new(far.child().stdout.take().unwrap());
    let mut greeting = String::new();
    answers.read_line(&mut greeting).unwrap();
    assert!(greeting.contains("\"pin\":\"sha256:"), "{greeting}");
    // Nobody connects; and now nobody ever will.
    drop(orders);
    assert_eq!(far.finish().status.code(), Some(1));
}

#[test]
fn help_says_how_rows_are_named_and_how_long_it_takes() {
    let output = run(sealift().args(["bench", "tls", "--help"]));
    assert!(output.status.success(), "{}", stderr(&output));
    let help = stdout(&output);
    for words in ["KIND/CONNECTIONS/WRITE_BYTES", "--write", "--size", "minutes", "--html"] {
        assert!(help.contains(words), "{words}: {help}");
    }
    assert!(!help.contains("--far"), "{help}");
}
