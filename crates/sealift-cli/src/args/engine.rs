//! What seals, by its name.

use clap::ValueEnum;

/// The engines that `--engine` chooses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineArg {
    /// What is best here; today that is inline
    Auto,
    /// The core that reads what is to be sealed
    Inline,
    /// The other cores, while one reads
    Workers,
    /// Intel's multi-buffer library, if it is installed
    IpsecMb,
}
