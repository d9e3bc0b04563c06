//! A next hop on loopback that plays a script, and a message for it.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use facteur::net::deadline::within;
use facteur::net::stream::Stream;
use facteur::outbound::attempt::{Connector, Counters, Delivery, FinalDot, Mail, Outcome, Reason};
use facteur::outbound::route::{Hop, Hops};
use facteur::policy::level::Level;
use facteur::smtp::client::Envelope;
use facteur::tls::{self, Table};
use smol::Async;
use smol::io::{AsyncReadExt, AsyncWriteExt};

/// One thing that a next hop does.
#[derive(Clone, Debug)]
pub enum Do {
    /// Writes this.
    Say(&'static str),
    /// Reads exactly this.
    Hear(&'static str),
    /// Reads as many octets, whatever they are.
    HearSome(usize),
    /// The TLS handshake.
    Tls,
    /// Neither reads nor closes until the channel is closed.
    Hold(smol::channel::Receiver<()>),
    /// Closes so that the peer gets a reset: what it sent is unread.
    Reset,
    /// Reads to the end; there must be nothing.
    HearEnd,
    /// Reads to the end; whatever there is.
    HearRest,
}
pub use Do::*;

/// A next hop, a script for each of its connections.
pub struct NextHop {
    pub address: SocketAddr,
    task: smol::Task<io::Result<()>>,
}

/// No test waits longer than this for its peer; none needs to.
const LONG: Duration = Duration::from_secs(20);

impl NextHop {
    pub fn start(scripts: Vec<Vec<Do>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Async::new(listener).unwrap();
        let task = smol::spawn(async move {
            for (number, script) in scripts.into_iter().enumerate() {
                let (socket, _) = within(LONG, listener.accept()).await?;
                play(socket, script)
                    .await
                    .map_err(|error| io::Error::other(format!("connection {number}: {error}")))?;
            }
            Ok(())
        });
        Self { address, task }
    }

    /// The same for one connection to a Unix socket.
    pub fn start_on_socket(listener: UnixListener, script: Vec<Do>) -> Self {
        let listener = Async::new(listener).unwrap();
        let task = smol::spawn(async move {
            let (socket, _) = within(LONG, listener.accept()).await?;
            let socket = TcpStream::from(OwnedFd::from(socket.into_inner()?));
            play(Async::new(socket)?, script).await
        });
        let address = (Ipv4Addr::UNSPECIFIED, 0).into();
        Self { address, task }
    }

    /// That every script was played to its end.
    pub async fn done(self) {
        within(LONG, self.task).await.unwrap();
    }

    pub fn hop(&self) -> Hop {
        Hop {
            name: "localhost".to_owned(),
            addresses: vec![self.address],
            implicit_tls: false,
        }
    }
}

async fn play(socket: Async<std::net::TcpStream>, script: Vec<Do>) -> io::Result<()> {
    let mut stream = Stream::new(socket);
    for (number, step) in script.into_iter().enumerate() {
        let problem = |error| io::Error::other(format!("step {number}: {error}"));
        match step {
            Do::Tls => {
                let handshake = stream.accept_tls(server_config(), 0, LONG).await;
                stream = handshake
                    .map_err(|error| problem(io::Error::other(error)))?
                    .0;
            }
            Do::Reset => {
                // Something is unread, so the close is a reset.
                let mut first = [0];
                within(LONG, stream.read_exact(&mut first))
                    .await
                    .map_err(problem)?;
                return Ok(());
            }
            step => within(LONG, act(&mut stream, step))
                .await
                .map_err(problem)?,
        }
    }
    Ok(())
}

async fn act(stream: &mut Stream, step: Do) -> io::Result<()> {
    match step {
        Do::Say(text) => {
            stream.write_all(text.as_bytes()).await?;
            stream.flush().await
        }
        Do::Hear(text) => {
            let mut heard = vec![0; text.len()];
            let mut length = 0;
            while length < heard.len() {
                let read = stream.read(&mut heard[length..]).await?;
                length += read;
                let so_far = &heard[..length];
                if read == 0 || !text.as_bytes().starts_with(so_far) {
                    let heard = String::from_utf8_lossy(so_far);
                    return Err(io::Error::other(format!("heard {heard:?} for {text:?}")));
                }
            }
            Ok(())
        }
        Do::Hold(until) => {
            let _ = until.recv().await;
            Ok(())
        }
        Do::HearSome(count) => stream.read_exact(&mut vec![0; count]).await,
        Do::HearEnd => {
            let mut rest = Vec::new();
            // A reset is an end, too.
            let _ = stream.read_to_end(&mut rest).await;
            let heard = String::from_utf8_lossy(&rest);
            match rest.is_empty() {
                true => Ok(()),
                false => Err(io::Error::other(format!("heard {heard:?} for an end"))),
            }
        }
        _ => {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            Ok(())
        }
    }
}

fn server_config() -> &'static Arc<tls::server::Config> {
    static CONFIG: OnceLock<Arc<tls::server::Config>> = OnceLock::new();
    CONFIG.get_or_init(|| {
        let table = Table::load(
            &tls::table::COMPILED,
            &tls::Found::nothing(&[]),
            None,
            "localhost",
        )
        .unwrap();
        tls::server::config(Arc::new(table), None)
    })
}

/// A message in chunks.
pub struct Letter {
    pub sender: &'static str,
    pub recipients: Vec<&'static str>,
    pub chunks: Vec<Vec<u8>>,
    pub eight_bit: bool,
    /// Whether it may go by BDAT.
    pub may_be_chunk: bool,
    /// What it says its size is, where that is wrong.
    pub claimed: Option<u64>,
    /// The chunk that cannot be read.
    pub damaged: Option<usize>,
    next: usize,
}

pub fn letter(recipients: &[&'static str]) -> Letter {
    Letter {
        sender: "s@x",
        recipients: recipients.to_vec(),
        chunks: vec![b"Subject: x\r\n".to_vec(), b"\r\n.hi\r\n".to_vec()],
        eight_bit: false,
        may_be_chunk: false,
        claimed: None,
        damaged: None,
        next: 0,
    }
}

/// `letter` on the wire.
pub const WIRE: &str = "Subject: x\r\n\r\n..hi\r\n.\r\n";

impl Envelope for Letter {
    fn sender(&self) -> &str {
        self.sender
    }
    fn recipients(&self) -> usize {
        self.recipients.len()
    }
    fn recipient(&self, index: usize) -> &str {
        self.recipients[index]
    }
    fn size(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.len() as u64).sum()
    }
    fn chunk(&self) -> Option<u64> {
        self.may_be_chunk
            .then(|| self.claimed.unwrap_or_else(|| self.size()))
    }
    fn has_8bit_body(&self) -> bool {
        self.eight_bit
    }
    fn has_utf8_headers(&self) -> bool {
        false
    }
    fn requires_tls(&self) -> bool {
        false
    }
}

impl Mail for Letter {
    type Error = &'static str;
    fn id(&self) -> impl fmt::Display {
        "letter"
    }
    async fn next_chunk(&mut self) -> Result<Option<&[u8]>, &'static str> {
        if self.damaged == Some(self.next) {
            return Err("000001.seg is damaged at 4096");
        }
        self.next += 1;
        Ok(self.chunks.get(self.next - 1).map(Vec::as_slice))
    }
    fn rewind(&mut self) {
        self.next = 0;
    }
}

pub fn connector(level: Level) -> Connector {
    let sessions = AtomicU64::new(1);
    Connector {
        own_name: "me".to_owned(),
        level,
        tls: tls::client::config(),
        next_session: Box::new(move || sessions.fetch_add(1, Ordering::Relaxed)),
        sources: Default::default(),
        resting: Default::default(),
        longest_wait: std::time::Duration::MAX,
        chunk_refusers: Default::default(),
        crowded: Default::default(),
        counters: Counters::default(),
    }
}

/// Delivers to the next hops in this order, which must all play their scripts to the end. Connections are not kept.
pub async fn deliver(connector: &Connector, letter: &mut Letter, to: Vec<NextHop>) -> Delivery {
    let mut hops = Hops::fixed(to.iter().map(NextHop::hop).collect());
    let dot = FinalDot::default();
    let attempt = connector.deliver(None, &mut hops, letter, &dot);
    let mut delivery = within(LONG, async { Ok(attempt.await) }).await.unwrap();
    assert!(!dot.is_passed(), "nothing is under way after an attempt");
    if let Some(connection) = delivery.connection.take() {
        connection.quit().await;
    }
    for hop in to {
        hop.done().await;
    }
    delivery
}

/// `delivered 250 ok`, `deferred 4.4.2 …`, `failed 5.1.1 550 5.1.1 …`, one for each recipient.
pub fn told(delivery: &Delivery) -> Vec<String> {
    let one = |outcome: &Outcome| match outcome {
        Outcome::Delivered { reply, .. } => format!("delivered {reply}"),
        Outcome::Deferred(Reason { status, text, .. }) => format!("deferred {status} {text}"),
        Outcome::Failed(Reason { status, text, .. }) => format!("failed {status} {text}"),
    };
    delivery.outcomes.iter().map(one).collect()
}

/// The script of a next hop with PIPELINING that takes `letter(&["a@y"])`.
pub fn accepting() -> Vec<Do> {
    vec![
        Say("220 mx\r\n"),
        Hear("EHLO me\r\n"),
        Say("250-mx\r\n250 PIPELINING\r\n"),
        Hear("MAIL FROM:<s@x>\r\nRCPT TO:<a@y>\r\nDATA\r\n"),
        Say("250 ok\r\n250 ok\r\n354 go\r\n"),
        Hear(WIRE),
        Say("250 2.0.0 kept\r\n"),
        Hear("QUIT\r\n"),
        Say("221 bye\r\n"),
        HearEnd,
    ]
}

/// A host that must not be tried, and how to see that it was not.
pub struct Untried(TcpListener);

impl Untried {
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    pub fn hop(&self) -> Hop {
        Hop {
            name: "untried".to_owned(),
            addresses: vec![self.0.local_addr().unwrap()],
            implicit_tls: false,
        }
    }

    #[track_caller]
    pub fn check(self) {
        assert!(self.0.accept().is_err(), "the host was tried");
    }
}
