//! `peers-tls`, run for real and short: every library carries every load, or this fails.

use std::process::{Command, Output};

use serde_json::Value;

fn peers_tls(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_peers-tls")).args(words).output().unwrap()
}

const SHORT: [&str; 7] =
    ["--write", "100,70000", "--connections", "1,3", "--size", "1MiB", "--rounds=2"];

#[test]
fn every_kind_has_its_figures_for_every_load() {
    let output = peers_tls(&[&SHORT[..], &["--json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["bench"], "tls");
    assert_eq!(report["suite"], "TLS13_AES_256_GCM_SHA384");
    let rows = report["rows"].as_array().unwrap();
    for kind in ["sealift", "tokio-rustls", "openssl", "plain"] {
        for load in ["1/100", "3/100", "1/70000", "3/70000", "ping-pong"] {
            let name = format!("{kind}/{load}");
            let row = rows.iter().find(|row| row["name"] == *name);
            let row = row.unwrap_or_else(|| panic!("{name} is missing"));
            assert!(row.get("skipped").is_none(), "{row}");
            assert_eq!(row["samples"].as_array().map(Vec::len), Some(2), "{row}");
            let positive = |figure: &str| row[figure].as_f64().is_some_and(|found| found > 0.0);
            assert!(positive("bytes_per_second") && positive("rate_ratio"), "{row}");
            assert!(positive("cpu_ratio"), "{row}");
            let is_latency = load == "ping-pong";
            assert_eq!(positive("p50_nanoseconds") && positive("p99_nanoseconds"), is_latency);
            assert_eq!(positive("cpu_seconds_per_gb_sender"), !is_latency, "{row}");
            assert_eq!(positive("cpu_seconds_per_gb_receiver"), !is_latency, "{row}");
        }
    }
    assert_eq!(rows.len(), 20);
}

#[test]
fn the_table_has_a_line_for_each_row() {
    let kinds = ["--kinds", "openssl,sealift", "--rounds", "1"];
    let output = peers_tls(&[&SHORT[..6], &kinds].concat());
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{table}");
    assert!(table.contains("70000 bytes a write"), "{table}");
    for name in ["openssl/3/70000 ", "sealift/1/100 ", "openssl/ping-pong ", "sealift/ping-pong "] {
        assert_eq!(table.lines().filter(|line| line.starts_with(name)).count(), 1, "{table}");
    }
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
}

#[test]
fn a_far_end_without_a_parent_says_so() {
    let output = peers_tls(&["far", "openssl", "1", "take"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("this is for the program itself"), "{said}");
}
