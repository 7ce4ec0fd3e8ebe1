//! What is tried of each case, several features to a connection where that is sensible.

use std::io::{Read, Write};

use rustls::HandshakeKind;
use sealift::tls::Error;

use crate::case::{Case, Manner, Tool};
use crate::credentials::Credentials;
use crate::meeting::{Special, Wanted, deadline};
use crate::ours::Asks;
use crate::session::{Session, lines};
use crate::table::{Feature, Row};

/// A file that a tool may serve, in the directory of the credentials.
pub const FILE: &str = "served";
/// Lines of that file, 16 bytes each: more than any buffer on the way takes.
const FILE_LINES: usize = 500_000;

/// The plain case: the server demands a certificate, and the client shows one.
const DEMANDED: Wanted = Wanted { asks: Asks::Firmly, shows: true, special: Special::No };

/// Tries all that the tool can show.
pub fn all(case: &Case, credentials: &Credentials, row: &mut Row<'_>) {
    conversation(case, credentials, row);
    ticket(case, credentials);
    row.proved(Feature::Ticket);
    asked(case, credentials);
    row.proved(Feature::NoCertificate);
    missing(case, credentials);
    row.proved(Feature::Missing);
    if case.tool == Tool::SServer {
        half_closed_download(case, credentials);
        row.proved(Feature::WeEndFirst);
    }
}

/// One connection, to its end: enough for the keys of certificates.
pub fn plain(case: &Case, credentials: &Credentials) {
    let mut session = Session::new(case, credentials, DEMANDED).unwrap();
    session.talk();
    session.check_certificates(credentials);
    session.part();
}

/// Data, updates of keys, and the end, over one connection.
fn conversation(case: &Case, credentials: &Credentials, row: &mut Row<'_>) {
    let mut session = Session::new(case, credentials, DEMANDED).unwrap();
    let updates = row.wants(Feature::OurKeyUpdate);
    // One connection is one answer.
    if case.tool.manner() != Manner::Answers || !updates {
        session.talk();
    }
    if updates {
        session.update_our_key();
        row.proved(Feature::OurKeyUpdate);
    }
    if row.wants(Feature::ItsKeyUpdate) {
        session.update_its_key();
        row.proved(Feature::ItsKeyUpdate);
    }
    session.check_certificates(credentials);
    row.proved(Feature::Certificate);
    session.part();
    match case.tool {
        Tool::GnutlsCli => row.proved(Feature::ItEndsFirst),
        Tool::Tstclnt => row.proved(Feature::WeEndFirst),
        _ => {}
    }
    row.proved(Feature::Data);
}

/// The second connection resumes the first, and data goes over it as well.
fn ticket(case: &Case, credentials: &Credentials) {
    let special = Special::Resumes { again: false };
    let wanted = Wanted { asks: Asks::No, shows: false, special };
    let mut session = Session::new(case, credentials, wanted).unwrap();
    assert_eq!(session.stream().handshake_kind(), HandshakeKind::Full, "{case:?}");
    // gnutls-cli waits for the ticket and leaves; tstclnt has nothing to say.
    match case.tool {
        Tool::GnutlsCli => {}
        Tool::Tstclnt => session.say(),
        _ => session.talk(),
    }
    let special = Special::Resumes { again: true };
    session.reconnect(credentials, Wanted { special, ..wanted });
    assert_eq!(session.stream().handshake_kind(), HandshakeKind::Resumed, "{case:?}");
    match case.tool {
        Tool::Tstclnt => session.say(),
        _ => session.talk(),
    }
}

/// The server asks for a certificate; the client has none, and is taken all the same.
fn asked(case: &Case, credentials: &Credentials) {
    let wanted = Wanted { asks: Asks::Politely, shows: false, special: Special::No };
    let mut session = Session::new(case, credentials, wanted).unwrap();
    session.talk();
    if !case.tool.is_server() {
        assert_eq!(session.stream().peer_certificates(), None, "{case:?}");
    }
}

/// The server demands one; without, both ends know why there is no connection.
fn missing(case: &Case, credentials: &Credentials) {
    let wanted = Wanted { asks: Asks::Firmly, shows: false, special: Special::No };
    // In TLS 1.3 the client's handshake is over before the server has looked.
    let refused = match Session::new(case, credentials, wanted) {
        Err(error) => error,
        Ok(mut session) => session.stream().halves().0.receive(&mut [0; 10]).unwrap_err(),
    };
    match refused {
        Error::Handshake(rustls::Error::NoCertificatesPresented) => {
            assert!(!case.tool.is_server(), "{case:?}");
        }
        // Each has its own idea of which alert says so.
        Error::Alert(_) => assert!(case.tool.is_server(), "{case:?}"),
        other => panic!("{case:?}: {other}"),
    }
}

/// We ask for a file and end at once; all of it comes, and the tool's own end.
fn half_closed_download(case: &Case, credentials: &Credentials) {
    let file = lines(0, FILE_LINES);
    std::fs::write(credentials.scratch.join(FILE), &file).unwrap();
    let wanted = Wanted { asks: Asks::No, shows: false, special: Special::ServesFiles };
    let mut session = Session::new(case, credentials, wanted).unwrap();
    let stream = session.stream();
    stream.write_all(format!("GET /{FILE} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
    assert!(!stream.close(deadline()).unwrap().aborted, "{case:?}");
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    assert!(heard == file, "{case:?}: {} bytes of {}", heard.len(), file.len());
}
