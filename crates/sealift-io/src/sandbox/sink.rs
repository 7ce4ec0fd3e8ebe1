//! Devices that free every packet without copying it.

use std::ops::Deref;

use super::device::{Control, Device};
use crate::error::{Error, Result};
use crate::netlink::{LinkChange, NewLink};

/// Sinks live in 10.99.n.0/24 and fd99:0:0:n::/64.
const NETWORK: u8 = 99;

/// What a sink is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SinkKind {
    /// Made for the purpose.
    Dummy,
    /// Drops what was not redirected to it.
    Ifb,
    /// Floods to its ports, of which it has none.
    Bridge,
}

impl SinkKind {
    /// All kinds, the best first.
    pub const ALL: [Self; 3] = [Self::Dummy, Self::Ifb, Self::Bridge];

    /// The kernel's name for the kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dummy => "dummy",
            Self::Ifb => "ifb",
            Self::Bridge => "bridge",
        }
    }
}

/// A device that frees every packet; send to its peer's addresses.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Sink {
    /// What it is made of.
    pub kind: SinkKind,
    /// The device, with its addresses and counters.
    pub device: Device,
}

impl Deref for Sink {
    type Target = Device;

    fn deref(&self) -> &Device {
        &self.device
    }
}

pub(super) fn add_any(control: &Control, number: u8, mtu: u32) -> Result<Sink> {
    let mut last = Error::Caller { what: "there are no kinds of sinks" };
    for kind in SinkKind::ALL {
        match add(control, number, kind, mtu) {
            // The kernel has no such kind of device; any other error is one.
            Err(error) if error.errno().is_some_and(|errno| errno.raw() == libc::EOPNOTSUPP) => {
                last = error;
            }
            answer => return answer,
        }
    }
    Err(last)
}

pub(super) fn add(control: &Control, number: u8, kind: SinkKind, mtu: u32) -> Result<Sink> {
    let name = format!("sink{number}");
    let new = NewLink::Single(kind.as_str());
    let device = control.add_device(name, mtu, new, (NETWORK, number))?;
    if kind == SinkKind::Ifb {
        device.control.with(|netlink| netlink.set_link(device.index, LinkChange::NoQueue))?;
    }
    device.bring_up()?;
    device.add_peer()?;
    Ok(Sink { kind, device })
}
