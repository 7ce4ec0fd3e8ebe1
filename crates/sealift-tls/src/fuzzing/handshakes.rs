//! Both ends of a handshake, and somebody between them.
//!
//! ```text
//!  client ──► sent ──► cut, changed, added to ──► server
//!    ▲                                              │
//!    └────────────── the same ◄──── sent ◄──────────┘
//! ```
//! The input of [`tls_handshakes`] is a byte of choices, then commands of two bytes: which way and
//! what, and how much. Bytes that are added follow theirs.
//!
//! 1. Whatever comes, an end waits for more, fails, or is done. It holds no more than
//!    [`MOST_HELD_BYTES`], and the end of what comes is its end.
//! 2. Where nothing was changed or added, both are done, however it was cut; and what comes behind
//!    the handshake is kept as it came, and not shown to rustls.
//! 3. Two ends that are done have the same keys, whatever came between.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ExtractedSecrets, ServerConfig};
use sealift_io::{Backend, Receiver, Sender};

use crate::epoch;
use crate::error::{Error, Result};
use crate::handshake::{Handshake, Wire};
use crate::record::MOST_RECORD_BYTES;
use crate::speaker::Speaker;

/// The longest message of a handshake that rustls takes, in bytes; it joins the parts of one in
/// what it was shown.
const MOST_MESSAGE_BYTES: usize = 0xffff;
/// A message, the record that ends it, and one that is behind it, for the most part.
const MOST_HELD_BYTES: usize = MOST_MESSAGE_BYTES + 2 * MOST_RECORD_BYTES;
/// What is received at a time.
const PART_BYTES: usize = 4096;
/// What comes behind a handshake, which rustls would refuse.
const BEHIND: [u8; 9] = [23, 3, 3, 0, 4, 1, 2, 3, 4];
/// Flights that go either way, and more.
const MOST_FLIGHTS: usize = 16;

/// What two ends are made of, and how the server is called.
#[derive(Clone, Debug)]
pub struct Configs {
    pub client: Arc<ClientConfig>,
    pub server: Arc<ServerConfig>,
    pub name: ServerName<'static>,
}

/// Lets two ends of one of `configs` shake hands, and does to what they send what the input says.
///
/// # Errors
/// A mistake of the target's own.
pub fn tls_handshakes(configs: &[Configs], input: &[u8]) -> Result<()> {
    let Some((&choices, mut commands)) = input.split_first() else { return Ok(()) };
    let configs = &configs[usize::from(choices >> 1) % configs.len()];
    let is_exact = choices & 1 == 1;
    let client = Speaker::client(configs.client.clone(), configs.name.clone())?;
    let client = End::new(client, is_exact)?;
    let server = End::new(Speaker::server(&configs.server)?, is_exact)?;
    let mut meeting = Meeting { ends: [client, server], is_changed: false };
    meeting.ends.iter_mut().try_for_each(End::go_on)?;
    while let Some((&[what, how_much], rest)) = commands.split_first_chunk() {
        commands = meeting.follow(what, usize::from(how_much), rest)?;
    }
    meeting.end()
}

struct Meeting {
    /// The client, and the server.
    ends: [End; 2],
    /// Whether something that was sent did not come as it was.
    is_changed: bool,
}

impl Meeting {
    /// Follows one command; what is left of the input.
    fn follow<'i>(&mut self, what: u8, count: usize, input: &'i [u8]) -> Result<&'i [u8]> {
        let from = usize::from(what & 1);
        let [sent, to] = if from == 0 { [0, 1] } else { [1, 0] };
        let sent = &mut self.ends[sent].sent;
        let (mut bytes, rest) = match what >> 1 & 3 {
            0 => (sent.drain(..count.min(sent.len())).collect::<Vec<u8>>(), input),
            1 => (sent.drain(..(count * 16).min(sent.len())).collect(), input),
            2 => (sent.drain(..sent.len().min(1)).collect(), input),
            _ => {
                let (added, rest) = input.split_at(count.min(input.len()));
                (added.repeat(1 + usize::from(what >> 3)), rest)
            }
        };
        if what >> 1 & 2 != 0 && !bytes.is_empty() {
            self.is_changed = true;
        }
        if what >> 1 & 3 == 2 {
            bytes.iter_mut().for_each(|byte| *byte ^= count.max(1) as u8);
        }
        self.ends[to].receive(&bytes)?;
        Ok(rest)
    }

    /// Brings the rest as it was sent, and something behind it; then the end of all.
    fn end(mut self) -> Result<()> {
        let mut is_behind = [false; 2];
        for _ in 0..MOST_FLIGHTS {
            for from in [0, 1] {
                let mut sent = std::mem::take(&mut self.ends[from].sent);
                if self.ends[from].state == State::Done && !is_behind[from] {
                    sent.extend(BEHIND);
                    is_behind[from] = true;
                }
                self.ends[1 - from].receive(&sent)?;
            }
        }
        self.ends.iter_mut().try_for_each(End::receive_end)?;
        self.judge()
    }

    /// What has come of it.
    fn judge(self) -> Result<()> {
        let [client, server] = self.ends;
        let is_done = [client.state, server.state] == [State::Done; 2];
        assert!(is_done || self.is_changed, "nobody came between them: {:?}", client.state);
        if is_done {
            let (client, server) = (client.handshake.finish()?, server.handshake.finish()?);
            assert_keys_agree(&client.secrets, &server.secrets)?;
            assert_keys_agree(&server.secrets, &client.secrets)?;
            let is_kept = |received: &Vec<u8>| BEHIND.starts_with(received);
            assert!(self.is_changed || is_kept(&client.received) && is_kept(&server.received));
        }
        Ok(())
    }
}

fn assert_keys_agree(sealing: &ExtractedSecrets, opening: &ExtractedSecrets) -> Result<()> {
    let (sealing, opening) = (epoch::parts(&sealing.tx.1)?, epoch::parts(&opening.rx.1)?);
    assert!(sealing == opening, "the ends have other keys");
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waits,
    Done,
    Failed,
}

/// One end, by the socket that it would have.
struct End {
    handshake: Handshake,
    sender: Sender,
    receiver: Receiver,
    is_exact: bool,
    /// Where its socket leads to.
    wire: UnixStream,
    /// What it sent, and the other end has not received.
    sent: Vec<u8>,
    state: State,
}

impl End {
    fn new(speaker: Speaker, is_exact: bool) -> Result<Self> {
        let (socket, wire) = UnixStream::pair().map_err(of_target)?;
        wire.set_nonblocking(true).map_err(of_target)?;
        let sender = Sender::builder().backend(Backend::Copy).build(socket)?;
        let receiver = Receiver::sharing(sender.socket().clone())?;
        let (handshake, state) = (Handshake::new(speaker), State::Waits);
        Ok(Self { handshake, sender, receiver, is_exact, wire, sent: Vec::new(), state })
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<()> {
        for part in bytes.chunks(PART_BYTES) {
            // One that has ended reads no more.
            if self.state == State::Waits {
                self.wire.write_all(part).map_err(of_target)?;
                self.go_on()?;
            }
        }
        Ok(())
    }

    fn receive_end(&mut self) -> Result<()> {
        self.wire.shutdown(Shutdown::Write).map_err(of_target)?;
        self.go_on()?;
        assert!(self.state != State::Waits, "it waits for what cannot come");
        Ok(())
    }

    /// Goes on as far as it gets, and takes what it sends.
    fn go_on(&mut self) -> Result<()> {
        if self.state == State::Waits {
            let Self { sender, receiver, is_exact, .. } = self;
            let deadline = Instant::now();
            let wire = &mut Wire { sender, receiver, deadline, is_exact: *is_exact };
            self.state = match self.handshake.go_on(wire) {
                Ok(()) => State::Done,
                Err(Error::Deadline) => State::Waits,
                Err(_) => State::Failed,
            };
        }
        assert!(self.handshake.held_bytes() <= MOST_HELD_BYTES, "it holds too much");
        match self.wire.read_to_end(&mut self.sent) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(of_target(error)),
            _ => Ok(()),
        }
    }
}

fn of_target(error: std::io::Error) -> Error {
    let errno = sealift_io::Errno::from_raw(error.raw_os_error().unwrap_or(0));
    Error::Io(sealift_io::Error::System { call: "the wire", errno })
}
