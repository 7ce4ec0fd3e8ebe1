//! The secrets of the connection for Wireshark and its like, in the NSS format: a line for each,
//! `LABEL CLIENT_RANDOM SECRET` in hexadecimal digits.
//!
//! Lines are appended, as other programs may log to the same file. A file that is made here is
//! its owner's alone.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustls::KeyLog;

use crate::failure::{Action, Failure};

/// Only its owner may read or write it.
const PRIVATE: u32 = 0o600;

/// A file that takes secrets.
#[derive(Debug)]
pub(crate) struct KeyLogFile(File);

impl KeyLogFile {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// Those of opening it for appending.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let opened = OpenOptions::new().append(true).create(true).mode(PRIVATE).open(path);
        opened.map(Self).map_err(|error| Failure::system(Action::Open, path.display(), error))
    }
}

impl KeyLog for KeyLogFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let mut line = format!("{label} ");
        for (part, end) in [(client_random, ' '), (secret, '\n')] {
            for byte in part {
                // Writing to a string cannot fail.
                let _ = write!(line, "{byte:02x}");
            }
            line.push(end);
        }
        // One write, so that the lines of several programs do not mix.
        if let Err(error) = (&self.0).write_all(line.as_bytes()) {
            tracing::warn!(%error, "a secret was not written to the key log");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::client;
    use crate::trust::testing::{Directory, Issued, handshake, server_of};
    use crate::{args::TrustArgs, trust::pin::Pin};
    use rustls::version::{TLS12, TLS13};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    #[test]
    fn a_handshake_leaves_its_secrets_in_a_private_file() {
        let directory = Directory::new();
        let path = directory.path().join("keys");
        let issued = Issued::by_itself("one.test");
        let pin = Some(Pin::of(&issued.der()).unwrap());
        for version in [&TLS13, &TLS12] {
            let log = Arc::new(KeyLogFile::open(&path).unwrap());
            let args = TrustArgs { pin, ..TrustArgs::default() };
            let client = client::config(&args, Some(log)).unwrap();
            handshake(client, "one.test", server_of(issued.certified(), &[version])).0.unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        let labels: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
        for label in [
            "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
            "SERVER_HANDSHAKE_TRAFFIC_SECRET",
            "CLIENT_TRAFFIC_SECRET_0",
            "SERVER_TRAFFIC_SECRET_0",
            "EXPORTER_SECRET",
            "CLIENT_RANDOM",
        ] {
            assert!(labels.contains(&label), "{label}: {labels:?}");
        }
        for line in text.lines() {
            let [_, random, secret] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{line}");
            };
            assert!(random.len() == 64 && [64, 96].contains(&secret.len()), "{line}");
        }
    }

    #[test]
    fn a_key_log_that_cannot_be_opened_is_named() {
        let line = KeyLogFile::open(Path::new("/no/such/file")).unwrap_err().to_string();
        assert!(line.starts_with("open on /no/such/file: No such file or directory; "), "{line}");
    }
}
