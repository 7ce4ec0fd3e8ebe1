//! `sealift tunnel`: what goes in comes out at the other side, each end by itself, for many
//! connections at once; and how it says what it does not do.

mod support;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::process::ChildStderr;
use std::thread;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, socket};
use support::*;

/// More than fits all the buffers on the way.
const LARGE: usize = 24 << 20;

#[test]
fn each_direction_ends_by_itself() {
    // The program answers only when it has seen the end of what it is asked.
    let program = Program::serve(2, |mut visitor| {
        let (asked, end) = read_all(&visitor);
        assert!(end == Ok(()) && asked == pattern(7, LARGE));
        visitor.write_all(&pattern(3, LARGE)).unwrap();
    });
    let pair = TunnelPair::to(&program.url(), &[]);
    for _ in 0..2 {
        let mut client = pair.connect();
        client.write_all(&pattern(7, LARGE)).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let (answer, end) = read_all(&client);
        assert!(end == Ok(()) && answer == pattern(3, LARGE));
    }
    program.finish();
    pair.stop();
}

#[test]
fn the_program_at_the_target_may_end_first() {
    let program = Program::serve(1, |mut visitor| {
        visitor.write_all(b"done").unwrap();
        visitor.shutdown(Shutdown::Write).unwrap();
        let (more, end) = read_all(&visitor);
        assert!(end == Ok(()) && more == pattern(0, LARGE));
    });
    let pair = TunnelPair::to(&program.url(), &[]);
    let mut client = pair.connect();
    let (answer, end) = read_all(&client);
    assert_eq!((answer.as_slice(), end), (&b"done"[..], Ok(())));
    client.write_all(&pattern(0, LARGE)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    program.finish();
    pair.stop();
}

#[test]
fn unix_sockets_may_be_the_plain_sides() {
    let scratch = Scratch::new();
    let (near, far) = (scratch.join("near"), scratch.join("far"));
    let listener = UnixListener::bind(&far).unwrap();
    let serving = thread::spawn(move || {
        let (mut visitor, _) = listener.accept().unwrap();
        let (asked, end) = read_all(&visitor);
        assert!(end == Ok(()) && asked == pattern(1, LARGE));
        visitor.write_all(b"yes").unwrap();
    });
    let (opening, pin) = opening_tunnel(&format!("unix:{}", far.display()), &[]);
    let url = format!("tls://127.0.0.1:{}", opening.port);
    let mut command = sealift();
    let listens = format!("unix:{}", near.display());
    let sealing = start(command.args(["tunnel", &listens, &url, "--pin", &pin]));
    wait_for_socket(&near);
    let mut client = UnixStream::connect(&near).unwrap();
    client.write_all(&pattern(1, LARGE)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&client), (b"yes".to_vec(), Ok(())));
    serving.join().unwrap();
    sealing.signal("TERM");
    let ended = sealing.finish();
    assert!(ended.status.success(), "{}", stderr(&ended));
    assert!(!near.exists());
}

#[test]
fn two_hundred_connections_at_once_are_not_mixed_up() {
    const MANY: usize = 200;
    let program = Program::echo(MANY);
    let pair = TunnelPair::to(&program.url(), &[]);
    let clients = (0..MANY).map(|number| {
        let (client, len) = (pair.connect(), 1 + number * 3001);
        thread::spawn(move || {
            let mut writing = client.try_clone().unwrap();
            let sent = pattern(number, len);
            let expected = sent.clone();
            let writer = thread::spawn(move || {
                writing.write_all(&sent).unwrap();
                writing.shutdown(Shutdown::Write).unwrap();
            });
            let (read, end) = read_all(&client);
            writer.join().unwrap();
            assert!(end == Ok(()) && read == expected, "{number}: {} of {len}", read.len());
        })
    });
    let clients: Vec<_> = clients.collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    program.finish();
    pair.stop();
}

#[test]
fn further_connections_wait_for_a_place() {
    let program = Program::echo(3);
    let (opening, pin) = opening_tunnel(&program.url(), &[]);
    let sealing = sealing_tunnel(opening.port, &pin, &["--max-connections", "2"]);
    let mut clients = [(); 3].map(|()| connect(sealing.port));
    let mut answer = [0];
    for client in &mut clients {
        client.write_all(b"x").unwrap();
    }
    for client in &mut clients[..2] {
        client.read_exact(&mut answer).unwrap();
    }
    clients[2].set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let waits = clients[2].read_exact(&mut answer).unwrap_err();
    assert_eq!(waits.kind(), ErrorKind::WouldBlock);
    let [first, _second, third] = clients;
    drop(first);
    let mut third = patient(third);
    third.read_exact(&mut answer).unwrap();
}

#[test]
fn a_target_that_is_not_there_resets_the_visitor_and_the_tunnel_goes_on() {
    // Nobody listens there, and nobody else will.
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let listener = TcpListener::from(socket);
    let target = format!("tcp://{}", listener.local_addr().unwrap());
    let (mut opening, pin) = opening_tunnel(&target, &[]);
    let sealing = sealing_tunnel(opening.port, &pin, &[]);
    let client = connect(sealing.port);
    assert_eq!(read_all(&client), (vec![], Err(ErrorKind::ConnectionReset)));
    let line = opening.line();
    let said = format!("connect on {target}: Connection refused; start the listening end first");
    assert!(line.starts_with("sealift: connection from 127.0.0.1:"), "{line}");
    assert!(line.contains(&said), "{line}");
    rustix::net::listen(&listener, 8).unwrap();
    let mut client = connect(sealing.port);
    client.write_all(b"now").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let (visitor, _) = listener.accept().unwrap();
    assert_eq!(read_all(patient(visitor)), (b"now".to_vec(), Ok(())));
}

/// Visitors who never shake hands: some say nothing, some a part of their hello, most all of it.
fn crowd(port: u16) -> Vec<TcpStream> {
    let hello = client_hello();
    let said = |number| match number {
        0..20 => &[][..],
        20..100 => &[22, 3, 1, 2, 0, 1, 0],
        _ => &hello,
    };
    let come = |number| {
        let mut visitor = connect(port);
        // It may have been cut off already.
        let _ = visitor.write_all(said(number));
        visitor
    };
    (0..400).map(come).collect()
}

/// They have an hour for it: who had to wait for them would wait as long.
#[test]
fn who_never_shakes_hands_holds_up_nobody() {
    let program = Program::echo(1);
    let (opening, pin) = opening_tunnel(&program.url(), &["--timeout", "1h"]);
    let sealing = sealing_tunnel(opening.port, &pin, &[]);
    let crowd = crowd(opening.port);
    for mut begun in &crowd[100..] {
        begun.read_exact(&mut [0; 100]).unwrap();
    }
    let mut client = connect(sealing.port);
    client.write_all(b"meanwhile").unwrap();
    let mut answer = [0; 9];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"meanwhile");
    // They are still there: nobody had to go.
    for waiting in &crowd[..100] {
        waiting.set_nonblocking(true).unwrap();
        assert_eq!(waiting.peek(&mut answer).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}

#[test]
fn who_never_shakes_hands_is_cut_off() {
    let (mut opening, _) = opening_tunnel("tcp://127.0.0.1:9", &["--timeout", "2s"]);
    for (number, visitor) in crowd(opening.port).iter().enumerate() {
        let (read, end) = read_all(visitor);
        // Ended or reset, but not still there when this end's patience is over.
        assert_ne!(end, Err(ErrorKind::WouldBlock), "{number}");
        assert!(read.is_empty() || number >= 100, "{number}");
    }
    let line = opening.line();
    assert!(line.contains("no connection within 2 s; look at the other end"), "{line}");
}

/// Each has an hour to shake hands, and there is one place.
#[test]
fn visitors_who_stay_outside_give_way() {
    let program = Program::echo(2);
    let flags = ["--timeout", "1h", "--max-connections", "1", "--json"];
    let (opening, pin) = opening_tunnel(&program.url(), &flags);
    let sealing = sealing_tunnel(opening.port, &pin, &[]);
    let silent = connect(opening.port);
    let mut begun = connect(opening.port);
    begun.write_all(&client_hello()).unwrap();
    for number in 0..2 {
        let mut client = connect(sealing.port);
        client.write_all(b"let me in").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(client), (b"let me in".to_vec(), Ok(())), "{number}");
    }
    assert_eq!(read_all(silent), (vec![], Err(ErrorKind::ConnectionReset)));
    assert_eq!(read_all(begun).1, Err(ErrorKind::ConnectionReset));
    opening.running.signal("TERM");
    let output = opening.finish();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["outcomes"]["turned_away"], 2, "{report}");
}

#[test]
fn nobody_is_trusted_who_should_not_be() {
    let (scratch, program) = (Scratch::new(), Program::echo(2));
    let certificates = Certificates::new(&scratch);
    let file = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let mut command = sealift();
    command.args(["tunnel", "tls://127.0.0.1:0", &program.url()]);
    command.arg("--cert").arg(&certificates.server).arg("--client-ca").arg(&certificates.ca);
    let mut opening = listen(&mut command);
    let url = format!("tls://127.0.0.1:{}", opening.port);
    let (ca, none) = (file(&certificates.ca), "sha256:".to_owned() + &"00".repeat(32));
    let (client, stranger) = (file(&certificates.client), file(&certificates.stranger));
    for (flags, is_let_in, why) in [
        (vec!["--ca", &ca, "--cert", &client], true, ""),
        (vec!["--ca", &ca], false, "refused whoever shows no certificate"),
        (vec!["--ca", &ca, "--cert", &stranger], false, "refused this end's certificate"),
        (vec!["--pin", &none, "--cert", &client], false, "its key is sha256:"),
        (vec!["--cert", &client], false, "from nobody who is trusted here"),
    ] {
        let mut command = sealift();
        let sealing = command.args(["tunnel", "tcp://127.0.0.1:0", &url]).args(&flags);
        let mut sealing = listen(sealing);
        let mut visitor = connect(sealing.port);
        // It may be reset before it has said anything.
        let _ = visitor.write_all(b"let me in");
        let _ = visitor.shutdown(Shutdown::Write);
        let (read, end) = read_all(&visitor);
        if is_let_in {
            assert_eq!((read.as_slice(), end), (&b"let me in"[..], Ok(())), "{flags:?}");
        } else {
            assert_eq!((read, end), (vec![], Err(ErrorKind::ConnectionReset)), "{flags:?}");
            let line = sealing.line();
            assert!(line.contains(why), "{flags:?}: {line}");
            assert!(opening.line().starts_with("sealift: connection from 127.0.0.1:"));
        }
    }
}

#[test]
fn told_to_stop_it_lets_connections_end() {
    let program = Program::echo(1);
    let (opening, pin) = opening_tunnel(&program.url(), &["--json", "--stats"]);
    let sealing = sealing_tunnel(opening.port, &pin, &["--json"]);
    let mut client = connect(sealing.port);
    let mut answer = [0];
    client.write_all(b"a").unwrap();
    client.read_exact(&mut answer).unwrap();
    for tunnel in [&sealing, &opening] {
        tunnel.running.signal("TERM");
        wait_until("an end of listening", || !is_listening(tunnel.port));
    }
    client.write_all(b"b").unwrap();
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"b");
    drop(client);
    for (tunnel, sealed) in [(sealing, 2), (opening, 2)] {
        let output = tunnel.finish();
        let words = stderr(&output);
        assert!(output.status.success(), "{}: {words}", output.status);
        let waits = "sealift: no longer listening; waiting for 1 connection, for 30 s at most";
        assert!(words.starts_with(waits), "{words}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["command"], "tunnel");
        assert_eq!(report["connections"], 1);
        assert_eq!(report["outcomes"]["clean"], 1);
        assert_eq!(report["bytes_sealed"], sealed);
        assert_eq!(report["bytes_opened"], 2);
        assert_eq!(report["handshakes_full"], 1);
        assert!(report["wire_bytes_plain"].as_u64().unwrap() > 24);
        assert!(report.get("error").is_none());
    }
}

#[test]
fn a_second_signal_and_the_end_of_grace_cut_connections() {
    for (flags, signals) in [(["--json", "--grace", "0"], 1), (["--json", "--grace", "1h"], 2)] {
        let program = Program::echo(1);
        let (opening, pin) = opening_tunnel(&program.url(), &[]);
        let sealing = sealing_tunnel(opening.port, &pin, &flags);
        let mut client = connect(sealing.port);
        let mut answer = [0];
        client.write_all(b"a").unwrap();
        client.read_exact(&mut answer).unwrap();
        let port = sealing.port;
        for _ in 0..signals {
            sealing.running.signal("TERM");
            wait_until("an end of listening", || !is_listening(port));
        }
        assert_eq!(read_all(&client), (vec![], Err(ErrorKind::ConnectionReset)));
        let output = sealing.finish();
        assert_eq!(output.status.signal(), Some(15));
        // What it did until then is told.
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["outcomes"]["cut"], 1);
        assert_eq!((&report["bytes_sealed"], &report["bytes_opened"]), (&1.into(), &1.into()));
        assert!(report["records_opened"].as_u64() >= Some(1), "{report}");
        program.finish();
    }
}

#[test]
fn who_was_not_let_in_holds_up_no_stop() {
    let flags = ["--grace", "1h", "--json"];
    let (mut opening, _) = opening_tunnel("tcp://127.0.0.1:9", &flags);
    let silent = connect(opening.port);
    let mut greeted = connect(opening.port);
    greeted.write_all(&client_hello()).unwrap();
    greeted.read_exact(&mut [0; 100]).unwrap();
    // It comes later: when it is complained of, the others have been taken.
    let mut refused = connect(opening.port);
    refused.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(opening.line().starts_with("sealift: connection from 127.0.0.1:"));
    opening.running.signal("TERM");
    let output = opening.finish();
    assert!(output.status.success(), "{}: {}", output.status, stderr(&output));
    assert_eq!(stderr(&output), "");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["outcomes"]["turned_away"], &report["outcomes"]["cut"]),
        (&2.into(), &0.into())
    );
    assert_eq!(read_all(&silent), (vec![], Err(ErrorKind::ConnectionReset)));
    assert_eq!(read_all(&greeted).1, Err(ErrorKind::ConnectionReset));
}

#[test]
fn a_signal_ends_what_has_not_begun_to_serve() {
    let scratch = Scratch::new();
    let fifo = scratch.join("fifo");
    assert!(quiet("mkfifo").arg(&fifo).status().unwrap().success());
    let mut command = sealift();
    command.args(["tunnel", "tls://127.0.0.1:0", "tcp://127.0.0.1:9", "--cert"]).arg(&fifo);
    let tunnel = start(&mut command);
    // Opened when it is read from, which has no end as long as this is open.
    let _writer = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    tunnel.signal("TERM");
    assert_eq!(tunnel.finish().status.signal(), Some(15));
}

/// A tunnel that may have so many open files, and what it said before it listened.
fn short_of_files(files: usize, url: &str, pin: &str) -> (Running, BufReader<ChildStderr>, String) {
    let mut command = quiet("prlimit");
    command.args([&format!("--nofile={files}:{files}"), env!("CARGO_BIN_EXE_sealift"), "tunnel"]);
    let mut tunnel = start(command.args(["tcp://127.0.0.1:0", url, "--pin", pin]));
    let mut said = BufReader::new(tunnel.child().stderr.take().unwrap());
    let mut lines = String::new();
    while !lines.contains("listening on") {
        assert!(said.read_line(&mut lines).unwrap() > 0, "{lines}");
    }
    (tunnel, said, lines)
}

#[test]
fn no_more_are_accepted_than_there_are_files_for() {
    if let Some(why) = missing("prlimit") {
        return skip("no_more_are_accepted_than_there_are_files_for", &why);
    }
    let program = Program::echo(60);
    let (opening, pin) = opening_tunnel(&program.url(), &[]);
    let url = format!("tls://127.0.0.1:{}", opening.port);
    let (sealing, mut said, lines) = short_of_files(64, &url, &pin);
    let room =
        "sealift: the limit of open files, 64, has room for 4 connections at a time, not 1024;";
    assert!(lines.starts_with(room), "{lines}");
    let port = lines.trim().rsplit(':').next().unwrap().parse().unwrap();
    let clients: Vec<TcpStream> = (0..60).map(|_| connect(port)).collect();
    for mut client in &clients {
        client.write_all(b"a").unwrap();
    }
    // Those behind come when those before have gone, and none is lost.
    for (number, mut client) in clients.into_iter().enumerate() {
        let mut answer = [0];
        client.read_exact(&mut answer).unwrap_or_else(|error| panic!("{number}: {error}"));
    }
    program.finish();
    sealing.signal("TERM");
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!((sealing.finish().status.code(), rest.as_str()), (Some(0), ""));
}

/// The first descriptor that a process does not have.
fn first_free(process: u32) -> usize {
    let has = |at: &usize| std::fs::symlink_metadata(format!("/proc/{process}/fd/{at}")).is_ok();
    (0..).find(|at| !has(at)).unwrap()
}

/// The processor time that a process has taken, in ticks, of which a second has a hundred.
fn ticks(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1.split(' ').skip(11).take(2);
    fields.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

#[test]
fn too_many_open_files_are_said_once_and_waited_for() {
    if let Some(why) = missing("prlimit") {
        return skip("too_many_open_files_are_said_once_and_waited_for", &why);
    }
    let program = Program::echo(10);
    let (opening, pin) = opening_tunnel(&program.url(), &[]);
    let mut sealing = sealing_tunnel(opening.port, &pin, &[]);
    let mut ask = |client: &mut TcpStream| {
        client.write_all(b"a").unwrap();
        client.read_exact(&mut [0]).unwrap();
    };
    let mut client = connect(sealing.port);
    ask(&mut client);
    // From now on there are none, whatever it was given at its start.
    let process = sealing.running.id();
    let limit = |files: usize| {
        let (files, process) = (format!("--nofile={files}:"), process.to_string());
        assert!(run(quiet("prlimit").args(["--pid", &process, &files])).status.success());
    };
    limit(first_free(process));
    let mut late: Vec<TcpStream> = (0..3).map(|_| connect(sealing.port)).collect();
    let line = sealing.line();
    let accept =
        format!("sealift: accept on tcp://127.0.0.1:{}: Too many open files", sealing.port);
    assert!(
        line.starts_with(&accept) && line.ends_with("; until then further ones wait\n"),
        "{line}"
    );
    let before = ticks(process);
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(100));
        ask(&mut client);
    }
    let taken = ticks(process) - before;
    assert!(taken < 50, "{taken} ticks to wait for a second");
    limit(1000);
    late.iter_mut().for_each(&mut ask);
    drop((client, late));
    sealing.running.signal("TERM");
    let output = sealing.finish();
    let words = stderr(&output);
    let waits = |line: &str| line.starts_with("sealift: no longer listening; waiting for");
    assert!(output.status.success() && words.lines().all(waits), "{words}");
}

#[test]
fn what_is_readable_by_others_is_warned_of() {
    for (listens, is_warned) in [("tcp://127.0.0.1:0", false), ("tcp://0.0.0.0:0", true)] {
        let mut command = sealift();
        let insecure = ["tls://127.0.0.1:9", "--insecure"];
        let tunnel = start(command.args(["tunnel", listens]).args(insecure));
        let mut tunnel = tunnel;
        let mut said = BufReader::new(tunnel.child().stderr.take().unwrap());
        let mut lines = String::new();
        while !lines.contains("listening on") {
            assert!(said.read_line(&mut lines).unwrap() > 0, "{lines}");
        }
        assert!(lines.starts_with("sealift: warning: --insecure: whoever answers"), "{lines}");
        assert_eq!(lines.contains("is plain: whoever is on that network"), is_warned, "{lines}");
    }
}

#[test]
fn two_sides_of_a_kind_are_wrong_usage() {
    for (listens, target, why) in [
        ("tcp://127.0.0.1:1", "tcp://127.0.0.1:2", "nothing would be sealed"),
        ("unix:/tmp/no", "tcp://127.0.0.1:2", "nothing would be sealed"),
        (
            "tls://127.0.0.1:1",
            "tls://127.0.0.1:2",
            "run two tunnels with tcp://127.0.0.1:PORT between",
        ),
    ] {
        let output = run(sealift().args(["tunnel", listens, target]));
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
    }
}

/// What is advised where both sides are to be `tls://`.
#[test]
fn two_tunnels_carry_tls_on_to_tls() {
    let program = Program::echo(1);
    let (far, far_pin) = opening_tunnel(&program.url(), &[]);
    let inner = sealing_tunnel(far.port, &far_pin, &[]);
    let (outer, pin) = opening_tunnel(&format!("tcp://127.0.0.1:{}", inner.port), &[]);
    let near = sealing_tunnel(outer.port, &pin, &[]);
    let mut client = connect(near.port);
    client.write_all(&pattern(0, 300_000)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let (read, end) = read_all(&client);
    assert!(end == Ok(()) && read == pattern(0, 300_000), "{} bytes, {end:?}", read.len());
    program.finish();
}

#[test]
fn every_engine_seals_the_same() {
    let test = "every_engine_seals_the_same";
    for engine in ["auto", "workers", "ipsec-mb"] {
        let program = Program::echo(3);
        let (opening, pin) = opening_tunnel(&program.url(), &[]);
        let url = format!("tls://127.0.0.1:{}", opening.port);
        let arguments = ["tunnel", "tcp://127.0.0.1:0", &url, "--pin", &pin, "--engine", engine];
        if engine == "ipsec-mb" {
            let mut tunnel = start(sealift().args(arguments));
            let mut line = String::new();
            let stderr = tunnel.child().stderr.take().unwrap();
            std::io::BufRead::read_line(&mut std::io::BufReader::new(stderr), &mut line).unwrap();
            if line.starts_with("sealift: set up on the ipsec-mb engine: ") {
                skip(&format!("{test}: ipsec-mb"), "needs the package libipsec-mb1");
                continue;
            }
        }
        let sealing = listen(sealift().args(arguments).arg("--json"));
        let clients = (0..3).map(|number| {
            let client = connect(sealing.port);
            thread::spawn(move || {
                let mut writing = client.try_clone().unwrap();
                let writer = thread::spawn(move || {
                    writing.write_all(&pattern(number, LARGE)).unwrap();
                    writing.shutdown(Shutdown::Write).unwrap();
                });
                let (read, end) = read_all(&client);
                writer.join().unwrap();
                assert!(end == Ok(()) && read == pattern(number, LARGE), "{engine}");
            })
        });
        let clients: Vec<_> = clients.collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        sealing.running.signal("TERM");
        let output = sealing.finish();
        assert!(output.status.success(), "{engine}: {}", stderr(&output));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let jobs = report["engine_jobs"].as_u64().unwrap();
        assert_eq!(jobs > 100, engine != "auto", "{engine}: {report}");
        assert_eq!(report["engine_failures"], 0, "{engine}");
        assert_eq!(report["bytes_sealed"], 3 * LARGE, "{engine}");
    }
}
