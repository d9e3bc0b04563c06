//! The sending machine on a stream: both directions at once, each wait with its deadline.
//!
//! A peer may answer before it has read all, and stop reading until its answer is read. So while octets wait to go out,
//! octets are taken in: neither side can hold the other for ever.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_rustls::rustls::ClientConfig;
use smol::io::{AsyncRead, AsyncWrite};

use crate::limits;
use crate::net::deadline::within;
use crate::net::stream::Stream;
use crate::smtp::client::{Client, Envelope, Event, Failure, Phase, Protocol, StartTls};
use crate::tls::Established;

/// A connection, its machine and its buffers.
pub(super) struct Link {
    stream: Stream,
    talk: Box<Talk>,
    starttls_at: Option<Instant>,
    /// No wait is longer, whatever its own deadline.
    longest: Duration,
}

/// What a link holds on the heap beside its TLS: apart, because links move through futures that wait.
struct Talk {
    client: Client,
    out: heapless::Vec<u8, { limits::PEER_WRITE }>,
    /// How much of `out` has been written.
    written: usize,
    /// Octets cannot be written any more; the peer's last words may still be read.
    write_error: Option<io::Error>,
    input: [u8; limits::PEER_READ],
    start: usize,
    end: usize,
}

/// Why a link is of no use any more.
pub(super) enum Broken {
    /// The network, or a deadline.
    Lost(io::Error),
    /// The peer; its reply is the client's last.
    Failed(Failure),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Link {
    pub fn new(stream: Stream, protocol: Protocol, starttls: StartTls, longest: Duration) -> Self {
        Self {
            stream,
            talk: Box::new(Talk::new(protocol, starttls)),
            starttls_at: None,
            longest,
        }
    }

    pub fn client(&self) -> &Client {
        &self.talk.client
    }

    pub fn client_mut(&mut self) -> &mut Client {
        &mut self.talk.client
    }

    /// Talks until a transaction can begin or the TLS handshake is due.
    pub async fn open(&mut self, own_name: &str) -> Result<Phase, Broken> {
        loop {
            let talk = &mut *self.talk;
            talk.client.write_opening(own_name, &mut talk.out)?;
            if self.talk.client.is_starting_tls() && self.starttls_at.is_none() {
                self.starttls_at = Some(Instant::now());
            }
            match self.talk.client.phase() {
                Phase::Talking => self.event().await?,
                phase => return Ok(phase),
            };
        }
    }

    /// The TLS handshake; what is left of the time for STARTTLS bounds it.
    pub async fn upgrade(
        self,
        config: &Arc<ClientConfig>,
        host: &str,
    ) -> Result<(Self, Established), String> {
        let spent = self
            .starttls_at
            .map_or_else(Default::default, |at| at.elapsed());
        let left = limits::PEER_STARTTLS
            .saturating_sub(spent)
            .min(self.longest);
        let handshake = self.stream.connect_tls(config, host);
        let (stream, established) = within(left, async { Ok(handshake.await) })
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        let mut talk = self.talk;
        talk.client.tls_established();
        let link = Self {
            stream,
            talk,
            starttls_at: None,
            longest: self.longest,
        };
        Ok((link, established))
    }

    /// Writes the commands of a transaction as they are due; the next event, until `end` at most. None: the transaction
    /// needs no more of them.
    pub async fn envelope_event(
        &mut self,
        envelope: &impl Envelope,
        end: Instant,
    ) -> Result<Option<Event>, Broken> {
        let talk = &mut *self.talk;
        talk.client.write_envelope(envelope, &mut talk.out)?;
        match talk.client.phase() {
            Phase::Talking => self.event_until(end).await.map(Some),
            _ => Ok(None),
        }
    }

    /// Writes what waits to be written and reads to the next event, within the client's patience for it.
    pub async fn event(&mut self) -> Result<Event, Broken> {
        let patience = self.talk.client.patience();
        self.event_within(patience).await
    }

    /// The same, until `end` at most.
    pub async fn event_until(&mut self, end: Instant) -> Result<Event, Broken> {
        let left = end.saturating_duration_since(Instant::now());
        let patience = self.talk.client.patience().min(left);
        self.event_within(patience).await
    }

    async fn event_within(&mut self, patience: Duration) -> Result<Event, Broken> {
        let event = within(patience.min(self.longest), async {
            loop {
                if let Some(event) = self.talk.next_event() {
                    return Ok(event);
                }
                poll_fn(|cx| self.talk.poll_exchange(&mut self.stream, cx)).await?;
            }
        });
        match event.await? {
            Event::Failed(failure) => Err(failure.into()),
            event => Ok(event),
        }
    }

    /// Takes a piece of the message on its way out. An event, if the peer has answered meanwhile; `piece` is then what is
    /// left of it.
    ///
    /// Small pieces are gathered into one write; a large one goes out from where it stands.
    pub async fn put(&mut self, piece: &mut &[u8]) -> Result<Option<Event>, Broken> {
        while !piece.is_empty() {
            if self.talk.out.is_empty() && piece.len() >= limits::PEER_WRITE / 2 {
                return self.write_through(piece).await;
            }
            let room = self.talk.out.capacity() - self.talk.out.len();
            let (now, later) = piece.split_at(room.min(piece.len()));
            // It is no longer than the room.
            let _ = self.talk.out.extend_from_slice(now);
            *piece = later;
            if self.talk.out.is_full()
                && let Some(event) = self.write_out().await?
            {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Writes what [`Link::put`] has gathered. An event, if the peer has answered meanwhile: call it again.
    pub async fn write_out(&mut self) -> Result<Option<Event>, Broken> {
        loop {
            let event = within(limits::PEER_BLOCK.min(self.longest), async {
                poll_fn(|cx| self.talk.poll_out_or_in(&mut self.stream, cx)).await
            });
            event.await?;
            if let Some(event) = self.talk.next_event() {
                return verdict(event);
            }
            if self.talk.out.is_empty() && self.talk.write_error.is_none() {
                return Ok(None);
            }
        }
    }

    /// Writes a large piece, within the time for one block, however few octets the peer takes at once.
    async fn write_through(&mut self, piece: &mut &[u8]) -> Result<Option<Event>, Broken> {
        let event = within(limits::PEER_BLOCK.min(self.longest), async {
            while !piece.is_empty() {
                let rest = *piece;
                let written = poll_fn(|cx| self.talk.poll_through(&mut self.stream, rest, cx));
                *piece = rest.get(written.await?..).unwrap_or_default();
                if let Some(event) = self.talk.next_event() {
                    return Ok(Some(event));
                }
            }
            Ok(None)
        });
        match event.await? {
            Some(event) => verdict(event),
            None => Ok(None),
        }
    }

    /// Whether the next transaction can begin.
    pub fn is_ready(&self) -> bool {
        self.talk.client.phase() == Phase::Ready && self.talk.is_empty()
    }

    /// The heap of one link, without its TLS: octets.
    pub const HEAP: usize = size_of::<Talk>();

    /// Ends the connection: with QUIT where the peer is in step, and its reply awaited for a moment.
    pub async fn quit(mut self) {
        let talk = &mut *self.talk;
        talk.client.write_quit(&mut talk.out);
        if self.talk.client.phase() == Phase::Talking {
            // Whatever it says, the connection closes.
            if self.event().await.is_ok() {
                self.stream.close().await;
            }
        }
    }
}

fn verdict(event: Event) -> Result<Option<Event>, Broken> {
    match event {
        Event::Failed(failure) => Err(failure.into()),
        event => Ok(Some(event)),
    }
}

impl Talk {
    fn new(protocol: Protocol, starttls: StartTls) -> Self {
        Self {
            client: Client::speaking(protocol, starttls),
            out: heapless::Vec::new(),
            written: 0,
            write_error: None,
            input: [0; limits::PEER_READ],
            start: 0,
            end: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.out.is_empty() && self.start == self.end && self.write_error.is_none()
    }

    /// The next event in what has been read.
    fn next_event(&mut self) -> Option<Event> {
        let mut event = None;
        while event.is_none() && self.start < self.end {
            let (read, found) = self.client.handle_input(&self.input[self.start..self.end]);
            self.start += read;
            event = found;
        }
        event
    }

    /// Writes all of `out`, then reads something. Reading goes on while writing cannot.
    fn poll_exchange(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What it leaves is gone on with when the stream wakes us.
        let _ = self.poll_out(stream, cx);
        self.poll_in(stream, cx)
    }

    /// Writes all of `out` or, while that cannot be, reads something.
    fn poll_out_or_in(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.poll_out(stream, cx).is_ready() && self.write_error.is_none() {
            return Poll::Ready(Ok(()));
        }
        self.poll_in(stream, cx)
    }

    /// Writes and flushes `out`. An error is kept for when the peer has nothing more to say.
    fn poll_out(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<()> {
        while self.written < self.out.len() {
            let rest = &self.out[self.written..];
            match ready!(Pin::new(&mut *stream).poll_write(cx, rest)) {
                Ok(0) => self.cannot_write(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) => self.cannot_write(error),
            }
        }
        if let Err(error) = ready!(Pin::new(&mut *stream).poll_flush(cx)) {
            self.cannot_write(error);
        }
        self.out.clear();
        self.written = 0;
        Poll::Ready(())
    }

    fn cannot_write(&mut self, error: io::Error) {
        self.write_error.get_or_insert(error);
        self.out.clear();
        self.written = 0;
    }

    /// Writes some of `piece` or, while that cannot be, reads something (and returns 0).
    fn poll_through(
        &mut self,
        stream: &mut Stream,
        piece: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.write_error.is_none() {
            match Pin::new(&mut *stream).poll_write(cx, piece) {
                Poll::Ready(Ok(0)) => self.cannot_write(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => return Poll::Ready(Ok(count)),
                Poll::Ready(Err(error)) => self.cannot_write(error),
                Poll::Pending => {}
            }
        }
        self.poll_in(stream, cx).map_ok(|()| 0)
    }

    /// Reads something, if all that was read before has been used.
    fn poll_in(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.start < self.end {
            return Poll::Ready(Ok(()));
        }
        let read = ready!(Pin::new(stream).poll_read(cx, &mut self.input));
        let problem = match read {
            Ok(0) => io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the host closed the connection",
            ),
            Ok(count) => {
                (self.start, self.end) = (0, count);
                return Poll::Ready(Ok(()));
            }
            Err(error) => error,
        };
        Poll::Ready(Err(self.write_error.take().unwrap_or(problem)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::ask::Question;
    use super::*;

    #[test]
    fn the_end_of_the_envelope_s_time_cuts_the_patience_for_one_reply() {
        smol::block_on(async {
            let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let stream = Stream::connect(silent.local_addr().unwrap()).await.unwrap();
            let mut link = Link::new(stream, Protocol::Smtp, StartTls::Never, Duration::MAX);
            assert!(link.client().patience() >= Duration::from_secs(60));
            let end = Instant::now() + Duration::from_millis(10);
            let Err(Broken::Lost(error)) = link
                .envelope_event(&Question(Some("bob@one.test")), end)
                .await
            else {
                panic!("it is lost");
            };
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        });
    }
}
