//! One device of a sandbox: its addresses, its counters, its offloads.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::netlink::{LinkChange, LinkCounters, Netlink, NewLink};
use crate::probe::Offloads;

/// Prefix lengths of the networks between a device and its peer.
const PREFIX_V4: u8 = 24;
const PREFIX_V6: u8 = 64;

/// A network device of a sandbox, usable from any thread.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Device {
    /// The device's name, such as `sink0`.
    pub name: String,
    /// The device's own IPv4 address.
    pub local_v4: Ipv4Addr,
    /// The IPv4 address at the other end.
    pub peer_v4: Ipv4Addr,
    /// The device's own IPv6 address.
    pub local_v6: Ipv6Addr,
    /// The IPv6 address at the other end.
    pub peer_v6: Ipv6Addr,
    pub(super) index: u32,
    pub(super) control: Control,
}

/// What a device has been handed to send, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets; a train that was not cut yet counts as one.
    pub packets: u64,
    /// Bytes, link headers included.
    pub bytes: u64,
    /// Packets that the device dropped before it could count them as sent.
    pub dropped: u64,
}

impl Device {
    /// What the device has been handed to send.
    pub fn counters(&self) -> Result<Counters> {
        let link = self.control.with(|netlink| netlink.link(self.index))?;
        Ok(sent(link.kind.as_deref(), &link.counters))
    }

    /// The offloads that are active, as IPv4 uses them.
    pub fn offloads(&self) -> Result<Offloads> {
        self.control.with(|netlink| {
            Offloads::read(&*netlink, &self.name)
                .map_err(|errno| Error::System { call: "ethtool: get features", errno })
        })
    }

    /// Switches offloads, and checks that the device took them.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if the device cannot have exactly these: segmentation, for one, needs
    /// scatter-gather and checksums.
    pub fn set_offloads(&self, offloads: Offloads) -> Result<()> {
        let call = "ethtool: set features";
        let failed = |errno| Error::System { call, errno };
        self.control.with(|netlink| {
            offloads.write(&*netlink, &self.name).map_err(failed)?;
            let active = Offloads::read(&*netlink, &self.name).map_err(failed)?;
            match active == offloads {
                true => Ok(()),
                false => Err(failed(crate::Errno::from_raw(libc::EOPNOTSUPP))),
            }
        })
    }

    /// Sets the largest packet, in bytes.
    pub fn set_mtu(&self, mtu: u32) -> Result<()> {
        self.control.with(|netlink| netlink.set_link(self.index, LinkChange::Mtu(mtu)))
    }

    /// The same device seen from the other end: addresses swapped.
    pub(super) fn reversed(&self, name: String, index: u32, control: Control) -> Self {
        Self {
            name,
            index,
            control,
            local_v4: self.peer_v4,
            peer_v4: self.local_v4,
            local_v6: self.peer_v6,
            peer_v6: self.local_v6,
        }
    }

    /// Brings the device up with its own addresses.
    pub(super) fn bring_up(&self) -> Result<()> {
        self.control.with(|netlink| {
            netlink.set_link(self.index, LinkChange::NoLinkLocalAddress)?;
            netlink.set_link(self.index, LinkChange::Up)?;
            netlink.add_address(self.index, self.local_v4.into(), PREFIX_V4)?;
            netlink.add_address(self.index, self.local_v6.into(), PREFIX_V6)
        })
    }

    /// Answers for the peer, which may not exist, so that nobody is asked for its hardware
    /// address.
    pub(super) fn add_peer(&self) -> Result<()> {
        /// Locally administered, and nobody's.
        const HARDWARE: [u8; 6] = [0x02, 0, 0, 0, 0x99, 0x02];
        self.control.with(|netlink| {
            netlink.add_neighbour(self.index, self.peer_v4.into(), HARDWARE)?;
            netlink.add_neighbour(self.index, self.peer_v6.into(), HARDWARE)
        })
    }
}

/// An ifb counts what it frees as received, then as dropped; the others as sent.
fn sent(kind: Option<&str>, counters: &LinkCounters) -> Counters {
    match kind {
        Some("ifb") => Counters {
            packets: counters.rx_packets,
            bytes: counters.rx_bytes,
            dropped: counters.tx_dropped,
        },
        _ => Counters {
            packets: counters.tx_packets,
            bytes: counters.tx_bytes,
            dropped: counters.tx_dropped,
        },
    }
}

/// The way to a namespace's devices, from any thread.
#[derive(Clone)]
pub(super) struct Control(Arc<Mutex<Netlink>>);

impl Control {
    /// Opens the caller's network namespace.
    pub(super) fn open() -> Result<Self> {
        Netlink::open().map(|netlink| Self(Arc::new(Mutex::new(netlink))))
    }

    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Netlink) -> Result<T>) -> Result<T> {
        // A request that panicked leaves nothing half done: the next one has its own number.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn loopback_up(&self) -> Result<()> {
        self.with(|netlink| {
            let loopback = netlink.link_named("lo")?;
            netlink.set_link(loopback.index, LinkChange::Up)
        })
    }

    /// Makes a device in network `10.<network>.<number>.0/24`, `fd<network>:0:0:<number>::/64`.
    pub(super) fn add_device(
        &self,
        name: String,
        mtu: u32,
        new: NewLink<'_>,
        (network, number): (u8, u8),
    ) -> Result<Device> {
        self.with(|netlink| netlink.add_link(&name, mtu, new))?;
        self.adopt(name, (network, number))
    }

    /// Takes over a device that exists already.
    pub(super) fn adopt(&self, name: String, (network, number): (u8, u8)) -> Result<Device> {
        let index = self.with(|netlink| netlink.link_named(&name))?.index;
        let v4 = |host| Ipv4Addr::new(10, network, number, host);
        // The network's decimal digits, read as hexadecimal ones: 99 is fd99.
        let digits = u16::from(network / 10 * 16 + network % 10);
        let v6 = |host| Ipv6Addr::new(0xfd00 | digits, 0, 0, number.into(), 0, 0, 0, host);
        Ok(Device {
            name,
            local_v4: v4(1),
            peer_v4: v4(2),
            local_v6: v6(1),
            peer_v6: v6(2),
            index,
            control: self.clone(),
        })
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Control")
    }
}
