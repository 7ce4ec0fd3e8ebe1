//! An HTTPS server: hyper over `AsyncTlsStream`, HTTP/1.1 and HTTP/2.
//!
//! What has changed against the same server over tokio-rustls:
//!
//! ```text
//! - let stream = TlsAcceptor::from(config).accept(socket).await?;
//! + let (builder, socket) = (TlsStream::builder(), socket.into_std()?);
//! + let stream = AsyncTlsStream::accept(builder, socket, config, deadline).await?;
//! ```
//! `GET /N` answers with N bytes; what comes by POST goes back.
//!
//! ```text
//! cargo run --release --features tls,tokio --example hyper_server -- CERT.pem KEY.pem [ADDRESS]
//! curl --insecure https://127.0.0.1:8443/1000000 --output /dev/null
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, combinators::BoxBody};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use sealift::tls::rustls::ServerConfig;
use sealift::tls::rustls::pki_types::pem::PemObject;
use sealift::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sealift::tls::{AsyncTlsStream, TlsStream};
use tokio::net::{TcpListener, TcpStream};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;
/// Bodies of answers: made here, or passed on.
type Answer = Response<BoxBody<Bytes, hyper::Error>>;

/// How long a client may take to shake hands.
const PATIENCE: Duration = Duration::from_secs(10);
const BLOCK_BYTES: usize = 64 * 1024;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(certificates), Some(key)) = (arguments.next(), arguments.next()) else {
        return Err("usage: hyper_server CERT.pem KEY.pem [ADDRESS]".into());
    };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificates)?.collect();
    let config = configuration(certificates?, PrivateKeyDer::from_pem_file(key)?)?;
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8443".to_owned());
    let listener = TcpListener::bind(address).await?;
    eprintln!("listening on https://{}", listener.local_addr()?);
    let interrupted = async { drop(tokio::signal::ctrl_c().await) };
    serve(listener, config, interrupted).await;
    Ok(())
}

/// An ordinary configuration of rustls, which offers HTTP/2 and HTTP/1.1.
pub(crate) fn configuration(
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Outcome<Arc<ServerConfig>> {
    let config = ServerConfig::builder().with_no_client_auth();
    let mut config = config.with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Serves connections until `end`, then waits for the answers that have begun.
pub(crate) async fn serve(listener: TcpListener, config: Arc<ServerConfig>, end: impl Future) {
    let graceful = GracefulShutdown::new();
    let mut end = pin!(end);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut end => break,
        };
        match accepted {
            Ok((socket, _)) => {
                let served = connection(socket, config.clone(), graceful.watcher());
                tokio::spawn(async {
                    served.await.unwrap_or_else(|error| eprintln!("connection: {error}"));
                });
            }
            Err(error) => {
                eprintln!("accept: {error}");
                // Too many open files, perhaps: there will be fewer.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn connection(socket: TcpStream, config: Arc<ServerConfig>, end: Watcher) -> Outcome<()> {
    socket.set_nodelay(true)?;
    let deadline = Instant::now() + PATIENCE;
    let (builder, socket) = (TlsStream::builder(), socket.into_std()?);
    let stream = AsyncTlsStream::accept(builder, socket, config, deadline).await?;
    let server = auto::Builder::new(TokioExecutor::new());
    let served = server.serve_connection(TokioIo::new(stream), service_fn(answer));
    end.watch(served.into_owned()).await
}

/// `GET /N`, `HEAD /N`, and `POST`.
pub(crate) async fn answer(request: Request<Incoming>) -> Result<Answer, Infallible> {
    let size = request.uri().path().trim_start_matches('/').parse::<u64>();
    let nothing = Empty::new().map_err(|never| match never {}).boxed();
    let (status, length, body) = match (request.method(), size) {
        (&Method::GET, Ok(size)) => (StatusCode::OK, Some(size), Numbers::new(size).boxed()),
        (&Method::HEAD, Ok(size)) => (StatusCode::OK, Some(size), nothing),
        (&Method::POST, _) => (StatusCode::OK, None, request.into_body().boxed()),
        _ => (StatusCode::NOT_FOUND, None, nothing),
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    if let Some(length) = length {
        answer.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    Ok(answer)
}

/// A body of so many bytes: 0, 1, … 250, and from 0 again.
pub(crate) struct Numbers {
    at: u64,
    end: u64,
}

const PERIOD: usize = 251;
/// A block from any place of the period on is a part of this.
static BLOCK: LazyLock<Bytes> =
    LazyLock::new(|| (0..BLOCK_BYTES + PERIOD).map(|at| (at % PERIOD) as u8).collect());

impl Numbers {
    pub(crate) fn new(end: u64) -> Self {
        Self { at: 0, end }
    }
}

impl Body for Numbers {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let count = (self.end - self.at).min(BLOCK_BYTES as u64) as usize;
        if count == 0 {
            return Poll::Ready(None);
        }
        let from = (self.at % PERIOD as u64) as usize;
        self.at += count as u64;
        Poll::Ready(Some(Ok(Frame::data(BLOCK.slice(from..from + count)))))
    }

    fn is_end_stream(&self) -> bool {
        self.at == self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.at)
    }
}
