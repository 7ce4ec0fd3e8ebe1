//! The server: the `hyper_server` example's answers, on one thread, over the stream to measure.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use sealift::tls::{AsyncTlsStream, TlsStream};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::child::{listen_for_parent, meet_parent};

#[allow(dead_code, reason = "the example's own main and listener are not used here")]
#[path = "../../../sealift/examples/hyper_server.rs"]
mod example;

/// What is under hyper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `sealift::tls::AsyncTlsStream`.
    Sealift,
    /// `tokio_rustls::server::TlsStream`.
    TokioRustls,
    /// `tokio::net::TcpStream`: no TLS.
    Plain,
}

impl Kind {
    /// All of them, the one under test first.
    pub const ALL: [Self; 3] = [Self::Sealift, Self::TokioRustls, Self::Plain];

    /// The row's name; scripts compare by it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sealift => "sealift",
            Self::TokioRustls => "tokio-rustls",
            Self::Plain => "plain",
        }
    }
}

type Served = Result<(), Box<dyn Error + Send + Sync>>;

/// Serves until the parent process ends its input.
///
/// # Errors
/// If there is no parent process, or no runtime.
pub fn serve(kind: Kind) -> io::Result<()> {
    let config = meet_parent()?.server()?;
    let listener = listen_for_parent()?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            let served = connection(kind, socket, config.clone());
            tokio::spawn(async {
                // A client that leaves when it has what it wants is as good as one that says so.
                let _ = served.await;
            });
        }
    })
}

async fn connection(kind: Kind, socket: TcpStream, config: Arc<ServerConfig>) -> Served {
    match kind {
        Kind::Plain => over(socket).await,
        Kind::TokioRustls => over(TlsAcceptor::from(config).accept(socket).await?).await,
        Kind::Sealift => {
            let deadline = Instant::now() + Duration::from_secs(10);
            let (builder, socket) = (TlsStream::builder(), socket.into_std()?);
            over(AsyncTlsStream::accept(builder, socket, config, deadline).await?).await
        }
    }
}

async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Served {
    let server = auto::Builder::new(TokioExecutor::new());
    server.serve_connection(TokioIo::new(stream), service_fn(example::answer)).await
}
