//! As many connections as there are descriptors for: one that is accepted and cannot be opened
//! would be reset, where one that is not accepted yet only waits.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::quantity;
use crate::terminal::Terminal;

/// What is no connection's: standard streams, the runtime's, listeners, fetches of the figures, a
/// resolver's.
const OTHERS: u64 = 48;
/// Two sockets, one of them twice, and one more while a side is opened or closed.
const EACH: u64 = 4;
/// What an engine has to say when it is done.
const ENGINE: u64 = 3;

/// How many connections there may be at a time: `most`, if this process may have that many files.
/// It takes as many as it is given.
pub(crate) fn places(most: u32, has_engine: bool, terminal: &Terminal) -> u32 {
    let limit = getrlimit(Resource::Nofile);
    // Where it stays as it was, there are fewer connections.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let Some(files) = getrlimit(Resource::Nofile).current else { return most };
    let room = room(files, has_engine);
    if room < u64::from(most) {
        terminal.notice(&format!(
            "the limit of open files, {files}, has room for {} at a time, not {most}; further ones \
             wait to be accepted, unless it is raised (ulimit -n)",
            quantity::connections(room)
        ));
    }
    u32::try_from(room).map_or(most, |room| room.min(most))
}

/// How many connections there are files for; at least one is tried.
fn room(files: u64, has_engine: bool) -> u64 {
    let each = if has_engine { EACH + ENGINE } else { EACH };
    (files.saturating_sub(OTHERS) / each).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_takes_room() {
        assert_eq!([0, 3, 48, 56, 1024].map(|files| room(files, false)), [1, 1, 1, 2, 244]);
        assert_eq!(room(1024, true), 139);
    }
}
