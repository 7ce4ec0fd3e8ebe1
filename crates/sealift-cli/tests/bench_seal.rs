//! `sealift bench seal` as a script runs it.

mod support;

use std::fs;
use std::process::Command;

use serde_json::Value;
use support::*;

/// The bench as short as it can be.
const SHORT: [&str; 10] =
    ["bench", "seal", "--payload", "1350", "--ring", "4096", "--seconds", "2ms", "--rounds", "1"];

fn bench(arguments: &[&str]) -> Command {
    let mut command = sealift();
    command.args(SHORT).args(arguments);
    command
}

fn refused(arguments: &[&str], words: &str) {
    misused(&mut bench(arguments), words);
}

#[test]
fn every_engine_has_its_rows_at_every_suite() {
    let output = run(&mut bench(&["--json", "-"]));
    assert!(output.status.success(), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["bench"], &report["ring_bytes"]), (&"seal".into(), &4_096.into()));
    let rows = report["rows"].as_array().unwrap();
    let row = |name: String| {
        let found = rows.iter().find(|row| row["name"] == *name);
        found.unwrap_or_else(|| panic!("there is no row {name}"))
    };
    for suite in ["aes-128-gcm", "aes-256-gcm", "chacha20-poly1305", "aes-128-ccm"] {
        for engine in ["raw", "memcpy", "memcpy-inline", "inline", "workers", "router"] {
            let row = row(format!("{engine}/{suite}/1350"));
            assert!(row["bytes_per_second"].as_f64().unwrap() > 0.0, "{row}");
            assert!(row["ratio"].is_number() && row["samples"].is_array(), "{row}");
            assert_eq!((&row["engine"], &row["suite"]), (&engine.into(), &suite.into()));
        }
        let ratio_to = &row(format!("inline/{suite}/1350/batch-1"))["ratio_to"];
        assert_eq!(*ratio_to, *format!("raw/{suite}/1350/batch-1"));
        let two = row(format!("inline/{suite}/1350/cores-2"));
        assert_eq!((&two["batch"], &two["cores"]), (&32.into(), &2.into()));
        // Where its library is not installed, the row is there and says so.
        let packets = row(format!("ipsec-mb/{suite}/1350"));
        assert!(packets["ratio"].is_number() || packets["skipped"].is_string(), "{packets}");
    }
    for (opener, other) in [("inline-open", "raw-open"), ("workers-open", "inline-open")] {
        let row = row(format!("{opener}/aes-128-gcm/1350"));
        assert!(row["bytes_per_second"].as_f64().unwrap() > 0.0, "{row}");
        assert_eq!(row["ratio_to"], *format!("{other}/aes-128-gcm/1350"));
    }
    for (copier, other) in [("memcpy", "raw"), ("memcpy-inline", "inline")] {
        let row = row(format!("{copier}/aes-128-gcm/1350"));
        assert_eq!(row["copies_per_byte"], 2.0);
        assert_eq!(row["ratio_to"], *format!("{other}/aes-128-gcm/1350"));
    }
    assert_eq!(row("inline/aes-128-gcm/1350".to_owned())["copies_per_byte"], 1.0);
}

#[test]
fn few_rows_are_measured_by_name_or_by_its_beginning() {
    let output = run(&mut bench(&["--row", "inline/aes-128-gcm,raw", "--suite", "aes-128-gcm"]));
    assert!(output.status.success(), "{}", stderr(&output));
    let table = stdout(&output);
    let names: Vec<&str> = table
        .lines()
        .skip_while(|line| !line.starts_with("1,350 bytes"))
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let expected = ["raw", "inline", "raw/batch-1", "inline/batch-1", "inline/cores-2"];
    let expected = expected.map(|name| match name.split_once('/') {
        Some((engine, behind)) => format!("{engine}/aes-128-gcm/1350/{behind}"),
        None => format!("{name}/aes-128-gcm/1350"),
    });
    assert_eq!(names, expected, "{table}");
    assert!(table.contains("inline to raw, packets"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
}

#[test]
fn what_cannot_be_measured_is_refused_with_a_clear_line() {
    refused(&["--row", "fast"], "[rows: raw, memcpy, memcpy-inline, inline, ipsec-mb, workers");
    let (wrong, right) = ("inline/aes-128-gcm/64", "[rows: inline/aes-128-gcm/1350]");
    refused(&["--row", wrong], &format!("no row is called '{wrong}', nor begins so"));
    refused(&["--row", wrong], right);
    refused(&["--row", wrong], "Usage: sealift bench seal [OPTIONS]");
    refused(&["--suite", "aes-128-cbc"], "chacha20-poly1305");
    refused(&["--payload", "0"], "0 is not in 1..=65536");
    refused(&["--json", "-", "--html", "-"], "one report");
}

#[test]
fn the_page_and_the_report_go_to_files_beside_the_table() {
    let scratch = Scratch::new();
    let (html, json) = (scratch.join("html"), scratch.join("json"));
    let files = ["--html", html.to_str().unwrap(), "--json", json.to_str().unwrap()];
    let output = run(bench(&["--row", "raw", "--payload", "64"]).args(files));
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("64 bytes"), "{}", stdout(&output));
    let page = fs::read_to_string(&html).unwrap();
    assert!(page.contains("What sealing costs on this machine") && page.ends_with("</html>\n"));
    let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert_eq!(report["rows"].as_array().unwrap().len(), 2 * 2 * 4, "{report}");
}

#[test]
fn help_says_how_rows_are_named() {
    let output = run(sealift().args(["bench", "seal", "--help"]));
    assert!(output.status.success(), "{}", stderr(&output));
    let help = stdout(&output);
    for words in ["ENGINE/SUITE/BYTES", "--payload", "--suite", "--row", "--ring", "--html"] {
        assert!(help.contains(words), "{words}: {help}");
    }
}
