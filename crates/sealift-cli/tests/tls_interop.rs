//! Byte for byte the same over `tls://` with openssl, socat and gnutls at the other end: both
//! directions, either end as the server, TLS 1.2 and 1.3, over IPv4 and IPv6.
//!
//! Two that cannot be: gnutls-serv says nothing of itself, but echoes lines, so what it sends is
//! received through a tunnel, which gives it something to echo; and `openssl s_server` ends without
//! close_notify, which is an error here, and has to be.

mod support;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::*;

/// From nothing over the edges of a record to many.
const SIZES: [usize; 5] = [0, 1, 16_384, 16_385, 5_000_000];
/// One that does not fit any buffer on the way.
const LARGE: usize = 64 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Tls12,
    Tls13,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Openssl,
    Socat,
    Gnutls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Listens,
    Connects,
}

/// One transfer to be tried.
#[derive(Clone, Copy, Debug)]
struct Case {
    peer: Peer,
    role: Role,
    version: Version,
    family: Family,
    len: usize,
}

impl Version {
    fn name(self) -> &'static str {
        if self == Self::Tls12 { "TLS 1.2" } else { "TLS 1.3" }
    }

    fn openssl(self) -> &'static str {
        if self == Self::Tls12 { "-tls1_2" } else { "-tls1_3" }
    }

    fn socat(self) -> &'static str {
        match self {
            Self::Tls12 => "openssl-min-proto-version=TLS1.2,openssl-max-proto-version=TLS1.2",
            Self::Tls13 => "openssl-min-proto-version=TLS1.3,openssl-max-proto-version=TLS1.3",
        }
    }

    fn gnutls(self) -> &'static str {
        match self {
            Self::Tls12 => "NORMAL:-VERS-ALL:+VERS-TLS1.2",
            Self::Tls13 => "NORMAL:-VERS-ALL:+VERS-TLS1.3",
        }
    }
}

impl Peer {
    /// The program and its Debian package.
    fn program(self, role: Role) -> (&'static str, &'static str) {
        match (self, role) {
            (Self::Openssl, _) => ("openssl", "openssl"),
            (Self::Socat, _) => ("socat", "socat"),
            (Self::Gnutls, Role::Connects) => ("gnutls-cli", "gnutls-bin"),
            (Self::Gnutls, Role::Listens) => ("gnutls-serv", "gnutls-bin"),
        }
    }
}

impl Case {
    fn host(&self) -> &'static str {
        if self.family == Family::V6 { "[::1]" } else { "127.0.0.1" }
    }

    /// The other program. It reads what it sends from its input, and writes to its output.
    fn command(&self, port: u16, certificates: &Certificates, sends: bool) -> Command {
        let mut command = quiet(self.peer.program(self.role).0);
        let (ca, server) = (text(&certificates.ca), text(&certificates.server));
        let address = format!("{}:{port}", self.host());
        match (self.peer, self.role) {
            (Peer::Openssl, Role::Connects) => {
                command.args(["s_client", "-quiet", "-verify_return_error", "-CAfile", ca]);
                command.args(["-connect", &address, self.version.openssl()]);
                if sends {
                    command.args(["-no_ign_eof", "-nocommands"]);
                }
            }
            (Peer::Openssl, Role::Listens) => {
                command.args(["s_server", "-naccept", "1", "-cert", server, "-key", server]);
                command.args(["-accept", &address, self.version.openssl()]);
                if !sends {
                    command.arg("-quiet");
                }
            }
            (Peer::Socat, role) => {
                let trust = match role {
                    Role::Connects => format!(":{address},cafile={ca},commonname=localhost"),
                    Role::Listens => {
                        let family = if self.family == Family::V6 { "ip6" } else { "ip4" };
                        let bind = format!("pf={family},bind={}", self.host());
                        format!("-LISTEN:{port},{bind},cert={server},verify=0,reuseaddr")
                    }
                };
                let tls = format!("OPENSSL{trust},{}", self.version.socat());
                let both = if sends { ["STDIN", &tls] } else { [&tls, "STDOUT"] };
                command.arg("-u").args(both);
            }
            (Peer::Gnutls, _) => {
                let host = self.host().trim_matches(['[', ']']);
                command.args(["--x509cafile", ca, "--logfile", "/dev/null", "-p"]);
                command.args([&port.to_string(), "--priority", self.version.gnutls(), host]);
            }
        }
        command
    }

    /// Our own end, which is the client or the server as the other is not.
    fn ours(
        &self,
        port: u16,
        certificates: &Certificates,
        words: [&Path; 1],
        sends: bool,
    ) -> Command {
        let url = format!("tls://{}:{port}", self.host());
        let mut command = sealift();
        match sends {
            true => command.arg("send").args(words).arg(url),
            false => command.arg("receive").arg(url).args(words),
        };
        command.args(["--stats", "--json"]);
        match (self.role, sends) {
            (Role::Listens, true) => command.arg("--ca").arg(&certificates.ca),
            (Role::Listens, false) => command.arg("--connect").arg("--ca").arg(&certificates.ca),
            (Role::Connects, true) => {
                command.arg("--listen").arg("--cert").arg(&certificates.server)
            }
            (Role::Connects, false) => command.arg("--cert").arg(&certificates.server),
        };
        command
    }

    /// Runs both ends, the one that listens first: ours, and theirs.
    fn run(&self, port: u16, mut ours: Command, mut theirs: Command) -> (Output, Output) {
        match self.role {
            Role::Listens => {
                let theirs = start(&mut theirs);
                wait_for_port(port);
                let ours = run(&mut ours);
                (ours, theirs.finish())
            }
            Role::Connects => {
                let ours = start(&mut ours);
                wait_for_port(port);
                let theirs = run(&mut theirs);
                (ours.finish(), theirs)
            }
        }
    }

    /// Asserts that ours ended well, over the version that was wanted.
    fn check(&self, ours: &Output, theirs: &Output) {
        let words = format!("{self:?}\nours: {}\ntheirs: {}", stderr(ours), stderr(theirs));
        assert!(ours.status.success(), "{words}");
        assert!(theirs.status.success(), "{words}");
        let json: serde_json::Value = serde_json::from_slice(&ours.stdout).unwrap();
        assert_eq!(json["tls"]["version"], self.version.name(), "{words}");
    }

    fn peer_receives(self) {
        let scratch = Scratch::new();
        let certificates = Certificates::new(&scratch);
        let (source, arrived) = (scratch.file("source", self.len), scratch.join("arrived"));
        let port = free_port();
        let ours = self.ours(port, &certificates, [&source], true);
        let mut theirs = self.command(port, &certificates, false);
        // With an end of input some of them would end themselves.
        theirs.stdin(Stdio::piped()).stdout(File::create(&arrived).unwrap());
        let (ours, theirs) = self.run(port, ours, theirs);
        self.check(&ours, &theirs);
        assert_same(&source, &arrived);
    }

    fn peer_sends(self) {
        let scratch = Scratch::new();
        let certificates = Certificates::new(&scratch);
        let (source, arrived) = (scratch.file("source", self.len), scratch.join("arrived"));
        let port = free_port();
        let ours = self.ours(port, &certificates, [&arrived], false);
        let mut theirs = self.command(port, &certificates, true);
        theirs.stdin(File::open(&source).unwrap());
        let (ours, theirs) = self.run(port, ours, theirs);
        self.check(&ours, &theirs);
        assert_same(&source, &arrived);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Whether a program is missing, which is said.
fn is_missing(test: &str, peer: Peer, role: Role) -> bool {
    let (program, package) = peer.program(role);
    let why = missing(program).map(|why| format!("needs the package {package}: {why}"));
    why.inspect(|why| skip(test, why)).is_some()
}

fn all(test: &str, peer: Peer, role: Role, transfer: fn(Case)) {
    if is_missing(test, peer, role) {
        return;
    }
    for version in [Version::Tls12, Version::Tls13] {
        for len in SIZES {
            transfer(Case { peer, role, version, family: Family::V4, len });
        }
    }
    let version = Version::Tls13;
    // gnutls-cli takes a system call for each byte that it writes.
    let len = if peer == Peer::Gnutls { SIZES[4] } else { LARGE };
    transfer(Case { peer, role, version, family: Family::V4, len });
    if !Family::V6.exists() {
        return skip(&format!("{test}: IPv6"), "this machine has no IPv6");
    }
    transfer(Case { peer, role, version, family: Family::V6, len: SIZES[3] });
}

#[test]
fn openssl_s_server_receives() {
    all("openssl_s_server_receives", Peer::Openssl, Role::Listens, Case::peer_receives);
}

#[test]
fn openssl_s_client_receives() {
    all("openssl_s_client_receives", Peer::Openssl, Role::Connects, Case::peer_receives);
}

#[test]
fn openssl_s_client_sends() {
    all("openssl_s_client_sends", Peer::Openssl, Role::Connects, Case::peer_sends);
}

#[test]
fn socat_receives_as_the_server() {
    all("socat_receives_as_the_server", Peer::Socat, Role::Listens, Case::peer_receives);
}

#[test]
fn socat_receives_as_the_client() {
    all("socat_receives_as_the_client", Peer::Socat, Role::Connects, Case::peer_receives);
}

#[test]
fn socat_sends_as_the_server() {
    all("socat_sends_as_the_server", Peer::Socat, Role::Listens, Case::peer_sends);
}

#[test]
fn socat_sends_as_the_client() {
    all("socat_sends_as_the_client", Peer::Socat, Role::Connects, Case::peer_sends);
}

#[test]
fn gnutls_cli_receives() {
    all("gnutls_cli_receives", Peer::Gnutls, Role::Connects, Case::peer_receives);
}

#[test]
fn gnutls_cli_sends() {
    all("gnutls_cli_sends", Peer::Gnutls, Role::Connects, Case::peer_sends);
}

/// What it sends is whole, but nobody can know: it ends without close_notify.
#[test]
fn openssl_s_server_sends_and_does_not_say_that_it_was_all() {
    let test = "openssl_s_server_sends_and_does_not_say_that_it_was_all";
    if is_missing(test, Peer::Openssl, Role::Listens) {
        return;
    }
    let scratch = Scratch::new();
    let certificates = Certificates::new(&scratch);
    let (source, arrived) = (scratch.join("source"), scratch.join("arrived"));
    // Letters at the start of what it reads at a time would be commands.
    let content: Vec<u8> = pattern(0, 500_000).iter().map(|byte| byte | 0x80).collect();
    std::fs::write(&source, &content).unwrap();
    for version in [Version::Tls12, Version::Tls13] {
        let (peer, role, family) = (Peer::Openssl, Role::Listens, Family::V4);
        let case = Case { peer, role, version, family, len: 0 };
        let port = free_port();
        let mut ours = case.ours(port, &certificates, [&arrived], false);
        ours.arg("--keep-partial");
        let mut theirs = case.command(port, &certificates, true);
        let mut theirs = start(theirs.stdin(Stdio::piped()).stdout(Stdio::piped()));
        wait_for_port(port);
        let ours = start(&mut ours);
        // If it has something to send before it has shaken hands, it may wait for ever for what it
        // has read already.
        let mut said = BufReader::new(theirs.child().stdout.take().unwrap()).lines();
        assert!(said.any(|line| line.unwrap().starts_with("CIPHER is ")));
        theirs.child().stdin.take().unwrap().write_all(&content).unwrap();
        let ours = ours.finish();
        theirs.finish();
        assert_eq!(ours.status.code(), Some(1));
        assert!(stderr(&ours).contains("ended without close_notify"), "{}", stderr(&ours));
        assert_same(&source, &arrived);
    }
}

/// An echo of gnutls-serv, until this is dropped.
fn gnutls_echo(certificates: &Certificates, version: Option<Version>) -> (Running, u16) {
    let (port, server) = (free_port(), text(&certificates.server));
    let mut serving = quiet("gnutls-serv");
    serving.args(["--echo", "-q", "--x509certfile", server, "--x509keyfile", server, "-p"]);
    serving.arg(port.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Some(version) = version {
        serving.args(["--priority", version.gnutls()]);
    }
    let serving = start(&mut serving);
    wait_for_port(port);
    (serving, port)
}

#[test]
fn what_gnutls_serv_sends_is_received() {
    if is_missing("what_gnutls_serv_sends_is_received", Peer::Gnutls, Role::Listens) {
        return;
    }
    let scratch = Scratch::new();
    let certificates = Certificates::new(&scratch);
    for version in [Version::Tls12, Version::Tls13] {
        let (_serving, port) = gnutls_echo(&certificates, Some(version));
        let mut command = sealift();
        command.args(["tunnel", "tcp://127.0.0.1:0", &format!("tls://localhost:{port}")]);
        let tunnel = listen(command.arg("--ca").arg(&certificates.ca));
        let mut plain = connect(tunnel.port);
        for round in 0..200 {
            let line = format!("line {round} {}\n", "that comes back ".repeat(round % 50));
            plain.write_all(line.as_bytes()).unwrap();
            let mut echo = vec![0; line.len()];
            plain.read_exact(&mut echo).unwrap();
            assert_eq!(String::from_utf8(echo).unwrap(), line, "{version:?}");
        }
    }
}

#[test]
fn what_gnutls_serv_echoes_is_thrown_away() {
    let test = "what_gnutls_serv_echoes_is_thrown_away";
    if is_missing(test, Peer::Gnutls, Role::Listens) {
        return;
    }
    let scratch = Scratch::new();
    let certificates = Certificates::new(&scratch);
    let source = scratch.join("source");
    std::fs::write(&source, "a line that comes back\n".repeat(10_000)).unwrap();
    let (_serving, port) = gnutls_echo(&certificates, None);
    let url = format!("tls://127.0.0.1:{port}");
    let mut command = sealift();
    let sent =
        run(command.arg("send").arg(&source).args([&url, "--json", "--ca"]).arg(&certificates.ca));
    assert_done(&sent);
    let json: serde_json::Value = serde_json::from_slice(&sent.stdout).unwrap();
    assert!(json["discarded_bytes"].as_u64().unwrap() > 0, "{json}");
}
