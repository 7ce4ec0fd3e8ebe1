//! A way out whose sender takes less than was agreed on.

use std::net::{TcpListener, TcpStream};

use sealift_crypto::Suite;
use sealift_io::{Backend, Pool};

use super::*;
use crate::epoch::Epoch;

/// A socket that takes nothing more, and its other end.
fn full_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let far = listener.accept().unwrap().0;
    near.set_nonblocking(true).unwrap();
    let late = Instant::now() + Duration::from_millis(200);
    while Instant::now() < late {
        while std::io::Write::write(&mut &near, &[0; 1 << 16]).is_ok() {}
    }
    (near, far)
}

/// What was sealed and is refused leaves a gap in the numbers: the stream ends, and says why.
#[test]
fn what_ends_it_is_said_every_time() {
    let (near, _far) = full_pair();
    let sender = Sender::builder().messages(1).backend(Backend::Copy).build(near).unwrap();
    let pool = Pool::builder().frames(1).huge_pages(false).build().unwrap();
    let epoch = Epoch::of(Suite::Aes128Gcm, &[1; 16], [2; 12], true, None).unwrap();
    let frames = Frames::new(Some(pool)).unwrap();
    let mut outflow = Outflow::new(sender, frames, Sealing::new(epoch), None, KEPT_PLACES + 1);
    let mut warn = || outflow.send_alert(AlertDescription::UserCanceled);
    warn().unwrap();
    for _ in 0..2 {
        let refused = warn().unwrap_err();
        assert!(matches!(refused, Error::Io(sealift_io::Error::Full)), "{refused}");
    }
}
