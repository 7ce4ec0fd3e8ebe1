//! `sealift probe`: what this machine and a path can do, as a table or as JSON.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, ToSocketAddrs};

use sealift::io::probe::{PathProbe, Probe, probe, probe_path};
use serde::Serialize;

use crate::args::{ProbeArgs, literal_address};
use crate::failure::{Action, Failure, words};

/// What `--json` prints.
#[derive(Serialize)]
struct Answer {
    version: &'static str,
    #[serde(flatten)]
    machine: Probe,
    /// The way to each address of the host; absent if none was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    paths: Option<Vec<PathProbe>>,
}

/// Asks and prints.
pub(crate) fn run(args: &ProbeArgs) -> Result<(), Failure> {
    let addresses = args.to.as_deref().map(addresses).transpose()?;
    let paths = addresses.map(|all| all.into_iter().map(probe_path).collect::<Vec<_>>());
    let answer = Answer { version: env!("CARGO_PKG_VERSION"), machine: probe(), paths };
    let text = if args.json { json(&answer)? } else { table(&answer) };
    let written = std::io::stdout().write_all(text.as_bytes());
    written.map_err(|error| Failure::system(Action::Write, "standard output", error))
}

/// The addresses of a host, each once.
fn addresses(host: &str) -> Result<Vec<IpAddr>, Failure> {
    if let Some(address) = literal_address(host) {
        return Ok(vec![address]);
    }
    let unresolved = |reason| Failure::Unresolved { url: host.to_owned(), reason };
    let found = (host, 0).to_socket_addrs().map_err(|error| {
        let text = words(&error);
        let short = text.strip_prefix("failed to lookup address information: ");
        unresolved(short.unwrap_or(&text).to_owned())
    })?;
    let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(unresolved("it has no address".to_owned()));
    }
    Ok(addresses)
}

fn json(answer: &Answer) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(answer)
        .map_err(|error| Failure::system(Action::Write, "standard output", error))?;
    Ok(text + "\n")
}

fn table(answer: &Answer) -> String {
    let mut text = answer.machine.to_string();
    for path in answer.paths.iter().flatten() {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{path}");
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}
