use super::*;
use std::io::Write;
use std::time::Duration;

fn small() -> Pool {
    Pool::builder().frames(2).frame_bytes(100).build().unwrap()
}

#[test]
fn a_lease_goes_home_on_drop() {
    let pool = small();
    let (a, b) = (pool.try_lease().unwrap(), pool.try_lease().unwrap());
    assert!(pool.try_lease().is_none());
    drop(a);
    let c = pool.try_lease().unwrap();
    assert_eq!(pool.stats().leased, 2);
    drop((b, c));
    assert_eq!((pool.stats().leased, pool.stats().leased_high), (0, 2));
}

#[test]
fn a_frozen_frame_goes_home_with_its_last_view() {
    let pool = small();
    let mut lease = pool.try_lease().unwrap();
    lease.write_all(b"header and body").unwrap();
    let all = lease.freeze();
    let body = all.slice(11..);
    let again = body.clone();
    drop(all);
    assert_eq!(&*body, b"body");
    drop(body);
    assert_eq!((pool.stats().leased, &*again.slice(1..=2)), (1, &b"od"[..]));
    drop(again);
    assert_eq!(pool.stats().leased, 0);
}

#[test]
fn leases_do_not_overlap_and_keep_to_their_frame() {
    let pool = small();
    let (mut a, mut b) = (pool.try_lease().unwrap(), pool.try_lease().unwrap());
    assert_eq!(a.capacity(), 128);
    assert_eq!(a.fill(&[1; 1000]), 128);
    assert_eq!(b.fill(&[2; 1000]), 128);
    assert!(a.iter().all(|&x| x == 1) && b.iter().all(|&x| x == 2));
}

#[test]
#[should_panic(expected = "longer than its frame")]
fn a_lease_cannot_claim_more_than_its_frame() {
    small().try_lease().unwrap().set_len(129);
}

#[test]
#[should_panic(expected = "past the view")]
fn a_view_cannot_be_widened() {
    let mut lease = small().try_lease().unwrap();
    lease.set_len(10);
    let _ = lease.freeze().slice(4..11);
}

#[test]
fn the_mapping_outlives_the_pool_while_a_view_lives() {
    let pool = small();
    let mut lease = pool.try_lease().unwrap();
    lease.fill(b"still here");
    drop(pool);
    let view = lease.freeze();
    assert_eq!(&*view, b"still here");
}

#[test]
fn waiting_ends_when_a_frame_comes_home_or_at_the_deadline() {
    let pool = small();
    let held = [pool.try_lease().unwrap(), pool.try_lease().unwrap()];
    let soon = Instant::now() + Duration::from_millis(20);
    assert_eq!(pool.lease_before(soon).unwrap_err(), Error::Full);
    let waiter = {
        let pool = pool.clone();
        std::thread::spawn(move || pool.lease_before(Instant::now() + Duration::from_secs(20)))
    };
    std::thread::sleep(Duration::from_millis(20));
    drop(held);
    assert!(waiter.join().unwrap().is_ok());
}

#[test]
fn impossible_pools_are_refused() {
    assert!(matches!(Pool::builder().frames(0).build(), Err(Error::Caller { .. })));
    assert!(matches!(Pool::builder().frame_bytes(0).build(), Err(Error::Caller { .. })));
    assert!(matches!(Pool::builder().frame_bytes(2 << 30).build(), Err(Error::Caller { .. })));
    assert!(matches!(Pool::builder().frame_bytes(usize::MAX).build(), Err(Error::Caller { .. })));
    assert!(matches!(Pool::builder().frames(usize::MAX).build(), Err(Error::Caller { .. })));
    let huge = Pool::builder().frames(1 << 31).frame_bytes(1 << 30).huge_pages(false);
    assert!(matches!(huge.build(), Err(Error::System { .. } | Error::Caller { .. })));
}

#[test]
fn the_pool_says_what_its_pages_are() {
    let pool = Pool::builder().frames(64).frame_bytes(1 << 16).build().unwrap();
    match pool.stats().pages {
        Pages::HugeTlb | Pages::Transparent => {}
        Pages::Ordinary { reason } => assert!(!reason.is_empty()),
    }
    let plain = Pool::builder().huge_pages(false).build().unwrap();
    assert!(matches!(plain.stats().pages, Pages::Ordinary { .. }));
}

#[test]
fn shared_memory_is_read_and_written_through_copies() {
    let memory = SharedMemory::create(10_000).unwrap();
    let bytes: Vec<u8> = (0..1000).map(|i| i as u8).collect();
    memory.write(3, &bytes).unwrap();
    let other = SharedMemory::open(memory.file().try_clone_to_owned().unwrap()).unwrap();
    let mut back = vec![0; 1000];
    other.read(3, &mut back).unwrap();
    assert_eq!(back, bytes);
    assert!(matches!(memory.write(9_999, &[0; 2]), Err(Error::Caller { .. })));
    assert!(matches!(memory.read(usize::MAX, &mut [0; 2]), Err(Error::Caller { .. })));
    assert_eq!(memory.region(10..30).slice(5..6).len(), 1);
}

#[test]
fn shared_memory_that_could_be_truncated_is_refused() {
    let file = rustix::fs::memfd_create("t", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&file, 4096).unwrap();
    assert!(matches!(SharedMemory::open(file), Err(Error::Caller { .. })));
}
