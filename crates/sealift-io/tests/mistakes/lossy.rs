//! A wire that loses packets: what is retransmitted is read again, long after it was 'sent'.
#![cfg(feature = "sandbox")]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;
use sealift_io::sandbox::{Sandbox, Tun};
use sealift_io::{Backend, Pool, quarantine};

use crate::support::pattern::{first_wrong, garbage, stream};
use crate::support::{deadline, if_kernel_has, in_sandbox, skip};
use crate::{BACKENDS, always, quarantine_alone};

const SEED: u64 = 0x1055;
const FRAMES: usize = 12;
const FRAME_BYTES: usize = 16 * 1024;

/// Two tun devices in two namespaces, and the thread between them.
struct Wire {
    control: Arc<Control>,
    thread: JoinHandle<()>,
    listener: TcpListener,
}

#[derive(Default)]
struct Control {
    /// Packets with data from the sender's side are lost while this is set.
    loses: AtomicBool,
    lost: AtomicU64,
    over: AtomicBool,
}

/// An IPv4 packet without data: a TCP acknowledgement or the like.
fn is_empty(packet: &[u8]) -> bool {
    let header = usize::from(packet[0] & 0xf) * 4;
    let Some(offset) = packet.get(header + 12) else { return false };
    packet.len() <= header + usize::from(offset >> 4) * 4
}

impl Wire {
    /// Both sides call themselves .1 and the other .2, so each packet's addresses are exchanged on
    /// the way. No checksum changes by that: they are sums.
    fn between(near: Tun, far: Tun, listener: TcpListener) -> Self {
        let control = Arc::new(Control::default());
        let shared = control.clone();
        let thread = std::thread::spawn(move || {
            let mut room = [0; 4096];
            while !shared.over.load(Ordering::Relaxed) {
                let brief = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
                let mut polled = [&near, &far].map(|tun| PollFd::new(&tun.packets, PollFlags::IN));
                poll(&mut polled, Some(&brief)).unwrap();
                let ready = polled.map(|one| !one.revents().is_empty());
                for (ready, from, to, data) in
                    [(ready[0], &near, &far, true), (ready[1], &far, &near, false)]
                {
                    if !ready {
                        continue;
                    }
                    let len = (&from.packets).read(&mut room).unwrap();
                    let packet = &mut room[..len];
                    if packet[0] >> 4 != 4 {
                        continue;
                    }
                    if data && shared.loses.load(Ordering::SeqCst) && !is_empty(packet) {
                        shared.lost.fetch_add(1, Ordering::SeqCst);
                        continue;
                    }
                    let (source, destination) = packet[12..20].split_at_mut(4);
                    source.swap_with_slice(destination);
                    (&to.packets).write_all(packet).unwrap();
                }
            }
        });
        Self { control, thread, listener }
    }

    /// Makes the wire; `None`, said as a skip, where there is no tun.
    fn new(name: &str, sandbox: &mut Sandbox) -> Option<Self> {
        let near = if_kernel_has(name, sandbox.add_tun(1500))?;
        let far = std::thread::spawn(|| {
            let mut sandbox = Sandbox::enter_thread()?;
            let tun = sandbox.add_tun(1500)?;
            let listener = TcpListener::bind((tun.local_v4, 0)).unwrap();
            Ok::<_, sealift_io::Error>((tun, listener))
        });
        let (far, listener) = match far.join().unwrap() {
            Ok(made) => made,
            Err(error) => {
                skip(name, &error.to_string());
                return None;
            }
        };
        Some(Self::between(near, far, listener))
    }

    fn connect(&self) -> (OwnedFd, OwnedFd) {
        let port = self.listener.local_addr().unwrap().port();
        let to = SocketAddr::from(([10, 97, 0, 2], port));
        let near = std::net::TcpStream::connect_timeout(&to, Duration::from_secs(10)).unwrap();
        let (far, _) = self.listener.accept().unwrap();
        // All frames fit, so that the sender can go with everything handed over.
        sockopt::set_socket_send_buffer_size(&near, 200_000).unwrap();
        (near.into(), far.into())
    }

    fn end(self) {
        self.control.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

fn overwrite_free(pool: &Pool) {
    let free: Vec<_> = std::iter::from_fn(|| pool.try_lease()).collect();
    for mut lease in free {
        lease.frame_mut().copy_from_slice(garbage(FRAME_BYTES));
    }
}

fn check_all(far: OwnedFd) -> JoinHandle<u64> {
    std::thread::spawn(move || {
        let (mut file, mut room, mut heard) = (File::from(far), vec![0; 1 << 16], 0);
        loop {
            match file.read(&mut room).unwrap() {
                0 => return heard,
                count => {
                    let wrong = first_wrong(SEED, heard, &room[..count]);
                    assert_eq!(wrong, None, "the retransmission was corrupted");
                    heard += count as u64;
                }
            }
        }
    })
}

/// Mistake: closing before a retransmit. Here the first transmission is lost on the way, the
/// device has let go of it, the sender is closed or dropped, and every frame that comes home is
/// overwritten: the retransmission must still be what was sent.
#[test]
fn a_retransmission_after_the_end_is_what_was_sent() {
    let name = "a_retransmission_after_the_end_is_what_was_sent";
    let _alone = quarantine_alone();
    in_sandbox(name, |sandbox| {
        let Some(wire) = Wire::new(name, sandbox) else { return };
        for backend in BACKENDS {
            for dropped in [true, false] {
                let (near, far) = wire.connect();
                let pool = Pool::builder().frames(FRAMES).frame_bytes(FRAME_BYTES);
                let pool = pool.huge_pages(false).build().unwrap();
                let mut sender = always(backend).pool(&pool).build(near).unwrap();
                let lost_before = wire.control.lost.load(Ordering::SeqCst);
                wire.control.loses.store(true, Ordering::SeqCst);
                let mut offset = 0;
                while let Some(mut lease) = pool.try_lease() {
                    offset += lease.fill(stream(SEED, offset, FRAME_BYTES)) as u64;
                    sender.send(lease).unwrap();
                }
                let soon = Instant::now() + Duration::from_millis(20);
                let flushed = sender.flush(soon);
                assert!(flushed.is_err() || backend == Backend::Copy, "{backend}: {flushed:?}");
                while let Some(event) = sender.poll() {
                    drop(event);
                }
                let end = deadline(10);
                while wire.control.lost.load(Ordering::SeqCst) == lost_before {
                    assert!(Instant::now() < end, "nothing was lost");
                    sleep(Duration::from_millis(1));
                }
                let peer = check_all(far);
                let heal = |after: Duration| {
                    let end = Instant::now() + after;
                    while Instant::now() < end {
                        overwrite_free(&pool);
                        sleep(Duration::from_millis(1));
                    }
                    wire.control.loses.store(false, Ordering::SeqCst);
                };
                if dropped {
                    drop(sender);
                    heal(Duration::from_millis(30));
                } else {
                    std::thread::scope(|scope| {
                        scope.spawn(|| heal(Duration::from_millis(30)));
                        let closed = sender.close(deadline(20));
                        assert!(!closed.aborted && closed.quarantined == 0, "{closed:?}");
                    });
                }
                while !peer.is_finished() {
                    overwrite_free(&pool);
                    sleep(Duration::from_millis(1));
                }
                assert_eq!(peer.join().unwrap(), offset, "{backend}");
                let end = deadline(20);
                while pool.stats().leased > 0 {
                    assert!(Instant::now() < end, "{:?} {:?}", pool.stats(), quarantine());
                    sleep(Duration::from_millis(1));
                }
            }
        }
        wire.end();
    });
}
