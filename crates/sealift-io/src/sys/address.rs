//! Socket addresses in the kernel's form.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Room for an IPv4 or IPv6 socket address (`struct sockaddr_in`, `struct sockaddr_in6`).
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(crate) struct RawAddress {
    bytes: [u8; ROOM],
    len: u32,
}

/// `sizeof(struct sockaddr_in6)`, the larger of the two.
const ROOM: usize = 28;
const V4_BYTES: u32 = 16;

impl RawAddress {
    /// Room for the kernel to fill in.
    pub(crate) const fn empty() -> Self {
        Self { bytes: [0; ROOM], len: ROOM as u32 }
    }

    pub(crate) fn new(address: SocketAddr) -> Self {
        let mut bytes = [0; ROOM];
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        let (family, len) = match address {
            SocketAddr::V4(v4) => {
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                (libc::AF_INET, V4_BYTES)
            }
            SocketAddr::V6(v6) => {
                bytes[4..8].copy_from_slice(&v6.flowinfo().to_be_bytes());
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                (libc::AF_INET6, ROOM as u32)
            }
        };
        bytes[0..2].copy_from_slice(&(family as u16).to_ne_bytes());
        Self { bytes, len }
    }

    /// The address, if it is an IP address that the kernel filled in whole.
    pub(crate) fn to_socket_addr(self) -> Option<SocketAddr> {
        let field = |at: usize, len: usize| &self.bytes[at..at + len];
        let family = i32::from(u16::from_ne_bytes(*field(0, 2).first_chunk()?));
        let port = u16::from_be_bytes(*field(2, 2).first_chunk()?);
        match family {
            libc::AF_INET if self.len >= V4_BYTES => {
                let ip = Ipv4Addr::from(*field(4, 4).first_chunk::<4>()?);
                Some(SocketAddrV4::new(ip, port).into())
            }
            libc::AF_INET6 if self.len as usize >= ROOM => {
                let ip = Ipv6Addr::from(*field(8, 16).first_chunk::<16>()?);
                let flow = u32::from_be_bytes(*field(4, 4).first_chunk()?);
                let scope = u32::from_ne_bytes(*field(24, 4).first_chunk()?);
                Some(SocketAddrV6::new(ip, port, flow, scope).into())
            }
            _ => None,
        }
    }

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn set_len(&mut self, len: u32) {
        self.len = len.min(ROOM as u32);
    }

    pub(super) fn as_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in ["192.0.2.1:80", "[2001:db8::7]:65535"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(RawAddress::new(address).to_socket_addr(), Some(address));
        }
        let scoped = SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 1, 2, 3));
        assert_eq!(RawAddress::new(scoped).to_socket_addr(), Some(scoped));
    }

    #[test]
    fn half_an_address_is_none() {
        let mut raw = RawAddress::new("[::1]:1".parse().unwrap());
        raw.set_len(16);
        assert_eq!(raw.to_socket_addr(), None);
        assert_eq!(RawAddress::empty().to_socket_addr(), None);
    }
}
