//! Names that no person would choose: what is printed of them is one line of text, and what they
//! name is found all the same.

mod support;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;

use support::*;

/// A line break, an order to a terminal in seven bits, and one in eight.
const ODD: &str = "a\nb\u{1b}[31mc\u{9b}d";
const SHOWN: &str = r"a\nb\u{1b}[31mc\u{9b}d";

fn no_orders(words: &str) {
    let control = |letter: char| letter.is_control() && letter != '\n';
    assert!(!words.contains(control), "{words:?}");
}

#[test]
fn control_characters_are_printed_as_escapes() {
    let scratch = Scratch::new();
    let file = scratch.join(ODD);
    let output = run(sealift().arg("send").arg(&file).arg("tcp://127.0.0.1:9"));
    let name = scratch.join(SHOWN);
    assert_failed(&output, &format!("open on {}: No such file", name.display()));
    no_orders(&stderr(&output));
    let source = scratch.file("source", 10);
    let url = format!("unix:{}", file.display());
    let output = run(sealift().arg("send").arg(&source).args([&url, "-v"]));
    no_orders(&stderr(&output));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&format!("connect on unix:{}: No such", name.display())));
    // Wrong usage is words as well.
    for arguments in [
        &["send", "file", ODD][..],
        &["receive", "tcp://h:\u{1b}[31m1", "file"],
        &["send", "file", "tcp://h:1", "--timeout", ODD],
        &["send", "file", "tcp://h:1", ODD],
        &["\u{1b}[31m"],
        &["--\u{1b}[31m"],
    ] {
        let output = run(sealift().args(arguments));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        no_orders(&stderr(&output));
    }
}

#[test]
fn a_socket_whose_path_is_no_text_is_found() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 1000);
    let path = scratch.path().join(OsStr::from_bytes(b"socket-\xff"));
    let mut url = OsString::from("unix:");
    url.push(&path);
    let destination = scratch.join("destination");
    let receiving = start(sealift().arg("receive").arg(&url).arg(&destination));
    wait_until("the socket", || fs::symlink_metadata(&path).is_ok());
    // The file is there a moment before anybody listens.
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_done(&run(sealift().arg("send").arg(&source).arg(&url)));
    assert_done(&receiving.finish());
    assert_same(&source, &destination);
}

#[test]
fn a_wrong_url_is_told_what_is_wrong_with_it() {
    for (url, why) in [
        ("tcp://user:pw@host:1", "no user name goes into it"),
        ("tcp://host/path:1", "no path goes behind it"),
        ("tcp://host:+5", "'+5' is no port from 0 to 65535"),
        ("tcp://[fe80::1]:5", "needs its zone, the interface: tcp://[fe80::1%eth0]:5"),
    ] {
        let output = run(sealift().args(["send", "file", url]));
        assert_eq!(output.status.code(), Some(2), "{url}: {}", stderr(&output));
        assert!(stderr(&output).contains(why), "{url}: {}", stderr(&output));
    }
}
