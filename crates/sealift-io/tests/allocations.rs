//! No allocation per message in steady state: lease → fill → send → completion → lease, ten
//! thousand times on every backend.
//!
//! Truth: an allocator that counts. Each thread counts its own, so that a peer's or the test
//! harness's allocations do not show.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sealift_io::{Backend, Event, Lease, Message, Policy, Pool, Returned, Sender};
use support::{deadline, tcp_pair, udp_pair};

thread_local! {
    // Const and without a destructor, so that reading it allocates nothing.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    // A thread that is ending has no count any more.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `alloc_zeroed`'s contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `realloc`'s contract.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const BACKENDS: [Backend; 3] = [Backend::Uring, Backend::MsgZerocopy, Backend::Copy];
const FRAMES: usize = 32;
/// Rounds of messages, one of which must be without any allocation.
const ROUNDS: usize = 8;

/// Messages in a round; fewer where the machine is emulated, and some twenty times slower.
fn messages() -> u64 {
    if std::env::var_os("SEALIFT_LAB").is_some() { 2_000 } else { 10_000 }
}

/// Reads everything into one buffer, and says how many bytes there were.
fn discard(far: OwnedFd) -> JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut room = vec![0; 1 << 18];
        let mut heard = 0;
        loop {
            match rustix::io::read(&far, &mut room).unwrap() {
                0 => return heard,
                count => heard += count as u64,
            }
        }
    })
}

/// How one message is made of a lease.
type Shape = fn(Lease) -> Message;

const SHAPES: [(&str, Shape); 2] = [
    ("a lease", |lease| Message::from(lease)),
    ("a header, and two views of a frame", |lease| {
        let view = lease.freeze();
        Message::from(&b"header"[..]).and(view.slice(..1000)).and(view.slice(1000..))
    }),
];

struct Cycle {
    sender: Sender,
    pool: Pool,
    shape: Shape,
}

impl Cycle {
    fn new(backend: Backend, policy: Policy, near: OwnedFd, shape: Shape) -> Self {
        let pool = Pool::builder().frames(FRAMES).frame_bytes(16 * 1024).build().unwrap();
        let builder = Sender::builder().backend(backend).policy(policy).messages(2 * FRAMES);
        let sender = builder.pool(&pool).build(near).unwrap();
        Self { sender, pool, shape }
    }

    /// Sends one message if there is a frame for it.
    fn send(&mut self, number: u64) -> bool {
        let Some(mut lease) = self.pool.try_lease() else { return false };
        lease.set_len(4096 + (number % 8) as usize * 1024);
        lease[..8].copy_from_slice(&number.to_le_bytes());
        self.sender.queue((self.shape)(lease)).unwrap();
        true
    }

    /// Has every frame out at once, as far as the connection lets it, so that every slot of every
    /// table is used once.
    fn fill(&mut self) {
        (0..).take_while(|&number| self.send(number)).for_each(drop);
        // Sleeps, if the connection is full, as it may later.
        let _ = self.sender.flush(Instant::now() + Duration::from_millis(5));
    }

    fn turn(&mut self, messages: u64) {
        for number in 0..messages {
            while !self.send(number) {
                match self.sender.wait(deadline(20)).unwrap() {
                    Some(event) => take(event),
                    None => panic!("frames are out and nothing is under way"),
                }
            }
            // Sometimes all that is there is taken, or lent, and sometimes it piles up.
            match number % 5 {
                0 => {}
                1 | 2 => drop(self.sender.drain(lend)),
                _ => while self.sender.poll().map(take).is_some() {},
            }
        }
        self.sender.flush(deadline(20)).unwrap();
        while let Some(event) = self.sender.poll() {
            take(event);
        }
    }

    /// Asserts that ten thousand messages allocate nothing, once the warm-up is over.
    ///
    /// What is sized at its first use (a request's list of pieces, a mailbox, a wake-up
    /// descriptor) may be used for the first time after the warm-up, when the peer happens to be
    /// slow. That happens a bounded number of times, so it cannot spoil every round.
    fn expect_no_allocations(mut self, name: &str) {
        let messages = messages();
        self.turn(messages / 5);
        let mut rounds = Vec::new();
        while rounds.last() != Some(&0) {
            assert!(rounds.len() < ROUNDS, "{name}: allocations in each round: {rounds:?}");
            let before = ALLOCATIONS.get();
            self.turn(messages);
            rounds.push(ALLOCATIONS.get() - before);
        }
        assert!(!self.sender.close(deadline(20)).aborted);
    }
}

fn take(event: Event) {
    let Event::Completed(done) = event else { panic!("no group was opened") };
    done.result.unwrap();
}

fn lend(event: Returned<'_>) {
    let Returned::Message(done) = event else { panic!("no group was opened") };
    assert!(done.result.is_ok());
}

/// The counter counts; or the tests below would show nothing.
#[test]
fn the_allocator_counts() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(vec![1u8; 100]));
    assert_eq!(ALLOCATIONS.get(), before + 1);
}

#[test]
fn a_stream_allocates_nothing_per_message() {
    for backend in BACKENDS {
        for policy in [Policy::AlwaysZeroCopy, Policy::Adaptive(None)] {
            for (name, shape) in SHAPES {
                let (near, far) = tcp_pair();
                let mut cycle = Cycle::new(backend, policy, near, shape);
                cycle.fill();
                let peer = discard(far);
                cycle.expect_no_allocations(&format!("{backend} {policy:?} {name}"));
                assert!(peer.join().unwrap() > messages() * 4096);
            }
        }
    }
}

/// Nobody reads: what the receiver's queue has no room for is dropped there.
#[test]
fn datagrams_allocate_nothing_per_message() {
    for backend in BACKENDS {
        for policy in [Policy::AlwaysZeroCopy, Policy::Adaptive(None)] {
            for (name, shape) in SHAPES {
                let (near, _far) = udp_pair(false, true);
                let mut cycle = Cycle::new(backend, policy, near.into(), shape);
                cycle.fill();
                cycle.expect_no_allocations(&format!("{backend} {policy:?} {name}"));
            }
        }
    }
}

/// As above, on a path that copies nothing.
#[cfg(feature = "sandbox")]
#[test]
fn datagrams_to_a_sink_allocate_nothing_per_message() {
    use std::net::UdpSocket;
    use support::{if_kernel_has, in_sandbox};

    let name = "datagrams_to_a_sink_allocate_nothing_per_message";
    in_sandbox(name, |sandbox| {
        let Some(sink) = if_kernel_has(name, sandbox.add_sink(65_535)) else { return };
        for backend in BACKENDS {
            for (name, shape) in SHAPES {
                let near = UdpSocket::bind((sink.local_v4, 0)).unwrap();
                near.connect((sink.peer_v4, 4433)).unwrap();
                let mut cycle = Cycle::new(backend, Policy::AlwaysZeroCopy, near.into(), shape);
                cycle.fill();
                cycle.expect_no_allocations(&format!("{backend} {name}"));
            }
        }
    });
}
