//! How every stream of ours ends, whoever makes its records.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use sealift_tls::{Error, TlsStream};

use super::{Theirs, deadline};

/// Each way is ended by close_notify, ours first, and read to its end by the other.
pub fn each_way_is_ended(ours: &mut TlsStream, theirs: &mut Theirs) {
    ours.write_all(b"question").unwrap();
    let closed = ours.close(deadline(20)).unwrap();
    assert!(!closed.aborted && closed.quarantined == 0 && closed.error.is_none(), "{closed:?}");
    assert_eq!((closed.stats.bytes_sealed, closed.stats.records_sealed), (8, 1));
    let mut question = Vec::new();
    theirs.read_to_end(&mut question).unwrap();
    assert_eq!(question, b"question");
    theirs.write_all(b"answer").unwrap();
    theirs.close();
    let mut answer = Vec::new();
    ours.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"answer");
    assert_eq!(ours.read(&mut [0; 10]).unwrap(), 0, "again");
    assert_eq!(ours.write(b"more").unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert!(matches!(ours.close(deadline(20)), Err(Error::Closed)));
}

/// The end of TCP is no end of what the peer sends, however often one reads; and not of ours.
pub fn the_end_of_tcp_is_an_error(ours: &mut TlsStream, theirs: &mut Theirs) {
    theirs.write_all(b"the first part").unwrap();
    theirs.socket.shutdown(Shutdown::Write).unwrap();
    let mut read = Vec::new();
    assert_eq!(ours.read_to_end(&mut read).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(read, b"the first part");
    assert_eq!(ours.read(&mut [0; 10]).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    ours.write_all(b"still writing").unwrap();
    theirs.read_exact(&mut [0; 13]).unwrap();
}

/// Writes until nothing more is taken for so long; says how much was.
pub fn write_while_nobody_reads(ours: &mut TlsStream, sent: &[u8], patience: Duration) -> usize {
    let mut taken = 0;
    let late = loop {
        ours.set_write_deadline(Some(Instant::now() + patience));
        match ours.write(&sent[taken..]) {
            Ok(count) => taken += count,
            Err(error) => break error,
        }
    };
    assert_eq!(late.kind(), ErrorKind::TimedOut);
    assert!(taken < sent.len());
    taken
}

/// Nobody reads: `close` ends by its deadline, and says that something was lost.
pub fn a_late_close_says_what_was_lost(ours: &mut TlsStream) {
    ours.set_write_deadline(Some(Instant::now() + Duration::from_millis(100)));
    let _ = ours.write(&vec![1; 64 << 20]);
    assert!(ours.unacknowledged_bytes() > Some(0));
    let before = Instant::now();
    let closed = ours.close(Instant::now() + Duration::from_millis(200)).unwrap();
    assert!(before.elapsed() < Duration::from_secs(10));
    assert!(closed.aborted && closed.unacknowledged_bytes > 0, "{closed:?}");
    // Nobody asks the kernel any more: that is not the same as nothing.
    assert_eq!(ours.unacknowledged_bytes(), None);
}

/// A flipped bit on the wire is one error of both halves, and the peer is told.
pub fn a_flipped_bit_ends_both_halves(ours: TlsStream, mut theirs: Theirs) {
    let (mut reader, mut writer) = ours.split();
    theirs.connection.writer().write_all(b"sealed").unwrap();
    let mut wire = Vec::new();
    theirs.connection.write_tls(&mut wire).unwrap();
    *wire.last_mut().unwrap() ^= 1;
    theirs.socket.write_all(&wire).unwrap();
    for _ in 0..2 {
        let found = reader.receive(&mut [0; 100]).unwrap_err();
        assert!(matches!(found, Error::Inauthentic), "{found}");
        let found = writer.send(&[IoSlice::new(b"more")]).unwrap_err();
        assert!(matches!(found, Error::Inauthentic), "{found}");
    }
    let told = theirs.read(&mut [0; 10]).unwrap_err();
    assert!(told.to_string().contains("BadRecordMac"), "{told}");
}
