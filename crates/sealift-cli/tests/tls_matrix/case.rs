//! What is combined: a tool, which is the client or the server; a version; a suite.

use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use crate::support::KeyKind;

/// A tool at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    SClient,
    SServer,
    GnutlsCli,
    GnutlsServ,
    Tstclnt,
    Selfserv,
}

/// What a tool does with the data of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Prints what comes, and sends what it is told.
    Talks,
    /// Sends back what comes, line by line.
    Echoes,
    /// Takes a request and ends with an answer that repeats it.
    Answers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Tls12,
    Tls13,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

pub const VERSIONS: [Version; 2] = [Version::Tls12, Version::Tls13];
pub const SUITES: [Suite; 3] = [Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::ChaCha20Poly1305];

/// A connection to be tried; the tool's end follows from the tool, and ours is the other.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub tool: Tool,
    pub version: Version,
    pub suite: Suite,
    /// What the keys of both ends' certificates are.
    pub keys: KeyKind,
}

impl Tool {
    /// The program and its Debian package.
    pub fn program(self) -> (&'static str, &'static str) {
        match self {
            Self::SClient | Self::SServer => ("openssl", "openssl"),
            Self::GnutlsCli => ("gnutls-cli", "gnutls-bin"),
            Self::GnutlsServ => ("gnutls-serv", "gnutls-bin"),
            Self::Tstclnt => ("tstclnt", "libnss3-tools"),
            Self::Selfserv => ("selfserv", "libnss3-tools"),
        }
    }

    /// As a person knows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SClient => "openssl s_client",
            Self::SServer => "openssl s_server",
            _ => self.program().0,
        }
    }

    pub fn is_server(self) -> bool {
        matches!(self, Self::SServer | Self::GnutlsServ | Self::Selfserv)
    }

    pub fn is_of_nss(self) -> bool {
        matches!(self, Self::Tstclnt | Self::Selfserv)
    }

    pub fn manner(self) -> Manner {
        match self {
            Self::GnutlsServ => Manner::Echoes,
            Self::Selfserv => Manner::Answers,
            _ => Manner::Talks,
        }
    }
}

impl Version {
    pub fn name(self) -> &'static str {
        if self == Self::Tls12 { "TLS 1.2" } else { "TLS 1.3" }
    }

    pub fn supported(self) -> &'static SupportedProtocolVersion {
        match self {
            Self::Tls12 => &rustls::version::TLS12,
            Self::Tls13 => &rustls::version::TLS13,
        }
    }
}

impl Suite {
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "AES-128-GCM",
            Self::Aes256Gcm => "AES-256-GCM",
            Self::ChaCha20Poly1305 => "CHACHA20-POLY1305",
        }
    }
}

impl Case {
    /// The one suite that our end offers or takes.
    pub fn supported_suite(&self) -> SupportedCipherSuite {
        let bulk = self.suite.name().replace('-', "_");
        let signed = if self.keys == KeyKind::Rsa2048 { "_RSA_" } else { "_ECDSA_" };
        let mut suites = rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES.iter().filter(|suite| {
            let name = format!("{:?}", suite.suite());
            let fits = self.version == Version::Tls13 || name.contains(signed);
            suite.version() == self.version.supported() && name.contains(&bulk) && fits
        });
        let suite = suites.next().unwrap();
        assert!(suites.next().is_none(), "{self:?} is one suite");
        *suite
    }

    /// What the tool prints once it has agreed on the version, and on the suite.
    pub fn signs(&self) -> [&'static str; 2] {
        use Suite::{Aes128Gcm, Aes256Gcm, ChaCha20Poly1305};
        let tls12 = self.version == Version::Tls12;
        match self.tool {
            Tool::SClient | Tool::SServer => {
                let version = match (self.tool, tls12) {
                    (Tool::SClient, true) => "version: TLSv1.2",
                    (Tool::SClient, false) => "version: TLSv1.3",
                    (_, true) => "CIPHER is ECDHE-",
                    (_, false) => "CIPHER is TLS_",
                };
                let suite = match (self.suite, tls12) {
                    (Aes128Gcm, true) => "-AES128-GCM-SHA256\n",
                    (Aes128Gcm, false) => " TLS_AES_128_GCM_SHA256\n",
                    (Aes256Gcm, true) => "-AES256-GCM-SHA384\n",
                    (Aes256Gcm, false) => " TLS_AES_256_GCM_SHA384\n",
                    (ChaCha20Poly1305, true) => "-CHACHA20-POLY1305\n",
                    (ChaCha20Poly1305, false) => " TLS_CHACHA20_POLY1305_SHA256\n",
                };
                [version, suite]
            }
            Tool::GnutlsCli | Tool::GnutlsServ => {
                let suite = match self.suite {
                    Aes128Gcm => "-(AES-128-GCM)",
                    Aes256Gcm => "-(AES-256-GCM)",
                    ChaCha20Poly1305 => "-(CHACHA20-POLY1305)",
                };
                [if tls12 { "(TLS1.2" } else { "(TLS1.3" }, suite]
            }
            Tool::Tstclnt | Tool::Selfserv => {
                let suite = match self.suite {
                    Aes128Gcm => " using 128-bit AES-GCM ",
                    Aes256Gcm => " using 256-bit AES-GCM ",
                    ChaCha20Poly1305 => " using 256-bit CHACHA20POLY1305 ",
                };
                [if tls12 { "SSL version 3.3" } else { "SSL version 3.4" }, suite]
            }
        }
    }
}
