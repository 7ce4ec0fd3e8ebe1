//! The figures for Prometheus: their names, and the page that it fetches.
//!
//! Whoever fetches it may be slow or rude: there are few places, each for a short time, who asks
//! for nothing gives its place to the next, and nothing but one short request is read.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::figures::{Figures, Labelled};
use super::places::{Place, Places};
use crate::failure::{Action, Failure};

/// Fetches at a time.
const PLACES: u32 = 16;
/// How long a request may take to be made if others wait for the place.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long a fetch may take.
const FETCH_WITHIN: Duration = Duration::from_secs(10);
/// What a request may be long.
const REQUEST_BYTES: usize = 8 * 1024;
/// The pause after an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// The format's own name for itself (OpenMetrics 1.0).
const FORMAT: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Where the figures are fetched from.
#[derive(Debug)]
pub(super) struct Metrics {
    listener: TcpListener,
    registry: Arc<Registry>,
}

impl Metrics {
    /// Listens on `address`.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) async fn listen(address: SocketAddr, figures: &Figures) -> Result<Self, Failure> {
        let listener = TcpListener::bind(address).await;
        let url = format!("http://{address}");
        let listener = listener.map_err(|error| Failure::system(Action::Listen, url, error))?;
        Ok(Self { listener, registry: Arc::new(registry(figures)) })
    }

    /// What to tell Prometheus.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn url(&self) -> io::Result<String> {
        self.listener.local_addr().map(|address| format!("http://{address}/metrics"))
    }

    /// Answers for ever.
    pub(super) async fn serve(self) {
        let places = Places::new(PLACES, PATIENCE);
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let Some(place) = places.take().await else { return };
            let registry = self.registry.clone();
            tokio::spawn(async move {
                // Whoever takes longer has no page.
                tokio::select! {
                    _ = timeout(FETCH_WITHIN, answer(stream, &registry, &place)) => {}
                    () = place.wanted() => {}
                }
            });
        }
    }
}

/// Answers one request.
async fn answer(stream: TcpStream, registry: &Registry, place: &Place) {
    let service = service_fn(|request| async move {
        // It has asked. If it had just been told to leave, it does.
        place.let_in();
        page(&request, registry)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(FETCH_WITHIN)
        .max_buf_size(REQUEST_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "figures were not fetched");
    }
}

fn page(
    request: &Request<Incoming>,
    registry: &Registry,
) -> Result<Response<String>, hyper::Error> {
    let refused = match (request.uri().path(), request.method()) {
        ("/metrics", &Method::GET | &Method::HEAD) => None,
        ("/metrics", _) => Some(StatusCode::METHOD_NOT_ALLOWED),
        _ => Some(StatusCode::NOT_FOUND),
    };
    let mut response = Response::new(String::new());
    match refused {
        Some(status) => {
            *response.body_mut() = format!("{status}; the figures are at /metrics\n");
            *response.status_mut() = status;
        }
        None => {
            // Writing to a string cannot fail.
            let _ = encode(response.body_mut(), registry);
            response.headers_mut().insert(CONTENT_TYPE, FORMAT);
        }
    }
    Ok(response)
}

/// Names all figures.
fn registry(figures: &Figures) -> Registry {
    let mut all = Registry::with_prefix("sealift_tunnel");
    let counts: [(&str, &str, &Counter); 6] = [
        ("connections_accepted", "Connections accepted", &figures.accepted),
        ("sealed_records", "Records of data sealed", &figures.records_sealed),
        ("opened_records", "Records of data opened", &figures.records_opened),
        ("engine_jobs", "Jobs that engines took", &figures.engine_jobs),
        ("engine_failures", "Jobs that engines failed to do", &figures.engine_failures),
        ("engine_fallbacks", "Jobs done here after all", &figures.engine_fallbacks),
    ];
    for (name, help, counter) in counts {
        all.register(name, help, counter.clone());
    }
    let families: [(&str, &str, &Labelled); 4] = [
        ("connections_finished", "Connections that ended, by how", &figures.finished),
        ("key_updates", "Key updates of TLS 1.3", &figures.key_updates),
        ("handshakes", "TLS handshakes that succeeded", &figures.handshakes),
        ("send_refusals", "Sends that the kernel did not take as offered", &figures.refusals),
    ];
    for (name, help, family) in families {
        all.register(name, help, family.clone());
    }
    for (name, help, counter) in [
        ("sealed", "Plaintext sealed and sent", &figures.sealed),
        ("opened", "Plaintext opened and passed on", &figures.opened),
        ("wire_received", "Sealed bytes received", &figures.wire_received),
    ] {
        all.register_with_unit(name, help, Unit::Bytes, counter.clone());
    }
    let (wire, help) = (figures.wire.clone(), "Sealed bytes sent, by what became of them");
    all.register_with_unit("wire_sent", help, Unit::Bytes, wire);
    let (seconds, help) = (figures.handshake_seconds.clone(), "How long handshakes took");
    all.register_with_unit("handshake", help, Unit::Seconds, seconds);
    let (latency, help) = (figures.engine_latency.clone(), "How long the jobs of engines took");
    all.register_with_unit("engine_latency", help, Unit::Seconds, latency);
    let gauges: [(&str, &str, &Gauge); 3] = [
        ("engine_depth", "Jobs that engines have", &figures.engine_depth),
        ("engine_depth_most", "The most jobs that one had at a time", &figures.engine_depth_most),
        ("connections_open", "Connections that there are", &figures.open),
    ];
    for (name, help, gauge) in gauges {
        all.register(name, help, gauge.clone());
    }
    all
}
