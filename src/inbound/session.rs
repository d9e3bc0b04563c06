//! One session: the server machine joined to its connection.

use super::received::Trace;
use super::transaction::{self, Mail};
use super::{Inbound, count};
use crate::limits;
use crate::net::deadline::within;
use crate::net::stream::Stream;
use crate::policy::level::Level;
use crate::policy::relay::Trust;
use crate::smtp::address::Path;
use crate::smtp::data::LineEnds;
use crate::smtp::intake::Summary;
use crate::smtp::parameters::MailParameters;
use crate::smtp::reply::{self, Reply};
use crate::smtp::server::{Ended, Server, Settings, Step, Verdict};
use crate::spool::Durable;
use crate::tls::Established;
use async_rustls::rustls::ServerConfig;
use log::{debug, info, warn};
use smol::Async;
use smol::future::FutureExt as _;
use smol::io::{AsyncRead, AsyncWriteExt as _};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How a listener receives its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// SMTP with STARTTLS at this level.
    Smtp(Level),
    /// The handshake first.
    Tls,
}

/// How a session came to its end, as the log tells it.
type Outcome = Result<&'static str, String>;

struct Session {
    inbound: Arc<Inbound>,
    door: Door,
    peer: SocketAddr,
    number: u64,
    trust: Trust,
    server: Server<Durable, Established>,
    hello: Option<Hello>,
    mail: Option<Box<Mail>>,
    /// Replies that are not written out yet.
    out: Vec<u8>,
    messages: u64,
    mended: bool,
}

struct Hello {
    word: Box<str>,
    extended: bool,
}

/// What is to be done before more input can be taken.
enum Next {
    Read,
    Handshake,
    End(Outcome),
}

/// Runs a session to its end and logs it.
pub async fn run(inbound: Arc<Inbound>, socket: Async<TcpStream>, peer: SocketAddr, door: Door) {
    let number = count(&inbound.counters.sessions);
    let trust = inbound.relay.trust(peer.ip());
    let mut session = Session {
        inbound,
        door,
        peer,
        number,
        trust,
        server: Server::new(),
        hello: None,
        mail: None,
        out: Vec::new(),
        messages: 0,
        mended: false,
    };
    debug!("connect session=i{number} client={peer}");
    let began = Instant::now();
    let end = session
        .serve(Stream::new(socket))
        .await
        .unwrap_or_else(|problem| problem);
    let tls = session
        .server
        .tls()
        .map_or_else(|| "none".into(), ToString::to_string);
    let hello = session.hello.as_ref().map_or("", |hello| &hello.word);
    info!(
        "disconnect session=i{number} client={peer} helo={hello:?} tls=\"{tls}\" messages={} ms={} end=\"{end}\"",
        session.messages,
        began.elapsed().as_millis(),
    );
}

impl Session {
    async fn serve(&mut self, mut stream: Stream) -> Result<String, String> {
        if self.door == Door::Tls {
            let Some(config) = self.inbound.tls() else {
                return Err("no certificate".into());
            };
            let (up, proof) = self.handshake(stream, &config).await?;
            self.server = Server::in_tls(proof);
            stream = up;
        }
        self.say(|session, out| {
            let inbound = Arc::clone(&session.inbound);
            session.server.greet(&session.settings(&inbound), out);
        });
        let mut input = Vec::new();
        loop {
            self.write_out(&mut stream).await?;
            let waited = self.read(&mut stream, &mut input).await;
            let next = match waited {
                Ok(0) => return Ok("closed by the client".into()),
                Ok(_) => self.take_input(&mut stream, &mut input).await?,
                Err(why) => why,
            };
            match next {
                Next::Read => {}
                Next::Handshake => {
                    self.write_out(&mut stream).await?;
                    let Some(config) = self.inbound.tls() else {
                        return Err("no certificate".into());
                    };
                    let (up, proof) = self.handshake(stream, &config).await?;
                    self.server.tls_is_up(proof);
                    self.hello = None;
                    self.mail = None;
                    stream = up;
                }
                Next::End(end) => {
                    self.mail = None;
                    let written = self.write_out(&mut stream).await;
                    stream.close().await;
                    return end.map(str::to_owned).and_then(|end| written.map(|()| end));
                }
            }
        }
    }

    fn settings<'a>(&self, inbound: &'a Inbound) -> Settings<'a> {
        let level = match self.door {
            Door::Smtp(level) => level,
            Door::Tls => Level::None,
        };
        Settings {
            hostname: &inbound.hostname,
            message_size: inbound.message_size,
            starttls: level != Level::None && inbound.tls().is_some(),
            require_tls: level == Level::Encrypt,
            line_ends: match self.trust {
                Trust::Trusted => LineEnds::Mended,
                Trust::Stranger => LineEnds::Strict,
            },
        }
    }

    /// Lets the machine write into a fixed buffer, and keeps what it wrote.
    fn say<R>(&mut self, speak: impl FnOnce(&mut Self, &mut heapless::VecView<u8>) -> R) -> R {
        let mut buffer = heapless::Vec::<u8, { 2 * limits::REPLY }>::new();
        let result = speak(self, &mut buffer);
        self.out.extend_from_slice(&buffer);
        result
    }

    /// Feeds the machine until it wants to read, and keeps what it did not use.
    async fn take_input(
        &mut self,
        stream: &mut Stream,
        input: &mut Vec<u8>,
    ) -> Result<Next, String> {
        let bytes = std::mem::take(input);
        let mut at = 0;
        loop {
            if self.out.len() > limits::REPLIES_WAITING {
                self.write_out(stream).await?;
            }
            let inbound = Arc::clone(&self.inbound);
            let (used, step) = self.say(|session, out| {
                let settings = session.settings(&inbound);
                session.server.handle_input(&settings, &bytes[at..], out)
            });
            at += used;
            let next = match step {
                Step::Input => Some(Next::Read),
                Step::StartTls => Some(Next::Handshake),
                step => self.obey(step).await.map(Next::End),
            };
            if let Some(next) = next {
                if at < bytes.len() {
                    input.extend_from_slice(&bytes[at..]);
                }
                return Ok(next);
            }
        }
    }

    /// Does what a step asks; the session's end, if that is it.
    async fn obey(&mut self, step: Step<'_>) -> Option<Outcome> {
        match step {
            Step::Mail { sender, parameters } => self.mail_from(sender, parameters).await,
            Step::Rcpt { recipient } => self.rcpt_to(recipient).await,
            Step::Data => {
                if let Some(mail) = &mut self.mail {
                    mail.data_begins();
                }
                self.verdict(Verdict::Accept)
            }
            Step::Body(text) => {
                self.body(text).await;
                None
            }
            Step::EndOfData(summary) => self.end_of_data(summary).await,
            Step::Hello { word, extended } => {
                self.hello = Some(Hello {
                    word: word.into(),
                    extended,
                });
                self.mail = None;
                None
            }
            Step::Reset => {
                self.mail = None;
                None
            }
            Step::Close(why) => Some(Ok(self.ended(why))),
            Step::Vanish => Some(Ok("another protocol")),
            Step::Input | Step::Next | Step::Output | Step::StartTls => None,
        }
    }

    fn verdict(&mut self, verdict: Verdict) -> Option<Outcome> {
        let inbound = Arc::clone(&self.inbound);
        let step = self.say(|session, out| {
            let settings = session.settings(&inbound);
            session.server.verdict(&settings, verdict, out)
        });
        match step {
            Step::Close(why) => Some(Ok(self.ended(why))),
            _ => None,
        }
    }

    async fn mail_from(&mut self, sender: Path<'_>, parameters: MailParameters) -> Option<Outcome> {
        let inbound = Arc::clone(&self.inbound);
        match Mail::begin(&inbound, self.trust, sender, parameters.size).await {
            Ok(mail) => {
                self.mail = Some(Box::new(mail));
                self.verdict(Verdict::Accept)
            }
            Err(refusal) => {
                info!(
                    "refused session=i{} from={sender} reply=\"{}\"",
                    self.number, refusal.0
                );
                self.verdict(Verdict::Refuse(refusal))
            }
        }
    }

    async fn rcpt_to(&mut self, recipient: Path<'_>) -> Option<Outcome> {
        let answer = match (
            transaction::recipient(&self.inbound, self.trust, recipient),
            &mut self.mail,
        ) {
            (Ok(address), Some(mail)) => mail.recipient(address).await,
            (Ok(_), None) => Err(reply::BAD_SEQUENCE),
            (Err(refusal), _) => Err(refusal),
        };
        let Err(refusal) = answer else {
            return self.verdict(Verdict::Accept);
        };
        count(&self.inbound.counters.refused_recipients);
        let sender = self.mail.as_ref().map_or("", |mail| &mail.sender);
        let number = self.number;
        info!(
            "refused session=i{number} from=<{sender}> to={recipient} reply=\"{}\"",
            refusal.0
        );
        self.verdict(Verdict::Refuse(refusal))
    }

    async fn body(&mut self, text: &[u8]) {
        let Some(mail) = &mut self.mail else { return };
        if let Err(refusal) = mail.body(text).await {
            self.server.doom(refusal);
            self.mail = None; // its room is free at once
        }
    }

    async fn end_of_data(&mut self, summary: Summary) -> Option<Outcome> {
        let Some(mail) = self.mail.take() else {
            return self.verdict(Verdict::Refuse(reply::DISK_ERROR));
        };
        if summary.mended && !self.mended {
            self.mended = true;
            warn!(
                "mended session=i{} client={}: a bare CR or LF was made CR LF",
                self.number, self.peer
            );
        }
        let (id, sender, recipients) = (mail.id(), mail.sender.clone(), mail.recipients);
        let inbound = Arc::clone(&self.inbound);
        let committed = mail
            .commit(self.trace(&inbound), self.trust, &summary)
            .await;
        let number = self.number;
        match committed {
            Ok(durable) => {
                let tls = self
                    .server
                    .tls()
                    .map_or_else(|| "none".into(), ToString::to_string);
                info!(
                    "accepted session=i{number} id={id} from=<{sender}> recipients={recipients} size={} tls=\"{tls}\"",
                    summary.size
                );
                count(&self.inbound.counters.messages);
                self.messages += 1;
                self.say(|session, out| session.server.accepted(durable, out));
                None
            }
            Err(refusal) => {
                info!(
                    "refused session=i{number} id={id} from=<{sender}> reply=\"{}\"",
                    refusal.0
                );
                self.verdict(Verdict::Refuse(refusal))
            }
        }
    }

    fn trace<'a>(&'a self, inbound: &'a Inbound) -> Trace<'a> {
        Trace {
            hello: self.hello.as_ref().map_or("", |hello| &hello.word),
            extended: self.hello.as_ref().is_some_and(|hello| hello.extended),
            client: self.peer.ip(),
            hostname: &inbound.hostname,
            tls: self.server.tls(),
            id: String::new(),
            only_recipient: None,
            now: 0,
        }
    }

    fn ended(&self, why: Ended) -> &'static str {
        if why == Ended::Injection {
            warn!(
                "injection session=i{} client={}: commands behind STARTTLS in clear",
                self.number, self.peer
            );
        }
        match why {
            Ended::Quit => "quit",
            Ended::TooManyErrors => "too many errors",
            Ended::BareLineEnd => "bare CR or LF in a command",
            Ended::Injection => "commands behind STARTTLS",
            Ended::FarTooBig => "message far too big",
            Ended::Shut => "shut",
        }
    }

    async fn handshake(
        &self,
        stream: Stream,
        config: &Arc<ServerConfig>,
    ) -> Result<(Stream, Established), String> {
        let turn = async { Ok(self.inbound.handshakes.acquire().await) };
        let turn = within(limits::HANDSHAKE_TURN, turn)
            .await
            .map_err(|_| "no turn for the handshake")?;
        let done = stream.accept_tls(config).await;
        drop(turn);
        count(match done {
            Ok(_) => &self.inbound.counters.tls_sessions,
            Err(_) => &self.inbound.counters.tls_failures,
        });
        done.map_err(|problem| format!("TLS: {problem}"))
    }

    async fn write_out(&mut self, stream: &mut Stream) -> Result<(), String> {
        if self.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        let written = within(limits::REPLY_WRITE, async {
            stream.write_all(&out).await?;
            stream.flush().await
        });
        written.await.map_err(|problem| format!("write: {problem}"))
    }

    /// Reads more input behind what is there; how many octets, or what ends the wait.
    async fn read(&mut self, stream: &mut Stream, input: &mut Vec<u8>) -> Result<usize, Next> {
        let reading = read_chunk(stream, input);
        let idle = !self.server.in_transaction();
        let result = if idle {
            let stop = async {
                let _ = self.inbound.stop.recv().await;
                Err(io::ErrorKind::Interrupted.into())
            };
            within(self.patience(), reading.or(stop)).await
        } else {
            within(self.patience(), reading).await
        };
        match result {
            Ok(octets) => {
                let too_slow = self.too_slow(octets);
                if too_slow {
                    Err(self.farewell(reply::TOO_SLOW, "too slow"))
                } else {
                    Ok(octets)
                }
            }
            Err(problem)
                if problem.kind() == io::ErrorKind::Interrupted && self.inbound.stopping() =>
            {
                Err(self.farewell(reply::SHUTTING_DOWN, "shutting down"))
            }
            Err(problem) if problem.kind() == io::ErrorKind::TimedOut => {
                Err(self.farewell(reply::TIMED_OUT, "timed out"))
            }
            Err(problem) => Err(Next::End(Err(format!("read: {problem}")))),
        }
    }

    fn farewell(&mut self, reply: Reply, why: &'static str) -> Next {
        self.say(|session, out| session.server.shut(reply, out));
        Next::End(Ok(why))
    }

    fn patience(&self) -> Duration {
        if self.inbound.slots.crowded() && !self.server.in_data() {
            limits::COMMAND_IDLE_CROWDED
        } else {
            self.server.patience()
        }
    }

    /// Whether message data comes at less than the least rate, after its grace.
    fn too_slow(&mut self, octets: usize) -> bool {
        if !self.server.in_data() {
            return false;
        }
        let Some(mail) = &mut self.mail else {
            return false;
        };
        mail.data_octets += octets as u64;
        let elapsed = mail
            .data_began
            .map_or(Duration::ZERO, |began| began.elapsed());
        elapsed > limits::DATA_RATE_GRACE
            && mail.data_octets < elapsed.as_secs() * limits::DATA_RATE_FLOOR as u64
    }
}

thread_local! {
    /// Where bytes are read to before it is known how many come: an idle session owns no buffer.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; limits::READ_CHUNK].into_boxed_slice());
}

/// Reads once and appends what came.
async fn read_chunk(stream: &mut Stream, input: &mut Vec<u8>) -> io::Result<usize> {
    poll_fn(|context| {
        SCRATCH.with_borrow_mut(|scratch| {
            let read = Pin::new(&mut *stream).poll_read(context, scratch);
            read.map_ok(|octets| {
                input.extend_from_slice(&scratch[..octets]);
                octets
            })
        })
    })
    .await
}
