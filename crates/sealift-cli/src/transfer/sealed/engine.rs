//! Who seals for a `send` or a `tunnel`, if not the thread that reads.

use sealift::crypto::{Engine, IpsecMb, Workers};
use sealift::tls::{Bytes, Frame};

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
