//! A test in a process of its own, with limits of its own.

use std::io::Read;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// Names the test that a child process is for.
const FOR: &str = "SEALIFT_TEST_CHILD";
const PATIENCE: Duration = Duration::from_secs(100);

/// Runs the body of the test `name` in a process of its own: this test program, started again
/// for that test alone. What it prints is printed here.
pub fn in_own_process(name: &str, body: impl FnOnce()) {
    if std::env::var_os(FOR).is_some_and(|wanted| wanted == name) {
        return body();
    }
    let program = std::env::current_exe().unwrap();
    let mut child = Command::new(program)
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(FOR, name)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    let printer = std::thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).map(|_| text)
    });
    let end = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() < end => sleep(Duration::from_millis(2)),
            None => {
                child.kill().unwrap();
                panic!("{name}: the child process hangs");
            }
        }
    };
    let text = printer.join().unwrap().unwrap();
    // Its harness's own lines would be counted as tests of this run.
    let harness = ["running ", "test ", "failures:"];
    let own = |line: &&str| !harness.iter().any(|start| line.starts_with(start));
    text.lines().filter(own).for_each(|line| println!("{line}"));
    assert!(status.success() && text.contains("1 passed"), "{name}: {status}");
}

/// Limits what this process may lock, and gives up the right to lock any amount.
pub fn limit_locked_memory(bytes: u64) {
    let maximum = getrlimit(Resource::Memlock).maximum.map_or(bytes, |most| most.min(bytes));
    let limit = Rlimit { current: Some(maximum), maximum: Some(maximum) };
    setrlimit(Resource::Memlock, limit).unwrap();
    let mut sets = capabilities(None).unwrap();
    sets.effective.remove(CapabilitySet::IPC_LOCK);
    sets.permitted.remove(CapabilitySet::IPC_LOCK);
    sets.inheritable.remove(CapabilitySet::IPC_LOCK);
    set_capabilities(None, sets).unwrap();
}
