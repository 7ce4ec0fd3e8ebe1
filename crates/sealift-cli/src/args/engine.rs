//! What seals, by its name.

use clap::{Args, ValueEnum};

/// The engines that `--engine` chooses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineArg {
    /// For send one other core, if there is one, or the device; for tunnel inline
    Auto,
    /// The core that reads what is to be sealed
    Inline,
    /// The other cores, while one reads
    Workers,
    /// Intel's multi-buffer library, if it is installed
    IpsecMb,
}

/// Who seals.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct SealingArgs {
    /// What seals what goes out over tls://
    ///
    /// Every connection has an engine of its own: workers, which are threads, are for few
    /// connections with much to send.
    #[arg(long, value_name = "ENGINE", default_value = "auto")]
    pub(crate) engine: EngineArg,
}
