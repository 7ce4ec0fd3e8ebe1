//! Other people's TLS, both ways round: each tool with each version and suite, what it can show of
//! each feature, and the kinds of keys that certificates have.
//!
//! ```text
//!  Case: tool, version, suite ─► Meeting: the tool at work ◄─ TLS ─► Session: our TlsStream
//!                                         features: what is tried of it
//!                                                   └─► Row: `ok`, or why the tool cannot ─► Table
//! ```
//!
//! The tables are printed, and land in the file that `SEALIFT_TABLES` names. What a tool cannot
//! show is written down in `table.rs`; whatever else is not shown fails the test.
#![allow(unreachable_pub, reason = "a test program of several files")]

mod case;
mod credentials;
mod features;
mod meeting;
mod ours;
mod program;
mod session;
#[path = "../support/mod.rs"]
mod support;
mod table;

use case::{Case, SUITES, Tool, VERSIONS};
use credentials::Credentials;
use support::{KeyKind, missing, skip};
use table::{Cell, Row, Table, why_not_key};

/// Whether what a tool needs is missing, which is said.
fn is_missing(test: &str, tool: Tool) -> bool {
    // Keys and NSS's databases are made with the last two.
    let needed = [tool.program(), ("openssl", "openssl"), ("certutil", "libnss3-tools")];
    let lacking =
        needed[..if tool.is_of_nss() { 3 } else { 2 }].iter().find_map(|&(program, package)| {
            missing(program).map(|why| format!("needs the package {package}: {why}"))
        });
    lacking.inspect(|why| skip(test, why)).is_some()
}

/// Each version and suite with a tool, each feature; then each kind of key.
fn matrix(test: &str, tool: Tool) {
    if is_missing(test, tool) {
        return;
    }
    let keys = KeyKind::P256;
    let credentials = Credentials::new(keys);
    let mut table = Table::of_features(tool);
    for version in VERSIONS {
        for suite in SUITES {
            let case = Case { tool, version, suite, keys };
            let mut row = Row::new(&case);
            features::all(&case, &credentials, &mut row);
            table.add(format!("{} {}", version.name(), suite.name()), row.finish());
        }
    }
    table.publish();
    kinds_of_keys(tool);
}

fn kinds_of_keys(tool: Tool) {
    let credentials = KeyKind::ALL.map(Credentials::new);
    let mut table = Table::of_keys(tool);
    for version in VERSIONS {
        let cells = KeyKind::ALL.iter().zip(&credentials).map(|(&keys, credentials)| {
            if let Some(reason) = why_not_key(tool, keys) {
                return Cell::Cannot(reason);
            }
            let case = Case { tool, version, suite: SUITES[0], keys };
            features::plain(&case, credentials);
            Cell::Proved
        });
        table.add(version.name().to_owned(), cells.collect());
    }
    table.publish();
}

#[test]
fn openssl_s_client() {
    matrix("openssl_s_client", Tool::SClient);
}

#[test]
fn openssl_s_server() {
    matrix("openssl_s_server", Tool::SServer);
}

#[test]
fn gnutls_cli() {
    matrix("gnutls_cli", Tool::GnutlsCli);
}

#[test]
fn gnutls_serv() {
    matrix("gnutls_serv", Tool::GnutlsServ);
}

#[test]
fn nss_tstclnt() {
    matrix("nss_tstclnt", Tool::Tstclnt);
}

#[test]
fn nss_selfserv() {
    matrix("nss_selfserv", Tool::Selfserv);
}
