//! Whom a `tls://` connection trusts, and how this end shows who it is.
//!
//! ```text
//!  flags ──► files ──► certificate.rs ──► client.rs ──┐
//!                       pin.rs            server.rs ──┴─► Role ──► handshake ──► explain.rs
//! ```
//!
//! Invariants:
//! 1. The end that connects takes no certificate unchecked unless `--insecure` is said, and says
//!    so aloud.
//! 2. Whatever decides about the certificate, the handshake's signature is verified: who is at the
//!    other end holds its key.
//! 3. Nothing here opens a connection; what can be wrong with files is found before there is one.

mod certificate;
mod client;
mod explain;
mod keylog;
mod pin;
mod server;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, KeyLog, ServerConfig};

use crate::args::TrustArgs;
use crate::endpoint::Endpoint;
use crate::failure::{Action, Failure};
use crate::terminal::Terminal;
pub(crate) use client::config as client;
pub(crate) use explain::{later as explain_later, tls as explain};
use keylog::KeyLogFile;
pub(crate) use pin::Pin;
pub(crate) use server::config as server;

/// This end's part in the handshake.
#[derive(Debug)]
pub(crate) enum Role {
    /// It connects to who should be `name`.
    Client { config: Arc<ClientConfig>, name: ServerName<'static> },
    /// It listens; `made` is the pin of a certificate made for this run.
    Server { config: Arc<ServerConfig>, made: Option<Pin> },
}

impl Role {
    /// Reads what the flags name; none if the URL is not `tls://`, and for no other reason: what
    /// has no role is not sealed.
    ///
    /// # Errors
    /// What is wrong with a file, or that no certificate can be for the host.
    pub(crate) fn new(
        args: &TrustArgs,
        url: &Endpoint,
        listens: bool,
        terminal: &Terminal,
    ) -> Result<Option<Self>, Failure> {
        let Endpoint::Tls { host, .. } = url else { return Ok(None) };
        gather_entropy(url)?;
        let key_log = key_log(args, terminal)?;
        if listens {
            let (config, made) = server::config(args, host, key_log)?;
            return Ok(Some(Self::Server { config: Arc::new(config), made }));
        }
        // Also where `args` has not refused it before.
        let Some(name) = args.name_of(url) else {
            let reason = "no certificate can be for this host".to_owned();
            let remedy = "name one with --server-name";
            return Err(Failure::explained(Action::Connect, url, reason, remedy));
        };
        let config = Arc::new(client::config(args, key_log)?);
        if args.insecure {
            terminal.say("warning: --insecure: whoever answers is trusted, and may be an impostor");
        }
        Ok(Some(Self::Client { config, name }))
    }
}

/// Has aws-lc seed itself, for which it measures the processor's jitter for some 40 ms: now, and
/// not while the other end of a first handshake waits.
fn gather_entropy(url: &Endpoint) -> Result<(), Failure> {
    let filled = aws_lc_rs::default_provider().secure_random.fill(&mut [0; 1]);
    filled.map_err(|_| {
        let reason = "the cryptographic library has no random numbers".to_owned();
        Failure::explained(Action::SetUp, url, reason, "look at the system's random source")
    })
}

/// Opens the file for the secrets, if they are wanted.
fn key_log(args: &TrustArgs, terminal: &Terminal) -> Result<Option<Arc<dyn KeyLog>>, Failure> {
    let Some(path) = args.key_log_file() else { return Ok(None) };
    let file = KeyLogFile::open(&path)?;
    terminal.say(&format!(
        "warning: --keylog: who reads {} can read and forge this connection",
        path.display()
    ));
    Ok(Some(Arc::new(file)))
}

/// What the other end of a connection is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OtherEnd {
    Sends,
    Receives,
    Tunnels,
}

/// What to type at the other end, for a certificate made for this run.
pub(crate) fn line_for_other_end(
    url: &Endpoint,
    there: OtherEnd,
    args: &TrustArgs,
    pin: Pin,
) -> String {
    let url = url.for_other_end();
    let command = match there {
        OtherEnd::Sends => format!("sealift send SRC {url}"),
        OtherEnd::Receives => format!("sealift receive {url} DST --connect"),
        OtherEnd::Tunnels => format!("sealift tunnel tcp://127.0.0.1:PORT {url}"),
    };
    let shown = if args.checks_clients() { " --cert FILE --key FILE" } else { "" };
    format!("{command} --pin {pin}{shown}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::WordsArgs;

    /// `args` refuses them before; if it did not, they must not become plain connections.
    #[test]
    fn what_is_to_be_sealed_is_never_without_a_role() {
        let terminal = Terminal::new(WordsArgs { verbose: 0, quiet: true });
        let args = TrustArgs { insecure: true, ..TrustArgs::default() };
        for host in ["", "not a name", "a..b"] {
            let url = Endpoint::Tls { host: host.to_owned(), port: 1 };
            let refused = Role::new(&args, &url, false, &terminal).unwrap_err().to_string();
            assert!(refused.contains("no certificate can be for this host; name one"), "{refused}");
        }
        let plain = Endpoint::Tcp { host: "not a name".to_owned(), port: 1 };
        assert!(Role::new(&args, &plain, false, &terminal).unwrap().is_none());
    }
}
