//! Byte for byte the same with nc, ncat and socat at the other end: both directions, either end
//! listening, over IPv4, IPv6 and unix sockets.

mod support;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::*;

/// From nothing over the edges of a frame to many frames.
const SIZES: [usize; 6] = [0, 1, 65_535, 65_536, 65_537, 100 << 20];
/// Where either end may listen, one size tells enough.
const TURNED_ROUND: usize = 1_234_567;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Listens,
    Connects,
}

/// Another program as one end.
#[derive(Clone, Copy, Debug)]
enum Peer {
    Nc,
    Ncat,
    Socat,
}

/// Where the two meet.
struct Meeting {
    family: Family,
    port: u16,
    path: PathBuf,
}

impl Meeting {
    fn new(family: Family, scratch: &Scratch) -> Self {
        let port = if family == Family::Unix { 0 } else { free_port() };
        Self { family, port, path: scratch.join("socket") }
    }

    fn url(&self) -> String {
        match self.family {
            Family::V4 => format!("tcp://127.0.0.1:{}", self.port),
            Family::V6 => format!("tcp://[::1]:{}", self.port),
            Family::Unix => format!("unix:{}", self.path.display()),
        }
    }

    fn wait_for_listener(&self) {
        match self.family {
            Family::Unix => wait_for_socket(&self.path),
            _ => wait_for_port(self.port),
        }
    }

    fn clear(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Peer {
    fn program(self) -> &'static str {
        match self {
            Self::Nc => "nc",
            Self::Ncat => "ncat",
            Self::Socat => "socat",
        }
    }

    /// The command that sends `file`.
    fn sends(self, file: &Path, meeting: &Meeting, role: Role) -> Command {
        let mut command = quiet(self.program());
        match self {
            Self::Nc => drop(command.arg("-N").args(nc_address(meeting, role))),
            Self::Ncat => drop(command.arg("--send-only").args(nc_address(meeting, role))),
            Self::Socat => {
                command.args(["-u", "STDIN", &socat_address(meeting, role)]);
            }
        }
        command.stdin(File::open(file).unwrap()).stdout(Stdio::null());
        command
    }

    /// The command that receives into `file`.
    fn receives(self, file: &Path, meeting: &Meeting, role: Role) -> Command {
        let mut command = quiet(self.program());
        match self {
            Self::Nc => drop(command.arg("-d").args(nc_address(meeting, role))),
            Self::Ncat => drop(command.arg("--recv-only").args(nc_address(meeting, role))),
            Self::Socat => {
                command.args(["-u", &socat_address(meeting, role), "STDOUT"]);
            }
        }
        command.stdout(File::create(file).unwrap());
        command
    }
}

fn nc_address(meeting: &Meeting, role: Role) -> Vec<String> {
    let mut words = Vec::new();
    if role == Role::Listens {
        words.push("-l".to_owned());
    }
    match meeting.family {
        Family::Unix => words.extend(["-U".to_owned(), meeting.path.display().to_string()]),
        Family::V6 => words.extend(["-6".into(), "::1".into(), meeting.port.to_string()]),
        Family::V4 => words.extend(["127.0.0.1".into(), meeting.port.to_string()]),
    }
    words
}

fn socat_address(meeting: &Meeting, role: Role) -> String {
    let (path, port) = (meeting.path.display(), meeting.port);
    match (meeting.family, role) {
        (Family::V4, Role::Listens) => format!("TCP4-LISTEN:{port},bind=127.0.0.1,reuseaddr"),
        (Family::V6, Role::Listens) => format!("TCP6-LISTEN:{port},bind=[::1],reuseaddr"),
        (Family::Unix, Role::Listens) => format!("UNIX-LISTEN:{path}"),
        (Family::V4, Role::Connects) => format!("TCP4:127.0.0.1:{port}"),
        (Family::V6, Role::Connects) => format!("TCP6:[::1]:{port}"),
        (Family::Unix, Role::Connects) => format!("UNIX-CONNECT:{path}"),
    }
}

/// `sealift send` to a peer.
fn to_peer(peer: Peer, family: Family, len: usize, peer_role: Role) {
    let scratch = Scratch::new();
    let (source, arrived) = (scratch.file("source", len), scratch.join("arrived"));
    let meeting = Meeting::new(family, &scratch);
    let mut command = sealift();
    command.arg("send").arg(&source).arg(meeting.url());
    let other = peer.receives(&arrived, &meeting, peer_role);
    let (ours, theirs) = both(command, "--listen", other, &meeting, peer_role);
    assert_done(&ours);
    assert!(theirs.status.success(), "{peer:?} {family:?} {len}: {}", stderr(&theirs));
    assert_same(&source, &arrived);
}

/// A peer to `sealift receive`.
fn from_peer(peer: Peer, family: Family, len: usize, peer_role: Role) {
    let scratch = Scratch::new();
    let (source, arrived) = (scratch.file("source", len), scratch.join("arrived"));
    let meeting = Meeting::new(family, &scratch);
    let mut command = sealift();
    command.arg("receive").arg(meeting.url()).arg(&arrived);
    let other = peer.sends(&source, &meeting, peer_role);
    let (ours, theirs) = both(command, "--connect", other, &meeting, peer_role);
    assert_done(&ours);
    assert!(theirs.status.success(), "{peer:?} {family:?} {len}: {}", stderr(&theirs));
    assert_same(&source, &arrived);
}

/// Runs both ends, the one that listens first.
fn both(
    mut ours: Command,
    turn_round: &str,
    mut theirs: Command,
    meeting: &Meeting,
    peer_role: Role,
) -> (std::process::Output, std::process::Output) {
    let sends = turn_round == "--listen";
    if sends == (peer_role == Role::Connects) {
        ours.arg(turn_round);
    }
    let (first, second) = match peer_role {
        Role::Listens => (&mut theirs, &mut ours),
        Role::Connects => (&mut ours, &mut theirs),
    };
    let first = start(first);
    meeting.wait_for_listener();
    let second = run(second);
    let first = first.finish();
    meeting.clear();
    match peer_role {
        Role::Listens => (second, first),
        Role::Connects => (first, second),
    }
}

fn all(name: &str, peer: Peer, transfer: fn(Peer, Family, usize, Role), usual: Role) {
    if let Some(why) = missing(peer.program()) {
        return skip(name, &why);
    }
    let unusual = if usual == Role::Listens { Role::Connects } else { Role::Listens };
    for family in FAMILIES {
        if !family.exists() {
            skip(&format!("{name}: {family:?}"), "this machine has no IPv6");
            continue;
        }
        for len in SIZES {
            transfer(peer, family, len, usual);
        }
        transfer(peer, family, TURNED_ROUND, unusual);
    }
}

#[test]
fn nc_receives() {
    all("nc_receives", Peer::Nc, to_peer, Role::Listens);
}

#[test]
fn nc_sends() {
    all("nc_sends", Peer::Nc, from_peer, Role::Connects);
}

#[test]
fn ncat_receives() {
    all("ncat_receives", Peer::Ncat, to_peer, Role::Listens);
}

#[test]
fn ncat_sends() {
    all("ncat_sends", Peer::Ncat, from_peer, Role::Connects);
}

#[test]
fn socat_receives() {
    all("socat_receives", Peer::Socat, to_peer, Role::Listens);
}

#[test]
fn socat_sends() {
    all("socat_sends", Peer::Socat, from_peer, Role::Connects);
}
