//! Who seals for a `send` or a `tunnel`, if not the thread that reads.

use std::os::fd::AsFd;
use std::thread::available_parallelism;

use sealift::crypto::{Engine, IpsecMb, Workers};
use sealift::io::ktls::{Device, is_loaded};
use sealift::tls::{Bytes, Frame, Ktls};

use crate::args::EngineArg;
use crate::failure::{Action, Failure};

/// An engine for one stream.
pub(crate) type SealingEngine = Box<dyn Engine<Bytes, Frame>>;

/// The engine that was chosen, unless that is the thread that reads.
///
/// # Errors
/// Why it is not to be had here.
pub(crate) fn sealing_engine(choice: EngineArg) -> Result<Option<SealingEngine>, Failure> {
    let refused = |name: &str, why: String| {
        let remedy = "leave --engine out, and the thread that reads seals";
        Failure::explained(Action::SetUp, format!("the {name} engine"), why, remedy)
    };
    Ok(match choice {
        EngineArg::Auto | EngineArg::Inline => None,
        EngineArg::Workers => {
            let workers = Workers::builder().build();
            Some(Box::new(workers.map_err(|error| refused("workers", error.to_string()))?))
        }
        EngineArg::IpsecMb => {
            let library = IpsecMb::open();
            Some(Box::new(library.map_err(|error| refused("ipsec-mb", error.to_string()))?))
        }
    })
}

/// The engine for one transfer through `socket`. Left to choose, it is one other core, if there is
/// one and the kernel's offload is not to have the records: sealing takes less time than reading
/// and sending, which go on meanwhile.
///
/// # Errors
/// Why the engine that was asked for is not to be had here.
pub(super) fn transfer_engine(
    choice: EngineArg,
    ktls: Ktls,
    socket: impl AsFd,
) -> Result<Option<SealingEngine>, Failure> {
    if choice != EngineArg::Auto {
        return sealing_engine(choice);
    }
    let is_alone = available_parallelism().map_or(1, usize::from) == 1;
    if is_alone || is_for_kernel(ktls, socket) {
        return Ok(None);
    }
    // Where the system has no thread to give, the one that reads seals.
    let workers = Workers::builder().threads(1).build();
    let workers = workers.inspect_err(|error| tracing::debug!(%error, "sealed where it is read"));
    Ok(workers.ok().map(|workers| Box::new(workers) as SealingEngine))
}

/// Whether the kernel is to make the records; it does not share that with an engine.
fn is_for_kernel(ktls: Ktls, socket: impl AsFd) -> bool {
    match ktls {
        Ktls::On => true,
        Ktls::Off => false,
        Ktls::Auto => {
            is_loaded() && Device::of(socket).is_ok_and(|device| device.seals || device.opens)
        }
    }
}
