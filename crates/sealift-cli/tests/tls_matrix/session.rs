//! A conversation with a tool over one connection after another: what was said is never said again.

use std::io::{Read, Write};
use std::thread;

use sealift::tls::{Result, TlsStream};

use crate::case::{Case, Manner, Tool};
use crate::credentials::Credentials;
use crate::meeting::{Meeting, Wanted, deadline};
use crate::ours::{Config, chain};
use crate::support::wait_until;

/// What one end says in one go, in lines of 16 bytes: many records.
const LINES: usize = 10_000;
/// selfserv takes requests of up to 10 KiB.
const REQUEST_LINES: usize = 500;

/// The tool, our stream with it, and what was said.
pub struct Session<'a> {
    case: &'a Case,
    meeting: Meeting<'a>,
    config: Config,
    stream: Option<TlsStream>,
    lines_said: usize,
}

/// Lines of digits from a number on; to no tool they are a command.
pub fn lines(first: usize, count: usize) -> Vec<u8> {
    (first..).take(count).flat_map(|number| format!("{number:015}\n").into_bytes()).collect()
}

impl<'a> Session<'a> {
    /// Starts the tool, and connects with it.
    pub fn new(case: &'a Case, credentials: &Credentials, wanted: Wanted) -> Result<Self> {
        let config = Config::new(case, credentials, wanted.asks, wanted.shows);
        let meeting = Meeting::new(case, credentials, wanted);
        let stream = Some(meeting.connect(&config)?);
        let mut session = Self { case, meeting, config, stream, lines_said: 0 };
        let (stream, suite) = (session.stream(), case.supported_suite());
        assert_eq!(stream.protocol_version(), case.version.supported().version, "{case:?}");
        assert_eq!(stream.negotiated_cipher_suite(), suite, "{case:?}");
        Ok(session)
    }

    pub fn stream(&mut self) -> &mut TlsStream {
        self.stream.as_mut().unwrap()
    }

    /// Data both ways, compared byte for byte.
    pub fn talk(&mut self) {
        match self.case.tool.manner() {
            Manner::Talks => {
                self.say();
                self.hear();
            }
            Manner::Echoes => self.hear_echo(),
            Manner::Answers => self.hear_answer(),
        }
    }

    fn next(&mut self, count: usize) -> Vec<u8> {
        let first = self.lines_said;
        self.lines_said += count;
        lines(first, count)
    }

    /// What we send, it prints.
    pub fn say(&mut self) {
        let said = self.next(LINES);
        self.stream().write_all(&said).unwrap();
        self.meeting.program.wait_to_print(&said);
    }

    /// What it is told, it sends.
    fn hear(&mut self) {
        let said = self.next(LINES);
        self.meeting.program.tell(&said);
        let mut heard = vec![0; said.len()];
        self.stream().read_exact(&mut heard).unwrap();
        assert!(heard == said, "{:?}", self.case);
    }

    fn hear_echo(&mut self) {
        let said = self.next(LINES);
        let mut heard = vec![0; said.len()];
        let (reader, writer) = self.stream().halves();
        thread::scope(|scope| {
            scope.spawn(|| writer.write_all(&said).unwrap());
            reader.read_exact(&mut heard).unwrap();
        });
        assert!(heard == said, "{:?}", self.case);
    }

    /// The answer repeats the request, and the connection ends.
    fn hear_answer(&mut self) {
        let said = self.next(REQUEST_LINES);
        let request = [b"GET / HTTP/1.0\r\n", &said[..], b"\r\n"].concat();
        self.stream().write_all(&request).unwrap();
        let mut heard = Vec::new();
        self.stream().read_to_end(&mut heard).unwrap();
        let repeated = heard.windows(request.len()).any(|window| window == request);
        assert!(repeated, "{:?}: {}", self.case, String::from_utf8_lossy(&heard));
    }

    /// We update our key and ask for its own: data goes both ways under the next ones.
    pub fn update_our_key(&mut self) {
        let before = self.key_updates();
        self.stream().request_key_update().unwrap();
        self.talk();
        assert_eq!(self.key_updates(), (before.0 + 1, before.1 + 1), "{:?}", self.case);
    }

    /// The other way round.
    pub fn update_its_key(&mut self) {
        let before = self.key_updates();
        match self.case.tool {
            Tool::SClient => {
                self.meeting.program.tell(b"K\n");
                self.meeting.program.wait_to_say("KEYUPDATE");
            }
            Tool::SServer => {
                self.meeting.program.tell(b"K\n");
                // It says so when it next prints what it receives.
                wait_until("an update of the tool's key", || {
                    let line = self.next(1);
                    self.stream().write_all(&line).unwrap();
                    self.meeting.program.all().contains("SSL_do_handshake -> 1")
                });
            }
            Tool::GnutlsCli => self.meeting.program.tell(b"^rekey^\n"),
            Tool::GnutlsServ => {
                let done = b"Successfully executed command\n";
                self.stream().write_all(b"**REHANDSHAKE**\n").unwrap();
                let mut heard = vec![0; done.len()];
                self.stream().read_exact(&mut heard).unwrap();
                assert_eq!(heard, done, "{:?}", self.case);
            }
            Tool::Tstclnt | Tool::Selfserv => panic!("{:?} has no command for it", self.case),
        }
        self.talk();
        assert_eq!(self.key_updates(), (before.0 + 1, before.1 + 1), "{:?}", self.case);
    }

    /// Key updates sent, and received.
    fn key_updates(&mut self) -> (u64, u64) {
        let stats = self.stream().stats();
        (stats.key_updates_sent, stats.key_updates_received)
    }

    /// The other end showed the certificate that it has.
    pub fn check_certificates(&mut self, credentials: &Credentials) {
        let files = &credentials.files;
        let file = if self.case.tool.is_server() { &files.server } else { &files.client };
        let expected = &chain(&std::fs::read(file).unwrap())[0];
        let shown = self.stream().peer_certificates().map(|shown| &shown[0]);
        assert_eq!(shown, Some(expected));
    }

    /// Ends the connection: whoever can ends first, and gets what is said afterwards. Then the tool
    /// has to have said what it had agreed on.
    pub fn part(mut self) {
        match self.case.tool {
            Tool::SClient => {
                self.meeting.program.end_input();
                self.hear_end();
            }
            Tool::GnutlsCli => {
                self.meeting.program.end_input();
                self.hear_end();
                self.say();
                self.end();
            }
            Tool::Tstclnt => {
                self.end();
                self.hear();
            }
            Tool::SServer | Tool::GnutlsServ => {
                self.end();
                self.hear_end();
            }
            // It has ended after its answer.
            Tool::Selfserv => {}
        }
        self.stream = None;
        if matches!(self.case.tool, Tool::SClient | Tool::GnutlsCli) {
            assert!(self.meeting.program.finish(), "{:?}", self.case);
        }
        for sign in self.case.signs() {
            self.meeting.program.wait_to_say(sign);
        }
    }

    fn hear_end(&mut self) {
        assert_eq!(self.stream().read(&mut [0; 10]).unwrap(), 0, "{:?}: close_notify", self.case);
    }

    fn end(&mut self) {
        let closed = self.stream().close(deadline()).unwrap();
        assert!(!closed.aborted, "{:?}: {closed:?}", self.case);
    }

    /// Lets go of this connection, and makes the next one.
    pub fn reconnect(&mut self, credentials: &Credentials, wanted: Wanted) {
        match self.case.tool {
            Tool::SServer | Tool::GnutlsServ => {
                self.end();
                self.hear_end();
            }
            Tool::Tstclnt => self.end(),
            Tool::SClient | Tool::GnutlsCli | Tool::Selfserv => {}
        }
        if self.case.tool == Tool::SClient {
            self.meeting.program.end_input();
            self.hear_end();
            assert!(self.meeting.program.finish(), "{:?}", self.case);
            self.meeting = Meeting::new(self.case, credentials, wanted);
        }
        self.stream = None;
        self.stream = Some(self.meeting.connect(&self.config).unwrap());
    }
}
