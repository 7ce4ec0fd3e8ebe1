//! The report's figures and its JSON.

use super::super::rows::Work;
use super::super::tls::rows::{Figures, Shape};
use super::*;

fn host() -> Host {
    Host {
        kernel: "6.18".to_owned(),
        cpu: "Example <&> 9000".to_owned(),
        cpus: 2,
        sink: Some("dummy".to_owned()),
        measured_at: "2026-01-02T03:04:05Z".to_owned(),
    }
}

fn sample(bytes: u64, zerocopied_fraction: Option<f64>) -> Run {
    let elapsed = Duration::from_millis(500);
    let sample = Sample { bytes, messages: 10, elapsed, zerocopied_fraction, syscalls: 5 };
    Run { sample, cpu_share: 1.0, tls: None }
}

fn row(name: &'static str) -> rows::Row {
    let idle: Work = Box::new(|_, _, _| Err("not run".to_owned()));
    rows::Row::swept(name, "a row", idle)
}

fn report(outcomes: Vec<(&'static str, Outcome)>) -> Report {
    let rows: Vec<rows::Row> = outcomes.iter().map(|(name, _)| row(name)).collect();
    let cases: Vec<Case> = (0..rows.len()).map(|row| Case { row, payload_bytes: 65_435 }).collect();
    let schedule = Schedule { rounds: 3, sample: Duration::from_millis(500) };
    let outcomes = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
    Report::new("send", host(), schedule, &rows, &cases, outcomes)
}

/// Three rows that ran and one that could not.
pub(crate) fn four() -> Report {
    report(vec![
        ("msg-zerocopy", Ok(vec![sample(100, Some(1.0)), sample(300, Some(1.0))])),
        ("uring-zc-fixed-8", Ok(vec![sample(500, Some(0.5)), sample(500, Some(1.0))])),
        ("copy", Ok(vec![sample(50, None)])),
        ("uring-zc-8", Err("io_uring_setup: Operation not permitted".to_owned())),
    ])
}

/// `bench seal`: what is needed for some of its bars, and a row that could not run.
pub(crate) fn sealing() -> Report {
    let none = "the library cannot be opened".to_owned();
    let found: [(&'static str, Outcome); 5] = [
        ("raw", Ok(vec![sample(1_000, None)])),
        ("memcpy", Ok(vec![sample(1_000, None)])),
        ("inline", Ok(vec![sample(980, None)])),
        ("ipsec-mb", Err(none.clone())),
        ("inline", Ok(vec![sample(1_960, None)])),
    ];
    let shape = |engine: &str, cores| Sealing {
        engine: engine.to_owned(),
        suite: "aes-128-gcm".to_owned(),
        batch: if cores > 1 { 32 } else { 1 },
        cores,
    };
    let sealed = |(at, (engine, _)): (usize, &(&'static str, Outcome))| {
        let cores = if at == 4 { 2 } else { 1 };
        let behind = if cores > 1 { "/cores-2" } else { "" };
        rows::Row {
            name: format!("{engine}/aes-128-gcm/16384{behind}").into(),
            path: Path::Memory,
            compared_to: "raw/aes-128-gcm/16384".into(),
            copies_per_byte: if *engine == "memcpy" { 2.0 } else { 1.0 },
            sealing: Some(shape(engine, cores)),
            ..row(engine)
        }
    };
    let rows: Vec<rows::Row> = found.iter().enumerate().map(sealed).collect();
    let cases: Vec<Case> = (0..rows.len()).map(|row| Case { row, payload_bytes: 16_384 }).collect();
    let schedule = Schedule { rounds: 1, sample: Duration::from_millis(500) };
    let outcomes = found.into_iter().map(|(_, outcome)| outcome).collect();
    let host = Host { sink: None, ..host() };
    let mut report = Report::new("seal", host, schedule, &rows, &cases, outcomes);
    report.ring_bytes = Some(1 << 18);
    report
}

/// `bench tls`: throughput, a row that could not run, and a round trip.
pub(crate) fn tls() -> Report {
    let figures = |cpu: Option<f64>, p50: Option<f64>| Figures {
        cpu_seconds_per_gb_sender: cpu,
        cpu_seconds_per_gb_receiver: cpu.map(|cpu| 2.0 * cpu),
        copies_per_byte_sent: Some(1.0),
        copies_per_byte_received: Some(1.5),
        p50_nanoseconds: p50,
        p99_nanoseconds: p50.map(|p50| 3.2 * p50),
    };
    let run = |bytes, tls| Run { tls: Some(tls), ..sample(bytes, None) };
    let bulk = figures(Some(0.25), None);
    let found: [(&'static str, usize, Outcome); 4] = [
        ("plain/1/16384", 16_384, Ok(vec![run(1_000_000_000, bulk)])),
        ("tls-inline/1/16384", 16_384, Ok(vec![run(500_000_000, bulk); 3])),
        ("tls-workers/1/16384", 16_384, Err("there is no thread".to_owned())),
        ("plain/ping-pong", 1, Ok(vec![run(10, figures(None, Some(12_500.0)))])),
    ];
    let shape = |name: &str| Shape {
        kind: name.split('/').next().unwrap_or_default().to_owned(),
        connections: 1,
        total_bytes: 1 << 30,
    };
    let of = |(name, _, _): &(&'static str, usize, Outcome)| rows::Row {
        path: Path::Loopback,
        compared_to: name.replace("tls-inline", "plain").into(),
        tls: Some(shape(name)),
        ..row(name)
    };
    let rows: Vec<rows::Row> = found.iter().map(of).collect();
    let payloads = found.iter().map(|(_, payload_bytes, _)| *payload_bytes);
    let cases: Vec<Case> =
        payloads.enumerate().map(|(row, payload_bytes)| Case { row, payload_bytes }).collect();
    let outcomes = found.into_iter().map(|(_, _, outcome)| outcome).collect();
    let schedule = Schedule { rounds: 3, sample: Duration::ZERO };
    Report::new("tls", Host { sink: None, ..host() }, schedule, &rows, &cases, outcomes)
}

#[test]
fn the_json_of_sealing_names_engine_suite_batch_and_cores() {
    let text = sealing().to_json().unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&json["bench"], &json["ring_bytes"]), (&"seal".into(), &262_144.into()));
    let row = &json["rows"][1];
    assert_eq!(
        (&row["name"], &row["path"]),
        (&"memcpy/aes-128-gcm/16384".into(), &"memory".into())
    );
    assert_eq!((&row["engine"], &row["suite"]), (&"memcpy".into(), &"aes-128-gcm".into()));
    assert_eq!((&row["batch"], &row["cores"]), (&1.into(), &1.into()));
    assert_eq!(row["copies_per_byte"], 2.0);
    assert_eq!(json["rows"][4]["cores"], 2);
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), sealing());
    let send = serde_json::from_str::<serde_json::Value>(&four().to_json().unwrap()).unwrap();
    assert!(send["rows"][0].get("engine").is_none() && send.get("ring_bytes").is_none());
}

#[test]
fn median_and_quartiles_of_odd_and_even_counts() {
    assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
    assert_eq!(median(&[7.0]), Some(7.0));
    assert_eq!(median(&[]), None);
    let spread = Spread::of(&[5.0, 1.0, 2.0, 4.0, 3.0]);
    let expected = Spread { min: 1.0, lower_quartile: 2.0, upper_quartile: 4.0, max: 5.0 };
    assert_eq!(spread, Some(expected));
    assert_eq!(Spread::of(&[]), None);
}

#[test]
fn rows_are_medians_and_ratios_to_msg_zerocopy() {
    let report = four();
    let baseline = report.row("msg-zerocopy", 65_435).unwrap();
    assert_eq!(baseline.bytes_per_second, Some(400.0));
    assert_eq!(baseline.samples, [200.0, 600.0]);
    assert_eq!(baseline.ratio, Some(1.0));
    assert_eq!(baseline.messages_per_second, Some(20.0));
    let fixed = report.row("uring-zc-fixed-8", 65_435).unwrap();
    // 5 in the one round, and 5/3 in the other.
    assert_eq!(fixed.ratio.map(|ratio| (ratio * 3.0).round()), Some(10.0));
    assert_eq!(fixed.zerocopied_fraction, Some(0.75));
    assert_eq!(fixed.copies_per_byte, Some(0.25));
    assert_eq!(fixed.syscalls_per_message, Some(0.5));
    let copy = report.row("copy", 65_435).unwrap();
    assert_eq!((copy.zerocopied_fraction, copy.copies_per_byte), (None, Some(1.0)));
}

#[test]
fn without_the_row_to_compare_to_there_is_no_ratio() {
    let report =
        report(vec![("copy", Ok(vec![sample(50, None)])), ("msg-zerocopy", Err("no".to_owned()))]);
    assert!(report.rows.iter().all(|row| row.ratio.is_none()));
}

#[test]
fn the_json_has_the_shape_that_scripts_rely_on() {
    let report = four();
    let text = report.to_json().unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["bench"], "send");
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(json["host"]["kernel"], "6.18");
    assert_eq!(json["host"]["cpu"], "Example <&> 9000");
    let row = &json["rows"][1];
    assert_eq!(row["name"], "uring-zc-fixed-8");
    assert_eq!(row["path"], "sink");
    assert_eq!(row["payload_bytes"], 65_435);
    assert_eq!(row["bytes_per_second"], 1000.0);
    assert_eq!(row["samples"].as_array().unwrap().len(), 2);
    assert_eq!(row["spread"]["max"], 1000.0);
    assert_eq!(row["ratio_to"], "msg-zerocopy");
    assert!(row.get("skipped").is_none());
    assert!(json["rows"][2]["zerocopied_fraction"].is_null());
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
}

#[test]
fn a_skipped_row_is_there_and_says_why() {
    let text = four().to_json().unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let row = &json["rows"][3];
    assert_eq!(row["name"], "uring-zc-8");
    assert_eq!(row["skipped"], "io_uring_setup: Operation not permitted");
    assert!(row["bytes_per_second"].is_null());
    assert_eq!(row["samples"], serde_json::json!([]));
}

#[test]
fn a_busy_machine_is_told() {
    let mut report = four();
    assert_eq!(report.disturbance(), None);
    for row in &mut report.rows {
        row.cpu_share = row.cpu_share.map(|_| 0.6);
    }
    assert!(report.disturbance().is_some_and(|text| text.contains("60 %")));
}

#[test]
fn headlines_are_about_the_seeds_payload() {
    let mut report = four();
    assert_eq!(report.headline_payload(), Some(65_435));
    for row in &mut report.rows {
        row.payload_bytes = 1_400;
    }
    assert_eq!(report.headline_payload(), Some(1_400));
    report.rows.clear();
    assert_eq!(report.headline_payload(), None);
}

#[test]
fn a_row_of_tls_has_its_shape_and_its_medians() {
    let json: serde_json::Value = serde_json::from_str(&tls().to_json().unwrap()).unwrap();
    let row = &json["rows"][1];
    assert_eq!((&row["kind"], &row["connections"]), (&"tls-inline".into(), &1.into()));
    assert_eq!((&row["total_bytes"], &row["ratio"]), (&(1 << 30).into(), &0.5.into()));
    assert_eq!(
        (&row["cpu_seconds_per_gb_receiver"], &row["copies_per_byte"]),
        (&0.5.into(), &1.0.into())
    );
    assert!(row["p50_nanoseconds"].is_null() && row["cpu_share"].is_null(), "{row}");
    let skipped = json["rows"][2].as_object().unwrap();
    assert!(skipped["cpu_seconds_per_gb_sender"].is_null(), "{json}");
    let read: Report = serde_json::from_value(json).unwrap();
    assert_eq!(read, tls());
}
