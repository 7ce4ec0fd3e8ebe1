//! Questions and orders to the kernel's routing and link tables (rtnetlink), one at a time.
//!
//! A [`Netlink`] belongs to the network namespace in which it was opened, whichever thread uses
//! it. Each request waits for its answer for at most [`ANSWER_WITHIN`].

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
#[cfg(feature = "sandbox")]
use netlink_packet_route::link::LinkAttribute;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use crate::error::{Errno, Error, Result};

mod answer;
#[cfg(feature = "sandbox")]
mod configure;

#[cfg(any(feature = "sandbox", test))]
pub(crate) use answer::LinkCounters;
pub(crate) use answer::{Link, RouteAnswer};
use answer::{link_of, route_of};
#[cfg(feature = "sandbox")]
pub(crate) use configure::{LinkChange, NewLink};

const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The kernel fills at most 32 KiB a read of a dump.
const ANSWER_BYTES: usize = 64 * 1024;

/// A connection to rtnetlink.
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    answer: Vec<u8>,
}

impl Netlink {
    /// Connects to the caller's network namespace.
    pub(crate) fn open() -> Result<Self> {
        let failed = |errno: rustix::io::Errno| Error::from_call("rtnetlink", errno.into());
        let family = rustix::net::AddressFamily::NETLINK;
        // NETLINK_ROUTE is protocol 0, which is what none means.
        let socket = rustix::net::socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, None)
            .map_err(failed)?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0)).map_err(failed)?;
        rustix::net::connect(&socket, &SocketAddrNetlink::new(0, 0)).map_err(failed)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(ANSWER_WITHIN))
            .map_err(failed)?;
        Ok(Self { socket, sequence: 0, answer: vec![0; ANSWER_BYTES] })
    }

    /// The device with that index.
    pub(crate) fn link(&mut self, index: u32) -> Result<Link> {
        let mut question = LinkMessage::default();
        question.header.index = index;
        self.one_link(question)
    }

    /// The device with that name.
    #[cfg(feature = "sandbox")]
    pub(crate) fn link_named(&mut self, name: &str) -> Result<Link> {
        let mut question = LinkMessage::default();
        question.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.one_link(question)
    }

    fn one_link(&mut self, question: LinkMessage) -> Result<Link> {
        let call = "rtnetlink: get link";
        let answers = self.request(call, RouteNetlinkMessage::GetLink(question), 0)?;
        let missing = Error::System { call, errno: Errno::from_raw(libc::ENODEV) };
        answers.iter().find_map(link_of).ok_or(missing)
    }

    /// All devices of the namespace.
    pub(crate) fn links(&mut self) -> Result<Vec<Link>> {
        let question = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let answers = self.request("rtnetlink: list links", question, NLM_F_DUMP)?;
        Ok(answers.iter().filter_map(link_of).collect())
    }

    /// The way that a packet to `destination` takes.
    pub(crate) fn route_to(&mut self, destination: IpAddr) -> Result<RouteAnswer> {
        let call = "rtnetlink: get route";
        let mut question = RouteMessage::default();
        question.header.address_family = family_of(destination);
        question.header.destination_prefix_length = host_prefix(destination);
        question.attributes.push(RouteAttribute::Destination(destination.into()));
        let answers = self.request(call, RouteNetlinkMessage::GetRoute(question), 0)?;
        let unreachable = Error::Peer { call, errno: Errno::from_raw(libc::ENETUNREACH) };
        answers.iter().find_map(route_of).ok_or(unreachable)
    }

    /// Sends one request and collects its answers up to the acknowledgement or the dump's end.
    fn request(
        &mut self,
        call: &'static str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        if flags & NLM_F_DUMP != NLM_F_DUMP {
            header.flags |= NLM_F_ACK;
        }
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        rustix::net::send(&self.socket, &bytes, SendFlags::empty())
            .map_err(|errno| Error::from_call(call, errno.into()))?;
        let mut answers = Vec::new();
        while !self.read_answers(call, &mut answers)? {}
        Ok(answers)
    }

    /// Reads once; true when the answer is complete.
    fn read_answers(
        &mut self,
        call: &'static str,
        answers: &mut Vec<RouteNetlinkMessage>,
    ) -> Result<bool> {
        let system = |raw| Error::System { call, errno: Errno::from_raw(raw) };
        let received = rustix::io::retry_on_intr(|| {
            rustix::net::recv(&self.socket, &mut self.answer[..], RecvFlags::TRUNC)
        });
        let (_, length) = received.map_err(|errno| match errno {
            // The socket's time-out; nobody is at the other end but the kernel.
            rustix::io::Errno::AGAIN => system(libc::ETIMEDOUT),
            errno => system(errno.raw_os_error()),
        })?;
        let mut rest = self.answer.get(..length).ok_or_else(|| system(libc::EMSGSIZE))?;
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|_| system(libc::EBADMSG))?;
            let step = (message.header.length as usize).next_multiple_of(4).max(4);
            rest = rest.get(step..).unwrap_or_default();
            if message.header.sequence_number != self.sequence {
                continue; // Late, for a request that timed out.
            }
            match message.payload {
                NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::Error(error) => {
                    return match error.raw_code() {
                        0 => Ok(true),
                        code => Err(Error::from_call(call, Errno::from_raw(code.wrapping_neg()))),
                    };
                }
                _ => {}
            }
        }
        Ok(false)
    }
}

impl AsFd for Netlink {
    /// The socket, for the device ioctls of the same namespace.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn family_of(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn host_prefix(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}
