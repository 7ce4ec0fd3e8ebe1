//! `sealift bench send` as a script runs it.

mod support;

use std::fs;
use std::process::Command;

use serde_json::Value;
use support::*;

/// The bench as short as it can be.
const SHORT: [&str; 8] = ["bench", "send", "--payload", "600", "--seconds", "2ms", "--rounds", "1"];

fn bench(arguments: &[&str]) -> Command {
    let mut command = sealift();
    command.args(SHORT).args(arguments);
    command
}

fn rows(json: &[u8]) -> Vec<Value> {
    let report: Value = serde_json::from_slice(json).unwrap();
    report["rows"].as_array().unwrap().clone()
}

/// Root of a namespace without any right gets no sandbox, and must not be left in half of one.
#[test]
fn without_a_sandbox_the_rows_over_loopback_run() {
    let name = "without_a_sandbox_the_rows_over_loopback_run";
    for program in ["unshare", "setpriv"] {
        if let Some(why) = missing(program) {
            return skip(name, &why);
        }
    }
    let powerless = ["-Ur", "setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    let tried = run(quiet("unshare").args(powerless).arg("true"));
    if !tried.status.success() {
        return skip(name, stderr(&tried).trim());
    }
    let mut command = quiet("unshare");
    command.args(powerless).arg(env!("CARGO_BIN_EXE_sealift")).args(SHORT);
    let output = run(command.args(["--json", "-"]));
    let words = stderr(&output);
    assert!(output.status.success(), "{words}");
    let rows = rows(&output.stdout);
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap();
    assert!(row("tcp-copy")["bytes_per_second"].is_number(), "{}", row("tcp-copy"));
    let Some(why) = row("copy")["skipped"].as_str() else {
        return skip(name, "this kernel gives a sandbox to root without rights");
    };
    assert!(why.contains("CAP_SETFCAP") || why.contains("run as root"), "{why}");
    assert!(words.starts_with("sealift: no sink, its rows are skipped: "), "{words}");
}

#[test]
fn a_wrong_name_is_told_before_anything_is_measured() {
    let scratch = Scratch::new();
    let none = scratch.join("none").join("report");
    let none = none.to_str().unwrap();
    for flag in ["--json", "--html"] {
        // Measuring would take longer than a test has.
        let output = run(sealift().args(["bench", "send", "--seconds", "10m", flag, none]));
        assert_failed(&output, &format!("create on {none}: No such file or directory; make"));
        assert_eq!(stdout(&output), "");
    }
    let (html, report) = (scratch.join("html"), scratch.join("json"));
    fs::write(&report, "x".repeat(1 << 20)).unwrap();
    let flags = ["--json", report.to_str().unwrap(), "--html", html.to_str().unwrap()];
    let output = run(&mut bench(&flags));
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(rows(&fs::read(&report).unwrap()).len() > 10);
    assert!(fs::read_to_string(&html).unwrap().ends_with("</html>\n"));
    assert!(stdout(&output).contains("600 bytes"), "{}", stdout(&output));
}

#[test]
fn a_report_that_cannot_be_written_does_not_keep_the_table_back() {
    for flag in ["--json", "--html"] {
        let output = run(&mut bench(&["--quiet", flag, "/dev/full"]));
        assert_failed(&output, "write on /dev/full: No space left on device; free");
        assert!(stdout(&output).contains("600 bytes"), "{}", stdout(&output));
    }
}

#[test]
fn standard_output_takes_one_report() {
    let output = run(&mut bench(&["--html", "-"]));
    assert!(output.status.success(), "{}", stderr(&output));
    let page = stdout(&output);
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"), "{page}");
    let output = run(&mut bench(&["--json", "-", "--html", "-"]));
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("one report"), "{}", stderr(&output));
}

#[test]
fn few_rows_are_measured_by_name() {
    let output =
        run(&mut bench(&["--row", "sender-copy,copy", "--row", "gso-copy,copy", "--json", "-"]));
    assert!(output.status.success(), "{}", stderr(&output));
    let rows = rows(&output.stdout);
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["copy", "sender-copy", "gso-copy"]);
    // `msg-zerocopy` is not there to compare to.
    assert!(rows[0]["ratio"].is_null() && rows[0]["ratio_to"] == "msg-zerocopy", "{}", rows[0]);
    assert!(rows[2].get("skipped").is_some() || rows[2]["ratio"] == 1.0, "{}", rows[2]);

    let output = run(&mut bench(&["--row", "copy,fast"]));
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    for name in ["'fast'", "uring-zc-fixed-8", "sender-auto", "tcp-copy"] {
        assert!(stderr(&output).contains(name), "{name}: {}", stderr(&output));
    }
}
