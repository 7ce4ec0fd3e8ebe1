//! Data paths for Linux that touch each byte once, with buffers that have one owner at a time.
//!
//! ```text
//!  application ──lease──► io::Sender ──► kernel ──► wire ──► kernel ──► io::Receiver ──lease──►
//!       ▲                                  │
//!       └──────── completion ◄── released ─┘
//! ```
//!
//! This crate is the front door of the Sealift family: it has no code of its own. What is used
//! most is at its root; everything is under the module of its layer.
//!
//! | module | what |
//! |---|---|
//! | [`io`] | memory and sockets: pool, leases, zero-copy send, receive, what the machine can do |
//! | [`crypto`] | AEAD engines that take owned jobs: on this core, on other cores, on devices |
//! | `tls` | TLS streams from rustls's configurations; with the feature `tls` |
//!
//! | feature | adds |
//! |---|---|
//! | `tokio` | `io::AsyncSender`: completions as futures; with `tls`, `tls::AsyncTlsStream` |
//! | `sandbox` | `io::sandbox`: private network namespaces and devices that do not copy |
//! | `tls` | the module of that name |
//! | `baseline` | `io::baseline` and `crypto::baseline`: what the library is measured against |
#![forbid(unsafe_code)]

pub use sealift_crypto as crypto;
pub use sealift_io as io;
#[cfg(feature = "tls")]
pub use sealift_tls as tls;

pub use io::{
    Backend, Buffer, Completion, Error, Event, Frozen, Lease, Message, Outcome, Policy, Pool,
    Receiver, Result, Sender, Stats,
};

/// The code of the README compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
