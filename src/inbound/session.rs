//! One session: the server machine joined to its connection.

mod obey;

use super::pace::Pace;
use super::slots::Slot;
use super::transaction::Mail;
use super::{Inbound, count};
use crate::limits;
use crate::net::deadline::within;
use crate::net::stream::Stream;
use crate::policy::level::Level;
use crate::policy::relay::Trust;
use crate::smtp::data::LineEnds;
use crate::smtp::reply::{self, Reply};
use crate::smtp::server::{Server, Settings, Step};
use crate::spool::Durable;
use crate::tls::Established;
use crate::tls::failure::Failure;
use crate::tls::server::Config;
use log::{debug, info};
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
    slot: Slot,
    server: Server<Durable, Established>,
    hello: Option<Hello>,
    mail: Option<Box<Mail>>,
    /// Replies that are not written out yet.
    out: Vec<u8>,
    messages: u64,
    mended: bool,
    /// When the last replies were written: the client's patience runs from there.
    waiting_since: Instant,
    /// When it was greeted, or its last message accepted.
    fruitless_since: Instant,
    pace: Pace,
    /// Questions to next hops, of whether a recipient exists.
    asks: usize,
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
pub async fn run(
    inbound: Arc<Inbound>,
    socket: Async<TcpStream>,
    peer: SocketAddr,
    door: Door,
    slot: Slot,
) {
    let number = count(&inbound.counters.sessions);
    let trust = inbound.names.relay.trust(peer.ip());
    let began = Instant::now();
    let mut session = Session {
        inbound,
        door,
        peer,
        number,
        trust,
        slot,
        server: Server::new(),
        hello: None,
        mail: None,
        out: Vec::new(),
        messages: 0,
        mended: false,
        waiting_since: began,
        fruitless_since: began,
        pace: Pace::default(),
        asks: 0,
    };
    debug!("connect session=i{number} client={peer}");
    let end = session
        .serve(Stream::new(socket))
        .await
        .unwrap_or_else(|problem| problem);
    if let Some(mail) = session.mail.take() {
        let (id, sender, recipients) = (mail.id(), &mail.sender, mail.recipients);
        info!("aborted session=i{number} id={id} from={sender:?} recipients={recipients}");
    }
    let tls = session
        .server
        .tls()
        .map_or_else(|| "none".into(), ToString::to_string);
    let hello = session.hello.as_ref().map_or("", |hello| &hello.word);
    info!(
        "disconnect session=i{number} client={peer} helo={hello:?} tls={tls:?} messages={} ms={} end={end:?}",
        session.messages,
        began.elapsed().as_millis(),
    );
}

impl Session {
    async fn serve(&mut self, mut stream: Stream) -> Result<String, String> {
        if self.door == Door::Tls {
            let (up, proof) = self.handshake(stream).await?;
            self.server = Server::in_tls(proof);
            self.fruitless_since = Instant::now();
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
                Ok(_) => {
                    // A client whose next command is always there already must not keep the thread from the others.
                    smol::future::yield_now().await;
                    self.take_input(&mut stream, &mut input).await?
                }
                Err(why) => why,
            };
            match next {
                Next::Read => {}
                Next::Handshake => {
                    self.write_out(&mut stream).await?;
                    let (up, proof) = self.handshake(stream).await?;
                    self.server.tls_is_up(proof);
                    self.hello = None;
                    self.mail = None;
                    // The handshake had deadlines of its own: its time is not the next command's.
                    self.waiting_since = Instant::now();
                    self.fruitless_since = self.waiting_since;
                    stream = up;
                }
                Next::End(end) => {
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
            starttls: level != Level::None && inbound.has_tls,
            require_tls: level == Level::Encrypt,
            line_ends: match self.trust {
                Trust::Trusted => LineEnds::Mended,
                Trust::Certified | Trust::Stranger => LineEnds::Strict,
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
        let mut bytes = std::mem::take(input);
        let mut at = 0;
        let next = loop {
            if self.out.len() > limits::REPLIES_WAITING {
                self.write_out(stream).await?;
            }
            let inbound = Arc::clone(&self.inbound);
            let (used, step) = self.say(|session, out| {
                let settings = session.settings(&inbound);
                session.server.handle_input(&settings, &bytes[at..], out)
            });
            at += used;
            match step {
                Step::Input => break Next::Read,
                Step::StartTls => break Next::Handshake,
                step => {
                    if let Some(end) = self.obey(step).await {
                        break Next::End(end);
                    }
                }
            }
        };
        bytes.drain(..at);
        if !bytes.is_empty() || self.server.in_data() {
            *input = bytes; // with its room: more comes at once
        }
        Ok(next)
    }

    /// No transaction is open in a handshake: the relay's stop ends it at once.
    async fn handshake(&mut self, stream: Stream) -> Result<(Stream, Established), String> {
        let config = self.inbound.tls().ok_or("no certificate")?;
        let stopping = async {
            let _ = self.inbound.stop.recv().await;
            Err((Failure::Other, "shutting down".to_owned()))
        };
        let done = self.shake_hands(stream, &config).or(stopping).await;
        let counters = &self.inbound.counters;
        let (stream, proof) = done.map_err(|(failure, why)| {
            count(&counters.tls_failures);
            counters.tls.count_failure(failure);
            match failure {
                Failure::Other => format!("TLS: {why}"),
                kind => format!("TLS: {kind}: {why}"),
            }
        })?;
        count(&counters.tls_sessions);
        counters.tls.count(&proof);
        if proof.client().is_some_and(|shown| shown.verdict.is_known()) {
            self.trust = self.trust.with_certificate();
            self.slot.exempt();
        }
        Ok((stream, proof))
    }

    async fn shake_hands(
        &self,
        stream: Stream,
        config: &Arc<Config>,
    ) -> Result<(Stream, Established), (Failure, String)> {
        let turns = &self.inbound.handshakes;
        // Its first octets are waited for without a turn: who says nothing keeps nobody out.
        let patience = match self.crowded() {
            false => limits::HANDSHAKE,
            true => limits::COMMAND_IDLE_CROWDED,
        };
        let since = Instant::now();
        let began = within(patience, stream.wait_readable()).await;
        began.map_err(|problem| {
            let failure = match problem.kind() {
                io::ErrorKind::TimedOut => Failure::Late,
                _ => Failure::Lost,
            };
            (failure, problem.to_string())
        })?;
        let left = limits::HANDSHAKE.saturating_sub(since.elapsed());
        let late = |why: &str| (Failure::Late, why.to_owned());
        let turn = turns.take().await;
        let turn = turn.ok_or_else(|| late("no turn for the handshake"))?;
        let overdue = async {
            turns.overdue().await;
            Err(late("too slow while others wait"))
        };
        let accept = async {
            stream
                .accept_tls(config, (self.inbound.clock)() / 1_000_000, left)
                .await
                .map_err(|problem| (problem.failure(), problem.to_string()))
        };
        let done = accept.or(overdue).await;
        drop(turn);
        done
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
        written
            .await
            .map_err(|problem| format!("write: {problem}"))?;
        self.waiting_since = Instant::now();
        Ok(())
    }

    /// Reads more input behind what is there; how many octets, or what ends the wait.
    ///
    /// Waits in short turns: the slots may run out meanwhile, and then patience is short.
    async fn read(&mut self, stream: &mut Stream, input: &mut Vec<u8>) -> Result<usize, Next> {
        let began = Instant::now();
        loop {
            let left = self.time_left()?;
            let ended = match self.server.in_transaction() {
                true => &self.inbound.cut,
                false => &self.inbound.stop,
            };
            let interrupt = async {
                let _ = ended.recv().await;
                Err(io::ErrorKind::Interrupted.into())
            };
            let reading = read_chunk(stream, input).or(interrupt);
            match within(left.min(limits::COMMAND_IDLE_CROWDED), reading).await {
                Ok(octets) if self.too_slow(began.elapsed(), octets) => {
                    return Err(self.farewell(reply::TOO_SLOW, "too slow"));
                }
                Ok(octets) => return Ok(octets),
                Err(problem) if problem.kind() == io::ErrorKind::TimedOut => {}
                Err(problem)
                    if problem.kind() == io::ErrorKind::Interrupted
                        && self.inbound.stop.is_closed() =>
                {
                    return Err(self.farewell(reply::SHUTTING_DOWN, "shutting down"));
                }
                Err(problem) => return Err(Next::End(Err(format!("read: {problem}")))),
            }
        }
    }

    fn farewell(&mut self, reply: Reply, why: &'static str) -> Next {
        self.say(|session, out| session.server.shut(reply, out));
        Next::End(Ok(why))
    }

    fn crowded(&self) -> bool {
        self.inbound.slots.crowded(self.trust)
    }

    /// How long the client may still be waited for, or its farewell.
    fn time_left(&mut self) -> Result<Duration, Next> {
        let crowded = self.crowded();
        let fruitless = self.fruitless_since.elapsed();
        if crowded && !self.server.in_message() && fruitless >= limits::COMMAND_CROWDED {
            return Err(self.farewell(reply::NO_MESSAGE, "no message while slots run out"));
        }
        let patience = match (crowded, self.server.in_data()) {
            (false, _) => self.server.patience(),
            (true, false) => limits::COMMAND_IDLE_CROWDED,
            (true, true) => limits::DATA_CROWDED,
        };
        let left = patience.checked_sub(self.waiting_since.elapsed());
        left.ok_or_else(|| self.farewell(reply::TIMED_OUT, "timed out"))
    }

    /// Whether a message comes at less than the least rate, after its grace. Each read renews the client's patience there;
    /// in a command only a reply does.
    fn too_slow(&mut self, waited: Duration, octets: usize) -> bool {
        if !self.server.in_message() {
            self.pace = Pace::default();
            return false;
        }
        if self.server.in_data() {
            self.waiting_since = Instant::now();
        }
        self.pace.add(waited, octets);
        self.pace.is_too_slow(self.crowded())
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
