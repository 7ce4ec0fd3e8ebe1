//! Network devices by `ioctl`: offloads (ethtool), and the device end of a tun.
//!
//! Invariants:
//! 1. `ifreq` and the request buffer live across the `ioctl`, and are writable.
//! 2. A buffer is at least as long as its command makes the kernel write.

use std::os::fd::{AsFd, AsRawFd};
use std::os::raw::c_char;

use crate::error::Errno;

const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
#[cfg(feature = "sandbox")]
const ETHTOOL_SFEATURES: u32 = 0x3b;
const ETH_SS_FEATURES: u32 = 4;
const NAME_BYTES: usize = 32;

/// Kernels know about 64 features; one that knows more than this is not asked.
const FEATURES_AT_MOST: usize = 1024;
const WORD_BITS: usize = 32;

/// A device's features by their names, such as `tx-scatter-gather`.
pub(crate) struct Features {
    /// Name, whether it can be changed, whether it is active.
    known: Vec<(String, bool, bool)>,
}

impl Features {
    /// Reads the features of a device in the socket's network namespace.
    pub(crate) fn of(socket: impl AsFd, device: &str) -> Result<Self, Errno> {
        let socket = socket.as_fd();
        let count = feature_count(socket, device)?;
        let names = feature_names(socket, device, count)?;
        // struct ethtool_gfeatures: four words (available, requested, active, never changed)
        // for each 32 features.
        let words = count.div_ceil(WORD_BITS);
        let mut request = vec![0u32; 2 + 4 * words];
        request[0] = ETHTOOL_GFEATURES;
        request[1] = words as u32;
        ethtool(socket, device, &mut request)?;
        let is_set = |bit: usize, column: usize| {
            let word = request[2 + 4 * (bit / WORD_BITS) + column];
            word >> (bit % WORD_BITS) & 1 == 1
        };
        let known = names.into_iter().enumerate();
        Ok(Self {
            known: known.map(|(bit, name)| (name, is_set(bit, 0), is_set(bit, 2))).collect(),
        })
    }

    /// Whether the kernel knows the feature and it is active.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.known.iter().any(|(known, _, active)| known == name && *active)
    }

    /// Whether the feature can be switched on or off.
    pub(crate) fn can_change(&self, name: &str) -> bool {
        self.known.iter().any(|(known, changeable, _)| known == name && *changeable)
    }

    /// Asks for the features to be on or off. The kernel ignores what the device cannot change:
    /// read them again to see what came of it.
    #[cfg(feature = "sandbox")]
    pub(crate) fn set(
        &self,
        socket: impl AsFd,
        device: &str,
        wishes: &[(&str, bool)],
    ) -> Result<(), Errno> {
        // struct ethtool_sfeatures: two words (valid, requested) for each 32 features.
        let words = self.known.len().div_ceil(WORD_BITS);
        let mut request = vec![0u32; 2 + 2 * words];
        request[0] = ETHTOOL_SFEATURES;
        request[1] = words as u32;
        for (name, on) in wishes {
            for bit in (0..self.known.len()).filter(|bit| self.known[*bit].0 == *name) {
                let word = 2 + 2 * (bit / WORD_BITS);
                request[word] |= 1 << (bit % WORD_BITS);
                request[word + 1] |= u32::from(*on) << (bit % WORD_BITS);
            }
        }
        ethtool(socket, device, &mut request)
    }
}

fn feature_count(socket: impl AsFd, device: &str) -> Result<usize, Errno> {
    // struct ethtool_sset_info: command, reserved, a 64-bit mask of sets, a count for each set.
    let mut request = [0u32; 5];
    request[0] = ETHTOOL_GSSET_INFO;
    let mask = (1u64 << ETH_SS_FEATURES).to_ne_bytes();
    request[2] = u32::from_ne_bytes([mask[0], mask[1], mask[2], mask[3]]);
    request[3] = u32::from_ne_bytes([mask[4], mask[5], mask[6], mask[7]]);
    ethtool(socket, device, &mut request)?;
    match request[4] as usize {
        count @ 1..=FEATURES_AT_MOST => Ok(count),
        _ => Err(Errno::from_raw(libc::EOPNOTSUPP)),
    }
}

fn feature_names(socket: impl AsFd, device: &str, count: usize) -> Result<Vec<String>, Errno> {
    // struct ethtool_gstrings: command, set, count, then 32 bytes for each name. The kernel
    // writes as many as it has, whatever the count says: there is room for the most.
    let mut request = vec![0u32; 3 + FEATURES_AT_MOST * NAME_BYTES / 4];
    request[0] = ETHTOOL_GSTRINGS;
    request[1] = ETH_SS_FEATURES;
    request[2] = count as u32;
    ethtool(socket, device, &mut request)?;
    let bytes: Vec<u8> = request[3..].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let names = bytes.chunks_exact(NAME_BYTES).take(count).map(|name| {
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(NAME_BYTES);
        String::from_utf8_lossy(&name[..end]).into_owned()
    });
    Ok(names.collect())
}

/// Hands one request to the device's driver. The callers keep invariant 2.
fn ethtool(socket: impl AsFd, device: &str, request: &mut [u32]) -> Result<(), Errno> {
    let mut interface = interface(device)?;
    interface.ifr_ifru.ifru_data = request.as_mut_ptr().cast();
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: invariants 1 and 2.
    match unsafe { libc::ioctl(socket, SIOCETHTOOL, &raw mut interface) } {
        0.. => Ok(()),
        _ => Err(Errno::last()),
    }
}

/// Makes the open `/dev/net/tun` the program's end of the device with that name.
#[cfg(feature = "sandbox")]
pub(crate) fn attach_tun(tun: impl AsFd, device: &str) -> Result<(), Errno> {
    let mut interface = interface(device)?;
    interface.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    let tun = tun.as_fd().as_raw_fd();
    // SAFETY: invariant 1; the kernel reads and writes the `ifreq` only.
    match unsafe { libc::ioctl(tun, libc::TUNSETIFF as libc::Ioctl, &raw mut interface) } {
        0 => Ok(()),
        _ => Err(Errno::last()),
    }
}

fn interface(device: &str) -> Result<libc::ifreq, Errno> {
    // SAFETY: `ifreq` is plain integers and pointers; all zeroes is a valid value.
    let mut interface: libc::ifreq = unsafe { std::mem::zeroed() };
    // The name ends with a zero byte.
    if device.is_empty() || device.len() >= interface.ifr_name.len() {
        return Err(Errno::from_raw(libc::ENODEV));
    }
    for (place, byte) in interface.ifr_name.iter_mut().zip(device.bytes()) {
        *place = byte as c_char;
    }
    Ok(interface)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Netlink;

    #[test]
    fn loopback_gathers_and_a_missing_device_is_an_error() {
        let netlink = Netlink::open().unwrap();
        let features = Features::of(&netlink, "lo").unwrap();
        assert!(features.has("tx-scatter-gather"));
        assert!(!features.has("no-such-feature"));
        let missing = |name| Features::of(&netlink, name).err().map(Errno::raw);
        assert_eq!(missing("no-such-device"), Some(libc::ENODEV));
        assert_eq!(missing(""), Some(libc::ENODEV));
        assert_eq!(missing("a-name-that-is-too-long"), Some(libc::ENODEV));
    }
}
