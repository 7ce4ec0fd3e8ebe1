//! TLS streams whose sealing is the copy: the handshake is rustls's, the records are ours.
//!
//! ```text
//!  write ──► Pieces ──► Sealing ──► Lease ──► sealift_io::Sender ──► kernel      outflow.rs
//!  send_owned ──► Job ──► an engine ──► in order ──┘│                            bulk.rs
//!                                                   │ rustls: secrets, tickets   link.rs
//!  read ◄── the caller's memory ◄── Opening ◄── received bytes ◄──── kernel      inflow.rs
//!                    ▲                                  │
//!                    └── in order ◄── engine ◄── jobs ◄─┘ if there is one        ahead/
//! ```
//!
//! Users keep their own rustls configurations. After the handshake rustls hands over the traffic
//! secrets; from there on records are sealed from the caller's memory straight into pool leases,
//! which leave by zero-copy where the path has it, and are opened straight into the caller's memory
//! where a whole record fits.
//!
//! ```no_run
//! use std::io::{Read, Write};
//! use std::net::TcpStream;
//! use std::sync::Arc;
//! use std::time::{Duration, Instant};
//! use sealift_tls::{TlsStream, rustls};
//!
//! # fn get(config: Arc<rustls::ClientConfig>) -> Result<(), Box<dyn std::error::Error>> {
//! let deadline = Instant::now() + Duration::from_secs(10);
//! let socket = TcpStream::connect("example.org:443")?;
//! let mut stream = TlsStream::connect(socket, config, "example.org".try_into()?, deadline)?;
//! stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
//! let mut answer = Vec::new();
//! stream.read_to_end(&mut answer)?; // an error, if it ended without close_notify
//! assert!(!stream.close(deadline)?.aborted);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod ahead;
mod alert;
#[cfg(feature = "tokio")]
mod async_handshake;
#[cfg(feature = "tokio")]
mod async_stream;
mod attended;
mod begun;
mod bell;
mod builder;
mod bulk;
mod control;
mod engines;
mod entrusted;
mod epoch;
mod error;
mod frame;
mod frames;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod holders;
mod incoming;
mod inflow;
mod ktls;
mod latency;
mod link;
mod opening;
mod outflow;
mod outgoing;
mod parting;
mod parts;
mod pieces;
mod post_handshake;
mod record;
mod retirement;
mod room;
mod sealing;
mod secrets;
mod shared;
mod speaker;
mod split;
mod stats;
mod stream;
mod sync;
#[cfg(feature = "tokio")]
mod tasks;

#[cfg(feature = "tokio")]
pub use async_stream::AsyncTlsStream;
pub use builder::TlsStreamBuilder;
pub use error::{Error, Refused, Result, Unfinished, Violation};
pub use frame::Frame;
pub use ktls::{Ktls, Maker, Makers};
pub use latency::Latency;
pub use split::{Closed, TlsReader, TlsWriter};
pub use stats::{Offload, Stats};
pub use stream::TlsStream;

pub use bytes::Bytes;
pub use rustls;
pub use sealift_crypto;
