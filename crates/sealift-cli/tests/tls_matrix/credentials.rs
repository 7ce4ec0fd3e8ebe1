//! Certificates and keys of both ends, and NSS's databases of them.

use std::path::{Path, PathBuf};

use crate::support::{Certificates, KeyKind, Scratch, quiet, run, stderr};

/// What a test's connections are made with.
pub struct Credentials {
    pub scratch: Scratch,
    pub files: Certificates,
}

impl Credentials {
    pub fn new(kind: KeyKind) -> Self {
        let scratch = Scratch::new();
        let files = Certificates::of(kind, &scratch);
        Self { scratch, files }
    }

    /// A database with the authority and, under the name `own`, an identity; made when first
    /// asked for.
    pub fn nss(&self, identity: Option<&Path>) -> PathBuf {
        let stem = identity.and_then(|file| file.file_stem()?.to_str()).unwrap_or("nobody");
        let directory = self.scratch.join(&format!("nss-{stem}"));
        if directory.is_dir() {
            return directory;
        }
        std::fs::create_dir(&directory).unwrap();
        let (database, ca) = (nss_name(&directory), self.files.ca.to_str().unwrap());
        must("certutil", &["-N", "-d", &database, "--empty-password"]);
        must("certutil", &["-A", "-d", &database, "-n", "ca", "-t", "CT,C,C", "-a", "-i", ca]);
        if let Some(identity) = identity {
            let packed = self.scratch.join(&format!("{stem}.p12"));
            let (identity, packed) = (identity.to_str().unwrap(), packed.to_str().unwrap());
            let pack = ["pkcs12", "-export", "-in", identity, "-name", "own", "-passout", "pass:"];
            must("openssl", &[&pack[..], &["-out", packed]].concat());
            must("pk12util", &["-i", packed, "-d", &database, "-W", "", "-K", ""]);
        }
        directory
    }
}

/// How NSS's tools are told of a database.
pub fn nss_name(directory: &Path) -> String {
    format!("sql:{}", directory.display())
}

fn must(program: &str, words: &[&str]) {
    let output = run(quiet(program).args(words));
    assert!(output.status.success(), "{program} {words:?}: {}", stderr(&output));
}
