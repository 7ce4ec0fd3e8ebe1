//! What becomes of pages that a network device is handed, judged by the device's kind.
//!
//! Measured on Linux 6.18 by sending on each kind and reading whether the kernel copied; a kind
//! that was not measured is 'depends'. A device that rests on others does what they do.

#[cfg(feature = "sandbox")]
use std::os::fd::AsFd;

use serde::Serialize;

#[cfg(feature = "sandbox")]
use crate::error::Errno;
use crate::netlink::Link;
#[cfg(feature = "sandbox")]
use crate::sys::netdev::Features;

/// Devices stacked on devices: deeper than anyone builds them, and a bound for the recursion.
const STACKED_AT_MOST: usize = 8;

/// What a device does itself, so that the kernel need not touch the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Offloads {
    /// It gathers a packet from several pages; without, the kernel copies it into one.
    pub scatter_gather: bool,
    /// It computes checksums; without, the kernel copies the payload and sums it.
    pub tx_checksum: bool,
    /// It cuts TCP segments; without, the kernel does, at a cost but without copying.
    pub tcp_segmentation: bool,
    /// It cuts trains of UDP datagrams; without, the kernel does.
    pub udp_segmentation: bool,
}

/// The feature names of [`Offloads`]' fields for one address family; the first of each row is
/// the family's own, the second serves both.
struct Names {
    tx_checksum: [&'static str; 2],
    tcp_segmentation: &'static str,
}

const IPV4: Names = Names {
    tx_checksum: ["tx-checksum-ipv4", "tx-checksum-ip-generic"],
    tcp_segmentation: "tx-tcp-segmentation",
};
const IPV6: Names = Names {
    tx_checksum: ["tx-checksum-ipv6", "tx-checksum-ip-generic"],
    tcp_segmentation: "tx-tcp6-segmentation",
};
const SCATTER_GATHER: &str = "tx-scatter-gather";
const UDP_SEGMENTATION: &str = "tx-udp-segmentation";

impl Offloads {
    /// Everything on, as good hardware has it.
    pub const ALL: Self = Self {
        scatter_gather: true,
        tx_checksum: true,
        tcp_segmentation: true,
        udp_segmentation: true,
    };

    /// Those whose features, as one address family uses them, are as asked.
    pub(super) fn those(ipv6: bool, asked: impl Fn(&str) -> bool) -> Self {
        let names = if ipv6 { IPV6 } else { IPV4 };
        Self {
            scatter_gather: asked(SCATTER_GATHER),
            tx_checksum: names.tx_checksum.into_iter().any(&asked),
            tcp_segmentation: asked(names.tcp_segmentation),
            udp_segmentation: asked(UDP_SEGMENTATION),
        }
    }

    /// Reads what is active, as IPv4 uses it.
    #[cfg(feature = "sandbox")]
    pub(crate) fn read(socket: impl AsFd, device: &str) -> Result<Self, Errno> {
        let features = Features::of(socket, device)?;
        Ok(Self::those(false, |name| features.has(name)))
    }

    /// Asks the device for them, for both address families.
    #[cfg(feature = "sandbox")]
    pub(crate) fn write(self, socket: impl AsFd, device: &str) -> Result<(), Errno> {
        let socket = socket.as_fd();
        let features = Features::of(socket, device)?;
        let mut wishes =
            vec![(SCATTER_GATHER, self.scatter_gather), (UDP_SEGMENTATION, self.udp_segmentation)];
        for names in [IPV4, IPV6] {
            wishes.extend(names.tx_checksum.map(|name| (name, self.tx_checksum)));
            wishes.push((names.tcp_segmentation, self.tcp_segmentation));
        }
        features.set(socket, device, &wishes)
    }
}

/// What becomes of the pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// They are sent, or handed on, as they are.
    Kept,
    /// They are copied; why, and what to do instead.
    Copied(String, &'static str),
    /// It depends; on what.
    Depends(String),
}

/// The kind for people and scripts: what made the device, or `loopback`, or `hardware`.
pub(super) fn kind_of(link: &Link) -> &str {
    match &link.kind {
        Some(kind) => kind,
        None if link.loopback => "loopback",
        None => "hardware",
    }
}

/// What becomes of pages sent through `link`, one of the namespace's `links`.
pub(super) fn fate(link: &Link, links: &[Link]) -> Fate {
    fate_below(link, links, STACKED_AT_MOST)
}

fn fate_below(link: &Link, links: &[Link], depth: usize) -> Fate {
    let name = &link.name;
    match kind_of(link) {
        "hardware" | "dummy" | "ifb" | "nlmon" => Fate::Kept,
        "loopback" => Fate::Copied(
            format!("{name} delivers to this machine, which copies"),
            "none needed: copying is as fast here",
        ),
        "tun" => Fate::Copied(
            format!("the program behind {name} (tun) reads a copy"),
            "take a way around that program, often a VPN or an emulator",
        ),
        "wireguard" => Fate::Copied(
            format!("{name} encrypts into copies"),
            "take a way around the tunnel, or seal here instead",
        ),
        kind @ ("veth" | "netkit") => Fate::Depends(format!(
            "{name} ({kind}) keeps pages if its other end is bridged or routed on, \
             and copies if they are received there"
        )),
        "bridge" | "bond" | "team" => stack(below(link, links), links, depth),
        kind @ ("vlan" | "macvlan" | "macvtap" | "ipvlan" | "ipvtap") => {
            match below(link, links).as_slice() {
                [] => Fate::Depends(format!(
                    "the device below {name} ({kind}) is in another network namespace"
                )),
                lower => stack(lower.to_vec(), links, depth),
            }
        }
        kind => Fate::Depends(format!("nobody has measured devices like {name} ({kind})")),
    }
}

/// The worst that happens in any of the devices below; nothing below drops packets uncopied.
fn stack(below: Vec<&Link>, links: &[Link], depth: usize) -> Fate {
    let Some(depth) = depth.checked_sub(1) else {
        return Fate::Depends("the devices are stacked too deep to follow".into());
    };
    let fates = below.into_iter().map(|link| fate_below(link, links, depth));
    fates.fold(Fate::Kept, |worst, fate| match (&worst, &fate) {
        (Fate::Copied(..), _) | (Fate::Depends(_), Fate::Kept | Fate::Depends(_)) => worst,
        _ => fate,
    })
}

/// The devices that `link` hands its packets to, as far as this namespace shows them.
fn below<'a>(link: &Link, links: &'a [Link]) -> Vec<&'a Link> {
    let is_below = |other: &&Link| match kind_of(link) {
        "bridge" | "bond" | "team" => other.controller == Some(link.index),
        "veth" | "netkit" => false,
        _ => link.lower == Some(other.index),
    };
    links.iter().filter(|other| other.index != link.index).filter(is_below).collect()
}

/// The indexes of `link` and of all devices below it: each may have packet listeners.
pub(super) fn with_devices_below(link: &Link, links: &[Link]) -> Vec<u32> {
    let mut found = vec![link.index];
    let mut layer = vec![link];
    for _ in 0..STACKED_AT_MOST {
        layer = layer.iter().flat_map(|link| below(link, links)).collect();
        layer.retain(|link| !found.contains(&link.index));
        found.extend(layer.iter().map(|link| link.index));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::slice::from_ref;

    use crate::netlink::LinkCounters;

    fn link(index: u32, kind: &str) -> Link {
        Link {
            index,
            name: format!("{kind}{index}"),
            kind: (kind != "hardware" && kind != "loopback").then(|| kind.to_owned()),
            mtu: 1500,
            loopback: kind == "loopback",
            controller: None,
            lower: None,
            counters: LinkCounters::default(),
        }
    }

    fn fate_of(kind: &str) -> Fate {
        fate(&link(1, kind), &[link(1, kind)])
    }

    #[test]
    fn plain_devices_are_judged_by_kind() {
        assert_eq!(fate_of("hardware"), Fate::Kept);
        assert_eq!(fate_of("ifb"), Fate::Kept);
        assert_eq!(fate_of("bridge"), Fate::Kept);
        assert!(matches!(fate_of("loopback"), Fate::Copied(..)));
        assert!(matches!(fate_of("tun"), Fate::Copied(..)));
        assert!(matches!(fate_of("veth"), Fate::Depends(_)));
        assert!(matches!(fate_of("brand-new"), Fate::Depends(_)));
        assert!(matches!(fate_of("vlan"), Fate::Depends(_)));
    }

    #[test]
    fn a_bridge_is_as_good_as_its_worst_port() {
        let bridge = link(1, "bridge");
        let port = |index, kind| Link { controller: Some(1), ..link(index, kind) };
        let with = |ports: &[Link]| fate(&bridge, &[from_ref(&bridge), ports].concat());
        assert_eq!(with(&[port(2, "hardware")]), Fate::Kept);
        assert!(matches!(with(&[port(2, "hardware"), port(3, "veth")]), Fate::Depends(_)));
        assert!(matches!(with(&[port(2, "veth"), port(3, "tun")]), Fate::Copied(..)));
        assert!(matches!(with(&[port(2, "tun"), port(3, "veth")]), Fate::Copied(..)));
    }

    #[test]
    fn stacks_are_followed_to_the_bottom_and_loops_end() {
        let vlan = Link { lower: Some(2), ..link(3, "vlan") };
        let bond = link(2, "bond");
        let card = Link { controller: Some(2), ..link(1, "hardware") };
        let links = [vlan.clone(), bond, card];
        assert_eq!(fate(&vlan, &links), Fate::Kept);
        assert_eq!(with_devices_below(&vlan, &links), [3, 2, 1]);

        let one = Link { lower: Some(2), ..link(1, "vlan") };
        let two = Link { lower: Some(1), ..link(2, "vlan") };
        let links = [one.clone(), two];
        assert!(matches!(fate(&one, &links), Fate::Depends(_)));
        assert_eq!(with_devices_below(&one, &links), [1, 2]);
    }
}
