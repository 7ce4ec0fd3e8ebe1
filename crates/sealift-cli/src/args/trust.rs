//! The flags for tls://, most of them about trust, which `send` and `receive` share.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use rustls::pki_types::ServerName;

use sealift::tls::Ktls;

use crate::endpoint::Endpoint;
use crate::terminal::shown;
use crate::trust::Pin;

/// The variable that names the file for secrets, as in browsers and curl.
const KEY_LOG_VARIABLE: &str = "SSLKEYLOGFILE";

/// Whom this end trusts over tls://, how it shows who it is, and who seals.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Options for tls://")]
pub(crate) struct TrustArgs {
    /// Trust only who holds the key with this SHA-256: sha256:HEX or sha256:BASE64
    ///
    /// The listening end prints it where it makes a certificate for the run. Otherwise it is taken
    /// over the SubjectPublicKeyInfo of the other end's certificate, as by curl's --pinnedpubkey:
    /// openssl x509 -in CERT -pubkey -noout | openssl pkey -pubin -outform der | sha256sum.
    /// Names, dates and authorities do not matter then, unless --ca is given as well: both must
    /// hold. At the listening end it is who connects that must hold the key.
    #[arg(long, value_name = "PIN")]
    pub(crate) pin: Option<Pin>,
    /// Trust who has a certificate from one of these authorities (PEM) [default: the system's]
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// The name that the other end's certificate must be for [default: the host in URL]
    #[arg(long, value_name = "NAME", value_parser = server_name)]
    pub(crate) server_name: Option<ServerName<'static>>,
    /// Trust whoever answers: an impostor is not noticed
    #[arg(long, conflicts_with_all = ["pin", "ca"])]
    pub(crate) insecure: bool,
    /// This end's certificate (PEM), with its chain [default when listening: made for this run]
    ///
    /// The end that connects needs one only where the other end asks for it.
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// The key of --cert (PEM, not encrypted) [default: in the same file]
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// When listening: let in only who has a certificate from one of these authorities (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) client_ca: Option<PathBuf>,
    /// Append the connection's secrets to FILE, for Wireshark [default FILE: $SSLKEYLOGFILE]
    ///
    /// Who has them can read and forge the connection. A new file is readable by its owner only.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pub(crate) keylog: Option<Option<PathBuf>>,
    /// Whether the kernel seals and opens (kernel TLS) [default: auto]
    ///
    /// `sealift probe` tells whether this kernel has it, and with --to HOST whether the device
    /// there does the work; --stats tells who did it in the end, and why not the kernel.
    #[arg(long, value_name = "WHEN", hide_default_value = true)]
    pub(crate) ktls: Option<KtlsArg>,
}

/// The library's choices by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KtlsArg {
    /// If the network device does the work: in software the kernel is no faster
    Auto,
    /// Always, or fail; before Linux 6.14 what comes over TLS 1.3 is opened here all the same
    On,
    /// Never
    Off,
}

fn server_name(text: &str) -> Result<ServerName<'static>, String> {
    let name = ServerName::try_from(text.to_owned());
    name.map_err(|_| format!("'{}' is neither a host's name nor an address", shown(text)))
}

impl TrustArgs {
    /// Checks the flags against each other and the URL.
    ///
    /// # Errors
    /// Which flag is out of place, and why.
    pub(crate) fn check(&self, url: &Endpoint, listens: bool) -> Result<(), String> {
        if !matches!(url, Endpoint::Tls { .. }) {
            return match self.given().first() {
                Some(flag) => Err(format!("{flag} is for tls:// only: {url} is not sealed")),
                None => Ok(()),
            };
        }
        let of_client = [
            ("--ca", self.ca.is_some()),
            ("--server-name", self.server_name.is_some()),
            ("--insecure", self.insecure),
        ];
        if listens && let Some((flag, _)) = of_client.iter().find(|(_, given)| *given) {
            let instead = "to check who connects, use --client-ca or --pin";
            return Err(format!("{flag} is for the end that connects; {instead}"));
        }
        if !listens && self.client_ca.is_some() {
            return Err("--client-ca is for the end that listens; this one trusts --ca".to_owned());
        }
        if self.keylog.is_some() && self.key_log_file().is_none() {
            return Err(format!("--keylog needs a file: --keylog=FILE, or {KEY_LOG_VARIABLE}"));
        }
        if !listens && self.name_of(url).is_none() {
            let text = "no certificate can be for this host: name one with --server-name";
            return Err(text.to_owned());
        }
        Ok(())
    }

    /// Who the other end should be.
    pub(crate) fn name_of(&self, url: &Endpoint) -> Option<ServerName<'static>> {
        let Endpoint::Tls { host, .. } = url else { return None };
        // A zone is of this machine only: it is not in a certificate.
        let address = host.split('%').next().and_then(|host| host.parse::<IpAddr>().ok());
        let named = || match address {
            Some(address) => Some(ServerName::from(address)),
            None => ServerName::try_from(host.clone()).ok(),
        };
        self.server_name.clone().or_else(named)
    }

    /// Where secrets are to be written, if they are.
    pub(crate) fn key_log_file(&self) -> Option<PathBuf> {
        let named = self.keylog.as_ref()?.clone();
        let variable = || std::env::var_os(KEY_LOG_VARIABLE).filter(|name| !name.is_empty());
        named.or_else(|| variable().map(PathBuf::from))
    }

    /// Whether who connects must show a certificate; of the listening end.
    pub(crate) fn checks_clients(&self) -> bool {
        self.client_ca.is_some() || self.pin.is_some()
    }

    /// Who makes the records.
    pub(crate) fn ktls(&self) -> Ktls {
        match self.ktls {
            None | Some(KtlsArg::Auto) => Ktls::Auto,
            Some(KtlsArg::On) => Ktls::On,
            Some(KtlsArg::Off) => Ktls::Off,
        }
    }

    /// The flags that were given.
    fn given(&self) -> Vec<&'static str> {
        let flags = [
            ("--pin", self.pin.is_some()),
            ("--ca", self.ca.is_some()),
            ("--server-name", self.server_name.is_some()),
            ("--insecure", self.insecure),
            ("--cert", self.cert.is_some()),
            ("--key", self.key.is_some()),
            ("--client-ca", self.client_ca.is_some()),
            ("--keylog", self.keylog.is_some()),
            ("--ktls", self.ktls.is_some()),
        ];
        flags.iter().filter(|(_, given)| *given).map(|(flag, _)| *flag).collect()
    }
}
