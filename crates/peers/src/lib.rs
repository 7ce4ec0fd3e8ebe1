//! The same work done with other people's programs and libraries, for side-by-side figures.
//!
//! Not published: it is for people who want to see the ratios on their own machine.
#![forbid(unsafe_code)]

pub mod child;
pub mod command;
pub mod host;
pub mod http;
pub mod report;
pub mod rounds;
#[cfg(feature = "openssl")]
pub mod tls;
pub mod transfer;
pub mod trust;
