//! A tool that was started with what a case asks for, and our connections with it.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use sealift::tls::{Result, TlsStream};

use crate::case::{Case, Tool, Version};
use crate::credentials::{Credentials, nss_name};
use crate::ours::{Asks, Config};
use crate::program::Program;
use crate::support::{free_port, quiet, wait_for_port, wait_until};

/// No call of a stream takes this long, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the tool is started for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// As the server it wants this of us; as the client it knows nothing of it.
    pub asks: Asks,
    /// As the client it shows its certificate, if it is asked.
    pub shows: bool,
    pub special: Special,
}

/// What else it has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    No,
    /// The client keeps its ticket, and connects with it the second time.
    Resumes {
        again: bool,
    },
    /// `s_server` sends a file to whoever asks for it, and ends.
    ServesFiles,
}

/// The tool at work, and where the two meet.
pub struct Meeting<'a> {
    pub case: &'a Case,
    pub program: Program,
    listener: Option<TcpListener>,
    port: u16,
}

/// A moment that no call of a stream needs.
pub fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

impl<'a> Meeting<'a> {
    /// Starts the tool, which listens or connects.
    pub fn new(case: &'a Case, credentials: &Credentials, wanted: Wanted) -> Self {
        let listener =
            (!case.tool.is_server()).then(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let port = match &listener {
            Some(listener) => listener.local_addr().unwrap().port(),
            None => free_port(),
        };
        let log = credentials.scratch.join(&format!("log-{port}"));
        let call = Call { case, credentials, wanted, port, log: &log };
        let program = Program::start(call.command(), Some(log.clone()));
        if listener.is_none() {
            wait_for_port(port);
        }
        Self { case, program, listener, port }
    }

    /// The next connection with it, after the handshake.
    pub fn connect(&self, config: &Config) -> Result<TlsStream> {
        let stream = match (config, &self.listener) {
            (Config::Server(config), Some(listener)) => {
                TlsStream::accept(accept(listener), config.clone(), deadline())
            }
            (Config::Client(config), None) => {
                let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
                let name = "localhost".try_into().unwrap();
                TlsStream::connect(socket, config.clone(), name, deadline())
            }
            _ => panic!("{:?}: both ends are the same", self.case),
        };
        stream.map(|mut stream| {
            stream.set_read_deadline(Some(deadline()));
            stream.set_write_deadline(Some(deadline()));
            stream
        })
    }
}

fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let mut accepted = None;
    wait_until("the tool's connection", || {
        accepted = listener.accept().ok();
        accepted.is_some()
    });
    let socket = accepted.unwrap().0;
    socket.set_nonblocking(false).unwrap();
    socket
}

/// What a tool's words are made of.
struct Call<'a> {
    case: &'a Case,
    credentials: &'a Credentials,
    wanted: Wanted,
    port: u16,
    log: &'a Path,
}

impl Call<'_> {
    fn command(&self) -> Command {
        let mut command = quiet(self.case.tool.program().0);
        match self.case.tool {
            Tool::SClient => self.s_client(&mut command),
            Tool::SServer => self.s_server(&mut command),
            Tool::GnutlsCli => self.gnutls_cli(&mut command),
            Tool::GnutlsServ => self.gnutls_serv(&mut command),
            Tool::Tstclnt => self.tstclnt(&mut command),
            Tool::Selfserv => self.selfserv(&mut command),
        }
        command
    }

    fn version<'a>(&self, tls12: &'a str, tls13: &'a str) -> &'a str {
        if self.case.version == Version::Tls12 { tls12 } else { tls13 }
    }

    fn s_client(&self, command: &mut Command) {
        let files = &self.credentials.files;
        command.args(["s_client", "-brief", "-no_ign_eof", "-verify_return_error", "-CAfile"]);
        command.arg(&files.ca).args(["-connect", &format!("127.0.0.1:{}", self.port)]);
        command.arg(self.version("-tls1_2", "-tls1_3"));
        if self.wanted.shows {
            command.arg("-cert").arg(&files.client).arg("-key").arg(&files.client);
        }
        let session = self.credentials.scratch.join("session");
        match self.wanted.special {
            Special::Resumes { again: false } => command.arg("-sess_out").arg(session),
            Special::Resumes { again: true } => command.arg("-sess_in").arg(session),
            Special::No | Special::ServesFiles => command,
        };
    }

    fn s_server(&self, command: &mut Command) {
        let files = &self.credentials.files;
        command.args(["s_server", "-accept", &format!("127.0.0.1:{}", self.port)]);
        command.arg("-cert").arg(&files.server).arg("-key").arg(&files.server);
        command.arg(self.version("-tls1_2", "-tls1_3"));
        command.arg("-CAfile").arg(&files.ca).arg("-verify_return_error");
        command.args(match self.wanted.asks {
            Asks::No => &[][..],
            Asks::Politely => &["-verify", "1"],
            Asks::Firmly => &["-Verify", "1"],
        });
        if self.wanted.special == Special::ServesFiles {
            command.arg("-HTTP").current_dir(self.credentials.scratch.path());
        }
    }

    fn gnutls_cli(&self, command: &mut Command) {
        let files = &self.credentials.files;
        let version = self.version("+VERS-TLS1.2", "+VERS-TLS1.3");
        command.arg("--x509cafile").arg(&files.ca).arg("--logfile").arg(self.log);
        command.args(["--priority", &format!("NORMAL:-VERS-ALL:{version}"), "--inline-commands"]);
        if self.wanted.shows {
            command.arg("--x509certfile").arg(&files.client);
            command.arg("--x509keyfile").arg(&files.client);
        }
        if matches!(self.wanted.special, Special::Resumes { .. }) {
            command.args(["--resume", "--waitresumption"]);
        }
        command.args(["-p", &self.port.to_string(), "127.0.0.1"]);
    }

    fn gnutls_serv(&self, command: &mut Command) {
        let files = &self.credentials.files;
        let version = self.version("+VERS-TLS1.2", "+VERS-TLS1.3");
        command.args(["--priority", &format!("NORMAL:-VERS-ALL:{version}")]);
        command.arg("--x509certfile").arg(&files.server).arg("--x509keyfile").arg(&files.server);
        command.arg("--x509cafile").arg(&files.ca).args(["-p", &self.port.to_string()]);
        command.args(match self.wanted.asks {
            Asks::No => &["--disable-client-cert"][..],
            Asks::Politely => &["--verify-client-cert"],
            Asks::Firmly => &["--verify-client-cert", "--require-client-cert"],
        });
        command.arg("--echo");
    }

    fn tstclnt(&self, command: &mut Command) {
        // It shows what it finds, asked for by name or not.
        let files = &self.credentials.files;
        let database = self.credentials.nss(self.wanted.shows.then_some(files.client.as_path()));
        let version = self.version("tls1.2:tls1.2", "tls1.3:tls1.3");
        command.args(["-h", "127.0.0.1", "-a", "localhost", "-p", &self.port.to_string(), "-v"]);
        command.args(["-d", &nss_name(&database), "-V", version]);
        if self.wanted.shows {
            command.args(["-n", "own"]);
        }
        if matches!(self.wanted.special, Special::Resumes { .. }) {
            // It does not see the end of a pipe, and has to see an end to go on.
            command.args(["-u", "-L", "2", "-A", "/dev/null"]);
        }
    }

    fn selfserv(&self, command: &mut Command) {
        let database = self.credentials.nss(Some(&self.credentials.files.server));
        let version = self.version("tls1.2:tls1.2", "tls1.3:tls1.3");
        command.args(["-p", &self.port.to_string(), "-d", &nss_name(&database), "-v", "-u"]);
        command.args(["-V", version, "-n", "own"]);
        command.args(match self.wanted.asks {
            Asks::No => &[][..],
            Asks::Politely => &["-r"],
            Asks::Firmly => &["-r", "-r"],
        });
    }
}
