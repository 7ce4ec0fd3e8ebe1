use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::skip_log::skip;

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

fn key(version: Version, cipher: Cipher, number: u64) -> Key {
    let secret = vec![7; if cipher == Cipher::Aes128Gcm { 16 } else { 32 }];
    Key::new(version, cipher, &secret, b"saltexplicit", number).unwrap()
}

#[test]
fn what_cannot_be_is_said_in_words() {
    let (unix, _other) = UnixStream::pair().unwrap();
    let refused = KernelTls::attach(&unix).unwrap_err().to_string();
    assert_eq!(refused, "only plain TCP has kernel TLS");
    let (near, _far) = pair();
    match (is_loaded(), KernelTls::attach(&near)) {
        (true, attached) => attached.unwrap(),
        // Loaded by the question, as root.
        (false, Ok(())) => assert!(is_loaded()),
        (false, Err(refused)) => assert!(refused.to_string().contains("modprobe tls"), "{refused}"),
    }
}

/// Every cipher in both versions, sealed by one socket and opened by the other.
#[test]
fn records_cross_the_kernel_with_their_types() {
    let name = "records_cross_the_kernel_with_their_types";
    if let Err(why) = KernelTls::attach(&pair().0) {
        return skip(name, &why.to_string());
    }
    let attached = |socket: TcpStream| {
        KernelTls::attach(&socket).unwrap();
        KernelTls::sharing(Arc::new(socket.into()))
    };
    for version in [Version::Tls12, Version::Tls13] {
        for cipher in [Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
            let (near, far) = pair();
            let (near, far) = (attached(near), attached(far));
            let before = near.taken_bytes().unwrap();
            near.set_key(Way::Out, &key(version, cipher, 1)).unwrap();
            far.set_key(Way::In, &key(version, cipher, 1)).unwrap();
            assert_eq!(near.send(&[IoSlice::new(b"da"), IoSlice::new(b"ta")]).unwrap(), 4);
            near.send_record(21, &[1, 0]).unwrap();
            assert_eq!(near.next_number(Way::Out, cipher).unwrap(), 3);
            let mut room = vec![0; KernelTls::RECORD_BYTES];
            for (content, expected) in [(23, &b"data"[..]), (21, &[1, 0])] {
                far.wait(Way::In, Instant::now() + Duration::from_secs(10)).unwrap();
                let received = far.receive(&mut room).unwrap();
                assert_eq!(received, Received::Records { content, bytes: expected.len() });
                assert_eq!(&room[..expected.len()], expected);
            }
            assert_eq!(far.receive(&mut room).unwrap(), Received::Nothing);
            let overhead = match (version, cipher) {
                (Version::Tls13, _) => 5 + 1 + 16,
                (_, Cipher::ChaCha20Poly1305) => 5 + 16,
                _ => 5 + 8 + 16,
            };
            let taken = near.taken_bytes().unwrap() - before;
            assert_eq!(taken, 4 + 2 + 2 * overhead, "{version:?} {cipher:?}");
            drop(near);
            far.wait(Way::In, Instant::now() + Duration::from_secs(10)).unwrap();
            assert_eq!(far.receive(&mut room).unwrap(), Received::End);
        }
    }
}
