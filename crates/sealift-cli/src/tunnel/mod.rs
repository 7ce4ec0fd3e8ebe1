//! `sealift tunnel`: TLS for programs that speak plain TCP.
//!
//! ```text
//!  signals ──► Stages ──────────┐
//!  LISTEN ──► Arrivals ──► one task each ──► Opening ──► Pair: Carry ×2 ──► Outcome
//!                   (figures.rs counts, metrics.rs tells; ../complaints.rs says what failed)
//! ```
//!
//! One task carries a connection; what blocks (a resolver) or computes for long (signatures) runs
//! on threads of its own, some at a time. What idles holds no memory for bytes (`buffers.rs`).

mod arrivals;
mod buffers;
mod carry;
mod engine;
mod figures;
mod latencies;
mod metrics;
mod opening;
mod outcome;
mod pair;
mod places;
mod plain;
mod reach;
mod report;
mod stages;
mod visit;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

use crate::args::{EngineArg, OutcomeArgs, TunnelArgs};
use crate::cleanup;
use crate::complaints::Complaints;
use crate::endpoint::Endpoint;
use crate::failure::{Action, Failure};
use crate::files;
use crate::progress::Progress;
use crate::quantity::{self, DURATION_MAX};
use crate::terminal::Terminal;
use crate::transfer::{check_report, listen, sealing_engine, tell_other_end};
use crate::trust::{OtherEnd, Role};
use arrivals::Arrivals;
use buffers::Buffers;
use figures::Figures;
use metrics::Metrics;
use opening::Opening;
use outcome::Outcome;
use places::Places;
use report::Report;
use stages::{Stage, Stages};
use visit::Visit;

/// Threads for what computes for long. A handshake that waits for the other end has none.
const THREADS: usize = 128;
/// How long a visitor over TLS may take to shake hands if others wait for its place.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a person who watches sees the figures.
const SHOWN_EVERY: Duration = Duration::from_millis(200);
/// How long connections that were cut may take to notice.
const CUT_WITHIN: Duration = Duration::from_secs(5);

/// The two sides as they are called in what is said.
#[derive(Debug)]
struct Sides {
    plain: Endpoint,
    sealed: Endpoint,
}

/// What the connections of a tunnel share.
#[derive(Debug)]
struct Tunnel {
    opening: Opening,
    places: Arc<Places>,
    sides: Sides,
    buffers: Arc<Buffers>,
    figures: Arc<Figures>,
    complaints: Complaints,
    stages: Stages,
}

/// Carries connections from LISTEN to TARGET until a signal says that it is enough.
pub(crate) fn run(args: &TunnelArgs, terminal: &Terminal) -> Result<(), Failure> {
    let mut report = Report::new(args.listen.to_string(), args.target.to_string());
    let figures = Arc::new(Figures::new());
    let began = Instant::now();
    let ended = check_report(args.outcome.json, false)
        .and_then(|()| try_run(args, terminal, &figures, &mut report));
    report.take(&figures, began.elapsed());
    report.error = ended.as_ref().err().map(ToString::to_string);
    conclude(args.outcome, terminal, &report)?;
    // What was cut short is told as other commands tell it: by the signal.
    ended.map(|cut_by| cut_by.into_iter().for_each(cleanup::die_of))
}

/// Runs the tunnel; the signal that cut connections short, if one did.
fn try_run(
    args: &TunnelArgs,
    terminal: &Terminal,
    figures: &Arc<Figures>,
    report: &mut Report,
) -> Result<Option<i32>, Failure> {
    let failed = |what: &'static str| move |error| Failure::system(Action::Start, what, error);
    let stages = Stages::watch_signals().map_err(failed("signals"))?;
    let role = Role::new(&args.trust, args.sealed(), !args.seals(), terminal)?;
    // Also where `args` has not refused it before.
    let Some(role) = role else {
        let (why, remedy) = ("nothing would be sealed".to_owned(), "let one side be tls://");
        return Err(Failure::explained(Action::Start, &args.listen, why, remedy));
    };
    let has_engine = !matches!(args.sealing.engine, EngineArg::Auto | EngineArg::Inline);
    let most = files::places(args.max_connections, has_engine, terminal);
    // An engine that is not to be had is told before anybody comes.
    drop(sealing_engine(args.sealing.engine)?);
    // Before anybody is told where to come.
    let runtime = runtime().map_err(failed("threads"))?;
    let (listener, got) = listen::listen(&args.listen)?;
    report.listen = got.to_string();
    if args.seals() && listener.is_reachable() {
        terminal.notice(&format!(
            "warning: {got} is plain: whoever is on that network can read it and use it; \
             tcp://127.0.0.1 or unix: are for this machine only"
        ));
    }
    match args.listen.wants_any_port() {
        true => terminal.say(&format!("listening on {got}")),
        false => terminal.notice(&format!("listening on {got}")),
    }
    tell_other_end(Some(&role), &got, &args.trust, OtherEnd::Tunnels, terminal);
    let (plain, sealed) = match args.seals() {
        true => (got.clone(), args.target.clone()),
        false => (args.target.clone(), got.clone()),
    };
    let opening = Opening::new(role, got.clone(), args);
    let tunnel = Arc::new(Tunnel {
        opening,
        places: Places::new(most, PATIENCE),
        sides: Sides { plain, sealed },
        buffers: Arc::default(),
        figures: figures.clone(),
        complaints: Complaints::new(terminal.clone()).map_err(failed("threads"))?,
        stages,
    });
    let served = runtime.block_on(async {
        let arrivals = Arrivals::new(listener, got)?;
        if let Some(address) = args.metrics {
            let metrics = Metrics::listen(address, figures).await?;
            let url = metrics.url().map_err(failed("metrics"))?;
            terminal.say(&format!("figures for Prometheus at {url}"));
            tokio::spawn(metrics.serve());
        }
        Ok(tunnel.clone().serve(arrivals, args, terminal).await)
    });
    tunnel.complaints.end();
    // What somebody's signature still computes must not keep the others.
    runtime.shutdown_background();
    served
}

/// A runtime for as many threads as there are cores, and those of openings.
fn runtime() -> io::Result<Runtime> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    // One for openings, and one for words.
    try_threads(workers + 2)?;
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(workers).max_blocking_threads(THREADS).enable_all();
    let runtime = builder.thread_keep_alive(DURATION_MAX).build()?;
    // As long as there is one, openings for which there is no other wait for it: tokio would panic
    // over the first.
    runtime.spawn_blocking(|| ());
    Ok(runtime)
}

/// Starts `count` threads at once, and lets them end: tokio panics where it cannot have one.
fn try_threads(count: usize) -> io::Result<()> {
    let gate = Mutex::new(());
    thread::scope(|scope| {
        let _closed = gate.lock();
        let start = |_| thread::Builder::new().spawn_scoped(scope, || drop(gate.lock())).map(drop);
        (0..count).try_for_each(start)
    })
}

impl Tunnel {
    /// Takes connections until it is told to stop, and waits for the last to end. The signal that
    /// cut some short, if one did.
    async fn serve(
        self: Arc<Self>,
        arrivals: Arrivals,
        args: &TunnelArgs,
        terminal: &Terminal,
    ) -> Option<i32> {
        self.stages.serve();
        let watched = tokio::spawn(watch(self.figures.clone(), terminal.clone()));
        tokio::select! {
            () = self.clone().welcome(arrivals) => {}
            () = self.stages.reached(Stage::Ending) => {}
        }
        let open = self.figures.open.get().cast_unsigned();
        let left = open.saturating_sub(self.places.outside_count() as u64);
        if left > 0 && !args.grace.is_zero() {
            self.complaints.notice(format!(
                "no longer listening; waiting for {}, for {} at most",
                quantity::connections(left),
                quantity::duration(args.grace)
            ));
        }
        tokio::select! {
            () = self.places.all_free() => {}
            () = sleep(args.grace) => {}
            () = self.stages.reached(Stage::Now) => {}
        }
        watched.abort();
        self.stages.end_now();
        let _ = timeout(CUT_WITHIN, self.places.all_free()).await;
        let is_cut = self.figures.finished_as(Outcome::Cut).get() > 0;
        // Those that have not noticed yet are cut when this process ends.
        (is_cut || self.figures.open.get() > 0).then(|| self.stages.signal())
    }

    /// Takes connections for ever. One may be accepted and wait for a place, so that it is known
    /// that one is wanted.
    async fn welcome(self: Arc<Self>, mut arrivals: Arrivals) {
        loop {
            let visitor = arrivals.next(&self.complaints).await;
            let Some(place) = self.places.take().await else { return };
            self.figures.accepted.inc();
            let (tunnel, visit) = (self.clone(), Visit::new(self.figures.clone(), place));
            tokio::spawn(async move { tunnel.see_to(visitor, visit).await });
        }
    }
}

/// Shows the figures to a person who watches.
async fn watch(figures: Arc<Figures>, terminal: Terminal) {
    let mut progress = Progress::new(&terminal, None);
    while terminal.is_watched() {
        let (sealed, opened) = (figures.sealed.get(), figures.opened.get());
        let how = format!(
            "{} ({} so far, {} sealed, {} opened)",
            quantity::connections(figures.open.get().cast_unsigned()),
            figures.accepted.get(),
            quantity::bytes(sealed as f64),
            quantity::bytes(opened as f64)
        );
        progress.show(sealed + opened, &how, None);
        sleep(SHOWN_EVERY).await;
    }
}

/// Reports on the tunnel, however it ended.
fn conclude(args: OutcomeArgs, terminal: &Terminal, report: &Report) -> Result<(), Failure> {
    if report.error.is_none() && terminal.is_watched() && !args.stats {
        terminal.notice(&report.summary());
    }
    if args.stats {
        terminal.print(&report.stats());
    }
    if args.json {
        // Numbers and strings: there is nothing that JSON could not say.
        let line = report.to_json().unwrap_or_default();
        let written = io::stdout().write_all(line.as_bytes());
        let written =
            written.map_err(|error| Failure::system(Action::Write, "standard output", error));
        return if report.error.is_none() { written } else { Ok(()) };
    }
    Ok(())
}
