//! What the kernel opened: data into the caller's memory, messages to those who attend to them.
//!
//! 1. A receive has room for a whole record: one that is no data comes alone, and as a whole
//!    (`tls_sw_recvmsg`). Where the caller's memory is too small, it comes into room of ours.
//! 2. What is no data may be secret, and is wiped from the caller's memory.

use std::ops::Range;

use rustix::io::Errno;
use sealift_io::ktls::{KernelTls, Received, Unavailable, Way};
use zeroize::Zeroize;

use super::{Given, key};
use crate::control::Control;
use crate::error::{Error, Result, Violation};
use crate::inflow::{Counts, Step};
use crate::opening::Opened;
use crate::post_handshake::Side;
use crate::record::ContentType;
use crate::room::Room;
use crate::secrets::Secrets;

/// The way in of a connection whose records the kernel opens.
pub(crate) struct KernelInflow {
    tls: KernelTls,
    control: Control,
    room: Room,
    /// What lies in the room, and was not copied out.
    staged: Range<usize>,
    pub(crate) counts: Counts,
}

impl KernelInflow {
    pub(crate) fn new(side: Side, given: Given, tls13: bool) -> Self {
        Self {
            tls: given.tls,
            control: Control::new(side, tls13),
            room: Room::default(),
            staged: 0..0,
            counts: Counts::default(),
        }
    }

    /// Goes one step on; on [`Step::Starved`] the socket is to be waited for.
    pub(crate) fn step(&mut self, into: &mut [u8]) -> Result<Step> {
        loop {
            if !self.staged.is_empty() {
                return Ok(Step::Data(self.copy_out(into)));
            }
            if let Some(step) = self.control.next_message()? {
                return Ok(step);
            }
            let is_direct = into.len() >= KernelTls::RECORD_BYTES;
            if !is_direct && self.room.is_empty() {
                self.room = Room::take();
            }
            let room = if is_direct { &mut *into } else { &mut self.room[..] };
            let (content, bytes) = match self.tls.receive(room).map_err(explained)? {
                Received::Records { content, bytes } => (ContentType::parse(content)?, bytes),
                Received::Nothing => return Ok(Step::Starved),
                Received::End => return Err(Error::Truncated),
            };
            self.counts.received_bytes += bytes as u64;
            let text = &mut room[..bytes];
            let step = self.control.take(Opened { content, len_bytes: bytes }, text);
            if content != ContentType::ApplicationData {
                text.zeroize();
            }
            match step? {
                Some(Step::Data(len)) => {
                    self.counts.bytes += len as u64;
                    if is_direct {
                        return Ok(Step::Data(len));
                    }
                    self.staged = 0..len;
                }
                Some(step) => return Ok(step),
                None => {}
            }
        }
    }

    fn copy_out(&mut self, into: &mut [u8]) -> usize {
        let count = into.len().min(self.staged.len());
        into[..count].copy_from_slice(&self.room[self.staged.start..][..count]);
        self.staged.start += count;
        self.counts.staged_bytes += count as u64;
        count
    }

    /// See [`Control::forgive`].
    pub(crate) fn forgive(&mut self) {
        self.control.forgive();
    }

    /// Gives the kernel the peer's next key. Until then it opens nothing.
    pub(crate) fn rotate(&mut self, secrets: &mut Secrets) -> Result<()> {
        let (_, key) = key(&secrets.next_opening_secret()?, true)?;
        let refused = |why: Unavailable| Error::KernelTls { why: why.to_string() };
        self.tls.set_key(Way::In, &key).map_err(refused)?;
        self.counts.key_updates += 1;
        Ok(())
    }

    /// Gives the room back, if nothing lies in it.
    pub(crate) fn rest(&mut self) {
        if self.staged.is_empty() {
            self.room = Room::default();
        }
    }
}

/// What the kernel found wrong with a record (`tls_rx_msg_size` and `tls_rx_one_record` in
/// `net/tls/tls_sw.c`).
pub(super) fn explained(error: sealift_io::Error) -> Error {
    let errno = error.errno().map(|errno| Errno::from_raw_os_error(errno.raw()));
    match errno {
        Some(Errno::BADMSG) => Error::Inauthentic,
        Some(Errno::MSGSIZE) => Error::Peer(Violation::RecordTooLong),
        Some(Errno::INVAL) => Error::Peer(Violation::WrongVersion),
        _ => Error::Io(error),
    }
}
