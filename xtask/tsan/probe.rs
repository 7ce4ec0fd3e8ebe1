//! Programs of known answers for ThreadSanitizer: the first four are correct, the others race.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Condvar, LazyLock, Mutex, OnceLock, RwLock, mpsc};
use std::thread;
use std::time::Duration;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("locks") => locks(),
        Some("channels") => channels(),
        Some("once") => once(),
        Some("threads") => threads(),
        Some("race") => drop(race(Ordering::Release, Ordering::Relaxed, false)),
        Some("relaxed") => drop(race(Ordering::Relaxed, Ordering::Acquire, false)),
        Some("unlocked") => drop(race(Ordering::Relaxed, Ordering::Relaxed, true)),
        _ => std::process::exit(2),
    }
}

fn locks() {
    let shared = Arc::new((Mutex::new(0_u64), Condvar::new(), RwLock::new(0_u64)));
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                for turn in 0..500 {
                    *shared.0.lock().unwrap() += 1;
                    shared.1.notify_all();
                    if (turn + worker) % 2 == 0 {
                        *shared.2.write().unwrap() += 1;
                    } else {
                        assert!(*shared.2.read().unwrap() <= 1000);
                    }
                }
            })
        })
        .collect();
    let mut count = shared.0.lock().unwrap();
    while *count < 1000 {
        count = shared.1.wait(count).unwrap();
    }
    while *count < 2000 {
        count = shared.1.wait_timeout(count, Duration::from_millis(1)).unwrap().0;
    }
    drop(count);
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    assert_eq!(*shared.2.read().unwrap(), 1000);
}

fn channels() {
    for depth in [0, 2, 1000] {
        let (sender, receiver) = mpsc::sync_channel::<Box<u64>>(depth);
        let (back, returned) = mpsc::channel::<Box<u64>>();
        let echo = thread::spawn(move || {
            for mut number in receiver {
                *number += 1;
                back.send(number).unwrap();
            }
        });
        (0..300).for_each(|number| sender.send(Box::new(number)).unwrap());
        drop(sender);
        assert_eq!(returned.into_iter().map(|number| *number).sum::<u64>(), 300 * 301 / 2);
        echo.join().unwrap();
    }
}

fn once() {
    static LAZY: LazyLock<Vec<u64>> = LazyLock::new(|| {
        thread::sleep(Duration::from_millis(5));
        vec![3; 50]
    });
    static ONCE: OnceLock<Vec<u64>> = OnceLock::new();
    let worker = || LAZY.iter().sum::<u64>() + ONCE.get_or_init(|| vec![7; 10]).iter().sum::<u64>();
    let workers: Vec<_> = (0..4).map(|_| thread::spawn(worker)).collect();
    workers.into_iter().for_each(|worker| assert_eq!(worker.join().unwrap(), 220));
}

fn threads() {
    for _ in 0..50 {
        let shared = Arc::new(vec![1_u64; 100]);
        let theirs = Arc::clone(&shared);
        let worker = thread::spawn(move || theirs.iter().sum::<u64>());
        drop(shared);
        assert_eq!(worker.join().unwrap(), 100);

        let barrier = Barrier::new(3);
        let mut numbers = [0_u64; 3];
        thread::scope(|scope| {
            for number in &mut numbers {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    *number += 1;
                });
            }
        });
        assert_eq!(numbers, [1; 3]);
    }
}

struct Cell(UnsafeCell<u64>, AtomicBool, Mutex<()>);

// SAFETY: there is none: this is the planted mistake.
unsafe impl Sync for Cell {}

/// One thread writes and raises a flag; the other sees the flag and reads. That needs release and
/// acquire on the flag. With `lock` the writer holds a mutex, which the reader does not take.
fn race(store: Ordering, load: Ordering, lock: bool) -> u64 {
    let cell = Arc::new(Cell(UnsafeCell::new(0), AtomicBool::new(false), Mutex::new(())));
    let theirs = Arc::clone(&cell);
    let writer = thread::spawn(move || {
        let guard = lock.then(|| theirs.2.lock());
        // SAFETY: the planted mistake.
        unsafe { *theirs.0.get() = 7 };
        drop(guard);
        theirs.1.store(true, store);
    });
    while !cell.1.load(load) {
        thread::yield_now();
    }
    // SAFETY: the planted mistake.
    let seen = unsafe { *cell.0.get() };
    writer.join().unwrap();
    seen
}
