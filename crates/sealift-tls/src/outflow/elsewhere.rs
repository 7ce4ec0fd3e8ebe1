//! The part of writing that goes by an engine: what is begun, waited for, and given up.

use std::io::IoSlice;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use bytes::{Buf, Bytes};
use rustls::AlertDescription;
use sealift_io::{Lease, Sender};

use super::{Counts, Outflow};
use crate::bulk::{Bulk, Retired};
use crate::error::{Error, Result, Unfinished};
use crate::link::{Link, Wants};
use crate::sealing::Sealing;
use crate::stats::Offload;

impl Outflow {
    /// As [`write_file`](Outflow::write_file), sealed by the engine where it was read to: one core
    /// reads while others seal, unless a router is in front of them, which does such jobs here.
    pub(super) fn write_file_elsewhere(
        &mut self,
        link: &Link,
        file: BorrowedFd<'_>,
        mut range: Range<u64>,
        deadline: Instant,
    ) -> Result<u64, Unfinished> {
        let start = range.start;
        let mut begun = Ok(());
        while range.start < range.end && begun.is_ok() {
            begun = self.begin_job(link, deadline, |bulk, sealing, lease, most| {
                bulk.seal_file(sealing, file, &mut range, lease, most)
            });
        }
        let left = self.finish(link, deadline);
        Unfinished::unless(begun.and(left), range.start - start)
    }

    /// Has all of `bytes` sealed by the engine, and takes from them what was begun. Nothing waits
    /// for the engine to be done with it.
    pub(crate) fn write_owned(
        &mut self,
        link: &Link,
        bytes: &mut Bytes,
        deadline: Instant,
    ) -> Result<()> {
        self.check_open(link)?;
        while !bytes.is_empty() {
            if self.bulk.is_some() {
                self.begin_job(link, deadline, |bulk, sealing, lease, most| {
                    bulk.seal(sealing, bytes, lease, most);
                    Ok(())
                })?;
            } else {
                let written = self.write(link, &[IoSlice::new(bytes)], deadline)?;
                bytes.advance(written);
            }
        }
        Ok(())
    }

    /// Begins the next job, in a lease of its own, once the engine has taken the one before.
    fn begin_job(
        &mut self,
        link: &Link,
        deadline: Instant,
        begin: impl FnOnce(&mut Bulk, &mut Sealing, Lease, usize) -> Result<()>,
    ) -> Result<()> {
        self.wait_while(link, deadline, |bulk| !bulk.is_submitted())?;
        let lease = self.lease(link, deadline)?;
        // What is to be pumped is pumped below.
        if link.wants(Wants::ANSWER | Wants::REFUSAL) {
            self.tend(link)?;
        }
        if self.sealing.is_spent() {
            self.renew_key(link)?;
        }
        let most = self.most_plaintext_bytes;
        let begun = match &mut self.bulk {
            Some(bulk) => begin(bulk, &mut self.sealing, lease, most),
            None => return Err(Error::Closed),
        };
        self.pump(link)?;
        begun
    }

    /// Whether no engine is at work for this stream.
    pub(crate) fn is_idle(&self) -> bool {
        self.bulk.as_ref().is_none_or(Bulk::is_idle)
    }

    /// Readable while the engine may have done something; `None` without one that works by itself.
    pub(crate) fn readiness(&self) -> Option<BorrowedFd<'_>> {
        self.bulk.as_ref().and_then(Bulk::readiness)
    }

    pub(super) fn is_handed_over(&self) -> bool {
        self.is_idle() && self.sender.as_ref().is_none_or(Sender::is_handed_over)
    }

    /// Sends what the engine has done, as far as it is next.
    pub(super) fn pump(&mut self, link: &Link) -> Result<()> {
        if self.is_idle() { Ok(()) } else { self.ask(link) }
    }

    /// The same, though the engine is idle: its descriptor is readable no longer.
    pub(crate) fn ask(&mut self, link: &Link) -> Result<()> {
        let Some(bulk) = &mut self.bulk else { return Ok(()) };
        let pumped = bulk.pump();
        self.release()?;
        pumped.inspect_err(|error| {
            // Nothing may follow the gap.
            self.retire();
            self.drop_sender(error.clone());
            link.fail_outflow(error);
        })
    }

    /// Sends the longest run that is done.
    pub(super) fn release(&mut self) -> Result<()> {
        while let Some(message) = self.bulk.as_mut().and_then(Bulk::release) {
            self.push(message, Sender::send)?;
        }
        Ok(())
    }

    /// Waits as long as the engine's work is in a state, and sends what is done meanwhile.
    fn wait_while(
        &mut self,
        link: &Link,
        deadline: Instant,
        waits: impl Fn(&Bulk) -> bool,
    ) -> Result<()> {
        while self.bulk.as_ref().is_some_and(&waits) {
            link.check()?;
            self.pump(link)?;
            if !self.bulk.as_ref().is_some_and(&waits) {
                break;
            } else if let Some(fault) = self.sender()?.fault() {
                return Err(fault.clone().into());
            } else if Instant::now() >= deadline {
                return Err(Error::Deadline);
            }
            self.drain();
            self.wait(deadline)?;
        }
        Ok(())
    }

    /// Waits until the engine is done with everything begun before.
    pub(super) fn settle(&mut self, link: &Link, deadline: Instant) -> Result<()> {
        link.check()?;
        self.wait_while(link, deadline, |bulk| !bulk.is_idle())
    }

    /// Tells the peer why nothing more comes, behind what the engine is at, which is waited for a
    /// little. Nothing follows, and this follows no close_notify.
    pub(crate) fn send_last(
        &mut self,
        link: &Link,
        description: AlertDescription,
        deadline: Instant,
    ) -> Result<()> {
        if self.is_ended {
            return Ok(());
        }
        self.send_alert(description)?;
        self.is_ended = true;
        link.want(Wants::PUMP);
        self.see_off(link, deadline)
    }

    /// Waits until what the engine is at has left, though the connection has failed.
    pub(super) fn see_off(&mut self, link: &Link, deadline: Instant) -> Result<()> {
        self.pump(link)?;
        while !self.is_idle() && Instant::now() < deadline {
            self.wait(deadline)?;
            self.pump(link)?;
        }
        Ok(())
    }

    /// Ends the engine's work.
    pub(super) fn retire(&mut self) -> Retired {
        let Some(mut bulk) = self.bulk.take() else { return Retired::default() };
        let retired = bulk.retire();
        self.last_offload = retired.offload;
        self.counts = self.counts.and(bulk.sealed());
        retired
    }

    /// What was sealed so far.
    pub(crate) fn counts(&self) -> Counts {
        self.bulk.as_ref().map_or(self.counts, |bulk| self.counts.and(bulk.sealed()))
    }

    /// The engine's figures, the last ones once it has ended.
    pub(crate) fn offload(&self) -> Option<Offload> {
        self.bulk.as_ref().map(Bulk::offload).or(self.last_offload)
    }
}
