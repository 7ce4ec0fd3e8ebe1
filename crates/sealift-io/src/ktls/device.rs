//! What the network device does of TLS, and what it was given to do.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use super::Way;
use crate::error::{Error, Result};
use crate::netlink::Netlink;
use crate::sys::netdev::Features;

/// The features of a device that seals, and of one that opens, as `ethtool -k` names them.
pub(crate) const OFFLOADS: [&str; 2] = ["tls-hw-tx-offload", "tls-hw-rx-offload"];
/// The calling thread's network namespace, which `/proc/net` need not be.
const TLS_STAT: &str = "/proc/thread-self/net/tls_stat";

/// The device that a connection leaves by, and what it does of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Device {
    /// Its name.
    pub name: String,
    /// It can seal, and that is switched on.
    pub seals: bool,
    /// It can open, and that is switched on.
    pub opens: bool,
}

impl Device {
    /// The device of the route to the peer of a connected socket, in the caller's network
    /// namespace.
    ///
    /// # Errors
    /// [`Error::Caller`] if the socket has no peer on a network; what the kernel answered.
    pub fn of(socket: impl AsFd) -> Result<Self> {
        let nowhere = Error::Caller { what: "the socket is not connected over a network" };
        let peer = rustix::net::getpeername(socket).map_err(|_| nowhere.clone())?;
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok()).ok_or(nowhere)?;
        let mut netlink = Netlink::open()?;
        let route = netlink.route_to(peer.ip().to_canonical())?;
        let index = route.device.ok_or(Error::Caller { what: "the route names no device" })?;
        let name = netlink.link(index)?.name;
        let features = Features::of(&netlink, &name)
            .map_err(|errno| Error::System { call: "ioctl(SIOCETHTOOL)", errno })?;
        let [seals, opens] = OFFLOADS.map(|feature| features.has(feature));
        Ok(Self { name, seals, opens })
    }

    /// Whether it offers to do this way's work.
    pub fn offloads(&self, way: Way) -> bool {
        match way {
            Way::Out => self.seals,
            Way::In => self.opens,
        }
    }
}

/// The keys that devices took so far in this network namespace. A driver may refuse one, and the
/// kernel then works in software without a word: this count is where it shows.
pub fn device_keys(way: Way) -> u64 {
    device_keys_in(&fs::read_to_string(TLS_STAT).unwrap_or_default(), way)
}

fn device_keys_in(tls_stat: &str, way: Way) -> u64 {
    let wanted = if way == Way::Out { "TlsTxDevice" } else { "TlsRxDevice" };
    let mut lines = tls_stat.lines().filter_map(|line| line.split_once(char::is_whitespace));
    let line = lines.find(|(name, _)| *name == wanted);
    line.and_then(|(_, count)| count.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn loopback_has_no_device_that_offloads() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let device = Device::of(&near).unwrap();
        assert_eq!(device, Device { name: "lo".to_owned(), seals: false, opens: false });
        let (unix, _other) = UnixStream::pair().unwrap();
        assert!(matches!(Device::of(&unix), Err(Error::Caller { .. })));
    }

    #[test]
    fn what_devices_took_is_counted() {
        let stat = "TlsCurrTxSw   \t0\nTlsTxDevice   \t3\nTlsRxDevice   \t1\n";
        assert_eq!((device_keys_in(stat, Way::Out), device_keys_in(stat, Way::In)), (3, 1));
        assert_eq!(device_keys_in("", Way::Out), 0);
    }
}
