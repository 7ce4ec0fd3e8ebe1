//! `sealift send` to `sealift receive`: every backend, pipes at either end, what is printed, and
//! how much memory it takes.

mod support;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileExt, FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::*;

/// What a transfer may take, whatever the size.
const MEMORY_BYTES_MAX: u64 = 64 << 20;

fn url(port: u16) -> String {
    format!("tcp://127.0.0.1:{port}")
}

/// Sends `source` to a `sealift receive` and returns how both ended.
fn transfer(
    source: &Path,
    destination: &Path,
    flags: &[&str],
) -> (std::process::Output, std::process::Output) {
    let receiving = receiver(destination, &[]);
    let sent = run(sealift().arg("send").arg(source).arg(url(receiving.port)).args(flags));
    (sent, receiving.finish())
}

#[test]
fn every_backend_brings_the_same_bytes() {
    let scratch = Scratch::new();
    for len in [0, 1, 524_287, 524_288, 524_289, 20_000_000] {
        let source = scratch.file("source", len);
        for backend in ["auto", "uring", "msg-zerocopy", "copy"] {
            let destination = scratch.join("destination");
            let (sent, received) = transfer(&source, &destination, &["--backend", backend]);
            if backend == "uring" && !sent.status.success() {
                assert_failed(&sent, "set up on");
                skip("every_backend_brings_the_same_bytes: uring", &stderr(&sent));
                continue;
            }
            assert_done(&sent);
            assert_done(&received);
            assert_same(&source, &destination);
        }
    }
    assert_eq!(scratch.names(), ["destination", "source"]);
}

#[test]
fn either_end_listens_on_tcp_and_unix() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 3_000_000);
    let unix = format!("unix:{}", scratch.join("socket").display());
    for (receive_turn, send_turn) in [(None, None), (Some("--connect"), Some("--listen"))] {
        for over_unix in [false, true] {
            let destination = scratch.join("destination");
            let url = if over_unix { unix.clone() } else { url(free_port()) };
            let (mut send, mut receive) = (sealift(), sealift());
            send.arg("send").arg(&source).arg(&url).args(send_turn);
            receive.arg("receive").arg(&url).arg(&destination).args(receive_turn);
            let (first, second) =
                if send_turn.is_some() { (send, receive) } else { (receive, send) };
            let (mut first, mut second) = (first, second);
            let first = start(&mut first);
            match url.strip_prefix("unix:") {
                Some(path) => wait_for_socket(Path::new(path)),
                None => wait_for_port(url.rsplit(':').next().unwrap().parse().unwrap()),
            }
            assert_done(&run(&mut second));
            assert_done(&first.finish());
            assert_same(&source, &destination);
        }
    }
    // The socket's file is gone, too.
    assert_eq!(scratch.names(), ["destination", "source"]);
}

#[test]
fn eight_gibibytes_take_little_memory() {
    const LEN: u64 = 8 << 30;
    let scratch = Scratch::new();
    let source = scratch.join("sparse");
    let file = File::create(&source).unwrap();
    file.set_len(LEN).unwrap();
    let marks = [0, (1 << 31) - 3, (4 << 30) - 1, (4 << 30) + 524_288, LEN - 6];
    for mark in marks {
        file.write_all_at(b"marked", mark.min(LEN - 6)).unwrap();
    }
    let mut receiving = receiver(Path::new("-"), &[]);
    let mut stdout = receiving.running.child().stdout.take().unwrap();
    let sending = start(sealift().arg("send").arg(&source).arg(url(receiving.port)));
    let (sender, receiver) = (sending.id(), receiving.running.id());
    let (zeros, mut room) = (vec![0u8; 1 << 20], vec![0u8; 1 << 20]);
    let (mut at, mut peaks) = (0u64, (0, 0));
    loop {
        let count = read_full(&mut stdout, &mut room);
        if count == 0 {
            break;
        }
        if at % (256 << 20) == 0 || at + (16 << 20) > LEN {
            peaks = (peaks.0.max(peak_bytes(sender)), peaks.1.max(peak_bytes(receiver)));
        }
        let mut expected = None;
        for mark in marks {
            for (offset, byte) in (mark..).zip(b"marked") {
                if (at..at + count as u64).contains(&offset) {
                    expected.get_or_insert_with(|| zeros.clone())[(offset - at) as usize] = *byte;
                }
            }
        }
        let expected = expected.as_deref().unwrap_or(&zeros);
        assert!(room[..count] == expected[..count], "wrong bytes within a mebibyte of {at}");
        at += count as u64;
    }
    assert_eq!(at, LEN);
    assert_done(&sending.finish());
    assert_done(&receiving.finish());
    println!("peak memory: sender {} KiB, receiver {} KiB", peaks.0 >> 10, peaks.1 >> 10);
    for peak in [peaks.0, peaks.1] {
        assert!(peak > 0 && peak < MEMORY_BYTES_MAX, "{peaks:?}");
    }
}

fn read_full(from: &mut impl Read, room: &mut [u8]) -> usize {
    let mut filled = 0;
    while filled < room.len() {
        match from.read(&mut room[filled..]).unwrap() {
            0 => break,
            count => filled += count,
        }
    }
    filled
}

#[test]
fn a_stalled_pipe_is_waited_for_and_what_it_gave_arrives_at_once() {
    let mut receiving = receiver(Path::new("-"), &[]);
    let mut stdout = receiving.running.child().stdout.take().unwrap();
    let mut sending =
        start(sealift().args(["send", "-", &url(receiving.port)]).stdin(Stdio::piped()));
    let mut stdin = sending.child().stdin.take().unwrap();
    for word in ["one", "two", "three"] {
        stdin.write_all(word.as_bytes()).unwrap();
        let mut arrived = vec![0; word.len()];
        let asked = Instant::now();
        stdout.read_exact(&mut arrived).unwrap();
        assert_eq!(arrived, word.as_bytes());
        assert!(asked.elapsed() < Duration::from_secs(5), "held back: {:?}", asked.elapsed());
        std::thread::sleep(Duration::from_millis(300));
    }
    drop(stdin);
    assert_done(&sending.finish());
    assert_done(&receiving.finish());
}

#[test]
fn pipes_at_both_ends_bring_everything() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 30_000_001);
    for flags in [&[][..], &["--backend", "copy"]] {
        let mut receiving = receiver(Path::new("-"), &[]);
        let stdout = receiving.running.child().stdout.take().unwrap();
        let mut cat = quiet("cat");
        let mut cat = start(cat.arg(&source));
        let pipe = cat.child().stdout.take().unwrap();
        let destination = scratch.join("destination");
        // A pipe behind the pipe, as `| cat > file` makes it.
        let mut sink = quiet("cat");
        let sink = start(sink.stdin(stdout).stdout(File::create(&destination).unwrap()));
        let sent =
            sealift().args(["send", "-", &url(receiving.port)]).args(flags).stdin(pipe).spawn();
        let sent = sent.unwrap().wait_with_output().unwrap();
        assert_done(&sent);
        assert_done(&receiving.finish());
        assert!(sink.finish().status.success());
        assert_same(&source, &destination);
    }
}

#[test]
fn a_source_that_ends_early_is_a_short_file() {
    let scratch = Scratch::new();
    let destination = scratch.join("destination");
    let receiving = receiver(&destination, &[]);
    let mut sending =
        start(sealift().args(["send", "-", &url(receiving.port)]).stdin(Stdio::piped()));
    sending.child().stdin.take().unwrap().write_all(&pattern(0, 100_000)).unwrap();
    assert_done(&sending.finish());
    assert_done(&receiving.finish());
    assert_eq!(fs::read(&destination).unwrap(), pattern(0, 100_000));
}

#[test]
fn standard_input_from_a_file_is_sent_from_where_it_stands() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 1_000_000);
    let mut file = File::open(&source).unwrap();
    file.read_exact(&mut [0; 1000]).unwrap();
    let destination = scratch.join("destination");
    let receiving = receiver(&destination, &[]);
    assert_done(&run(sealift().args(["send", "-", &url(receiving.port)]).stdin(file)));
    assert_done(&receiving.finish());
    assert_eq!(fs::read(&destination).unwrap(), pattern(1000, 999_000));
}

#[test]
fn standard_output_takes_files_and_appending() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 2_000_000);
    let destination = scratch.join("destination");
    for append in [false, true] {
        fs::write(&destination, "before").unwrap();
        let mut options = File::options();
        let file = options.write(true).append(append).truncate(!append).open(&destination);
        let mut command = sealift();
        command.args(["receive", "tcp://127.0.0.1:0", "-", "--json"]).stdout(file.unwrap());
        let receiving = listen(&mut command);
        assert_done(&run(sealift().arg("send").arg(&source).arg(url(receiving.port))));
        let received = receiving.finish();
        assert!(received.status.success());
        // Standard output has the data, so the report is on standard error.
        let report: serde_json::Value = serde_json::from_slice(&received.stderr).unwrap();
        assert_eq!(report["receiving"]["way"], if append { "copied" } else { "spliced" });
        let mut expected = if append { b"before".to_vec() } else { Vec::new() };
        expected.extend(pattern(0, 2_000_000));
        assert!(fs::read(&destination).unwrap() == expected);
    }
}

#[test]
fn devices_and_pipes_are_written_in_place() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 700_000);
    let (sent, received) = transfer(&source, Path::new("/dev/null"), &[]);
    assert_done(&sent);
    assert_done(&received);
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());

    let fifo = scratch.join("fifo");
    assert!(quiet("mkfifo").arg(&fifo).status().unwrap().success());
    let reader = {
        let fifo = fifo.clone();
        std::thread::spawn(move || fs::read(fifo).unwrap())
    };
    let (sent, received) = transfer(&source, &fifo, &[]);
    assert_done(&sent);
    assert_done(&received);
    assert!(reader.join().unwrap() == pattern(0, 700_000));
}

#[test]
fn a_file_that_was_there_is_replaced_with_its_mode_and_through_its_link() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 1000);
    let (destination, link) = (scratch.join("destination"), scratch.join("link"));
    fs::write(&destination, "old").unwrap();
    fs::set_permissions(&destination, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("destination", &link).unwrap();
    let (sent, received) = transfer(&source, &link, &[]);
    assert_done(&sent);
    assert_done(&received);
    assert_same(&source, &destination);
    assert_eq!(fs::metadata(&destination).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn files_without_a_size_are_sent_to_their_end() {
    let scratch = Scratch::new();
    let destination = scratch.join("destination");
    for source in ["/proc/version", "/proc/self/mounts", "/sys/fs/cgroup/cgroup.controllers"] {
        let source = Path::new(source);
        if !source.exists() {
            skip(&format!("files_without_a_size_are_sent_to_their_end: {source:?}"), "not here");
            continue;
        }
        let (sent, received) = transfer(source, &destination, &[]);
        assert_done(&sent);
        assert_done(&received);
        assert_eq!(fs::read(&destination).unwrap(), fs::read(source).unwrap());
    }
}

#[test]
fn the_end_does_not_wait_for_the_other_end_to_close() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 300_000);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let sending = start(sealift().arg("send").arg(&source).arg(url(port)));
    let (mut stream, _) = listener.accept().unwrap();
    // An other end that talks, and keeps its side open.
    stream.write_all(&[7; 100_000]).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert_done(&sending.finish());
    assert!(bytes == pattern(0, 300_000));
    // Nothing of what it said made the end a reset.
    assert!(stream.take_error().unwrap().is_none());
}

#[test]
fn an_echoing_peer_does_not_block_the_way() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 40_000_000);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut write: TcpStream = stream.try_clone().unwrap();
        std::io::copy(&mut stream, &mut write)
    });
    let sent = run(sealift().arg("send").arg(&source).arg(url(port)).arg("--json"));
    assert!(sent.status.success(), "{}", stderr(&sent));
    let report: serde_json::Value = serde_json::from_slice(&sent.stdout).unwrap();
    assert!(report["discarded_bytes"].as_u64().unwrap() > 1_000_000, "{report}");
    // Its last words may meet a closed socket.
    let _ = echo.join().unwrap();
}

/// What it echoes is thrown away as fast as it comes.
#[test]
fn an_echoing_peer_does_not_slow_the_way() {
    const LEN: usize = 150_000_000;
    let scratch = Scratch::new();
    let source = scratch.file("source", LEN);
    for backend in ["auto", "msg-zerocopy", "copy"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = url(listener.local_addr().unwrap().port());
        let echo = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut write: TcpStream = stream.try_clone().unwrap();
            std::io::copy(&mut stream, &mut write)
        });
        let began = Instant::now();
        let sent = run(sealift().arg("send").arg(&source).args([&url, "--backend", backend]));
        assert_done(&sent);
        let took = began.elapsed();
        println!("{backend}: {took:?}");
        // At a mebibyte in 100 ms it took 14 s.
        assert!(took < Duration::from_secs(7), "{backend}: {took:?}");
        let _ = echo.join().unwrap();
    }
}

#[test]
fn json_and_stats_tell_what_happened() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 5_000_000);
    let destination = scratch.join("destination");
    let receiving = receiver(&destination, &["--json", "--stats"]);
    let sent = run(sealift().arg("send").arg(&source).arg(url(receiving.port)).args([
        "--json",
        "--stats",
        "--backend",
        "copy",
    ]));
    let received = receiving.finish();
    for (output, command) in [(&sent, "send"), (&received, "receive")] {
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["command"], command);
        assert_eq!(report["bytes"], 5_000_000);
        assert_eq!(report["url"], url(url_port(&report)));
        assert!(report["seconds"].as_f64().unwrap() > 0.0);
        assert!(report["bytes_per_second"].as_f64().unwrap() > 0.0);
        assert!(report["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
        assert!(report.get("error").is_none());
        assert!(stderr(output).contains("copies per byte"), "{}", stderr(output));
    }
    let report: serde_json::Value = serde_json::from_slice(&sent.stdout).unwrap();
    assert_eq!(report["sending"]["backend"]["backend"], "copy");
    assert_eq!(report["sending"]["bytes"]["plain"], 5_000_000);
    assert_eq!(report["zerocopied_fraction"], 0.0);
    let report: serde_json::Value = serde_json::from_slice(&received.stdout).unwrap();
    assert_eq!(report["receiving"]["way"], "spliced");
}

fn url_port(report: &serde_json::Value) -> u16 {
    report["url"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap()
}

#[test]
fn verbose_logs_decisions_and_quiet_says_nothing() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 5_000_000);
    let destination = scratch.join("destination");
    let receiving = receiver(&destination, &["-v"]);
    let sent = run(sealift().arg("send").arg(&source).arg(url(receiving.port)).arg("-v"));
    let received = receiving.finish();
    assert!(stderr(&sent).contains("backend chosen"), "{}", stderr(&sent));
    assert!(stderr(&received).contains("way chosen way=spliced"), "{}", stderr(&received));

    let receiving = receiver(&destination, &["-q"]);
    let sent = run(sealift().arg("send").arg(&source).arg(url(receiving.port)).arg("-q"));
    assert_done(&sent);
    assert_done(&receiving.finish());
}

#[test]
fn progress_is_shown_on_a_terminal_only() {
    let name = "progress_is_shown_on_a_terminal_only";
    let scratch = Scratch::new();
    let source = scratch.join("source");
    File::create(&source).unwrap().set_len(2_000_000_000).unwrap();
    let (sent, received) = transfer(&source, Path::new("/dev/null"), &[]);
    assert_done(&sent);
    assert_done(&received);
    if let Some(why) = missing("script") {
        return skip(name, &why);
    }
    for (flags, shown) in [("", true), ("-q", false)] {
        let receiving = receiver(Path::new("/dev/null"), &[]);
        let line = format!(
            "{} send {} {} {flags}",
            env!("CARGO_BIN_EXE_sealift"),
            source.display(),
            url(receiving.port)
        );
        // `script` gives the command a terminal.
        let log = scratch.join("terminal");
        let output = run(quiet("script").args(["-qec", &line]).arg(&log));
        assert!(output.status.success(), "{}", stderr(&output));
        assert_done(&receiving.finish());
        let seen = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(seen.contains("sent 2.00 GB"), shown, "{seen:?}");
        assert_eq!(seen.contains("of 2.00 GB"), shown, "{seen:?}");
    }
}
