//! Orders that change links, addresses and neighbours; for sandboxes only.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage,
};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};

use super::{Netlink, family_of};
use crate::error::Result;

/// A device to make.
#[derive(Clone, Copy)]
pub(crate) enum NewLink<'a> {
    /// A device of one end, by its kind, such as `ifb`.
    Single(&'static str),
    /// A pair, the other end of which, under that name, goes to that network namespace.
    VethTo { peer: &'a str, namespace: BorrowedFd<'a> },
}

/// What to change of a device.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LinkChange {
    Up,
    Mtu(u32),
    /// Give it no transmit queue when it comes up: packets go straight to it, as to a dummy.
    NoQueue,
    /// Make it a port of that bridge.
    Controller(u32),
    /// Let it have no IPv6 address but those that are given to it.
    NoLinkLocalAddress,
}

impl Netlink {
    /// Makes a device, down, with the MTU.
    pub(crate) fn add_link(&mut self, name: &str, mtu: u32, new: NewLink<'_>) -> Result<()> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        message.attributes.push(LinkAttribute::Mtu(mtu));
        message.attributes.push(LinkAttribute::LinkInfo(match new {
            NewLink::Single(kind) => vec![LinkInfo::Kind(InfoKind::Other(kind.to_owned()))],
            NewLink::VethTo { peer, namespace } => {
                let mut far = LinkMessage::default();
                far.attributes.push(LinkAttribute::IfName(peer.to_owned()));
                far.attributes.push(LinkAttribute::Mtu(mtu));
                far.attributes.push(LinkAttribute::NetNsFd(namespace.as_raw_fd()));
                let data = InfoData::Veth(InfoVeth::Peer(far));
                vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(data)]
            }
        }));
        let order = RouteNetlinkMessage::NewLink(message);
        self.request("rtnetlink: add link", order, NLM_F_CREATE | NLM_F_EXCL).map(drop)
    }

    /// Changes one thing of a device.
    pub(crate) fn set_link(&mut self, index: u32, change: LinkChange) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        match change {
            LinkChange::Up => {
                message.header.flags = LinkFlags::Up;
                message.header.change_mask = LinkFlags::Up;
            }
            LinkChange::Mtu(mtu) => message.attributes.push(LinkAttribute::Mtu(mtu)),
            LinkChange::NoQueue => message.attributes.push(LinkAttribute::TxQueueLen(0)),
            LinkChange::Controller(bridge) => {
                message.attributes.push(LinkAttribute::Controller(bridge));
            }
            LinkChange::NoLinkLocalAddress => {
                let none = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
                let spec = vec![AfSpecUnspec::Inet6(vec![none])];
                message.attributes.push(LinkAttribute::AfSpecUnspec(spec));
            }
        }
        let order = RouteNetlinkMessage::SetLink(message);
        self.request("rtnetlink: set link", order, 0).map(drop)
    }

    /// Gives a device an address, ready for use at once: nobody is asked whether it has it too.
    pub(crate) fn add_address(&mut self, index: u32, address: IpAddr, prefix: u8) -> Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family_of(address);
        message.header.prefix_len = prefix;
        message.header.index = index;
        message.attributes.push(AddressAttribute::Local(address));
        message.attributes.push(AddressAttribute::Address(address));
        if address.is_ipv6() {
            message.header.flags = AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        let order = RouteNetlinkMessage::NewAddress(message);
        self.request("rtnetlink: add address", order, NLM_F_CREATE | NLM_F_EXCL).map(drop)
    }

    /// Says for good which hardware address a neighbour has, so that it is never asked.
    pub(crate) fn add_neighbour(
        &mut self,
        index: u32,
        address: IpAddr,
        hardware: [u8; 6],
    ) -> Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.family = family_of(address);
        message.header.ifindex = index;
        message.header.state = NeighbourState::Permanent;
        let destination = match address {
            IpAddr::V4(address) => NeighbourAddress::Inet(address),
            IpAddr::V6(address) => NeighbourAddress::Inet6(address),
        };
        message.attributes.push(NeighbourAttribute::Destination(destination));
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(hardware.to_vec()));
        let order = RouteNetlinkMessage::NewNeighbour(message);
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        self.request("rtnetlink: add neighbour", order, flags).map(drop)
    }
}
