//! Kernel TLS: records that the kernel makes, or the network device, instead of this crate.
//!
//! ```text
//!  Ktls ──► Offer ──handshake──► give(Out) ──► KernelOutflow: send ──► kernel: seal ──► TCP
//!                                give(In) ───► KernelInflow ◄── kernel: open ◄───────── TCP
//! ```
//!
//! 1. Whether the kernel is to make records is settled before the handshake: what was asked for and
//!    cannot be fails before a byte is sent.
//! 2. A key is the kernel's or ours, never both: of one that was given away no [`Epoch`] is made.
//! 3. Until the kernel opens, nothing is received behind the last record of the handshake
//!    (`handshake.rs`); until it seals, all that was sent before is with TCP.
//! 4. The kernel opens only where it can follow the peer's keys: in TLS 1.2, which has one, and in
//!    TLS 1.3 from Linux 6.14 on. Older ones take one key for each way and no second
//!    (`do_tls_setsockopt_conf` in `net/tls/tls_main.c`); there a peer that updates its key is
//!    followed here, and only one that requests ours to be updated, too, cannot be obliged.
//! 5. A key that no device takes is given to the kernel only if the kernel was asked for: it would
//!    make the records itself, without a word, and the key cannot be taken back.
//!
//! [`Epoch`]: crate::epoch::Epoch

mod account;
mod inflow;
mod outflow;

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustls::ConnectionTrafficSecrets;
use sealift_crypto::Suite;
use sealift_io::ktls::{Cipher, Device, KernelTls, Key, Version, Way, device_keys, is_loaded};
use serde::Serialize;

use crate::epoch::parts;
use crate::error::{Error, Result};

pub(crate) use inflow::KernelInflow;
pub(crate) use outflow::KernelOutflow;

/// Whether the kernel makes the records, where it can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ktls {
    /// If the network device does the work, and that is switched on: in TLS 1.2, by AES-GCM.
    #[default]
    Auto,
    /// Always; what cannot be is [`Error::KernelTls`]. The kernel seals then. It opens, too, if it
    /// can follow the peer's key updates: in TLS 1.3 from Linux 6.14 on.
    On,
    /// Never.
    Off,
}

/// Who makes the records of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Maker {
    /// This library.
    Sealift,
    /// The kernel, in software.
    Kernel,
    /// The network device, driven by the kernel.
    Device,
}

impl fmt::Display for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sealift => "sealift",
            Self::Kernel => "the kernel",
            Self::Device => "the network device",
        })
    }
}

/// Who makes the records of a stream, and why it is not the kernel.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Makers {
    /// Who seals.
    pub sealing: Maker,
    /// Who opens.
    pub opening: Maker,
    /// Why this library does what it does of it.
    pub reason: Option<String>,
    /// Whether the key to seal with can be replaced.
    #[serde(skip)]
    pub(crate) can_update_key: bool,
}

impl Makers {
    /// All is made here.
    fn here(reason: Option<String>) -> Self {
        let here = Maker::Sealift;
        Self { sealing: here, opening: here, reason, can_update_key: true }
    }

    /// Notes why something is made here; the first reason is the one that counts.
    fn reason(&mut self, why: impl Into<String>) {
        self.reason.get_or_insert_with(|| why.into());
    }

    /// Fails if the peer's request for a new key cannot be granted.
    pub(crate) fn may_update_key(&self) -> Result<()> {
        match self.can_update_key {
            true => Ok(()),
            false => Err(cannot_update_key()),
        }
    }
}

impl fmt::Display for Makers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sealed by {}, opened by {}", self.sealing, self.opening)?;
        match &self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}

fn cannot_update_key() -> Error {
    let why =
        "a new key is wanted, and this kernel cannot change one (Linux 6.14 can, in software)";
    Error::KernelTls { why: why.to_owned() }
}

/// Why the kernel cannot make a stream's records, whatever it can do.
#[derive(Clone, Copy)]
pub(crate) enum OnlyHere {
    Engine,
    Padding,
}

impl OnlyHere {
    /// To one who would have had the kernel, had it been worth while.
    fn reason(self) -> &'static str {
        match self {
            Self::Engine => "an engine was given instead",
            Self::Padding => "the kernel does not pad records",
        }
    }

    /// To one who asked for the kernel.
    fn refusal(self) -> Error {
        let what = match self {
            Self::Engine => "an engine and the kernel cannot both make the records: choose one",
            Self::Padding => "the kernel does not pad records: choose one of the two",
        };
        Error::Caller { what }
    }
}

/// What was settled before the handshake, and what came of it.
pub(crate) struct Offer {
    is_must: bool,
    /// The kernel makes no records at all.
    is_declined: bool,
    /// The device that the connection leaves by, if it is known.
    device: Option<Device>,
    pub(crate) makers: Makers,
}

/// The secrets of a key, and the number of its first record.
pub(crate) type Secret = (u64, ConnectionTrafficSecrets);

/// A key that the kernel has.
pub(crate) struct Given {
    tls: KernelTls,
    suite: Suite,
    /// The number of its first record.
    first: u64,
    can_update_key: bool,
}

impl Offer {
    /// Settles it, and prepares the socket.
    pub(crate) fn new(ktls: Ktls, only_here: Option<OnlyHere>, socket: &OwnedFd) -> Result<Self> {
        let device = match ktls {
            Ktls::Off => return Ok(Self::declined("kernel TLS is switched off")),
            Ktls::On => Device::of(socket).ok(),
            Ktls::Auto => match offloading(socket) {
                Ok(device) => Some(device),
                Err(why) => return Ok(Self::declined(why)),
            },
        };
        match only_here {
            Some(why) if ktls == Ktls::On => return Err(why.refusal()),
            // It would have been worth while.
            Some(why) => return Ok(Self::declined(why.reason())),
            None => {}
        }
        match KernelTls::attach(socket) {
            Ok(()) => Ok(Self {
                is_must: ktls == Ktls::On,
                is_declined: false,
                device,
                makers: Makers::here(None),
            }),
            Err(why) if ktls == Ktls::On => Err(Error::KernelTls { why: why.to_string() }),
            Err(why) => Ok(Self::declined(why.to_string())),
        }
    }

    fn declined(why: impl Into<String>) -> Self {
        let makers = Makers::here(Some(why.into()));
        Self { is_must: false, is_declined: true, device: None, makers }
    }

    /// Whether the kernel may open records (invariant 3).
    pub(crate) fn may_open(&self) -> bool {
        !self.is_declined && (self.is_must || self.offloads(Way::In))
    }

    fn offloads(&self, way: Way) -> bool {
        self.device.as_ref().is_some_and(|device| device.offloads(way))
    }

    /// Gives the kernel the key to seal with, if that was settled.
    pub(crate) fn give_sealing(
        &mut self,
        socket: &Arc<OwnedFd>,
        secret: &Secret,
        tls13: bool,
    ) -> Result<Option<Given>> {
        let Some((maker, mut given)) = self.give(Way::Out, socket, secret, tls13)? else {
            return Ok(None);
        };
        // The same key once more changes nothing before the first record, and shows whether there
        // may be another.
        given.can_update_key = tls13 && given.tls.set_key(Way::Out, &key(secret, true)?.1).is_ok();
        self.makers.sealing = maker;
        self.makers.can_update_key = given.can_update_key;
        Ok(Some(given))
    }

    /// Gives the kernel the key to open with, if it can follow the peer's next ones. `received` was
    /// received behind the handshake.
    pub(crate) fn give_opening(
        &mut self,
        socket: &Arc<OwnedFd>,
        secret: &Secret,
        tls13: bool,
        received: &[u8],
    ) -> Result<Option<Given>> {
        let can_follow = self.makers.sealing != Maker::Sealift && self.makers.can_update_key;
        if self.may_open() && tls13 && !can_follow {
            self.makers.reason("this kernel cannot follow the peer's key updates (Linux 6.14 can)");
            return Ok(None);
        }
        if self.may_open() && !received.is_empty() {
            self.makers.reason("records came with the end of the handshake");
            return Ok(None);
        }
        let Some((maker, given)) = self.give(Way::In, socket, secret, tls13)? else {
            return Ok(None);
        };
        self.makers.opening = maker;
        Ok(Some(given))
    }

    fn give(
        &mut self,
        way: Way,
        socket: &Arc<OwnedFd>,
        secret: &Secret,
        tls13: bool,
    ) -> Result<Option<(Maker, Given)>> {
        if self.is_declined {
            return Ok(None);
        }
        let by_device = self.offloads(way);
        if !self.is_must && !by_device {
            self.makers.reason("the network device works one way only");
            return Ok(None);
        }
        let (suite, key) = key(secret, tls13)?;
        if let (false, Some(why)) = (self.is_must, no_device_takes(tls13, suite)) {
            self.makers.reason(why);
            return Ok(None);
        }
        let tls = KernelTls::sharing(socket.clone());
        let before = by_device.then(|| device_keys(way));
        if let Err(why) = tls.set_key(way, &key) {
            if self.is_must && way == Way::Out {
                return Err(Error::KernelTls { why: why.to_string() });
            }
            self.makers.reason(why.to_string());
            return Ok(None);
        }
        let maker = match before {
            Some(before) if device_keys(way) > before => Maker::Device,
            _ => Maker::Kernel,
        };
        Ok(Some((maker, Given { tls, suite, first: secret.0, can_update_key: false })))
    }
}

/// The device that makes the records of this connection, or why there is none.
fn offloading(socket: &OwnedFd) -> std::result::Result<Device, String> {
    if !is_loaded() {
        return Err("no kernel TLS (tls module) is loaded".to_owned());
    }
    match Device::of(socket) {
        Ok(device) if device.seals || device.opens => Ok(device),
        Ok(device) => Err(format!("{} does not offload TLS", device.name)),
        Err(error) => Err(error.to_string()),
    }
}

/// Why a device is not given such a key, if it is not (`tls_set_device_offload` in
/// `net/tls/tls_device.c`).
fn no_device_takes(tls13: bool, suite: Suite) -> Option<&'static str> {
    match suite {
        _ if tls13 => Some("network devices are given keys of TLS 1.2 only"),
        Suite::Aes128Gcm | Suite::Aes256Gcm => None,
        _ => Some("network devices are given keys of AES-GCM only"),
    }
}

/// A key as the kernel wants it, and its suite.
fn key((number, secrets): &Secret, tls13: bool) -> Result<(Suite, Key)> {
    let (suite, key, iv) = parts(secrets)?;
    let version = if tls13 { Version::Tls13 } else { Version::Tls12 };
    Ok((suite, Key::new(version, cipher(suite)?, key, &iv, *number)?))
}

fn cipher(suite: Suite) -> Result<Cipher> {
    match suite {
        Suite::Aes128Gcm => Ok(Cipher::Aes128Gcm),
        Suite::Aes256Gcm => Ok(Cipher::Aes256Gcm),
        Suite::ChaCha20Poly1305 => Ok(Cipher::ChaCha20Poly1305),
        _ => Err(Error::Caller { what: "the kernel is not given keys of this suite" }),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use rustls::crypto::cipher::{AeadKey, Iv};

    use super::*;

    /// What comes of a key on a connection whose device offloads, and why.
    fn offered(secrets: ConnectionTrafficSecrets, tls13: bool) -> (bool, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _peer = listener.accept().unwrap();
        let socket = Arc::new(OwnedFd::from(stream));
        let mut device = Device::of(&socket).unwrap();
        (device.seals, device.opens) = (true, true);
        let makers = Makers::here(None);
        let mut offer = Offer { is_must: false, is_declined: false, device: Some(device), makers };
        let given = offer.give_sealing(&socket, &(0, secrets), tls13).unwrap();
        (given.is_some(), offer.makers.reason.unwrap_or_default())
    }

    #[test]
    fn a_key_that_no_device_takes_stays_here_unless_the_kernel_was_asked_for() {
        let (key, iv) = (|| AeadKey::from([7; 32]), || Iv::from([9; 12]));
        let aes = || ConnectionTrafficSecrets::Aes256Gcm { key: key(), iv: iv() };
        let chacha = || ConnectionTrafficSecrets::Chacha20Poly1305 { key: key(), iv: iv() };
        let only = "network devices are given keys of";
        assert_eq!(offered(aes(), true), (false, format!("{only} TLS 1.2 only")));
        assert_eq!(offered(chacha(), true), (false, format!("{only} TLS 1.2 only")));
        assert_eq!(offered(chacha(), false), (false, format!("{only} AES-GCM only")));
        // The kernel is asked to have a device take this one, whatever it answers here.
        assert!(!offered(aes(), false).1.contains(only));
    }
}
