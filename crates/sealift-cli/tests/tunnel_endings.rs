//! What a tunnel calls clean: both sides ended, and everything is with the kernels at both ends.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use rustix::net::sockopt;
use rustls::version::{TLS12, TLS13};
use support::*;

/// More than the buffers of a program take that reads nothing, and less than those before it.
const OWED: usize = 1 << 20;

/// A tunnel's outcomes once it was told to stop, and what it said.
fn outcomes(tunnel: Listening) -> (serde_json::Value, String) {
    tunnel.running.signal("TERM");
    let output = tunnel.finish();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    (report["outcomes"].clone(), stderr(&output))
}

/// The peer says its end and goes, which a program may do that wants no more. What the program at
/// this side sends behind that is lost, however short it is.
#[test]
fn what_reached_nobody_is_never_clean() {
    let scratch = Scratch::new();
    let certificates = Certificates::new(&scratch);
    for version in [&TLS13, &TLS12] {
        for len in [0, 1, 3, 5, 10, 11, 5000] {
            let (listener, url) = server_port();
            let mut command = sealift();
            command.args(["tunnel", "tcp://127.0.0.1:0", &url, "--insecure", "--json"]);
            let tunnel = listen(&mut command);
            let mut client = connect(tunnel.port);
            let config = server_config(&certificates, version, false);
            let mut served = Served::accept(&listener, config);
            served.shake_hands().unwrap();
            served.close();
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
            client.write_all(&pattern(0, len)).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let (outcomes, said) = outcomes(tunnel);
            let case = format!("{version:?}, {len} bytes: {outcomes} {said}");
            let clean = u64::from(len == 0);
            assert_eq!(outcomes["clean"], clean, "{case}");
            assert_eq!(outcomes["reset"], 1 - clean, "{case}");
            assert_eq!(said.contains(&format!("send on {url}: ")), len > 0, "{case}");
        }
    }
}

/// The program has gone when the byte comes, so that its kernel hears of no end behind it: nothing
/// outstanding is that end.
#[test]
fn a_byte_that_the_program_never_had_is_not_its_end() {
    let program = Program::serve(1, drop);
    let (opening, pin) = opening_tunnel(&program.url(), &["--json"]);
    let sealing = sealing_tunnel(opening.port, &pin, &[]);
    let mut client = connect(sealing.port);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    client.write_all(b"x").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let (outcomes, said) = outcomes(opening);
    assert!(said.contains(&format!("send on {}: ", program.url())), "{outcomes} {said}");
    assert_eq!((&outcomes["clean"], &outcomes["reset"]), (&0.into(), &1.into()), "{said}");
    program.finish();
}

/// Ends first, and reads nothing of what comes then.
struct Owed {
    /// The program at TARGET.
    target: TcpStream,
    opening: Listening,
    sealing: Listening,
}

impl Owed {
    /// With `OWED` bytes and the end on their way to it, which have left the sealing tunnel.
    fn new(flags: &[&str]) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        sockopt::set_socket_recv_buffer_size(&listener, 4096).unwrap();
        let url = format!("tcp://{}", listener.local_addr().unwrap());
        let (opening, pin) = opening_tunnel(&url, flags);
        let sealing = sealing_tunnel(opening.port, &pin, &["--json"]);
        let mut client = connect(sealing.port);
        let target = patient(listener.accept().unwrap().0);
        target.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        client.write_all(&pattern(0, OWED)).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        Self { target, opening, sealing }
    }
}

#[test]
fn what_the_program_has_not_is_owed_to_it() {
    // It is cut when the time for those that are left has passed.
    let owed = Owed::new(&["--json", "--grace", "2s"]);
    let (at_sealing, said) = outcomes(owed.sealing);
    assert_eq!(at_sealing["clean"], 1, "{at_sealing} {said}");
    let (at_opening, said) = outcomes(owed.opening);
    assert_eq!((&at_opening["clean"], &at_opening["cut"]), (&0.into(), &1.into()), "{said}");
    drop(owed.target);
}

#[test]
fn a_program_that_goes_without_all_of_it_is_complained_of() {
    let owed = Owed::new(&["--json"]);
    let (at_sealing, said) = outcomes(owed.sealing);
    assert_eq!(at_sealing["clean"], 1, "{at_sealing} {said}");
    sockopt::set_socket_linger(&owed.target, Some(Duration::ZERO)).unwrap();
    drop(owed.target);
    let (at_opening, said) = outcomes(owed.opening);
    assert!(said.contains("send on tcp://127.0.0.1:"), "{said}");
    assert_eq!((&at_opening["clean"], &at_opening["reset"]), (&0.into(), &1.into()), "{said}");
}

#[test]
fn a_program_may_read_late() {
    let mut owed = Owed::new(&["--json"]);
    let (at_sealing, said) = outcomes(owed.sealing);
    assert_eq!(at_sealing["clean"], 1, "{at_sealing} {said}");
    owed.opening.running.signal("TERM");
    let line = owed.opening.line();
    assert!(line.contains("waiting for 1 connection"), "{line}");
    let (read, end) = read_all(&owed.target);
    assert!(end == Ok(()) && read == pattern(0, OWED));
    let output = owed.opening.finish();
    assert!(output.status.success(), "{}: {}", output.status, stderr(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["outcomes"]["clean"], 1, "{report}");
}

/// A unix stream has no acknowledgements: what its program has not read is not there.
#[test]
fn a_program_behind_a_unix_socket_has_what_it_has_read() {
    let scratch = Scratch::new();
    let path = scratch.join("target");
    for is_read in [false, true] {
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let (mut opening, pin) = opening_tunnel(&format!("unix:{}", path.display()), &["--json"]);
        let sealing = sealing_tunnel(opening.port, &pin, &[]);
        let mut client = connect(sealing.port);
        let (mut target, _) = listener.accept().unwrap();
        target.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        client.write_all(&pattern(0, 5000)).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        // The sealing tunnel's end is that of what the opening one has taken.
        sealing.running.signal("TERM");
        assert!(sealing.finish().status.success());
        opening.running.signal("TERM");
        if is_read {
            assert_eq!(read_all(&mut target), (pattern(0, 5000), Ok(())));
        } else {
            assert!(opening.line().contains("waiting for 1 connection"));
        }
        drop(target);
        let output = opening.finish();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let outcomes = &report["outcomes"];
        let expected: [serde_json::Value; 2] =
            [u64::from(is_read), u64::from(!is_read)].map(Into::into);
        assert_eq!(
            [&outcomes["clean"], &outcomes["reset"]],
            [&expected[0], &expected[1]],
            "{outcomes}"
        );
    }
}
