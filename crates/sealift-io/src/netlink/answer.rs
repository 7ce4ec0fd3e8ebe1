//! What rtnetlink answers, reduced to what this crate asks.

use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkInfo};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMetric, RouteType, RouteVia};

/// A network device, as far as this crate asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// What made it, such as `veth`; hardware has none.
    pub(crate) kind: Option<String>,
    pub(crate) mtu: u32,
    pub(crate) loopback: bool,
    /// The bridge or bond that it is a port of.
    pub(crate) controller: Option<u32>,
    /// The device that it rests on, where that one is in the same namespace.
    pub(crate) lower: Option<u32>,
    /// Sent and received packets, bytes and drops.
    pub(crate) counters: LinkCounters,
}

/// What the device counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkCounters {
    pub(crate) tx_packets: u64,
    pub(crate) tx_bytes: u64,
    pub(crate) tx_dropped: u64,
    pub(crate) rx_packets: u64,
    pub(crate) rx_bytes: u64,
    pub(crate) rx_dropped: u64,
}

/// The kernel's choice of the way to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteAnswer {
    /// The address is one of this namespace's own.
    pub(crate) local: bool,
    pub(crate) device: Option<u32>,
    pub(crate) source: Option<IpAddr>,
    pub(crate) gateway: Option<IpAddr>,
    /// The route's own limit, where it is lower than the device's.
    pub(crate) mtu: Option<u32>,
}

pub(super) fn link_of(answer: &RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = answer else { return None };
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        kind: None,
        mtu: 0,
        loopback: message.header.flags.contains(LinkFlags::Loopback),
        controller: None,
        lower: None,
        counters: LinkCounters::default(),
    };
    let mut lower_is_elsewhere = false;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(index) => link.controller = Some(*index),
            LinkAttribute::Link(index) => link.lower = Some(*index),
            LinkAttribute::LinkNetNsId(_) => lower_is_elsewhere = true,
            LinkAttribute::LinkInfo(infos) => link.kind = kind_of(infos),
            LinkAttribute::Stats64(stats) => {
                link.counters = LinkCounters {
                    tx_packets: stats.tx_packets,
                    tx_bytes: stats.tx_bytes,
                    tx_dropped: stats.tx_dropped,
                    rx_packets: stats.rx_packets,
                    rx_bytes: stats.rx_bytes,
                    rx_dropped: stats.rx_dropped,
                };
            }
            _ => {}
        }
    }
    if lower_is_elsewhere {
        link.lower = None;
    }
    Some(link)
}

fn kind_of(infos: &[LinkInfo]) -> Option<String> {
    infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    })
}

pub(super) fn route_of(answer: &RouteNetlinkMessage) -> Option<RouteAnswer> {
    let RouteNetlinkMessage::NewRoute(message) = answer else { return None };
    let kind = message.header.kind;
    let sends = matches!(
        kind,
        RouteType::Unicast
            | RouteType::Local
            | RouteType::Broadcast
            | RouteType::Anycast
            | RouteType::Multicast
    );
    sends.then_some(())?;
    let mut route = RouteAnswer {
        local: kind == RouteType::Local,
        device: None,
        source: None,
        gateway: None,
        mtu: None,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => route.device = Some(*index),
            RouteAttribute::PrefSource(address) => route.source = ip_of(address),
            RouteAttribute::Gateway(address) => route.gateway = ip_of(address),
            RouteAttribute::Via(RouteVia::Inet(address)) => {
                route.gateway = Some(IpAddr::V4(*address));
            }
            RouteAttribute::Via(RouteVia::Inet6(address)) => {
                route.gateway = Some(IpAddr::V6(*address));
            }
            RouteAttribute::Metrics(metrics) => {
                route.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Some(route)
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}
