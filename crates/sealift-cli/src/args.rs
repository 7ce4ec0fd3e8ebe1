//! The command line: each flag is defined once, here; help, man pages and completions follow.

mod bench;
mod check;
mod engine;
mod trust;
mod tunnel;

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Styles};
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use sealift::io::Backend;

use crate::endpoint::Endpoint;
use crate::failure::{Action, Failure};
use crate::quantity::{parse_duration, parse_sample};
use crate::terminal::shown;
pub(crate) use bench::{Bench, BenchSealArgs, BenchSendArgs, BenchTlsArgs, ReportArgs, SampleArgs};
pub(crate) use engine::{EngineArg, SealingArgs};
pub(crate) use trust::TrustArgs;
pub(crate) use tunnel::TunnelArgs;

/// Headings and flags stand out, as in cargo's help.
const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage; 128 and the signal's number when interrupted.";

/// Move bytes over the network without copying them, and see what that is worth.
#[derive(Args, Debug)]
#[command(version, styles = STYLES, max_term_width = 100)]
#[command(propagate_version = true, arg_required_else_help = true)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl CommandFactory for Cli {
    fn command() -> clap::Command {
        Self::augment_args(clap::Command::new("sealift"))
    }

    fn command_for_update() -> clap::Command {
        Self::augment_args_for_update(clap::Command::new("sealift"))
    }
}

impl Parser for Cli {
    fn parse() -> Self {
        Self::try_parse().unwrap_or_else(|error| show(plain(error)))
    }
}

/// Shows a usage error, or the help or version that was asked for, and ends. clap's own `exit`
/// would not tell help that could not be written.
fn show(error: clap::Error) -> ! {
    let shown = error.print().and_then(|()| io::stdout().flush());
    if let Err(why) = shown
        && !error.use_stderr()
    {
        let failure = Failure::system(Action::Write, "standard output", why);
        // With standard error gone there is nobody to tell.
        let _ = writeln!(io::stderr(), "sealift: {failure}");
        std::process::exit(1);
    }
    std::process::exit(error.exit_code())
}

/// The error with what the user wrote in it fit to be shown.
fn plain(mut error: clap::Error) -> clap::Error {
    let texts: Vec<(ContextKind, ContextValue)> = error
        .context()
        .filter_map(|(kind, value)| match value {
            ContextValue::String(text) => {
                Some((kind, ContextValue::String(shown(text).into_owned())))
            }
            _ => None,
        })
        .collect();
    for (kind, text) in texts {
        error.insert(kind, text);
    }
    error
}

/// A URL may hold a path that is no text.
fn url_parser() -> impl TypedValueParser<Value = Endpoint> {
    OsStringValueParser::new().try_map(|text| Endpoint::read(&text))
}

/// A time, or what is wrong with it in words that are fit to be shown.
fn parse_time(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|why| shown(&why).into_owned())
}

fn parse_sample_time(text: &str) -> Result<Duration, String> {
    parse_sample(text).map_err(|why| shown(&why).into_owned())
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Send(SendArgs),
    Receive(ReceiveArgs),
    Tunnel(TunnelArgs),
    Probe(ProbeArgs),
    /// Measure what zero-copy and sealing are worth on this machine
    #[command(subcommand)]
    Bench(Bench),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

/// Send a file, a device or a pipe to the other end
///
/// Connects to URL, where `sealift receive`, nc, ncat or socat listens (over tls:// openssl, gnutls
/// or socat as well), sends SRC, and ends once the other end's kernel has acknowledged every byte:
/// that is what exit code 0 means, not that the program there has read or kept them. It does not
/// wait for the other end to close. What the other end sends is discarded.
///
/// The bytes are read into memory that the kernel sends from; whether they then left without
/// another copy is for the path to say, and --stats, --json and the progress bar tell it. Unix
/// sockets and loopback always copy.
///
/// A regular file is sent as long as it is when it is opened: what is appended later is not sent,
/// and a file that shrinks is an error. A pipe is sent to its end. After any error a TCP connection
/// is reset, so that the other end cannot take a part for the whole; a unix socket has no reset,
/// its other end just sees the end.
///
/// Over tls:// everything is sealed, by TLS 1.3 or 1.2, and the end that connects trusts nobody
/// unverified: it needs --pin, as `sealift receive` prints it, or --ca, or the other end a
/// certificate that this system trusts. An end that asks for a certificate over TLS 1.3 has to let
/// this end in before it counts as done: by a ticket, or by the end of its own side.
///
/// A source may be silent for as long as it likes. So may the other end, unless --idle-timeout is
/// given; a stall is shown. A host that is gone is noticed within two minutes.
#[derive(Args, Debug)]
#[command(after_long_help = SEND_EXAMPLES)]
pub(crate) struct SendArgs {
    /// What to send: a file, a block device, or - for standard input
    #[arg(value_name = "SRC")]
    pub(crate) source: PathBuf,
    /// Where to: tls://host:port, tcp://host:port or unix:/path
    #[arg(value_name = "URL", value_parser = url_parser())]
    pub(crate) url: Endpoint,
    /// Wait for the other end to connect instead of connecting to it
    #[arg(long)]
    pub(crate) listen: bool,
    /// How to hand bytes to the kernel
    #[arg(long, value_name = "BACKEND", default_value = "auto")]
    pub(crate) backend: BackendArg,
    #[command(flatten)]
    pub(crate) sealing: SealingArgs,
    #[command(flatten)]
    pub(crate) transfer: TransferArgs,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
}

const SEND_EXAMPLES: &str = "\
Examples:
  sealift send disk.img tls://backup:5000 --pin sha256:9f...
      as `sealift receive` printed it
  sealift send disk.img tls://backup:5000 --ca ca.pem
      by the certificate of its authority
  sealift send disk.img tcp://backup:5000
      to `sealift receive tcp://:5000 disk.img`
  sealift send /dev/vg/root tcp://[fd00::7]:5000
      a block device, over IPv6
  tar c /srv | sealift send - unix:/run/copy
      a pipe, over a unix socket
  sealift send disk.img tcp://:5000 --listen
      to whoever connects: `nc host 5000 > disk.img`";

/// Receive from the other end into a file, a device or a pipe
///
/// Listens on URL for one connection, of `sealift send`, nc, ncat or socat (over tls:// of openssl,
/// gnutls or socat as well), and writes what comes to DST until the other end closes its side.
///
/// A file is written under a temporary name beside DST and renamed at the end, so DST is always
/// whole: the old content or the new. If the transfer fails or is interrupted the temporary file is
/// removed, or with --keep-partial renamed to DST as far as it came. Devices, pipes and standard
/// output are written in place.
///
/// Over tls:// everything is sealed, by TLS 1.3 or 1.2. Without --cert a certificate is made for
/// this run, and the line to type at the other end is printed, with the pin of its key. Whoever
/// connects is let in, unless --client-ca or --pin says who. An end is one only if the other end
/// says so (close_notify): a part is never taken for the whole.
///
/// Plain TCP says no more than 'end' or 'reset': a reset is an error, an end is taken for the end
/// of the file. `sealift send` resets the connection whenever it fails, even when it is killed; of
/// other programs, and over unix sockets, compare checksums.
#[derive(Args, Debug)]
#[command(after_long_help = RECEIVE_EXAMPLES)]
pub(crate) struct ReceiveArgs {
    /// Where to listen: tls://host:port, tcp://host:port or unix:/path
    ///
    /// tls://:5000 listens on every address, tls://host:0 on any free port, which is printed.
    #[arg(value_name = "URL", value_parser = url_parser())]
    pub(crate) url: Endpoint,
    /// Where to write: a file, a block device, or - for standard output
    #[arg(value_name = "DST")]
    pub(crate) destination: PathBuf,
    /// Connect to the other end instead of waiting for it to connect
    #[arg(long)]
    pub(crate) connect: bool,
    /// If the transfer fails, keep under DST what came until then
    ///
    /// It replaces a file of that name. Where nothing came, nothing is kept.
    #[arg(long)]
    pub(crate) keep_partial: bool,
    /// Have the disk confirm everything before ending (fsync)
    #[arg(long)]
    pub(crate) sync: bool,
    #[command(flatten)]
    pub(crate) transfer: TransferArgs,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
}

const RECEIVE_EXAMPLES: &str = "\
Examples:
  sealift receive tls://:5000 disk.img
      prints the line to type at the other end
  sealift receive tls://:5000 disk.img --cert me.pem --client-ca ca.pem
      from known clients only
  sealift receive tcp://:5000 disk.img
      from `sealift send disk.img tcp://host:5000`
  sealift receive unix:/run/copy - | tar x
      into a pipe
  sealift receive tcp://backup:5000 out --connect
      from `nc -l 5000 -N < disk.img`";

/// What sending and receiving have in common.
#[derive(Args, Debug)]
pub(crate) struct TransferArgs {
    /// Give up if there is no connection after this time [default: 30s to connect, none to listen]
    ///
    /// A number and ms, s, m or h; 0 waits for ever. Over tls:// the handshake may take as long
    /// again (30s, if nothing is said), and so may being let in by an end that asks for a
    /// certificate. Who listens gives no visitor more than 30s, warns of those with whom the
    /// handshake failed, and listens on.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) timeout: Option<Duration>,
    /// Give up if the other end lets nothing move for this time [default: never]
    ///
    /// Off by default because a slow pipe at the other end looks just like a stalled one. Time
    /// spent waiting for this end's own source or destination does not count.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) idle_timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) outcome: OutcomeArgs,
}

/// How the outcome is told.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct OutcomeArgs {
    /// Print the figures to standard error at the end
    #[arg(long)]
    pub(crate) stats: bool,
    /// Print the outcome as one JSON object to standard output at the end
    ///
    /// To standard error, where what is received goes to standard output. On failure it has the key
    /// `error`.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) words: WordsArgs,
}

/// How much is said on standard error.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct WordsArgs {
    /// Log decisions (backend, thresholds, fall-backs) to standard error; twice for more
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Say only what must be known: errors, ports, visitors that failed; no progress
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

/// The library's backends by name, and `auto`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum BackendArg {
    /// The best that works here, as probing says
    Auto,
    /// io_uring zero-copy from registered memory
    Uring,
    /// sendmsg with MSG_ZEROCOPY
    MsgZerocopy,
    /// Ordinary sendmsg, one copy
    Copy,
}

impl BackendArg {
    /// The backend that is forced, if one is.
    pub(crate) fn forced(self) -> Option<Backend> {
        match self {
            Self::Auto => None,
            Self::Uring => Some(Backend::Uring),
            Self::MsgZerocopy => Some(Backend::MsgZerocopy),
            Self::Copy => Some(Backend::Copy),
        }
    }
}

/// Say what this machine and a path can do, and why not
///
/// Asks the running kernel, its limits and the processor; every 'no' has its reason and, where
/// there is one, its remedy. Nothing is sent and nothing is changed.
#[derive(Args, Debug)]
pub(crate) struct ProbeArgs {
    /// Ask about the way to this host, too: does zero-copy stay zero-copy?
    #[arg(long, value_name = "HOST")]
    pub(crate) to: Option<String>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print a completion script for a shell
///
/// For bash: sealift completions bash > ~/.local/share/bash-completion/completions/sealift
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    pub(crate) shell: Shell,
}

/// Print the manual as one page, or write a page for each command to a directory
#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// Write sealift.1, sealift-send.1 and so on to this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// The address of a `--to HOST` that is one already.
pub(crate) fn literal_address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn usual_command_lines_are_understood() {
        for line in [
            "sealift send a tcp://h:1",
            "sealift send - unix:/s --listen --backend msg-zerocopy --stats --json -v",
            "sealift receive tcp://:0 - --connect --idle-timeout 1m -q",
            "sealift receive tcp://[::1]:5 out --keep-partial --sync --timeout 500ms",
            "sealift probe --to example.org --json",
            "sealift bench send --payload 600,1400 --seconds 0.5 --rounds 3 --json -",
            "sealift bench send --row copy,sender-auto --row tcp-copy",
            "sealift bench seal --payload 64,1350 --suite aes-128-gcm --seconds 0.5 --rounds 3",
            "sealift bench seal --row inline,raw/aes-128-gcm,memcpy/aes-256-gcm/64 --ring 1048576",
            "sealift send a tls://h:1 --ca ca.pem --server-name x --cert c --key k --keylog=f",
            "sealift send a tls://192.0.2.1:1 --insecure --ktls on",
            "sealift send a tls://192.0.2.1:1 --insecure --engine ipsec-mb",
            "sealift receive tls://:0 out --cert c --client-ca ca.pem",
            "sealift tunnel tcp://127.0.0.1:1 tls://h:1 --max-connections 7 --timeout 5s --grace 0",
            "sealift tunnel tls://:1 unix:/s --cert c --client-ca ca.pem --stats --json -v",
            "sealift tunnel unix:/s tls://h:1 --insecure --metrics 9100 --engine ipsec-mb",
            "sealift man --dir /tmp",
            "sealift completions zsh",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
    }

    #[test]
    fn wrong_usage_is_refused() {
        for line in [
            "sealift",
            "sealift send a",
            "sealift send a h:1",
            "sealift receive tcp://h:1 out -q -v",
            "sealift send a tcp://h:1 --backend fast",
            "sealift bench send --payload 0",
            "sealift bench send --json - --html -",
            "sealift bench send --row copy,fast",
            "sealift bench seal --payload 0",
            "sealift bench seal --suite aes-128-cbc",
            "sealift bench seal --row fast",
            "sealift bench seal --row inline/aes-128-gcm --suite aes-256-gcm",
            "sealift bench seal --ring 7",
            "sealift bench seal --json - --html -",
            "sealift send a tcp://:5000",
            "sealift receive tcp://h:0 out --connect",
            "sealift send a tls://h:0",
            "sealift send a tcp://h:1 --insecure",
            "sealift send a tcp://h:1 --engine workers",
            "sealift send a tls://h:1 --engine fast",
            "sealift receive unix:/s out --cert c",
            "sealift send a tcp://h:1 --ktls off",
            "sealift send a tls://h:1 --ktls on --engine workers",
            "sealift tunnel tcp://:1 tls://h:2 --ktls on --engine ipsec-mb",
            "sealift bench seal --seconds 0",
            "sealift send a tls://h:1 --ktls maybe",
            "sealift send a tls://h:1 --key k",
            "sealift send a tls://h:1 --client-ca ca.pem",
            "sealift send a tls://h:1 --pin 12ab",
            "sealift send a tls://h:1 --insecure --ca ca.pem",
            "sealift send a tls://no name:1",
            "sealift send a tls://h:1 --server-name -",
            "sealift receive tls://:1 out --insecure",
            "sealift receive tls://:1 out --ca ca.pem",
            "sealift tunnel tcp://h:1 tcp://h:2",
            "sealift tunnel tls://h:1 tls://h:2",
            "sealift tunnel tcp://h:1 tls://:2",
            "sealift tunnel tls://:1 tcp://:2",
            "sealift tunnel tls://:1 tcp://h:2 --ca ca.pem",
            "sealift tunnel tcp://:1 tls://h:2 --max-connections 0",
            "sealift tunnel tcp://:1 tls://h:2 --metrics here",
        ] {
            let parsed = Cli::try_parse_from(line.split(' '));
            assert!(parsed.and_then(Cli::checked).is_err(), "{line}");
        }
    }
}
