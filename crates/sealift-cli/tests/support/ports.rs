//! Ports and sockets: free ones, and when somebody listens on them.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

/// The way between the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
    Unix,
}

pub const FAMILIES: [Family; 3] = [Family::V4, Family::V6, Family::Unix];

impl Family {
    pub fn host(self) -> &'static str {
        match self {
            Self::V4 => "127.0.0.1",
            Self::V6 => "::1",
            Self::Unix => "",
        }
    }

    /// Whether this machine has it.
    pub fn exists(self) -> bool {
        self != Self::V6 || TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
    }
}

/// A port that was free a moment ago, on IPv4 and IPv6.
pub fn free_port() -> u16 {
    for _ in 0..100 {
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = v4.local_addr().unwrap().port();
        if TcpListener::bind((Ipv6Addr::LOCALHOST, port)).is_ok() || !Family::V6.exists() {
            return port;
        }
    }
    panic!("no port is free on both IPv4 and IPv6");
}

/// Waits until somebody listens on `port`, without connecting.
pub fn wait_for_port(port: u16) {
    wait_until(&format!("a listener on port {port}"), || is_listening(port));
}

/// Whether somebody listens on `port`.
pub fn is_listening(port: u16) -> bool {
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|table| {
        let table = fs::read_to_string(table).unwrap_or_default();
        table.lines().skip(1).any(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let local = fields[1].rsplit(':').next().unwrap();
            fields[3] == "0A" && u16::from_str_radix(local, 16).unwrap() == port
        })
    })
}

/// Waits until somebody listens on a unix socket, without connecting.
pub fn wait_for_socket(path: &Path) {
    let path = path.to_str().unwrap();
    wait_until(&format!("a listener on {path}"), || {
        let table = fs::read_to_string("/proc/net/unix").unwrap();
        table.lines().any(|line| line.ends_with(path) && line.contains(" 00010000 "))
    });
}

pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "no sign of {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
