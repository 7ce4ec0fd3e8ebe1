//! A tunnel on a machine that has not enough of something: a connection that cannot be had without
//! it fails, which is said, and the tunnel goes on.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;

use rustix::process::{Resource, getrlimit, getuid};
use serde_json::Value;
use support::*;

/// The limit of threads is not root's.
const SOMEBODY: &str = "60606";

/// A program that somebody else runs, if this is root.
fn somebody(program: &str) -> Command {
    if !getuid().is_root() {
        return quiet(program);
    }
    let mut command = quiet("setpriv");
    command.args(["--reuid", SOMEBODY, "--clear-groups", program]);
    command
}

/// What is missing to take a tunnel's threads away.
fn lacks() -> Option<String> {
    let of_package = ["prlimit", "setpriv"].iter().find_map(|program| missing(program));
    if of_package.is_some() {
        return Some("needs the package util-linux".to_owned());
    }
    let mut command = somebody(env!("CARGO_BIN_EXE_sealift"));
    let is_run = run(command.arg("--version")).status.success();
    (!is_run).then(|| "somebody else may not run what is built here".to_owned())
}

/// A tunnel of somebody's, whose threads may be limited.
fn limitable(arguments: &[&str]) -> Listening {
    let mut command = somebody("env");
    command.args(["--default-signal", env!("CARGO_BIN_EXE_sealift"), "tunnel"]);
    listen(command.args(arguments).arg("--json"))
}

fn limit(mut prlimit: Command, process: u32, what: &str) {
    let output = run(prlimit.args(["--pid", &process.to_string(), what]));
    assert!(output.status.success(), "{}", stderr(&output));
}

/// From now on there are no more threads than it has, or as many as it likes.
fn limit_threads(process: u32, is_limited: bool) {
    let most = getrlimit(Resource::Nproc).maximum.map_or("unlimited".into(), |n| n.to_string());
    let threads = if is_limited { "1".to_owned() } else { most };
    limit(somebody("prlimit"), process, &format!("--nproc={threads}:"));
}

/// Asks the program at the end for an echo; an error, if there is none.
fn try_ask(port: u16) -> Result<(), ErrorKind> {
    let mut client = connect(port);
    let asked = client.write_all(b"a").and_then(|()| client.read_exact(&mut [0]));
    asked.map_err(|error| error.kind())
}

fn stopped(tunnel: Listening) -> (Value, String) {
    tunnel.running.signal("TERM");
    let output = tunnel.finish();
    let said = stderr(&output);
    assert!(output.status.success(), "{}: {said}", output.status);
    (serde_json::from_slice(&output.stdout).unwrap(), said)
}

#[test]
fn a_connection_that_gets_no_engine_fails_alone() {
    if let Some(why) = lacks() {
        return skip("a_connection_that_gets_no_engine_fails_alone", &why);
    }
    let program = Program::echo(3);
    let (mut opening, pin) = opening_tunnel(&program.url(), &[]);
    let url = format!("tls://127.0.0.1:{}", opening.port);
    let arguments = ["tcp://127.0.0.1:0", &url, "--pin", &pin, "--engine", "workers"];
    let mut sealing = limitable(&arguments);
    assert_eq!(try_ask(sealing.port), Ok(()));
    limit_threads(sealing.running.id(), true);
    assert_eq!(try_ask(sealing.port), Err(ErrorKind::ConnectionReset));
    let line = sealing.line();
    let why = "set up on the workers engine: the system did not let it start a thread; raise";
    assert!(line.contains(why), "{line}");
    // The other end had shaken hands already.
    let line = opening.line();
    assert!(line.contains("refused to go on (InternalError)"), "{line}");
    limit_threads(sealing.running.id(), false);
    assert_eq!(try_ask(sealing.port), Ok(()));
    let (report, said) = stopped(sealing);
    assert_eq!(report["outcomes"]["failed"], 1, "{report} {said}");
    assert_eq!(report["outcomes"]["clean"], 2, "{report} {said}");
}

/// A hundred at a time, which takes more threads if there are any.
#[test]
fn handshakes_make_do_with_the_threads_that_there_are() {
    if let Some(why) = lacks() {
        return skip("handshakes_make_do_with_the_threads_that_there_are", &why);
    }
    let program = Program::echo(100);
    let opening = limitable(&["tls://127.0.0.1:0", &program.url()]);
    let url = format!("tls://127.0.0.1:{}", opening.port);
    let mut command = sealift();
    let sealing = listen(command.args(["tunnel", "tcp://127.0.0.1:0", &url, "--insecure"]));
    limit_threads(opening.running.id(), true);
    let clients: Vec<TcpStream> = (0..100).map(|_| connect(sealing.port)).collect();
    for mut client in &clients {
        client.write_all(b"a").unwrap();
    }
    for mut client in clients {
        client.read_exact(&mut [0]).unwrap();
    }
    program.finish();
    let (report, said) = stopped(opening);
    assert_eq!(report["outcomes"]["clean"], 100, "{report} {said}");
}

#[test]
fn a_name_for_which_there_is_no_thread_is_nobody_elses_fault() {
    if let Some(why) = lacks() {
        return skip("a_name_for_which_there_is_no_thread_is_nobody_elses_fault", &why);
    }
    let program = Program::echo(1);
    let target = format!("tcp://localhost:{}", program.port);
    let opening = limitable(&["tls://127.0.0.1:0", &target]);
    let url = format!("tls://127.0.0.1:{}", opening.port);
    let mut command = sealift();
    let sealing = listen(command.args(["tunnel", "tcp://127.0.0.1:0", &url, "--insecure"]));
    limit_threads(opening.running.id(), true);
    assert_eq!(try_ask(sealing.port), Err(ErrorKind::ConnectionReset));
    limit_threads(opening.running.id(), false);
    assert_eq!(try_ask(sealing.port), Ok(()));
    let (report, said) = stopped(opening);
    assert!(said.contains(&format!("resolve on {target}: Resource temporarily")), "{said}");
    assert_eq!(report["outcomes"]["failed"], 1, "{report} {said}");
}

/// The descriptors that a process has.
fn files(process: u32) -> Vec<usize> {
    let names = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    names.map(|name| name.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect()
}

/// From now on it gets so many more.
fn limit_files(process: u32, more: usize) {
    let files = files(process);
    let most = (0..).filter(|at| !files.contains(at)).nth(more).unwrap();
    limit(quiet("prlimit"), process, &format!("--nofile={most}:"));
}

/// Whatever an opening is at when they run out: it fails for lack of files and for nothing else.
#[test]
fn files_may_run_out_at_any_moment() {
    if missing("prlimit").is_some() {
        return skip("files_may_run_out_at_any_moment", "needs the package util-linux");
    }
    for (seals, engine) in [(true, "inline"), (true, "workers"), (false, "inline")] {
        let program = Program::echo(100);
        let (opening, pin) = opening_tunnel(&program.url(), &["--json", "--engine", engine]);
        let sealing = sealing_tunnel(opening.port, &pin, &["--json", "--engine", engine]);
        let process = if seals { &sealing } else { &opening }.running.id();
        let (ask, idle) = (|| try_ask(sealing.port), files(process).len());
        assert_eq!(ask(), Ok(()));
        let mut failed = 0;
        for more in 1.. {
            let case = format!("{engine}, seals: {seals}, {more} more");
            // Those of the one before.
            wait_until("files that are closed", || files(process).len() <= idle);
            limit_files(process, more);
            let asked = ask();
            limit(quiet("prlimit"), process, "--nofile=1000:");
            assert_eq!(ask(), Ok(()), "{case}");
            if asked.is_ok() {
                break;
            }
            failed += 1;
            assert_eq!(asked, Err(ErrorKind::ConnectionReset), "{case}");
        }
        assert!(failed > 1, "{engine}, seals: {seals}");
        let (report, said) = stopped(if seals { sealing } else { opening });
        let case = format!("{engine}, seals: {seals}: {report} {said}");
        assert_eq!(report["outcomes"]["failed"], failed, "{case}");
        assert_eq!(report["outcomes"]["clean"], failed + 2 + 1, "{case}");
        // Whoever comes next may have met with it, too, and waited.
        let said = said.lines().filter(|line| line.contains("connection from"));
        assert_eq!(said.count(), failed, "{case}");
    }
}
