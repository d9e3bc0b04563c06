//! Connecting to one of a host's addresses: the next one starts before the last has failed (RFC 8305 5).
//!
//! IPv6 and IPv4 alternate in what DNS gives, so a machine whose IPv6 leads nowhere loses a quarter of a second a
//! connection, not half a minute.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use smol::Timer;

use crate::limits;
use crate::net::deadline::within;
use crate::net::source::Sources;
use crate::net::stream::{ConnectError, Stream};

type Connecting = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

/// The addresses of a host on their way to a connection.
pub(super) struct Race<'a> {
    sources: Sources,
    /// Of one address.
    patience: Duration,
    /// Those whose turn has not come, in order.
    waiting: &'a mut VecDeque<SocketAddr>,
    running: Vec<(SocketAddr, Connecting)>,
    /// When the next one starts beside those that run.
    next: Option<Timer>,
}

/// What one address came to.
pub(super) struct Ran {
    pub address: SocketAddr,
    pub result: Result<Stream, ConnectError>,
}

impl<'a> Race<'a> {
    pub fn new(
        sources: Sources,
        patience: Duration,
        waiting: &'a mut VecDeque<SocketAddr>,
    ) -> Self {
        Self {
            sources,
            patience,
            waiting,
            running: Vec::with_capacity(limits::CONNECTS_AT_ONCE),
            next: None,
        }
    }

    /// The next of the addresses to connect or to fail; None when all have failed.
    pub async fn next(&mut self) -> Option<Ran> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Ran>> {
        loop {
            for (at, (address, connecting)) in self.running.iter_mut().enumerate() {
                if let Poll::Ready(result) = connecting.as_mut().poll(cx) {
                    let address = *address;
                    drop(self.running.swap_remove(at));
                    // One that fails makes room for the next at once.
                    self.next = None;
                    return Poll::Ready(Some(Ran { address, result }));
                }
            }
            if self.running.len() == limits::CONNECTS_AT_ONCE {
                return Poll::Pending;
            }
            if let Some(next) = &mut self.next
                && Pin::new(next).poll(cx).is_pending()
            {
                return Poll::Pending;
            }
            let Some(address) = self.waiting.pop_front() else {
                self.next = None;
                return match self.running.is_empty() {
                    true => Poll::Ready(None),
                    false => Poll::Pending,
                };
            };
            self.running.push((
                address,
                Box::pin(connect(self.sources, self.patience, address)),
            ));
            self.next = Some(Timer::after(limits::CONNECT_STAGGER));
        }
    }
}

/// Those that were overtaken have not failed: should the winner turn out to be of no use, it is their turn again.
impl Drop for Race<'_> {
    fn drop(&mut self) {
        for (address, _) in self.running.drain(..).rev() {
            self.waiting.push_front(address);
        }
    }
}

/// A connection to this address, within its time.
pub(super) async fn connect(
    sources: Sources,
    patience: Duration,
    address: SocketAddr,
) -> Result<Stream, ConnectError> {
    let source = sources.towards(address.ip());
    let connect = async { Ok(Stream::connect_from(source, address).await) };
    let connected = within(patience, connect).await;
    connected.map_err(ConnectError::Peer)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_overtaken_waits_again_before_what_was_not_dialled() {
        let address = |port| SocketAddr::from(([192, 0, 2, 1], port));
        let mut waiting = VecDeque::from([address(3)]);
        let mut race = Race::new(Sources::default(), limits::CONNECT, &mut waiting);
        for port in [1, 2] {
            race.running
                .push((address(port), Box::pin(std::future::pending())));
        }
        drop(race);
        assert_eq!(waiting, [address(1), address(2), address(3)]);
    }
}
