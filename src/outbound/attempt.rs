//! One attempt at a destination: its hosts are tried in order until one decides about the message.
//!
//! What sends an attempt to the next host (RFC 5321 4.5.4, 5.1): no connection, a greeting or EHLO refused, MAIL refused
//! for now, 421 anywhere, a connection lost before the final dot, TLS failed where it is a must. What a host says of a
//! recipient or of the message is final for this attempt. A connection lost after the final dot is a deferral without
//! another host: that one may have the message.

mod ask;
mod body;
mod chunks;
mod connection;
mod link;
mod outcome;
mod peer;
mod race;
mod resting;
mod walk;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_rustls::rustls::ClientConfig;

use crate::limits;
use crate::net::deadline::within;
use crate::net::source::Sources;
use crate::net::stream::{ConnectError, Stream};
use crate::policy::level::Level;
use crate::smtp::client::{Failure, Phase, StartTls};

use super::route::Hops;
pub use ask::Said;
pub use chunks::ChunkRefusers;
use connection::undecided;
pub use connection::{Connection, FinalDot, Mail};
use link::{Broken, Link};
pub use outcome::{Duty, Outcome, Reason};
pub use peer::{Endpoint, Peer, SessionNumber};
use race::{Race, Ran};
pub use resting::Resting;
use walk::{Host, Onward, Place, Walk};

/// Makes connections to next hops. One is made at boot and shared.
pub struct Connector {
    /// The name given in EHLO.
    pub own_name: String,
    /// `--tls-out`.
    pub level: Level,
    /// How TLS is spoken; the level says what of it is required.
    pub tls: Arc<ClientConfig>,
    /// `--outbound-address`.
    pub sources: Sources,
    /// Addresses that are left alone for a while.
    pub resting: Resting,
    /// Addresses that get no BDAT for a while.
    pub chunk_refusers: ChunkRefusers,
    /// No wait for a peer's words is longer, whatever its own deadline: for tests; [`Duration::MAX`] otherwise.
    pub longest_wait: Duration,
    /// Whether destinations of which nothing is known wait for a slot: a host that is silent costs them less then.
    pub crowded: AtomicBool,
    /// Numbers sessions, so that inbound and outbound ones differ in the log.
    pub next_session: Box<dyn Fn() -> u64 + Send + Sync>,
    /// What happened since boot.
    pub counters: Counters,
}

/// What connections came to since boot.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections on which a host was ready for mail.
    pub opened: AtomicU64,
    /// Addresses that no connection could be made to, or that refused it.
    pub unopened: AtomicU64,
    /// TLS failed at level `may`, and the mail went in clear.
    pub fell_back_to_clear: AtomicU64,
    /// Messages whose connection was lost after the final dot.
    pub unconfirmed: AtomicU64,
}

/// What an attempt came to.
pub struct Delivery {
    /// One for each recipient, in the message's order.
    pub outcomes: Vec<Outcome>,
    /// For the next message, where the host is ready for one.
    pub connection: Option<Connection>,
    /// The last session in which a host was ready for mail. None: no host was reached, and other messages to this
    /// destination would fare the same.
    pub session: Option<SessionNumber>,
    /// Whom it dialled for that.
    pub dials: Dials,
}

/// What an attempt found of the addresses of its hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dials {
    /// One was dialled at least; none where all are left alone.
    pub made: bool,
    /// When the first of those that are left alone from now on may be dialled; None: there are none.
    pub rest_ends: Option<Instant>,
}

impl Dials {
    fn is_left_alone(&mut self, until: Option<Instant>) {
        self.rest_ends = self.rest_ends.into_iter().chain(until).min();
    }
}

/// Why an address gave no connection.
struct Trouble {
    reason: Reason,
    onward: Onward,
    /// TLS was tried and failed, or was not to be had.
    tls: bool,
}

impl Connector {
    /// Hands a message over: on the connection that was kept, else on the first of the hosts that decides about it.
    ///
    /// The future may be dropped while `dot` is not passed: the message is then not delivered. Every wait in it has its
    /// deadline.
    pub async fn deliver<M: Mail>(
        &self,
        kept: Option<Connection>,
        hops: &mut Hops<'_>,
        mail: &mut M,
        dot: &FinalDot,
    ) -> Delivery {
        let mut walk = Walk::new(hops);
        let mut session = None;
        let mut dials = Dials::default();
        let mut open = kept;
        loop {
            let opened = match open.take() {
                Some(kept) => Ok(kept),
                None => self.open(&mut walk, &mut dials).await,
            };
            let mut connection = match opened {
                Ok(connection) => connection,
                Err(outcome) => {
                    return Delivery {
                        outcomes: vec![outcome; mail.recipients()],
                        connection: None,
                        session,
                        dials,
                    };
                }
            };
            session = Some(connection.peer().session);
            mail.rewind();
            let sent = connection.send(mail, dot).await;
            let again = self.note_chunk(&connection);
            match sent {
                Ok(decided) => {
                    let unconfirmed = u64::from(decided.unconfirmed);
                    self.counters
                        .unconfirmed
                        .fetch_add(unconfirmed, Ordering::Relaxed);
                    let ready = connection.is_ready();
                    return Delivery {
                        outcomes: decided.outcomes,
                        connection: ready.then_some(connection),
                        session,
                        dials,
                    };
                }
                Err(undecided) => {
                    log_undecided(connection.peer(), &mail.id(), &undecided.reason);
                    // However much of it was sent, nobody has taken it.
                    mail.rewind();
                    // A kept connection may just have been closed at last: the walk begins at the first host still.
                    match again {
                        Some(address) => walk.again(undecided.reason, address),
                        None => walk.failed(undecided.reason, onward(undecided.answered)),
                    }
                    connection.quit().await;
                }
            }
        }
    }

    /// Remembers a host that refused BDAT. Returns its address if that is news: by DATA it may take the message at once.
    fn note_chunk(&self, connection: &Connection) -> Option<SocketAddr> {
        match connection.peer().address {
            Endpoint::Tcp(address) if connection.refused_chunk => {
                let is_news = self.chunk_refusers.remember(address, Instant::now());
                is_news.then_some(address)
            }
            _ => None,
        }
    }

    /// The first connection that can be had from here on.
    async fn open(
        &self,
        walk: &mut Walk<'_, '_>,
        dials: &mut Dials,
    ) -> Result<Connection, Outcome> {
        loop {
            let dialled = match walk.socket() {
                Some(place) => {
                    dials.made = true;
                    self.dial_socket(place).await
                }
                None => self.dial(walk.next().await?, dials).await,
            };
            let opened = match dialled {
                Ok((place, stream)) => self.connect(&place, stream).await,
                Err(reason) => {
                    walk.failed(reason, Onward::NextAddress);
                    continue;
                }
            };
            match opened {
                Ok(connection) => {
                    self.counters.opened.fetch_add(1, Ordering::Relaxed);
                    return Ok(connection);
                }
                Err(trouble) => {
                    self.counters.unopened.fetch_add(1, Ordering::Relaxed);
                    walk.failed(trouble.reason, trouble.onward);
                }
            }
        }
    }

    /// The first of a host's addresses that takes a connection; the reason of the last, where none does.
    async fn dial(&self, host: &mut Host, dials: &mut Dials) -> Result<(Place, Stream), Reason> {
        let mut last = self.leave_alone(host, dials);
        let mut race = Race::new(self.sources, self.patience(), &mut host.waiting);
        while let Some(Ran { address, result }) = race.next().await {
            dials.made = true;
            let place = Place {
                host: host.name.clone(),
                address: Endpoint::Tcp(address),
                implicit_tls: host.implicit_tls,
                protocol: host.protocol,
            };
            match result {
                Ok(stream) => {
                    self.resting.works(address);
                    return Ok((place, stream));
                }
                Err(error) => {
                    self.counters.unopened.fetch_add(1, Ordering::Relaxed);
                    let reason = no_connection(&error, &place);
                    if error.is_the_peer_s() {
                        let now = Instant::now();
                        self.resting.failed(address, &reason.text, now);
                        dials.is_left_alone(self.resting.until(address, now));
                    }
                    log_failed(&self.peer(&place), &reason);
                    last = Some(reason);
                }
            }
        }
        Err(last.unwrap_or_else(|| Reason::ours("4.4.4", "there is no host to try")))
    }

    /// The one Unix socket of a target.
    async fn dial_socket(&self, place: Place) -> Result<(Place, Stream), Reason> {
        match self.stream_to(&place.address).await {
            Ok(stream) => Ok((place, stream)),
            Err(error) => {
                self.counters.unopened.fetch_add(1, Ordering::Relaxed);
                let reason = no_connection(&error, &place);
                log_failed(&self.peer(&place), &reason);
                Err(reason)
            }
        }
    }

    /// How long one address may take to connect.
    fn patience(&self) -> Duration {
        match self.crowded.load(Ordering::Relaxed) {
            true => limits::CONNECT_CROWDED,
            false => limits::CONNECT,
        }
    }

    async fn stream_to(&self, address: &Endpoint) -> Result<Stream, ConnectError> {
        match address {
            Endpoint::Tcp(address) => race::connect(self.sources, self.patience(), *address).await,
            Endpoint::Socket(path) => {
                let connected = within(limits::CONNECT, Stream::connect_unix(path));
                connected.await.map_err(ConnectError::Peer)
            }
        }
    }

    /// Passes over the addresses that took no connection lately; why the last one of them did not.
    fn leave_alone(&self, host: &mut Host, dials: &mut Dials) -> Option<Reason> {
        let (mut last, now) = (None, Instant::now());
        host.waiting.retain(|&address| {
            let Some(why) = self.resting.why(address, now) else {
                return true;
            };
            dials.is_left_alone(self.resting.until(address, now));
            log::debug!(
                "connection host={} address={address} result=left-alone reason={why:?}",
                host.name
            );
            let text = format!("{why} (a moment ago; it is left alone for a while)");
            last = Some(Reason::of_host("4.4.1", text, &host.name));
            false
        });
        last
    }

    /// Goes on to a connection that is ready for mail, with the TLS that the level asks for.
    async fn connect(&self, place: &Place, stream: Stream) -> Result<Connection, Trouble> {
        let starttls = match self.level {
            _ if place.implicit_tls => StartTls::Never,
            // It does not leave the machine.
            _ if matches!(place.address, Endpoint::Socket(_)) => StartTls::Never,
            Level::None => StartTls::Never,
            Level::May => StartTls::IfOffered,
            Level::Encrypt => StartTls::Required,
        };
        match self.connect_with(place, starttls, stream).await {
            Err(trouble) if trouble.tls && starttls == StartTls::IfOffered => {
                log::warn!(
                    "tls host={} address={} result=failed then=\"clear on a new connection\" reason={:?}",
                    place.host,
                    place.address,
                    trouble.reason.text
                );
                self.counters
                    .fell_back_to_clear
                    .fetch_add(1, Ordering::Relaxed);
                let again = self.stream_to(&place.address).await;
                let stream = again.map_err(|error| Trouble {
                    reason: no_connection(&error, place),
                    onward: Onward::NextAddress,
                    tls: false,
                })?;
                self.connect_with(place, StartTls::Never, stream).await
            }
            result => result,
        }
    }

    async fn connect_with(
        &self,
        place: &Place,
        starttls: StartTls,
        stream: Stream,
    ) -> Result<Connection, Trouble> {
        let mut peer = self.peer(place);
        match self.greet(place, starttls, stream, &mut peer).await {
            Ok(mut link) => {
                if let Endpoint::Tcp(address) = peer.address
                    && self.chunk_refusers.knows(address, Instant::now())
                {
                    link.client_mut().avoid_chunks();
                }
                log::info!(
                    "connection session={} host={} address={} tls={:?} result=open",
                    peer.session,
                    peer.host,
                    peer.address,
                    peer.security()
                );
                Ok(Connection {
                    link,
                    peer,
                    refused_chunk: false,
                })
            }
            Err(trouble) => {
                log_failed(&peer, &trouble.reason);
                Err(trouble)
            }
        }
    }

    fn peer(&self, place: &Place) -> Peer {
        Peer {
            session: SessionNumber((self.next_session)()),
            host: place.host.clone(),
            address: place.address.clone(),
            tls: None,
        }
    }

    /// From the TCP connection to the last EHLO.
    async fn greet(
        &self,
        place: &Place,
        starttls: StartTls,
        mut stream: Stream,
        peer: &mut Peer,
    ) -> Result<Link, Trouble> {
        if place.implicit_tls {
            let handshake = stream.connect_tls(&self.tls, &place.host).await;
            let (inside, established) =
                handshake.map_err(|error| no_handshake(&error, &place.host))?;
            stream = inside;
            peer.tls = Some(established);
        }
        let mut link = Link::new(stream, place.protocol, starttls, self.longest_wait);
        let phase = match link.open(&self.own_name).await {
            Ok(phase) => phase,
            Err(broken) => return Err(trouble(&link, peer, broken)),
        };
        if phase != Phase::Upgrade {
            return Ok(link);
        }
        let upgraded = link.upgrade(&self.tls, &place.host).await;
        let (mut link, established) =
            upgraded.map_err(|error| no_handshake(&error, &place.host))?;
        peer.tls = Some(established);
        match link.open(&self.own_name).await {
            Ok(_) => Ok(link),
            Err(broken) => {
                // In TLS 1.3 a server's refusal of our side of the handshake arrives only now.
                let tls = matches!(broken, Broken::Lost(_));
                let trouble = trouble(&link, peer, broken);
                Err(Trouble { tls, ..trouble })
            }
        }
    }
}

fn onward(answered: bool) -> Onward {
    if answered {
        Onward::NextHost
    } else {
        Onward::NextAddress
    }
}

fn no_connection(error: &ConnectError, place: &Place) -> Reason {
    let (text, inside) = match &place.address {
        Endpoint::Tcp(_) => (format!("no connection: {error}"), None),
        Endpoint::Socket(path) => (
            format!("no connection to the local delivery agent: {error}"),
            Some(format!("no connection to {}: {error}", path.display())),
        ),
    };
    Reason {
        inside,
        ..Reason::of_host("4.4.1", text, &place.host)
    }
}

fn log_failed(peer: &Peer, reason: &Reason) {
    log::info!(
        "connection session={} host={} address={} result=failed reason={:?}",
        peer.session,
        peer.host,
        peer.address,
        reason.text
    );
}

fn no_handshake(error: &dyn fmt::Display, host: &str) -> Trouble {
    Trouble {
        reason: Reason::of_host("4.7.5", format!("TLS handshake failed: {error}"), host),
        onward: Onward::NextAddress,
        tls: true,
    }
}

fn trouble(link: &Link, peer: &Peer, broken: Broken) -> Trouble {
    let failure = match &broken {
        Broken::Failed(failure) => Some(*failure),
        Broken::Lost(_) => None,
    };
    // A stalled or lost STARTTLS counts as a failed one.
    let lost_in_starttls = failure.is_none() && link.client().is_starting_tls();
    let undecided = undecided(link, peer, broken);
    Trouble {
        reason: undecided.reason,
        onward: match failure {
            Some(Failure::BehindStartTls) => Onward::Stop,
            Some(Failure::NoStartTls | Failure::StartTlsRefused) => Onward::NextHost,
            _ => onward(undecided.answered),
        },
        tls: lost_in_starttls || failure == Some(Failure::StartTlsRefused),
    }
}

fn log_undecided(peer: &Peer, id: &impl fmt::Display, reason: &Reason) {
    log::info!(
        "transaction session={} id={id} host={} address={} tls={:?} result=undecided reason={:?}",
        peer.session,
        peer.host,
        peer.address,
        peer.security(),
        reason.text
    );
}
