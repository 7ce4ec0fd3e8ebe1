//! Whether zero-copy stays zero-copy on the way to one destination, and if not, why.
//!
//! The conditions are asked one by one; the verdict is the worst of those in [`DECISIVE`]. It
//! covers this machine only: what other machines do with a packet costs nothing here.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use super::device::{self, Fate, Offloads};
use super::finding::{Finding, Verdict};
use super::proc::{self, PacketListener};
use super::sockets;
use crate::error::Error;
use crate::ktls;
use crate::netlink::{Link, Netlink, RouteAnswer};
use crate::sys::netdev::Features;

/// The conditions under which pages reach the device, or the peer, uncopied.
const DECISIVE: [&str; 5] = [ROUTE, DEVICE, SCATTER_GATHER, TX_CHECKSUM, LISTENERS];
const ROUTE: &str = "path.route";
const DEVICE: &str = "path.device";
const SCATTER_GATHER: &str = "path.scatter_gather";
const TX_CHECKSUM: &str = "path.tx_checksum";
const LISTENERS: &str = "path.packet_listeners";
const VERDICT: (&str, &str) = ("path.zero_copy", "stays zero-copy");

/// The way to one destination.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PathProbe {
    /// Where to.
    pub destination: IpAddr,
    /// The kernel's choice of the way, if there is one.
    pub route: Option<Route>,
    /// What was found, one condition each.
    pub findings: Vec<Finding>,
    /// The verdict: does zero-copy stay zero-copy.
    pub zero_copy: Finding,
}

/// The kernel's choice of the way to a destination.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Route {
    /// The device that packets leave by.
    pub device: String,
    /// What the device is: `hardware`, `loopback`, or a kind such as `veth`.
    pub kind: String,
    /// The address that packets come from.
    pub source: Option<IpAddr>,
    /// The next router, if there is one.
    pub gateway: Option<IpAddr>,
    /// The largest packet, in bytes.
    pub mtu: u32,
    /// What the device does itself; unknown if it cannot be asked.
    pub offloads: Option<Offloads>,
}

impl PathProbe {
    /// The finding of that name, the verdict included.
    pub fn finding(&self, name: &str) -> Option<&Finding> {
        self.findings.iter().chain([&self.zero_copy]).find(|finding| finding.name == name)
    }
}

/// Asks the kernel for the way to `destination`, from the caller's network namespace.
pub fn probe_path(destination: IpAddr) -> PathProbe {
    let seen = Netlink::open().and_then(|mut netlink| See::look(&mut netlink, destination));
    let (route, findings) = match seen {
        Ok(seen) => seen.judge(destination),
        Err(error) => (None, vec![no_route(&error)]),
    };
    let zero_copy = verdict(&findings, destination, route.as_ref());
    PathProbe { destination, route, findings, zero_copy }
}

/// Everything that the verdict rests on.
struct See {
    answer: RouteAnswer,
    link: Link,
    links: Vec<Link>,
    /// What is active, and what could be switched.
    offloads: Option<(Offloads, Offloads)>,
    /// The same of kernel TLS: sealing, and opening.
    tls: Option<[(bool, bool); 2]>,
    listeners: Option<Vec<PacketListener>>,
}

impl See {
    fn look(netlink: &mut Netlink, destination: IpAddr) -> Result<Self, Error> {
        let answer = netlink.route_to(destination)?;
        let unreachable = Error::Caller { what: "the route names no device" };
        let link = netlink.link(answer.device.ok_or(unreachable)?)?;
        let links = netlink.links()?;
        let ipv6 = destination.is_ipv6();
        let features = Features::of(&*netlink, &link.name).ok();
        let tls = features.as_ref().map(|features| {
            ktls::OFFLOADS.map(|name| (features.has(name), features.can_change(name)))
        });
        let offloads = features.map(|features| {
            let active = Offloads::those(ipv6, |name| features.has(name));
            (active, Offloads::those(ipv6, |name| features.can_change(name)))
        });
        Ok(Self { answer, link, links, offloads, tls, listeners: proc::packet_listeners() })
    }

    fn judge(self, destination: IpAddr) -> (Option<Route>, Vec<Finding>) {
        let findings = vec![
            leaves(self.answer.local || self.link.loopback, destination),
            self.device(),
            self.offload(
                (SCATTER_GATHER, "scatter-gather", "sg"),
                "every packet is copied into one piece",
                |offloads| offloads.scatter_gather,
            ),
            self.offload(
                (TX_CHECKSUM, "checksum offload", "tx"),
                "the kernel copies the payload to sum it",
                |offloads| offloads.tx_checksum,
            ),
            self.offload(
                ("path.tcp_segmentation", "TCP segmentation", "tso"),
                "cut by the kernel: slower, not copied",
                |offloads| offloads.tcp_segmentation,
            ),
            self.offload(
                ("path.udp_segmentation", "UDP segmentation", "tx-udp-segmentation"),
                "cut by the kernel: slower, not copied",
                |offloads| offloads.udp_segmentation,
            ),
            self.tls_offload(("path.tls_sealing", "device seals TLS"), 0),
            self.tls_offload(("path.tls_opening", "device opens TLS"), 1),
            self.unheard(),
            sockets::plain_tcp("path.plain_tcp"),
        ];
        let route = Route {
            kind: device::kind_of(&self.link).to_owned(),
            source: self.answer.source,
            gateway: self.answer.gateway,
            mtu: self.answer.mtu.map_or(self.link.mtu, |mtu| mtu.min(self.link.mtu)),
            offloads: self.offloads.map(|(active, _)| active),
            device: self.link.name,
        };
        (Some(route), findings)
    }

    fn device(&self) -> Finding {
        let title = "device keeps pages";
        let kind = device::kind_of(&self.link);
        match device::fate(&self.link, &self.links) {
            Fate::Kept => {
                Finding::yes(DEVICE, title).detail(format!("{} ({kind})", self.link.name))
            }
            Fate::Copied(reason, remedy) => Finding::no(DEVICE, title, reason).remedy(remedy),
            Fate::Depends(reason) => Finding::unknown(DEVICE, title, reason)
                .remedy("send, and see what the completions report"),
        }
    }

    fn offload(
        &self,
        (name, title, switch): (&'static str, &'static str, &str),
        without: &str,
        pick: impl Fn(&Offloads) -> bool,
    ) -> Finding {
        let device = &self.link.name;
        match &self.offloads {
            None => Finding::unknown(name, title, format!("{device} does not say")),
            Some((active, _)) if pick(active) => Finding::yes(name, title),
            Some((_, changeable)) if pick(changeable) => {
                Finding::no(name, title, format!("off in {device}: {without}"))
                    .remedy(format!("ethtool -K {device} {switch} on"))
            }
            Some(_) => Finding::no(name, title, format!("{device} has none: {without}")),
        }
    }

    /// Where `--ktls auto` uses the kernel's TLS.
    fn tls_offload(&self, (name, title): (&'static str, &'static str), way: usize) -> Finding {
        let device = &self.link.name;
        match self.tls.map(|ways| ways[way]) {
            None => Finding::unknown(name, title, format!("{device} does not say")),
            Some((true, _)) => Finding::yes(name, title),
            Some((false, true)) => Finding::no(name, title, format!("off in {device}"))
                .remedy(format!("ethtool -K {device} {} on", ktls::OFFLOADS[way])),
            Some((false, false)) => {
                Finding::no(name, title, format!("{device} cannot: records are made here"))
            }
        }
    }

    /// A packet listener is handed a private copy of every packet.
    fn unheard(&self) -> Finding {
        let title = "no packet listeners";
        let devices = device::with_devices_below(&self.link, &self.links);
        let Some(listeners) = &self.listeners else {
            return Finding::unknown(LISTENERS, title, "/proc/net/packet cannot be read");
        };
        let hears =
            |listener: &&PacketListener| listener.device == 0 || devices.contains(&listener.device);
        let hearing: Vec<_> = listeners.iter().filter(hears).collect();
        let Some(first) = hearing.first() else { return Finding::yes(LISTENERS, title).value(0) };
        let reason = format!(
            "{} packet socket(s) are handed copies, such as inode {} of user {}",
            hearing.len(),
            first.inode,
            first.user
        );
        Finding::no(LISTENERS, title, reason)
            .value(hearing.len() as u64)
            .remedy("find it with `ss --packet --processes` (tcpdump, a DHCP client), stop it")
    }
}

fn leaves(local: bool, destination: IpAddr) -> Finding {
    let title = "leaves this machine";
    match local {
        false => Finding::yes(ROUTE, title),
        true => {
            let reason = format!("{destination} is this machine; local delivery copies");
            Finding::no(ROUTE, title, reason).remedy("none needed: copying is as fast here")
        }
    }
}

fn no_route(error: &Error) -> Finding {
    let finding = Finding::unknown(ROUTE, "leaves this machine", error.to_string());
    match error {
        Error::Peer { .. } => finding.remedy("add a route, or bring the device up (ip route)"),
        _ => finding,
    }
}

/// The worst of the decisive findings, with every reason.
fn verdict(findings: &[Finding], destination: IpAddr, route: Option<&Route>) -> Finding {
    let (name, title) = VERDICT;
    // What is delivered here needs no second explanation.
    let local = findings.iter().any(|one| one.name == ROUTE && one.verdict == Verdict::No);
    let decisive = |name| if local { name == ROUTE } else { DECISIVE.contains(&name) };
    let of = |verdict| {
        let wanted = move |one: &&Finding| decisive(one.name) && one.verdict == verdict;
        findings.iter().filter(wanted)
    };
    let join = |texts: Vec<&str>| {
        let mut distinct: Vec<&str> = Vec::new();
        for text in texts {
            if !distinct.contains(&text) {
                distinct.push(text);
            }
        }
        distinct.join("; ")
    };
    let reasons = |verdict| join(of(verdict).filter_map(|one| one.reason.as_deref()).collect());
    let remedies = |verdict| join(of(verdict).filter_map(|one| one.remedy.as_deref()).collect());
    let finding = match route {
        _ if of(Verdict::No).next().is_some() => {
            Finding::no(name, title, reasons(Verdict::No)).remedy(remedies(Verdict::No))
        }
        _ if of(Verdict::Unknown).next().is_some() => {
            Finding::unknown(name, title, reasons(Verdict::Unknown))
                .remedy(remedies(Verdict::Unknown))
        }
        Some(route) => {
            let headers = if destination.is_ipv6() { 40 + 8 } else { 20 + 8 };
            let datagram = route.mtu.saturating_sub(headers);
            Finding::yes(name, title)
                .detail(format!("TCP; UDP in datagrams or segments of at most {datagram} bytes"))
        }
        None => Finding::unknown(name, title, "there is no route"),
    };
    Finding { remedy: finding.remedy.filter(|remedy| !remedy.is_empty()), ..finding }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = self.source {
            write!(f, "from {source} ")?;
        }
        write!(f, "through {} ({}), ", self.device, self.kind)?;
        if let Some(gateway) = self.gateway {
            write!(f, "gateway {gateway}, ")?;
        }
        write!(f, "MTU {}", self.mtu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn route() -> Route {
        Route {
            device: "eth0".into(),
            kind: "hardware".into(),
            source: None,
            gateway: None,
            mtu: 1500,
            offloads: Some(Offloads::ALL),
        }
    }

    #[test]
    fn the_worst_decisive_finding_decides() {
        let yes = Finding::yes(DEVICE, "");
        let depends = Finding::unknown(DEVICE, "", "veth");
        let no = Finding::no(LISTENERS, "", "tcpdump").remedy("stop it");
        let judge = |findings: &[Finding]| verdict(findings, THERE, Some(&route()));
        let kept = judge(std::slice::from_ref(&yes));
        assert_eq!(kept.verdict, Verdict::Yes);
        assert!(kept.detail.is_some_and(|detail| detail.contains("1472")));
        assert_eq!(judge(&[yes, depends.clone()]).verdict, Verdict::Unknown);
        let worst = judge(&[depends, no]);
        assert_eq!(worst.verdict, Verdict::No);
        assert_eq!(worst.reason.as_deref(), Some("tcpdump"));
        assert_eq!(worst.remedy.as_deref(), Some("stop it"));
    }

    #[test]
    fn segmentation_in_software_does_not_decide() {
        let slow = Finding::no("path.tcp_segmentation", "", "slow");
        let yes = Finding::yes(DEVICE, "");
        assert_eq!(verdict(&[yes, slow], THERE, Some(&route())).verdict, Verdict::Yes);
    }

    #[test]
    fn no_route_is_unknown_and_says_why() {
        let error = Error::from_call("get route", crate::Errno::from_raw(libc::ENETUNREACH));
        let judged = verdict(&[no_route(&error)], THERE, None);
        assert_eq!(judged.verdict, Verdict::Unknown);
        assert!(judged.reason.is_some_and(|reason| reason.contains("unreachable")));
    }

    #[test]
    fn loopback_is_found_to_copy() {
        let path = probe_path(IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(path.zero_copy.verdict, Verdict::No, "{path}");
        assert_eq!(path.route.as_ref().map(|route| route.kind.as_str()), Some("loopback"));
        for name in ["path.tls_sealing", "path.tls_opening"] {
            assert_eq!(path.finding(name).map(|finding| finding.verdict), Some(Verdict::No));
        }
    }
}
