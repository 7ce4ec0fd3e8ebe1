//! The engine of one connection, made when both ends have agreed: whoever is silent has none.

use sealift::crypto::{IpsecMb, Workers};
use sealift::tls::{Error, TlsStreamBuilder};

use crate::args::EngineArg;

/// Frames that a connection has under way, each at most one job of its engine: what would lie in a
/// longer queue would only take memory.
const DEPTH: usize = 12;

/// Has the stream sealed by the engine that was chosen, unless that is the thread that reads.
pub(super) fn equip(builder: TlsStreamBuilder, choice: EngineArg) -> TlsStreamBuilder {
    match choice {
        EngineArg::Auto | EngineArg::Inline => builder,
        EngineArg::Workers => builder
            .frames_in_flight(DEPTH)
            .sealing_engine_with(|| Ok(Workers::builder().depth(DEPTH).build()?)),
        EngineArg::IpsecMb => builder.sealing_engine_with(|| {
            // It could be when the tunnel began.
            let what = "its library can no longer be opened";
            IpsecMb::open().map_err(|_| Error::Engine { engine: "ipsec-mb", what })
        }),
    }
}
