//! What the tests of the command share: running it, content to send, peers to talk to.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

mod certificates;
mod content;
mod guest;
mod ports;
mod process;
mod random;
mod servers;
mod skip;
mod tunnels;

#[allow(unused_imports, reason = "each test program uses its part")]
pub use certificates::*;
#[allow(unused_imports, reason = "each test program uses its part")]
pub use content::*;
#[allow(unused_imports, reason = "each test program uses its part")]
pub use guest::*;
#[allow(unused_imports, reason = "each test program uses its part")]
pub use ports::*;
#[allow(unused_imports, reason = "each test program uses its part")]
pub use process::*;
#[allow(unused_imports, reason = "each test program uses its part")]
pub use random::*;
#[allow(unused_imports, reason = "each test program uses its part")]
pub use servers::*;
#[allow(unused_imports, reason = "each test program uses its part")]
pub use skip::skip;
#[allow(unused_imports, reason = "each test program uses its part")]
pub use tunnels::*;
