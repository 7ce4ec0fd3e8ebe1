//! All that a stream is made of but its keys; and how it is made, once there are keys.
//!
//! ```text
//!  Parts ──Done──► Outgoing ──► Incoming ──► TlsStream
//!                     └── whatever fails ──► alert ──► Parting
//! ```
//! The way out is made first, even if it is known by then that there will be no stream: the peer,
//! for whom the handshake has succeeded, is told by it.

use std::os::fd::OwnedFd;
use std::result;

use rustls::{ExtractedSecrets, ProtocolVersion};
use sealift_crypto::Limits;
use sealift_io::{Receiver, Sender};

use crate::ahead;
use crate::engines::{Engines, Sealer};
use crate::epoch::Epoch;
use crate::error::{Error, Result};
use crate::frames::Frames;
use crate::handshake::Done;
use crate::incoming::Incoming;
use crate::ktls::{KernelInflow, KernelOutflow, Offer, Secret};
use crate::link::Link;
use crate::opening::Opening;
use crate::outflow::Outflow;
use crate::outgoing::Outgoing;
use crate::parting::Parting;
use crate::post_handshake::Side;
use crate::sealing::Sealing;
use crate::secrets::{Kept, Secrets};
use crate::split::{TlsReader, TlsWriter};
use crate::stream::TlsStream;

pub(crate) struct Parts {
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
    pub(crate) frames: Frames,
    pub(crate) engines: Engines,
    pub(crate) offer: Offer,
    /// How many messages the stream may have under way.
    pub(crate) messages: usize,
    pub(crate) limits: Option<Limits>,
    /// See [`Sealing::pad_to`].
    pub(crate) pad_to_bytes: usize,
}

/// What is left of a stream that failed, and of what.
type Failed = (Parting, Error);

impl Parts {
    /// Makes the stream; if that fails, the peer is told.
    pub(crate) fn assemble(self, done: Done) -> result::Result<TlsStream, Failed> {
        let Self { sender, receiver, frames, engines, mut offer, messages, limits, .. } = self;
        let Done { secrets: ExtractedSecrets { tx, rx }, kept, negotiated, received } = done;
        let tls13 = negotiated.protocol_version == ProtocolVersion::TLSv1_3;
        let (socket, opener) = (sender.socket().clone(), engines.opening);
        let opening_limits = opener.is_some().then_some(ahead::LIMITS);
        let way_out = WayOut {
            sender,
            frames,
            sealer: engines.sealing,
            messages,
            limits,
            pad_to_bytes: self.pad_to_bytes,
            tls13,
        };
        let (outgoing, checked) = way_out.make(tx, &mut offer)?;
        let rest = checked.and_then(|()| {
            let incoming = match offer.give_opening(&socket, &rx, tls13, &received)? {
                Some(given) => {
                    Incoming::Kernel(Box::new(KernelInflow::new(side(&kept), given, tls13)))
                }
                None => {
                    let opening = Opening::new(Epoch::new(rx.0, rx.1, tls13, opening_limits)?);
                    Incoming::new(opener, side(&kept), opening, &received)?
                }
            };
            Ok((incoming, news(&outgoing)?))
        });
        let (incoming, news) = match rest {
            Ok(rest) => rest,
            Err(error) => return Err((outgoing.part(&error), error)),
        };
        let secrets = Secrets::new(kept, limits, opening_limits);
        let link = Link::new(outgoing, secrets, negotiated, offer.makers, socket, news);
        let reader = TlsReader::new(link.clone(), receiver, incoming);
        Ok(TlsStream::new(reader, TlsWriter::new(link)))
    }
}

fn side(kept: &Kept) -> Side {
    match kept {
        Kept::Client(_) => Side::Client,
        Kept::Server(_) => Side::Server,
    }
}

/// A descriptor of the engine that seals, for who reads.
fn news(outgoing: &Outgoing) -> Result<Option<OwnedFd>> {
    let news = outgoing.readiness().map(|descriptor| descriptor.try_clone_to_owned());
    news.transpose().map_err(|error| {
        let errno = sealift_io::Errno::from_raw(error.raw_os_error().unwrap_or(0));
        Error::Io(sealift_io::Error::System { call: "fcntl(F_DUPFD_CLOEXEC)", errno })
    })
}

/// What the way out is made of.
struct WayOut {
    sender: Sender,
    frames: Frames,
    sealer: Option<Sealer>,
    messages: usize,
    limits: Option<Limits>,
    pad_to_bytes: usize,
    tls13: bool,
}

impl WayOut {
    /// Makes it; with an error, only so that the peer can be told of it.
    fn make(
        self,
        secret: Secret,
        offer: &mut Offer,
    ) -> result::Result<(Outgoing, Result<()>), Failed> {
        let given = offer.give_sealing(self.sender.socket(), &secret, self.tls13);
        match given {
            Ok(Some(given)) => {
                // Who has no account of what the kernel sealed has no way to speak, either.
                let kernel = KernelOutflow::new(self.sender, given, self.tls13, self.limits)
                    .map_err(|error| (Parting::from(None::<Sender>), error))?;
                Ok((Outgoing::Kernel(Box::new(kernel)), Ok(())))
            }
            Ok(None) => self.make_here(secret, Ok(())),
            Err(error) => self.make_here(secret, Err(error)),
        }
    }

    fn make_here(
        self,
        (number, transmit): Secret,
        checked: Result<()>,
    ) -> result::Result<(Outgoing, Result<()>), Failed> {
        let Self { sender, frames, sealer, messages, .. } = self;
        let mut sealing = match Epoch::new(number, transmit, self.tls13, self.limits) {
            Ok(epoch) => Sealing::new(epoch),
            Err(error) => return Err((sender.into(), error)),
        };
        let engine = checked
            .and_then(|()| sealing.pad_to(self.pad_to_bytes))
            .and_then(|()| sealer.map(|sealer| sealer.engine_for(&sealing)).transpose());
        let (engine, checked) = match engine {
            Ok(engine) => (engine, Ok(())),
            Err(error) => (None, Err(error)),
        };
        let outflow = Outflow::new(sender, frames, sealing, engine, messages);
        Ok((Outgoing::Here(Box::new(outflow)), checked))
    }
}
