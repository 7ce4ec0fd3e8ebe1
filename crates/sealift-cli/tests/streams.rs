//! Standard input and output as they come: not blocking, closed, redirected.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Output;
use std::thread::sleep;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sealift::{Backend, Pool, Sender};
use support::*;

/// A socket that polls as ready though there is nothing to read: the notification of a zero-copy
/// send waits in its error queue for as long as the sender lives.
fn socket_with_notification() -> (TcpStream, TcpStream, Sender) {
    const LEN: usize = 256 * 1024;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    let pool = Pool::builder().frames(1).frame_bytes(LEN).huge_pages(false).build().unwrap();
    let mut lease = pool.try_lease().unwrap();
    lease.set_len(LEN);
    let socket = OwnedFd::from(near.try_clone().unwrap());
    let builder = Sender::builder().pool(&pool).messages(1).backend(Backend::MsgZerocopy);
    let mut sender = builder.build(socket).unwrap();
    sender.send(lease).unwrap();
    far.read_exact(&mut vec![0; LEN]).unwrap();
    wait_until("the notification", || {
        let mut polled = [PollFd::new(&near, PollFlags::empty())];
        poll(&mut polled, Some(&Timespec::default())).unwrap();
        polled[0].revents().contains(PollFlags::ERR)
    });
    (near, far, sender)
}

#[test]
fn standard_input_that_does_not_block_is_read_to_its_end() {
    let scratch = Scratch::new();
    let destination = scratch.join("destination");
    let (near, mut far, _sender) = socket_with_notification();
    near.set_nonblocking(true).unwrap();
    let receiving = receiver(&destination, &[]);
    let url = format!("tcp://127.0.0.1:{}", receiving.port);
    let sending = start(sealift().args(["send", "-", &url]).stdin(OwnedFd::from(near)));
    // It has nothing for a while, which is not the end.
    for at in [0, 100_000] {
        sleep(Duration::from_millis(300));
        far.write_all(&pattern(at, 100_000)).unwrap();
    }
    far.shutdown(Shutdown::Write).unwrap();
    assert_done(&sending.finish());
    assert_done(&receiving.finish());
    assert!(fs::read(&destination).unwrap() == pattern(0, 200_000));
}

/// Receives what `source` holds into `destination`, with the descriptors that `redirections` of a
/// shell give.
fn receive_in_shell(
    scratch: &Scratch,
    source: &Path,
    destination: &str,
    redirections: &str,
) -> Output {
    let program = env!("CARGO_BIN_EXE_sealift");
    let script = format!(
        "cd \"$1\"; {{ '{program}' receive tcp://127.0.0.1:0 {destination} || exit; \
         printf 'and behind' >&3; }} {redirections}"
    );
    let mut command = quiet("sh");
    let receiving = listen(command.args(["-c", &script, "sh"]).arg(scratch.path()));
    let url = format!("tcp://127.0.0.1:{}", receiving.port);
    assert_done(&run(sealift().arg("send").arg(source).arg(url)));
    receiving.finish()
}

#[test]
fn the_names_of_open_descriptors_are_written_in_place() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 2_000_000);
    let target = scratch.join("target");
    std::os::unix::fs::symlink("/dev/fd/3", scratch.join("link")).unwrap();
    let threes = ["/dev/fd/3", "/proc/self/fd/3", "/proc/thread-self/fd/3", "link"];
    for destination in threes.into_iter().chain(["/dev/stdout", "/dev/fd/1"]) {
        for mode in [">", ">>"] {
            fs::write(&target, "old ").unwrap();
            let inode = fs::metadata(&target).unwrap().ino();
            let redirections = match threes.contains(&destination) {
                true => format!("3{mode}target"),
                false => format!("{mode}target 3>&1"),
            };
            assert_done(&receive_in_shell(&scratch, &source, destination, &redirections));
            let mut whole = if mode == ">" { Vec::new() } else { b"old ".to_vec() };
            whole.extend(pattern(0, 2_000_000));
            whole.extend(b"and behind");
            assert!(fs::read(&target).unwrap() == whole, "{destination} {redirections}");
            assert_eq!(fs::metadata(&target).unwrap().ino(), inode, "{destination}");
        }
    }
    assert_eq!(scratch.names(), ["link", "source", "target"]);
}

#[test]
fn descriptors_that_cannot_be_written_to_are_refused() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 10);
    let script = "exec \"$0\" receive tcp://127.0.0.1:0 \"$2\" 9<\"$1\"";
    // One for reading only, one that is not open, one that the command opened itself.
    for destination in ["/dev/fd/9", "/dev/fd/8", "/dev/fd/3"] {
        let mut command = quiet("sh");
        command.args(["-c", script, env!("CARGO_BIN_EXE_sealift")]).arg(&source).arg(destination);
        let output = run(&mut command);
        assert_failed(&output, &format!("open on {destination}: Bad file descriptor; redirect"));
    }
    assert_same(&source, &scratch.file("again", 10));
}

/// Docker's default rules forbid `pidfd_getfd`: a pipe can do without it, a file cannot.
#[test]
fn where_descriptors_cannot_be_shared_pipes_are_opened_anew() {
    let name = "where_descriptors_cannot_be_shared_pipes_are_opened_anew";
    let inject = ["-f", "-q", "-o", "/dev/null", "-e", "inject=pidfd_getfd:error=EPERM"];
    if let Some(why) = missing("strace") {
        return skip(name, &format!("needs the package strace: {why}"));
    }
    if !run(quiet("strace").args(inject).arg("true")).status.success() {
        return skip(name, "strace cannot trace here");
    }
    let scratch = Scratch::new();
    let source = scratch.file("source", 100_000);
    let script = "exec 9>&1; exec strace \"$@\" receive tcp://127.0.0.1:0 /dev/fd/9";
    let in_shell = |script: &str| {
        let mut command = quiet("sh");
        command.args(["-c", script, "sh"]).args(inject).arg(env!("CARGO_BIN_EXE_sealift"));
        command
    };
    let receiving = listen(&mut in_shell(script));
    let url = format!("tcp://127.0.0.1:{}", receiving.port);
    assert_done(&run(sealift().arg("send").arg(&source).arg(url)));
    let received = receiving.finish();
    assert_done(&received);
    assert!(received.stdout == pattern(0, 100_000));
    let mut command = in_shell(&script.replace("&1", &source.display().to_string()));
    assert_failed(&run(&mut command), "open on /dev/fd/9: Operation not permitted; ");
}

/// Rust opens the null device in place of what was closed: nothing may vanish there.
#[test]
fn closed_standard_input_and_output_are_refused() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 10);
    let program = env!("CARGO_BIN_EXE_sealift");
    let in_shell = |script: &str| {
        let mut command = quiet("sh");
        run(command.args(["-c", &format!("exec '{program}' {script}"), "sh"]).arg(&source))
    };
    for (script, name) in [
        ("receive tcp://127.0.0.1:0 - >&-", "standard output"),
        ("receive tcp://127.0.0.1:0 /dev/stdout >&-", "/dev/stdout"),
        ("send - tcp://127.0.0.1:9 <&-", "standard input"),
        ("send /dev/stdin tcp://127.0.0.1:9 <&-", "/dev/stdin"),
        ("send \"$1\" tcp://127.0.0.1:9 --json >&-", "standard output"),
        ("receive tcp://127.0.0.1:0 \"$1\" --json >&-", "standard output"),
    ] {
        let start = format!("open on {name}: Bad file descriptor; redirect it: it is closed,");
        assert_failed(&in_shell(script), &start);
    }
    assert_same(&source, &scratch.file("again", 10));

    // The null device as everybody opens it is as good as any other.
    let receiving = receiver(&scratch.join("destination"), &[]);
    let url = format!("tcp://127.0.0.1:{}", receiving.port);
    assert_done(&in_shell(&format!("send - {url} --json </dev/null >/dev/null")));
    assert_done(&receiving.finish());
    let null = fs::File::options().write(true).open("/dev/null").unwrap();
    let mut command = sealift();
    command.args(["receive", "tcp://127.0.0.1:0", "-"]).stdout(null);
    let receiving = listen(&mut command);
    let url = format!("tcp://127.0.0.1:{}", receiving.port);
    assert_done(&run(sealift().arg("send").arg(&source).arg(url)));
    assert_done(&receiving.finish());
}
