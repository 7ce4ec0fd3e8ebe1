//! A device whose packets go to a program: the caller.

use std::fs::File;
use std::ops::Deref;

use rustix::fs::{Mode, OFlags, open};

use super::device::{Control, Device};
use crate::error::{Error, Result};
use crate::netlink::LinkChange;
use crate::sys::netdev::attach_tun;

/// Tun devices live in 10.97.n.0/24 and fd97:0:0:n::/64.
const NETWORK: u8 = 97;

/// A tun device and the program's end of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Tun {
    /// The device, with its addresses and counters.
    pub device: Device,
    /// Reads give one IP packet each, as it was sent; writes deliver one.
    pub packets: File,
}

impl Deref for Tun {
    type Target = Device;

    fn deref(&self) -> &Device {
        &self.device
    }
}

pub(super) fn add(control: &Control, number: u8, mtu: u32) -> Result<Tun> {
    let name = format!("tun{number}");
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let packets = open("/dev/net/tun", flags, Mode::empty())
        .map_err(|errno| Error::System { call: "open /dev/net/tun", errno: errno.into() })?;
    // The device appears in the namespace of the thread that opened the file: the sandbox's.
    attach_tun(&packets, &name).map_err(|errno| Error::System { call: "TUNSETIFF", errno })?;
    let device = control.adopt(name, (NETWORK, number))?;
    control.with(|netlink| netlink.set_link(device.index, LinkChange::Mtu(mtu)))?;
    device.bring_up()?;
    Ok(Tun { device, packets: packets.into() })
}
