//! Where the other end is: `tls://host:port`, `tcp://host:port` or `unix:/path`.

use std::ffi::OsStr;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::terminal::shown;

/// An address as the command line takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A host (name, IPv4, or IPv6 without brackets; empty for every address) and a port.
    Tcp {
        /// Without brackets.
        host: String,
        /// 0 asks for any free port.
        port: u16,
    },
    /// The same, sealed.
    Tls {
        /// Without brackets.
        host: String,
        /// 0 asks for any free port.
        port: u16,
    },
    /// The path of a unix stream socket.
    Unix(PathBuf),
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::read(text.as_ref())
    }
}

/// A host and a port, as they stand behind `scheme`, which is `tcp://` or `tls://`.
fn host_and_port(scheme: &str, authority: &str) -> Result<(String, u16), String> {
    if authority.contains('@') {
        return Err(format!("no user name goes into it: {scheme}host:port"));
    }
    if authority.contains(['/', '?', '#']) {
        return Err(format!("no path goes behind it: {scheme}host:port"));
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed
            .split_once("]:")
            .ok_or_else(|| format!("after the brackets goes a port: {scheme}[::1]:5000"))?,
        None => authority
            .rsplit_once(':')
            .ok_or_else(|| format!("the port is missing: {scheme}host:port"))?,
    };
    if host.contains(':') && !authority.starts_with('[') {
        return Err(format!("an IPv6 address goes into brackets: {scheme}[::1]:5000"));
    }
    // Rust would read a sign, too.
    let digits = Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|digits| digits.parse().ok());
    let port = number.ok_or_else(|| format!("'{}' is no port from 0 to 65535", shown(port)))?;
    // The same address is on every link: the kernel refuses it without one.
    if host.parse().is_ok_and(|address: Ipv6Addr| address.is_unicast_link_local()) {
        let example = format!("{scheme}[{host}%eth0]:{port}");
        return Err(format!("a link-local address needs its zone, the interface: {example}"));
    }
    Ok((host.to_owned(), port))
}

impl Endpoint {
    /// Reads an address. A path need not be text, as no file's name need be.
    ///
    /// # Errors
    /// What is wrong with it, in one clause.
    pub(crate) fn read(text: &OsStr) -> Result<Self, String> {
        match text.as_bytes().strip_prefix(b"unix:") {
            Some(b"") => Err("the path is missing: unix:/path/to/socket".to_owned()),
            Some(path) => Ok(Self::Unix(OsStr::from_bytes(path).into())),
            None => {
                let text = text.to_str().unwrap_or_default();
                if let Some(authority) = text.strip_prefix("tls://") {
                    host_and_port("tls://", authority).map(|(host, port)| Self::Tls { host, port })
                } else if let Some(authority) = text.strip_prefix("tcp://") {
                    host_and_port("tcp://", authority).map(|(host, port)| Self::Tcp { host, port })
                } else {
                    Err("write it as tls://host:port, tcp://host:port or unix:/path".to_owned())
                }
            }
        }
    }

    /// The same address with the port that was got for port 0.
    pub(crate) fn with_port(&self, port: u16) -> Self {
        match self {
            Self::Tcp { host, .. } => Self::Tcp { host: host.clone(), port },
            Self::Tls { host, .. } => Self::Tls { host: host.clone(), port },
            Self::Unix(path) => Self::Unix(path.clone()),
        }
    }

    /// Whether it asks for any free port.
    pub(crate) fn wants_any_port(&self) -> bool {
        matches!(self, Self::Tcp { port: 0, .. } | Self::Tls { port: 0, .. })
    }

    /// What is missing to connect to it.
    pub(crate) fn lacks(&self) -> Option<&'static str> {
        match self {
            Self::Tcp { host, .. } | Self::Tls { host, .. } if host.is_empty() => Some("a host"),
            Self::Tcp { port: 0, .. } | Self::Tls { port: 0, .. } => Some("a port"),
            _ => None,
        }
    }

    /// How the other end may call it: who listens on every address has no name for itself.
    pub(crate) fn for_other_end(&self) -> String {
        match self {
            Self::Tcp { host, port } | Self::Tls { host, port } if is_every_address(host) => {
                format!("{}HOST:{port}", self.scheme())
            }
            other => other.to_string(),
        }
    }

    /// What it begins with.
    pub(crate) fn scheme(&self) -> &'static str {
        match self {
            Self::Tcp { .. } => "tcp://",
            Self::Tls { .. } => "tls://",
            Self::Unix(_) => "unix:",
        }
    }
}

fn is_every_address(host: &str) -> bool {
    host.is_empty() || host.parse().is_ok_and(|address: IpAddr| address.is_unspecified())
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } | Self::Tls { host, port } if host.contains(':') => {
                write!(f, "{}[{host}]:{port}", self.scheme())
            }
            Self::Tcp { host, port } | Self::Tls { host, port } => {
                write!(f, "{}{host}:{port}", self.scheme())
            }
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Endpoint {
        Endpoint::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn addresses_are_read_and_written_alike() {
        for (text, endpoint) in [
            ("tcp://localhost:5000", tcp("localhost", 5000)),
            ("tcp://127.0.0.1:0", tcp("127.0.0.1", 0)),
            ("tcp://[::1]:65535", tcp("::1", 65535)),
            ("tcp://[fe80::1%eth0]:9", tcp("fe80::1%eth0", 9)),
            ("tcp://:5000", tcp("", 5000)),
            ("tls://localhost:5000", Endpoint::Tls { host: "localhost".into(), port: 5000 }),
            ("tls://[::1]:0", Endpoint::Tls { host: "::1".into(), port: 0 }),
            ("unix:/run/a b", Endpoint::Unix("/run/a b".into())),
            ("unix:relative", Endpoint::Unix("relative".into())),
        ] {
            assert_eq!(text.parse(), Ok(endpoint.clone()));
            assert_eq!(endpoint.to_string(), text);
        }
    }

    #[test]
    fn a_path_need_not_be_text() {
        let path = OsStr::from_bytes(b"/tmp/\xff");
        let read = |text| Endpoint::read(OsStr::from_bytes(text));
        assert_eq!(read(b"unix:/tmp/\xff"), Ok(Endpoint::Unix(path.into())));
        assert!(read(b"tcp://\xff:1").is_err_and(|error| error.contains("tcp://host:port")));
    }

    #[test]
    fn the_other_end_gets_a_name_to_fill_in_where_there_is_none() {
        for (here, there) in [
            ("tls://:5000", "tls://HOST:5000"),
            ("tls://0.0.0.0:5000", "tls://HOST:5000"),
            ("tls://[::]:5000", "tls://HOST:5000"),
            ("tls://[::1]:5000", "tls://[::1]:5000"),
            ("tcp://backup:1", "tcp://backup:1"),
            ("unix:/run/x", "unix:/run/x"),
        ] {
            assert_eq!(here.parse::<Endpoint>().unwrap().for_other_end(), there);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_a_hint() {
        for (text, hint) in [
            ("localhost:5000", "tcp://host:port"),
            ("ssl://h:1", "tls://host:port, tcp://host:port or unix:/path"),
            ("tls://h", "port is missing: tls://host:port"),
            ("tls://::1:5000", "tls://[::1]:5000"),
            ("tls://h:1/", "tls://host:port"),
            ("tcp://localhost", "port is missing"),
            ("tcp://::1:5000", "brackets"),
            ("tcp://[::1]", "port"),
            ("tcp://h:70000", "no port"),
            ("tcp://h:1/", "no path"),
            ("tcp://host/path:1", "no path"),
            ("tcp://user:pw@host:1", "no user name"),
            ("tcp://h:+5", "'+5' is no port"),
            ("tcp://h:", "'' is no port"),
            ("tcp://h:5\n", "'5\\n' is no port"),
            ("tcp://[fe80::1]:5000", "tcp://[fe80::1%eth0]:5000"),
            ("unix:", "path is missing"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
