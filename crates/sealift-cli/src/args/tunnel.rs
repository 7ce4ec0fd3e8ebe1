//! The command line of `sealift tunnel`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::Args;

use super::{OutcomeArgs, SealingArgs, TrustArgs, parse_time, url_parser};
use crate::endpoint::Endpoint;
use crate::terminal::shown;

/// Carry connections of programs that speak plain TCP over TLS, or back
///
/// Takes every connection that comes to LISTEN on to TARGET, until it is told to stop. One of the
/// two is tls://, the other tcp:// or unix:. Two tunnels make a sealed way between two programs
/// that know nothing of it; one is enough where the other end speaks TLS by itself. Where both
/// LISTEN and TARGET are to be tls://, run two, with tcp://127.0.0.1:PORT between them.
///
/// Each direction of a connection goes its own way: where one ends, its end is carried across
/// (over TLS as close_notify) and the other goes on. Only an end is shown as one: if a side is
/// reset, or TLS ends without close_notify, or this program is killed, both sides are reset, so
/// that no program takes a part for the whole. A unix socket has no reset: its program just sees
/// the end.
///
/// The side that connects over tls:// trusts nobody unverified: it needs --pin, as the listening
/// side prints it, or --ca, or the other end a certificate that this system trusts. Without
/// --cert a listening tls:// makes a certificate for this run; whoever connects is let in, unless
/// --client-ca or --pin says who.
///
/// On SIGINT or SIGTERM it stops listening and lets connections end by themselves for the time of
/// --grace; the second signal ends them at once. Visitors over TLS that have not shaken hands by
/// then are turned away. Exit code 0 means that no connection was cut.
///
/// A host that is gone is noticed after two minutes of silence, some more if it had stopped reading
/// before. One that answers and reads nothing is waited for.
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct TunnelArgs {
    /// Where connections come from: tcp://host:port, unix:/path or tls://host:port
    ///
    /// tls://:4433 listens on every address, tcp://127.0.0.1:0 on any free port, which is printed.
    #[arg(value_name = "LISTEN", value_parser = url_parser())]
    pub(crate) listen: Endpoint,
    /// Where they go: tls://host:port, tcp://host:port or unix:/path
    #[arg(value_name = "TARGET", value_parser = url_parser())]
    pub(crate) target: Endpoint,
    /// How many connections there may be at a time; further ones wait to be accepted
    ///
    /// Fewer, if the limit of open files has no room for as many, which is said. A visitor over TLS
    /// who has not shaken hands within a second gives its place to one who waits.
    ///
    /// One that idles takes little memory. One whose two ends send and do not read holds up to 350
    /// KiB, so that all of 1,024 together may hold 350 MiB; the kernel has its own besides.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) max_connections: u32,
    /// Give a connection up whose TLS handshake, or whose way to TARGET, takes longer than this
    ///
    /// A number and ms, s, m or h; 0 waits for ever.
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "30s")]
    pub(crate) timeout: Duration,
    /// How long connections may take to end by themselves after SIGINT or SIGTERM; 0 ends them
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "30s")]
    pub(crate) grace: Duration,
    #[command(flatten)]
    pub(crate) sealing: SealingArgs,
    /// Tell Prometheus the figures, at /metrics of PORT, of this machine only, or of ADDRESS:PORT
    ///
    /// Whoever can connect there can read them. Port 0 is any free one, which is printed.
    #[arg(long, value_name = "ADDR", value_parser = metrics_address)]
    pub(crate) metrics: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) outcome: OutcomeArgs,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
}

const EXAMPLES: &str = "\
Examples:
  sealift tunnel tls://:4433 tcp://127.0.0.1:22
      to sshd; prints the line to type at the other end
  sealift tunnel tcp://127.0.0.1:2222 tls://backup:4433 --pin sha256:9f...
      as it was printed
  sealift tunnel tls://:443 unix:/run/app --cert server.pem --key key.pem
      for browsers and curl
  sealift tunnel tcp://127.0.0.1:4444 tls://new:4433 --ca ca.pem --metrics 9100
      watched
  sealift tunnel unix:/run/db tls://db:5433 --ca ca.pem --cert me.pem
      a client that shows who it is";

/// A port of this machine's own, unless an address is said.
fn metrics_address(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text).parse();
    let here = port.map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let address = here.or_else(|_| text.parse());
    address.map_err(|_| format!("'{}' is none: write it as 9100 or 0.0.0.0:9100", shown(text)))
}

impl TunnelArgs {
    /// Checks the two sides and the flags about trust against each other.
    ///
    /// # Errors
    /// What is out of place, and why.
    pub(crate) fn check(&self) -> Result<(), String> {
        let is_sealed = |url: &Endpoint| matches!(url, Endpoint::Tls { .. });
        if let Some(missing) = self.target.lacks() {
            let scheme = self.target.scheme();
            return Err(format!("to connect, name {missing}: {scheme}host:port"));
        }
        match (is_sealed(&self.listen), is_sealed(&self.target)) {
            (false, false) => {
                let text = "nothing would be sealed: one of LISTEN and TARGET must be tls://";
                Err(text.to_owned())
            }
            (true, true) => {
                let text = "both sides are tls://, and --pin, --ca and --cert are for one: run two \
                            tunnels with tcp://127.0.0.1:PORT between them";
                Err(text.to_owned())
            }
            (listens, _) => self.trust.check(self.sealed(), listens),
        }
    }

    /// Whether programs come in plain and go out sealed.
    pub(crate) fn seals(&self) -> bool {
        matches!(self.target, Endpoint::Tls { .. })
    }

    /// The side that is tls://.
    pub(crate) fn sealed(&self) -> &Endpoint {
        if self.seals() { &self.target } else { &self.listen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_for_this_machine_unless_said_otherwise() {
        for (text, address) in [
            ("9100", "127.0.0.1:9100"),
            (":9100", "127.0.0.1:9100"),
            ("0.0.0.0:9100", "0.0.0.0:9100"),
            ("[::1]:0", "[::1]:0"),
        ] {
            assert_eq!(metrics_address(text), Ok(address.parse().unwrap()));
        }
        for text in ["", ":", "70000", "localhost:1", "1.2.3.4"] {
            assert!(metrics_address(text).is_err(), "{text}");
        }
    }
}
