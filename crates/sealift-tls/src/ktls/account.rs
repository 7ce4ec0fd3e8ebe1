//! What the kernel sealed, counted: against the key's limit, and as bytes that TCP is to have.
//!
//! 1. No send leaves a record open: what was taken is all in whole records. So their number, which
//!    the kernel tells, and their content make the bytes on the wire.
//! 2. The kernel does not count against a key's limit. It cuts no record below a page, a quarter of
//!    a full one; so its count is looked at before a quarter of what is left is used up by ours.

use sealift_io::ktls::{Cipher, KernelTls, Way};

use crate::epoch::Layout;
use crate::error::Result;
use crate::record::MOST_PLAINTEXT_BYTES;
use crate::sealing::KEPT_BACK;

/// The most records that are sent by one call, and between two looks at the kernel's count.
const MOST_RECORDS: u64 = 64;

/// What became of one direction since the kernel seals it.
pub(super) struct Account {
    tls: KernelTls,
    cipher: Cipher,
    layout: Layout,
    /// Records that a key may seal.
    limit: u64,
    /// The number of the key's first record.
    first: u64,
    /// Records under the key, when the kernel's count was last looked at.
    sealed: u64,
    /// Full records' worth that was sent since.
    unseen: u64,
    /// Records under earlier keys.
    earlier_records: u64,
    /// Records that are no data.
    control_records: u64,
    /// What TCP had taken before the first record.
    base_bytes: u64,
    /// The content of all records.
    content_bytes: u64,
    /// That of the data among them.
    data_bytes: u64,
}

impl Account {
    /// Begins with a key whose first record has the number `first`.
    pub(super) fn new(
        tls: KernelTls,
        cipher: Cipher,
        layout: Layout,
        limit: u64,
        first: u64,
    ) -> Result<Self> {
        Ok(Self {
            base_bytes: tls.taken_bytes()?,
            tls,
            cipher,
            layout,
            limit,
            first,
            sealed: 0,
            unseen: 0,
            earlier_records: 0,
            control_records: 0,
            content_bytes: 0,
            data_bytes: 0,
        })
    }

    /// So much data was sent by one call.
    pub(super) fn data(&mut self, bytes: usize) {
        self.data_bytes += bytes as u64;
        self.content(bytes);
    }

    /// A record that is no data was sent.
    pub(super) fn control(&mut self, bytes: usize) {
        self.control_records += 1;
        self.content(bytes);
    }

    fn content(&mut self, bytes: usize) {
        self.content_bytes += bytes as u64;
        self.unseen += bytes.div_ceil(MOST_PLAINTEXT_BYTES) as u64;
    }

    /// The kernel has the next key, whose first record has the number `first`; under the one before
    /// it sealed `earlier_records`.
    pub(super) fn open_key(&mut self, first: u64, earlier_records: u64) {
        self.earlier_records += earlier_records;
        (self.first, self.sealed, self.unseen) = (first, 0, 0);
    }

    /// Records under the key that the kernel has.
    pub(super) fn sealed_by_key(&self) -> Result<u64> {
        Ok(self.tls.next_number(Way::Out, self.cipher)?.saturating_sub(self.first))
    }

    /// How many bytes of data may be sent by one call; 0 if the key is spent, but for the messages
    /// that end it.
    pub(super) fn allowance_bytes(&mut self) -> Result<usize> {
        let left = self.limit.saturating_sub(self.sealed);
        if self.unseen >= MOST_RECORDS.min(left / 4) {
            self.sealed = self.sealed_by_key()?;
            self.unseen = 0;
        }
        let left = self.limit.saturating_sub(self.sealed + self.unseen + KEPT_BACK);
        let records = if left == 0 { 0 } else { (left / 4).clamp(1, MOST_RECORDS) };
        Ok(records as usize * MOST_PLAINTEXT_BYTES)
    }

    /// Whether TCP has every record.
    pub(super) fn is_with_tcp(&self) -> Result<bool> {
        Ok(self.tls.taken_bytes()? >= self.wire_bytes()?)
    }

    /// What the peer's kernel has not acknowledged.
    pub(super) fn unacknowledged_bytes(&self) -> Result<u64> {
        Ok(self.wire_bytes()?.saturating_sub(self.tls.acknowledged_bytes()?))
    }

    /// All bytes that TCP is to have, sooner or later (invariant 1).
    fn wire_bytes(&self) -> Result<u64> {
        let records = self.earlier_records + self.sealed_by_key()?;
        let overhead_bytes = records * self.layout.overhead_bytes() as u64;
        Ok(self.base_bytes + self.content_bytes + overhead_bytes)
    }

    /// The length of a record on the wire.
    pub(super) fn record_bytes(&self, content_bytes: usize) -> usize {
        content_bytes + self.layout.overhead_bytes()
    }

    /// Records of data.
    pub(super) fn data_records(&self) -> u64 {
        // The kernel tells as long as the socket lives, which is as long as this.
        let records = self.earlier_records + self.sealed_by_key().unwrap_or(0);
        records.saturating_sub(self.control_records)
    }

    pub(super) fn data_bytes(&self) -> u64 {
        self.data_bytes
    }
}
