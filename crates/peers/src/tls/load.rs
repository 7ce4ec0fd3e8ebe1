//! What a row has to do, and what it is called: `KIND/CONNECTIONS/WRITE_BYTES`, `KIND/ping-pong`.

use super::Kind;

/// Bytes per write: a small answer, a record, what many programs write, a block of a file.
const WRITES: [usize; 4] = [1_024, 16_384, 65_536, 1 << 20];
const CONNECTIONS: [usize; 2] = [1, 8];
/// Round trips, unless it is to be a small run.
const TRIPS: u64 = 20_000;
/// A run that moves less has a round trip for so many bytes.
const BYTES_PER_TRIP: u64 = 4_096;

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// So many bytes one way, in writes of this size.
    Bulk {
        /// On so many connections, each with its part of the bytes.
        connections: usize,
        /// Bytes, over all connections.
        bytes: u64,
        /// Bytes of each write.
        write_bytes: usize,
    },
    /// One byte there and back, so often, on one connection.
    PingPong {
        /// How often.
        trips: u64,
    },
}

impl Load {
    /// Those of `sealift bench tls`, with its defaults for whatever is empty or not given.
    pub fn all(connections: &[usize], writes: &[usize], size: Option<u64>) -> Vec<Self> {
        let writes = if writes.is_empty() { &WRITES } else { writes };
        let connections = if connections.is_empty() { &CONNECTIONS } else { connections };
        let mut loads = Vec::new();
        for &write_bytes in writes {
            let bytes = size.unwrap_or_else(|| default_bytes(write_bytes));
            let bulk = |&connections| Self::Bulk { connections, bytes, write_bytes };
            loads.extend(connections.iter().map(bulk));
        }
        let trips = size.map_or(TRIPS, |bytes| (bytes / BYTES_PER_TRIP).clamp(1, TRIPS));
        loads.push(Self::PingPong { trips });
        loads
    }

    /// The row's name; scripts compare by it.
    pub fn name(self, kind: Kind) -> String {
        match self {
            Self::PingPong { .. } => format!("{}/ping-pong", kind.name()),
            Self::Bulk { connections, write_bytes, .. } => {
                format!("{}/{connections}/{write_bytes}", kind.name())
            }
        }
    }

    /// How many connections it has.
    pub fn connections(self) -> usize {
        match self {
            Self::Bulk { connections, .. } => connections,
            Self::PingPong { .. } => 1,
        }
    }

    /// The bytes that the far end gets.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Bulk { bytes, .. } => bytes,
            Self::PingPong { trips } => trips,
        }
    }

    /// Bytes of each write.
    pub fn write_bytes(self) -> usize {
        match self {
            Self::Bulk { write_bytes, .. } => write_bytes,
            Self::PingPong { .. } => 1,
        }
    }
}

/// As in `sealift bench tls`.
fn default_bytes(write_bytes: usize) -> u64 {
    if write_bytes < 16_384 { 1 << 30 } else { 4 << 30 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loads_are_those_of_the_command() {
        let loads = Load::all(&[], &[], None);
        let names: Vec<String> = loads.iter().map(|load| load.name(Kind::Openssl)).collect();
        for name in ["openssl/1/1024", "openssl/8/65536", "openssl/8/1048576"] {
            assert!(names.iter().any(|found| found == name), "{names:?}");
        }
        assert_eq!(names.last().map(String::as_str), Some("openssl/ping-pong"));
        assert_eq!(loads.len(), 9);
        assert_eq!((loads[0].bytes(), loads[7].bytes()), (1 << 30, 4 << 30));
        let small = Load::all(&[3], &[50], Some(8_192));
        let bulk = Load::Bulk { connections: 3, bytes: 8_192, write_bytes: 50 };
        assert_eq!(small, [bulk, Load::PingPong { trips: 2 }]);
    }
}
