//! `tunnel --metrics`: every line is as OpenMetrics has it, the figures are true, and slow or rude
//! clients keep nobody from them.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use rustix::net::sockopt;
use support::*;

/// What a page says: the name of each series with its labels, and its value.
type Series = BTreeMap<String, f64>;

/// Sends `request` and returns the answer's head and body.
fn fetch(port: u16, request: &str) -> (String, String) {
    let mut stream = connect(port);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    (head.to_owned(), body.to_owned())
}

fn figures(port: u16) -> Series {
    let (head, body) = fetch(port, "GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let format = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(head.contains(format), "{head}");
    parse(&body)
}

/// A page by the letter of OpenMetrics 1.0, as far as it is used here.
fn parse(page: &str) -> Series {
    let page = page.strip_suffix("# EOF\n").expect("the end of the page");
    let (mut series, mut families) = (Series::new(), BTreeSet::new());
    let (mut family, mut kind, mut histograms) = (String::new(), String::new(), Vec::new());
    for line in page.lines() {
        if let Some(described) = line.strip_prefix("# ") {
            let (what, rest) = described.split_once(' ').unwrap();
            let (name, text) = rest.split_once(' ').unwrap();
            match what {
                "HELP" => {
                    assert!(families.insert(name.to_owned()), "{name} twice");
                    assert!(name.starts_with("sealift_tunnel_") && text.ends_with('.'), "{line}");
                    (family, kind) = (name.to_owned(), String::new());
                }
                "TYPE" => {
                    assert!(["counter", "gauge", "histogram"].contains(&text), "{line}");
                    kind = text.to_owned();
                    if kind == "histogram" {
                        histograms.push(family.clone());
                    }
                }
                "UNIT" => assert!(name.ends_with(&format!("_{text}")), "{line}"),
                _ => panic!("{line}"),
            }
            assert_eq!(name, family, "{line}");
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        let (bare, labels) = name.split_once('{').unwrap_or((name, "}"));
        let suffix = bare.strip_prefix(&family).unwrap_or_else(|| panic!("{line} in {family}"));
        let suffixes: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            _ => &["_bucket", "_sum", "_count"],
        };
        assert!(suffixes.contains(&suffix), "{line} in a {kind}");
        assert_labels(labels.strip_suffix('}').unwrap());
        let value: f64 = value.parse().unwrap();
        assert!(value.is_finite() && value >= 0.0, "{line}");
        assert!(series.insert(name.to_owned(), value).is_none(), "{line} twice");
    }
    assert_eq!(histograms.len(), 2, "{histograms:?}");
    histograms.iter().for_each(|family| assert_histogram(page, &series, family));
    series
}

/// `name="value"`, separated by commas.
fn assert_labels(labels: &str) {
    for label in labels.split(',').filter(|label| !label.is_empty()) {
        let (name, value) = label.split_once('=').unwrap();
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase()), "{label}");
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap();
        assert!(!value.contains(['"', '\\', '\n']), "{label}");
    }
}

/// Bounds and buckets grow, and the last one has all.
fn assert_histogram(page: &str, series: &Series, family: &str) {
    let start = format!("{family}_bucket{{le=\"");
    let buckets = page.lines().filter_map(|line| line.strip_prefix(&start)?.split_once("\"} "));
    let number = |text: &str| text.parse::<f64>().unwrap();
    let (bounds, buckets): (Vec<f64>, Vec<f64>) =
        buckets.map(|(bound, jobs)| (number(bound), number(jobs))).unzip();
    assert!(bounds.len() > 5 && bounds.is_sorted_by(|one, next| one < next), "{bounds:?}");
    assert!(buckets.is_sorted(), "{buckets:?}");
    assert_eq!(bounds.last(), Some(&f64::INFINITY));
    assert_eq!(buckets.last(), Some(&series[&format!("{family}_count")]));
    assert!(series.contains_key(&format!("{family}_sum")));
}

#[test]
fn the_page_is_well_formed_and_true() {
    let program = Program::echo(6);
    let metrics = free_port().to_string();
    let flags = ["--metrics", &metrics];
    let (mut opening, pin) = opening_tunnel(&program.url(), &flags);
    let said = format!("sealift: figures for Prometheus at http://127.0.0.1:{metrics}/metrics\n");
    assert_eq!(opening.line(), said);
    let port = metrics.parse().unwrap();
    let get = |series: &Series, name: &str| series[&format!("sealift_tunnel_{name}")];
    let finished = |how: &str| format!("connections_finished_total{{outcome=\"{how}\"}}");
    let fresh = figures(port);
    assert_eq!(get(&fresh, &finished("clean")), 0.0);
    assert_eq!(get(&fresh, "connections_open"), 0.0);
    let sealing = sealing_tunnel(opening.port, &pin, &[]);
    for _ in 0..3 {
        let mut client = connect(sealing.port);
        client.write_all(&pattern(0, 100_000)).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&client).0.len(), 100_000);
    }
    wait_until("three ends", || get(&figures(port), &finished("clean")) == 3.0);
    // One is open, one was reset, and one never spoke TLS.
    let mut open = connect(sealing.port);
    open.write_all(b"x").unwrap();
    open.read_exact(&mut [0]).unwrap();
    let mut reset = connect(sealing.port);
    reset.write_all(b"x").unwrap();
    reset.read_exact(&mut [0]).unwrap();
    sockopt::set_socket_linger(&reset, Some(std::time::Duration::ZERO)).unwrap();
    drop(reset);
    connect(opening.port).write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    wait_until("a failed handshake", || get(&figures(port), &finished("handshake_failed")) == 1.0);
    wait_until("a reset", || get(&figures(port), &finished("reset")) == 1.0);
    wait_until("counted records", || get(&figures(port), "opened_records_total") >= 23.0);
    let page = figures(port);
    assert_eq!(get(&page, "connections_accepted_total"), 6.0);
    assert_eq!(get(&page, "connections_open"), 1.0);
    assert_eq!(get(&page, "opened_bytes_total"), 300_002.0);
    assert_eq!(get(&page, "sealed_bytes_total"), 300_002.0);
    let [full, resumed] =
        ["full", "resumed"].map(|kind| get(&page, &format!("handshakes_total{{kind=\"{kind}\"}}")));
    assert_eq!((full + resumed, full >= 1.0, resumed >= 1.0), (5.0, true, true));
    let wire: f64 = ["zerocopy", "copied", "plain"]
        .map(|way| get(&page, &format!("wire_sent_bytes_total{{outcome=\"{way}\"}}")))
        .iter()
        .sum();
    assert!((300_100.0..310_000.0).contains(&wire), "{wire}");
    let wire = get(&page, "wire_received_bytes_total");
    assert!((300_100.0..310_000.0).contains(&wire), "{wire}");
}

/// How long each job took, how many there are, and that none are left when their streams are gone.
#[test]
fn what_engines_do_is_told() {
    let program = Program::echo(2);
    let (opening, pin) = opening_tunnel(&program.url(), &[]);
    let metrics = free_port();
    let flags = ["--metrics", &metrics.to_string(), "--engine", "workers", "--stats", "--json"];
    let sealing = sealing_tunnel(opening.port, &pin, &flags);
    let get = |name: &str| figures(metrics)[&format!("sealift_tunnel_{name}")];
    wait_for_port(metrics);
    assert_eq!(get("engine_latency_seconds_count"), 0.0);
    let mut client = connect(sealing.port);
    for _ in 0..20 {
        client.write_all(&pattern(0, 100_000)).unwrap();
        client.read_exact(&mut vec![0; 100_000]).unwrap();
    }
    // Streams tell while they live, and at their end.
    wait_until("jobs that came back", || get("engine_latency_seconds_count") >= 20.0);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&client).1, Ok(()));
    wait_until("the end", || get("connections_finished_total{outcome=\"clean\"}") == 1.0);
    let page = figures(metrics);
    let get = |name: &str| page[&format!("sealift_tunnel_{name}")];
    let jobs = get("engine_jobs_total");
    assert_eq!((get("engine_latency_seconds_count"), get("engine_depth")), (jobs, 0.0));
    assert!(get("engine_depth_most") >= 1.0 && get("engine_latency_seconds_sum") > 0.0);
    sealing.running.signal("TERM");
    let output = sealing.finish();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let [half, nearly_all, most] =
        ["engine_latency_p50_us", "engine_latency_p99_us", "engine_depth_most"]
            .map(|name| report[name].as_u64().unwrap());
    assert!(1 <= half && half <= nearly_all && most >= 1, "{report}");
    assert!(report["wire_bytes_received"].as_u64().unwrap() > 2_000_000, "{report}");
    assert!(stderr(&output).contains("\nengine latency p99 us"), "{}", stderr(&output));
}

#[test]
fn rude_clients_keep_nobody_from_the_figures() {
    let metrics = free_port();
    let mut command = sealift();
    command.args(["tunnel", "tcp://127.0.0.1:0", "tls://127.0.0.1:9", "--insecure"]);
    let _tunnel = listen(command.args(["--metrics", &format!("127.0.0.1:{metrics}")]));
    wait_for_port(metrics);
    // Many times as many as there are places: each would have its ten seconds.
    let silent: Vec<TcpStream> = (0..200).map(|_| connect(metrics)).collect();
    for mut slow in &silent[..20] {
        slow.write_all(b"GET /metr").unwrap();
    }
    figures(metrics);
    let head = |request: &str| fetch(metrics, request).0.lines().next().unwrap().to_owned();
    assert_eq!(head("POST /metrics HTTP/1.0\r\n\r\n"), "HTTP/1.0 405 Method Not Allowed");
    assert_eq!(head("GET / HTTP/1.0\r\n\r\n"), "HTTP/1.0 404 Not Found");
    assert_eq!(head("nonsense\r\n\r\n"), "HTTP/1.1 400 Bad Request");
    let long = format!("GET /metrics HTTP/1.0\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let mut rude = connect(metrics);
    // It may hang up before it has read all.
    let _ = rude.write_all(long.as_bytes());
    let mut answer = Vec::new();
    let _ = rude.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.0 200"));
    let (head, body) = fetch(metrics, "HEAD /metrics HTTP/1.0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.0 200 OK") && body.is_empty(), "{head} {body}");
    figures(metrics);
}

#[test]
fn a_taken_address_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = sealift();
    command.args(["tunnel", "tcp://127.0.0.1:0", "tls://127.0.0.1:9", "-q", "--insecure"]);
    let output = run(command.args(["--metrics", &address]));
    assert_eq!(output.status.code(), Some(1));
    let said = format!("sealift: listen on http://{address}: Address already in use; end");
    assert!(stderr(&output).contains(&said), "{}", stderr(&output));
}
