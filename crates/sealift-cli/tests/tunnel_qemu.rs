//! A live migration of QEMU through two tunnels: the guest lives on at the other side, from where
//! it was. One that is cut leaves the guest where it is, and the other side refuses what came.

mod support;

use serde_json::json;
use support::*;

/// So slow that a migration can be met half-way.
const SLOW_BYTES: u64 = 60_000;

/// What a test of this needs.
fn lacks(test: &str) -> bool {
    let reason = missing("qemu-system-x86_64");
    let is_missing = reason.is_some();
    if is_missing {
        skip(test, "needs the package qemu-system-x86");
    }
    is_missing
}

/// A guest that runs, one machine that waits for it, and tunnels from the one to the other.
fn stage(scratch: &Scratch) -> (Machine, Machine, TunnelPair) {
    let source = Machine::new(scratch, "source", &[]);
    let mut target = Machine::new(scratch, "target", &["-incoming", "tcp:127.0.0.1:0"]);
    let address = &target.migration()["socket-address"][0];
    let port = address["port"].as_str().unwrap().to_owned();
    let pair = TunnelPair::to(&format!("tcp://127.0.0.1:{port}"), &[]);
    source.wait_for_life();
    (source, target, pair)
}

fn migrate(source: &mut Machine, pair: &TunnelPair) {
    let uri = format!("tcp:127.0.0.1:{}", pair.sealing.port);
    source.order("migrate", json!({ "uri": uri }));
}

#[test]
fn a_guest_lives_on_at_the_other_side() {
    if lacks("a_guest_lives_on_at_the_other_side") {
        return;
    }
    let scratch = Scratch::new();
    let (mut source, mut target, pair) = stage(&scratch);
    migrate(&mut source, &pair);
    wait_until("the end of the migration", || {
        let status = source.migration()["status"].as_str().unwrap().to_owned();
        assert_ne!(status, "failed");
        status == "completed"
    });
    wait_until("a guest that runs", || target.status() == "running");
    target.wait_for_life();
    assert_eq!(source.status(), "postmigrate");
    let (before, after) = (source.said(), target.said());
    assert_counts(&before);
    // It goes on in the middle of the line where it was.
    assert_counts(&(before + &after));
    pair.stop();
}

#[test]
fn a_migration_that_is_cut_leaves_the_guest_where_it_is() {
    if lacks("a_migration_that_is_cut_leaves_the_guest_where_it_is") {
        return;
    }
    let scratch = Scratch::new();
    for kills_sealing in [true, false] {
        let (mut source, target, pair) = stage(&scratch);
        source.order("migrate-set-parameters", json!({ "max-bandwidth": SLOW_BYTES }));
        migrate(&mut source, &pair);
        wait_until("a migration half-way", || {
            let status = source.migration();
            assert_ne!(status["status"], "completed");
            status["ram"]["transferred"].as_u64().unwrap_or(0) > 3 * SLOW_BYTES
        });
        let victim = if kills_sealing { &pair.sealing } else { &pair.opening };
        victim.running.signal("KILL");
        wait_until("a failed migration", || source.migration()["status"] == "failed");
        assert_eq!(source.status(), "running");
        source.wait_for_life();
        assert_counts(&source.said());
        let refused = target.running.finish();
        assert!(!refused.status.success(), "{}", stderr(&refused));
        assert!(stderr(&refused).contains("qemu-system-x86_64: "), "{}", stderr(&refused));
    }
}
