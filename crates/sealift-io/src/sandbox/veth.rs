//! A pair of devices across two namespaces.

use std::os::fd::AsFd;

use super::device::{Control, Device};
use super::namespace::Namespace;
use crate::error::Result;
use crate::netlink::{LinkChange, NewLink};

/// Pairs live in 10.98.n.0/24 and fd98:0:0:n::/64.
const NETWORK: u8 = 98;
const BRIDGE_MTU: u32 = 65535;

/// What the far end does with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FarEnd {
    /// It has the peer's addresses, and sockets receive there: packets are copied on arrival.
    Host,
    /// It is a port of a bridge without other ports, which frees what comes: nothing is copied.
    BridgePort,
}

/// A pair of devices: what is sent into one comes out of the other.
#[derive(Debug)]
#[non_exhaustive]
pub struct Veth {
    /// The end in the sandbox.
    pub near: Device,
    /// The other end; the addresses are its own only if it is a [`FarEnd::Host`].
    pub far: Device,
    /// Where the other end is.
    pub namespace: Namespace,
}

pub(super) fn add(control: &Control, number: u8, mtu: u32, far_end: FarEnd) -> Result<Veth> {
    let namespace = Namespace::new()?;
    let far_name = format!("far{number}");
    let new = NewLink::VethTo { peer: &far_name, namespace: namespace.as_fd() };
    let near = control.add_device(format!("veth{number}"), mtu, new, (NETWORK, number))?;
    let far_control = namespace.control.clone();
    let far_index = far_control.with(|netlink| netlink.link_named(&far_name))?.index;
    let far = near.reversed(far_name, far_index, far_control);
    match far_end {
        FarEnd::Host => {
            far.bring_up()?;
            near.bring_up()?;
        }
        FarEnd::BridgePort => {
            make_bridge_port(&far)?;
            near.bring_up()?;
            near.add_peer()?;
        }
    }
    Ok(Veth { near, far, namespace })
}

fn make_bridge_port(device: &Device) -> Result<()> {
    device.control.with(|netlink| {
        netlink.add_link("bridge", BRIDGE_MTU, NewLink::Single("bridge"))?;
        let bridge = netlink.link_named("bridge")?.index;
        for index in [bridge, device.index] {
            netlink.set_link(index, LinkChange::NoLinkLocalAddress)?;
        }
        netlink.set_link(device.index, LinkChange::Controller(bridge))?;
        netlink.set_link(bridge, LinkChange::Up)?;
        netlink.set_link(device.index, LinkChange::Up)
    })
}
