//! `--ktls`: who makes the records, told truly, and a clear error where it cannot be as was asked.

mod support;

use std::fs;
use std::process::Output;

use support::*;

/// Sends over `tls://`, with flags for either end.
fn transfer(scratch: &Scratch, receiver: &[&str], sender: &[&str]) -> (Output, Listening) {
    let mut command = sealift();
    command.args(["receive", "tls://127.0.0.1:0"]).arg(scratch.join("destination")).args(receiver);
    let mut receiving = listen(&mut command);
    receiving.line();
    let line = receiving.line();
    let pin = line.split_once(" --pin ").unwrap().1.split_whitespace().next().unwrap();
    let url = format!("tls://127.0.0.1:{}", receiving.port);
    let mut command = sealift();
    command.arg("send").arg(scratch.join("source")).args([&url, "--pin", pin]).args(sender);
    (run(&mut command), receiving)
}

fn makers(output: &Output) -> serde_json::Value {
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    report["tls"]["stats"]["makers"].clone()
}

#[test]
fn records_are_made_here_where_no_device_does_it_and_the_reason_is_told() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 1_000_000);
    let (sent, receiving) =
        transfer(&scratch, &["--json", "--ktls", "auto"], &["--json", "--stats", "--ktls", "off"]);
    assert!(sent.status.success(), "{}", stderr(&sent));
    let received = receiving.finish();
    assert_done(&received);
    assert_same(&source, &scratch.join("destination"));
    for output in [&sent, &received] {
        let makers = makers(output);
        assert_eq!(
            (&makers["sealing"], &makers["opening"]),
            (&"sealift".into(), &"sealift".into())
        );
    }
    assert_eq!(makers(&sent)["reason"], "kernel TLS is switched off");
    let (unasked, receiving) = transfer(&scratch, &[], &["--json"]);
    assert_done(&receiving.finish());
    // Also where another core seals, which is what the sender chose because of it.
    for output in [&received, &unasked] {
        let reason = makers(output)["reason"].as_str().unwrap().to_owned();
        let is_so = reason.contains("does not offload") || reason.contains("no kernel TLS");
        assert!(is_so, "{reason}");
    }
    let expected = "sealed by sealift, opened by sealift (kernel TLS is switched off)";
    assert!(stderr(&sent).contains(expected), "{}", stderr(&sent));
}

#[test]
fn what_is_asked_of_the_kernel_is_done_there_or_fails_clearly() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 1_000_000);
    let (sent, mut receiving) = transfer(&scratch, &["--json"], &["--json", "--ktls", "on"]);
    if sent.status.success() {
        assert_done(&receiving.finish());
        assert_same(&source, &scratch.join("destination"));
        assert_eq!(makers(&sent)["sealing"], "kernel");
        return;
    }
    assert_failed(&sent, "connect on tls://127.0.0.1:");
    let said = stderr(&sent);
    assert!(said.contains("no kernel TLS (tls module) is loaded; as root: modprobe tls"), "{said}");
    assert!(said.contains("--ktls auto"), "{said}");
    // It listens on, for somebody who gets further.
    assert!(receiving.line().starts_with("sealift: warning: accept on "));
    assert!(fs::metadata(scratch.join("destination")).is_err(), "nothing is kept");
}

/// What is wrong here is wrong whoever comes: nobody else is waited for.
#[test]
fn who_listens_and_cannot_have_the_kernel_does_not_listen_on() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 1000);
    let (sent, receiving) = transfer(&scratch, &["--ktls", "on"], &[]);
    let received = receiving.finish();
    if received.status.success() {
        assert_done(&sent);
        assert_same(&source, &scratch.join("destination"));
        return;
    }
    assert_failed(&received, "accept on tls://127.0.0.1:");
    assert!(stderr(&received).contains("--ktls auto"), "{}", stderr(&received));
}
