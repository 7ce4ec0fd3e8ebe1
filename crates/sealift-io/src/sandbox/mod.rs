//! Private network namespaces and sink devices for benches and tests.
//!
//! A sandbox is a network namespace of its own: nothing in it can reach the machine's networks,
//! and the kernel removes it, devices and all, once the last thread and socket in it is gone.
//!
//! ```text
//!   the process, or one thread            a second namespace
//!  ┌───────────────────────────┐         ┌──────────────────┐
//!  │ lo  sink0  tun0  veth0 ───┼─────────┼─── far0 (bridge) │
//!  └───────────────────────────┘         └──────────────────┘
//! ```
//!
//! In a user namespace `CAP_IPC_LOCK` means nothing to the kernel: locked memory is limited by
//! `RLIMIT_MEMLOCK` there, for root too.

mod device;
mod enter;
mod namespace;
mod sink;
mod tun;
mod veth;

pub use device::{Counters, Device};
pub use namespace::Namespace;
pub use sink::{Sink, SinkKind};
pub use tun::Tun;
pub use veth::{FarEnd, Veth};

use std::marker::PhantomData;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, Protocol, RawProtocol, SocketFlags, SocketType};

use crate::error::{Error, Result};
use device::Control;

/// A private network namespace that the process, or the calling thread, has moved into.
#[derive(Debug)]
pub struct Sandbox {
    control: Control,
    sinks: u8,
    veths: u8,
    tuns: u8,
    /// Sockets are made by the thread that is in the namespace: the sandbox stays with it.
    not_send: PhantomData<*const ()>,
}

impl Sandbox {
    /// Moves the whole process into a new network namespace. No root needed: a new user namespace
    /// gives the rights over it, and maps the caller to its root.
    ///
    /// # Errors
    ///
    /// Fails once the process has a second thread, and where user namespaces are not permitted
    /// to a caller who is not root. The process is then where it was.
    pub fn enter_process() -> Result<Self> {
        enter::process().map(Self::with)
    }

    /// Moves the calling thread alone, and threads that it starts later, into a new network
    /// namespace, until the thread ends.
    ///
    /// # Errors
    ///
    /// Fails without `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`: run as root, or under `unshare -Urn`. The
    /// thread is then where it was.
    pub fn enter_thread() -> Result<Self> {
        enter::thread().map(Self::with)
    }

    fn with(control: Control) -> Self {
        Self { control, sinks: 0, veths: 0, tuns: 0, not_send: PhantomData }
    }

    /// Makes a device that frees every packet without copying it: the first of `dummy`, `ifb`
    /// and a port-less `bridge` that the kernel has.
    pub fn add_sink(&mut self, mtu: u32) -> Result<Sink> {
        sink::add_any(&self.control, next(&mut self.sinks)?, mtu)
    }

    /// Makes a sink of one kind.
    pub fn add_sink_of(&mut self, kind: SinkKind, mtu: u32) -> Result<Sink> {
        sink::add(&self.control, next(&mut self.sinks)?, kind, mtu)
    }

    /// Makes a pair of devices: what is sent into one comes out of the other, which lies in a
    /// second namespace that the pair owns.
    pub fn add_veth(&mut self, mtu: u32, far_end: FarEnd) -> Result<Veth> {
        veth::add(&self.control, next(&mut self.veths)?, mtu, far_end)
    }

    /// Makes a device whose packets a program reads and writes: here, the caller.
    pub fn add_tun(&mut self, mtu: u32) -> Result<Tun> {
        tun::add(&self.control, next(&mut self.tuns)?, mtu)
    }

    /// Listens to every packet of every device, as tcpdump does, as long as it is held.
    pub fn packet_listener(&self) -> Result<PacketListener> {
        let every = RawProtocol::new(u32::from((libc::ETH_P_ALL as u16).to_be()));
        let protocol = every.map(Protocol::from_raw);
        let flags = SocketFlags::CLOEXEC;
        rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, protocol)
            .map(PacketListener)
            .map_err(|errno| Error::from_call("socket(AF_PACKET)", errno.into()))
    }
}

/// A packet socket that hears everything and is never read.
#[derive(Debug)]
pub struct PacketListener(#[expect(dead_code, reason = "held open")] OwnedFd);

/// Counts devices of a kind; names and addresses have room for 256.
fn next(count: &mut u8) -> Result<u8> {
    let number = *count;
    let full = Error::Caller { what: "a sandbox has at most 255 devices of a kind" };
    *count = count.checked_add(1).ok_or(full)?;
    Ok(number)
}
