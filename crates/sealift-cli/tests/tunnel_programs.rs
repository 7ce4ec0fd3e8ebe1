//! Programs at the ends of tunnels: nginx and curl, iperf3, openssl and socat.

mod support;

use std::fs;
use std::path::Path;
use std::process::Output;

use support::*;

/// More than fits all the buffers on the way.
const LARGE: usize = 32 << 20;

/// Whether a program is not there; then the test is skipped.
fn lacks(test: &str, program: &str, package: &str) -> bool {
    let is_missing = missing(program).is_some() && !Path::new("/usr/sbin").join(program).exists();
    if is_missing {
        skip(test, &format!("needs the package {package}"));
    }
    is_missing
}

/// A web server that serves `scratch`.
fn nginx(scratch: &Scratch) -> (Running, u16) {
    let (port, path) = (free_port(), scratch.path().display());
    let configuration = format!(
        "daemon off; pid {path}/pid; error_log stderr; worker_processes 1; user root;\n\
         events {{}}\n\
         http {{ access_log off; client_body_temp_path {path}; proxy_temp_path {path};\n\
         fastcgi_temp_path {path}; uwsgi_temp_path {path}; scgi_temp_path {path};\n\
         server {{ listen 127.0.0.1:{port}; root {path}; }} }}\n"
    );
    let file = scratch.join("nginx.conf");
    fs::write(&file, configuration).unwrap();
    let mut command = quiet("nginx");
    let paths = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    command.env("PATH", paths).arg("-p").arg(scratch.path()).arg("-c").arg(&file);
    let running = start(&mut command);
    wait_for_port(port);
    (running, port)
}

fn curl(scratch: &Scratch, arguments: &[&str]) -> Output {
    let mut command = quiet("curl");
    command.args(["--silent", "--show-error", "--fail", "--max-time", "60"]);
    run(command.arg("--output").arg(scratch.join("copy")).args(arguments))
}

#[track_caller]
fn assert_fetched(output: &Output, scratch: &Scratch) {
    assert!(output.status.success(), "{}: {}", output.status, stderr(output));
    assert_same(&scratch.join("source"), &scratch.join("copy"));
    fs::remove_file(scratch.join("copy")).unwrap();
}

#[test]
fn curl_reaches_nginx_through_two_tunnels_and_through_one() {
    let test = "curl_reaches_nginx_through_two_tunnels_and_through_one";
    if lacks(test, "nginx", "nginx-light") || lacks(test, "curl", "curl") {
        return;
    }
    let scratch = Scratch::new();
    scratch.file("source", LARGE);
    let (_nginx, port) = nginx(&scratch);
    let target = format!("tcp://127.0.0.1:{port}");
    let pair = TunnelPair::to(&target, &[]);
    let url = format!("http://127.0.0.1:{}/source", pair.sealing.port);
    assert_fetched(&curl(&scratch, &[&url]), &scratch);
    // Several on one connection, and several at once.
    let parts = curl(&scratch, &["--range", "0-9", &url, "-o", "/dev/null", "--range", "5-", &url]);
    assert!(parts.status.success(), "{}", stderr(&parts));
    let many: Vec<_> = (0..20)
        .map(|_| start(quiet("curl").args(["-sSf", "-o", "/dev/null", "--max-time", "60", &url])))
        .collect();
    for fetching in many {
        let output = fetching.finish();
        assert!(output.status.success(), "{}", stderr(&output));
    }
    pair.stop();
    // curl speaks TLS by itself.
    let certificates = Certificates::new(&scratch);
    let mut command = sealift();
    command.args(["tunnel", "tls://127.0.0.1:0", &target]).arg("--cert").arg(&certificates.server);
    let opening = listen(&mut command);
    let url = format!("https://localhost:{}/source", opening.port);
    let ca = certificates.ca.to_str().unwrap();
    for version in ["--tlsv1.3", "--tls-max=1.2"] {
        let version: Vec<&str> = version.split('=').collect();
        let arguments = [&["--ipv4", "--cacert", ca, &url], version.as_slice()].concat();
        assert_fetched(&curl(&scratch, &arguments), &scratch);
    }
    let distrusts = curl(&scratch, &[&url]);
    assert_eq!(distrusts.status.code(), Some(60), "{}", stderr(&distrusts));
}

#[test]
fn iperf3_runs_through_two_tunnels() {
    let test = "iperf3_runs_through_two_tunnels";
    if lacks(test, "iperf3", "iperf3") {
        return;
    }
    let port = free_port();
    let mut server = quiet("iperf3");
    let _server = start(server.args(["-s", "-B", "127.0.0.1", "-p", &port.to_string()]));
    wait_for_port(port);
    let pair = TunnelPair::to(&format!("tcp://127.0.0.1:{port}"), &[]);
    let through = pair.sealing.port.to_string();
    for direction in [&[][..], &["-R"], &["--bidir"]] {
        let mut client = quiet("iperf3");
        client.args(["-c", "127.0.0.1", "-p", &through, "-t", "2", "-P", "4", "-J"]);
        let output = run(client.args(direction));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(output.status.success(), "{direction:?}: {report}");
        let received = report["end"]["sum_received"]["bytes"].as_u64().unwrap();
        assert!(received > 10 << 20, "{direction:?}: {received}");
    }
}

#[test]
fn openssl_and_socat_may_be_either_other_end() {
    let test = "openssl_and_socat_may_be_either_other_end";
    if lacks(test, "openssl", "openssl") || lacks(test, "socat", "socat") {
        return;
    }
    let scratch = Scratch::new();
    let source = scratch.file("source", LARGE);
    let certificates = Certificates::new(&scratch);
    let [ca, server] = [&certificates.ca, &certificates.server].map(|path| path.to_str().unwrap());
    // They connect to a tunnel that opens, and send through it.
    for connects in ["openssl", "socat"] {
        let copy = scratch.join("copy");
        let receiving = receiver(&copy, &[]);
        let target = format!("tcp://127.0.0.1:{}", receiving.port);
        let mut command = sealift();
        command.args(["tunnel", "tls://127.0.0.1:0", &target, "--cert", server]);
        let opening = listen(&mut command);
        let address = format!("127.0.0.1:{}", opening.port);
        let mut command = quiet(connects);
        match connects {
            "openssl" => {
                command.args(["s_client", "-quiet", "-no_ign_eof", "-nocommands", "-connect"]);
                command.args([&address, "-verify_return_error", "-CAfile", ca]);
                command.stdin(fs::File::open(&source).unwrap());
            }
            _ => {
                let tls = format!("OPENSSL:{address},cafile={ca},commonname=localhost");
                command.args(["-u", &format!("OPEN:{}", source.display()), &tls]);
            }
        }
        let sent = run(&mut command);
        assert!(sent.status.success(), "{connects}: {}", stderr(&sent));
        assert_done(&receiving.finish());
        assert_same(&source, &copy);
    }
    // A tunnel that seals connects to them.
    let (port, copy) = (free_port(), scratch.join("copy"));
    let listens = format!("OPENSSL-LISTEN:{port},bind=127.0.0.1,cert={server},verify=0,reuseaddr");
    let mut command = quiet("socat");
    let target = format!("CREATE:{}", copy.display());
    let receiving = start(command.args(["-u", &listens, &target]));
    wait_for_port(port);
    let mut command = sealift();
    let url = format!("tls://localhost:{port}");
    let sealing = listen(command.args(["tunnel", "tcp://127.0.0.1:0", &url, "--ca", ca]));
    let url = format!("tcp://127.0.0.1:{}", sealing.port);
    assert_done(&run(sealift().arg("send").arg(&source).arg(&url)));
    let received = receiving.finish();
    assert!(received.status.success(), "{}", stderr(&received));
    assert_same(&source, &copy);
}
