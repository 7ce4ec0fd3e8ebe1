//! Ways in for the fuzz targets (`cfg(fuzzing)` only): the parsers of what comes from the kernel,
//! and the send machine with answers from nowhere.

use std::collections::HashSet;

use crate::error::Errno;
use crate::message::Message;
use crate::send::fuzzing::{Chooser, Key, Kind, Limits, Machine, Notifications, Range, Release};
use crate::{Event, Policy};

/// Control messages of any content.
pub fn control_messages(control: &[u8]) {
    use crate::sys::control;
    let _ = (control::notification(control), control::gro_segment_bytes(control));
    assert!(control::messages(control).count() <= control.len() / 16 + 1);
}

/// Files of `/proc` and `/sys` that the probe reads, of any content.
pub fn system_files(text: &str) {
    crate::probe::fuzz_files(text);
}

/// Ranges of any kind against sends of any number: each is released at most once.
pub fn notifications(mut script: &[u8]) {
    let mut word = || {
        let (bytes, rest) = script.split_first_chunk::<4>()?;
        script = rest;
        Some(u32::from_le_bytes(*bytes))
    };
    let mut tracker = Notifications::starting_at(word().unwrap_or(0), 64);
    let mut outstanding = HashSet::new();
    let mut next = 0;
    while let Some(step) = word() {
        if step % 2 == 0 && tracker.room() > 0 {
            tracker.sent(Key::from_bits(next));
            outstanding.insert(next);
            next += 1;
        } else if let (Some(first), Some(last)) = (word(), word()) {
            let range = Range { first, last, copied: step % 3 == 0 };
            let _ = tracker.released(range, |key| assert!(outstanding.remove(&key.to_bits())));
        }
        assert_eq!(tracker.outstanding(), outstanding.len());
    }
}

/// The machine under answers that may be late, doubled, or to requests that never were: every
/// message comes back once, and none twice.
pub fn machine(script: &[u8]) {
    let Some((&first, script)) = script.split_first() else { return };
    let kind = if first % 2 == 0 { Kind::Stream } else { Kind::Datagram };
    let limits =
        Limits { messages: 8, requests: 4, spans: 3, request_bytes: 5000, pinned_bytes: 9000 };
    let mut machine = Machine::new(kind, limits, Chooser::new(Policy::Adaptive(Some(1000)), 0));
    let mut open: Vec<Key> = Vec::new();
    let mut accepted = HashSet::new();
    for step in script.chunks_exact(3) {
        let (what, a, b) = (step[0] % 8, step[1], usize::from(step[2]));
        machine.tick(u64::from(a) * 1000);
        match what {
            0 | 1 => {
                let message = Message::from(vec![a; b * 20]).and(vec![a; usize::from(a)]);
                if let Ok((ticket, _)) = machine.push(message) {
                    accepted.insert(ticket.number());
                }
            }
            2 => open.extend(machine.next_request()),
            3 | 4 => {
                let key = open.get(b % 5).copied().unwrap_or(Key::from_bits(b as u32 * 77));
                let release = if what == 3 { Release::Now } else { Release::Later };
                let result = match a % 3 {
                    0 => Err(Errno::from_raw(i32::from(a) / 2)),
                    _ => Ok(b * usize::from(a)),
                };
                machine.sent(key, "fuzz", result, release);
            }
            5 => machine.released(Key::from_bits(b as u32), a % 2 == 0),
            6 => {
                if let Some(&key) = open.get(b % 5) {
                    machine.released(key, a % 2 == 0);
                }
            }
            _ => machine.writable(),
        }
        take(&mut machine, &mut accepted);
        open.retain(|&key| machine.request(key).is_some());
    }
    machine.abandon(crate::Error::Closed);
    for key in open {
        machine.sent(key, "fuzz", Err(Errno::from_raw(libc::EPIPE)), Release::Now);
        machine.released(key, false);
    }
    take(&mut machine, &mut accepted);
    assert!(accepted.is_empty() && machine.unsettled() == 0 && machine.pinned_bytes() == 0);
}

fn take(machine: &mut Machine, accepted: &mut HashSet<u64>) {
    while let Some(Event::Completed(done)) = machine.take_event() {
        assert!(accepted.remove(&done.ticket.number()), "returned twice or from nowhere");
        assert!(done.bytes.total() <= done.message.len() as u64);
    }
}
