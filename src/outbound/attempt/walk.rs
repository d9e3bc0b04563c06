//! The way through a destination's hosts and addresses, in order.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::limits;

use super::outcome::{Outcome, Reason};
use super::peer::Endpoint;
use crate::outbound::route::Hops;
use crate::smtp::client::Protocol;

/// Where to go after an address has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Onward {
    /// It may be this address alone.
    NextAddress,
    /// The host has spoken; its other addresses would say the same.
    NextHost,
    /// No further host is to be tried now.
    Stop,
}

/// One address of one host.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub host: String,
    pub address: Endpoint,
    pub implicit_tls: bool,
    pub protocol: Protocol,
}

/// A host whose turn it is.
pub(super) struct Host {
    pub name: String,
    pub implicit_tls: bool,
    pub protocol: Protocol,
    /// Its addresses that have not been tried.
    pub waiting: VecDeque<SocketAddr>,
}

pub(super) struct Walk<'w, 'h> {
    hops: &'w mut Hops<'h>,
    host: Option<Host>,
    tried: usize,
    stopped: bool,
    /// Why the last address failed.
    last: Option<Reason>,
}

impl<'w, 'h> Walk<'w, 'h> {
    pub fn new(hops: &'w mut Hops<'h>) -> Self {
        Self {
            hops,
            host: None,
            tried: 0,
            stopped: false,
            last: None,
        }
    }

    /// The Unix socket to try, the first time.
    pub fn socket(&mut self) -> Option<Place> {
        self.hops.socket().map(|path| Place {
            host: "localhost".to_owned(),
            address: Endpoint::Socket(path),
            implicit_tls: false,
            protocol: self.hops.protocol(),
        })
    }

    /// The host to try next, with an address at least; or what follows when there is none.
    pub async fn next(&mut self) -> Result<&mut Host, Outcome> {
        while self.stopped || self.host.as_ref().is_none_or(|h| h.waiting.is_empty()) {
            if self.stopped {
                return Err(self.end());
            }
            let hop = self.hops.next().await.map_err(|e| Outcome::of_route(&e))?;
            let Some(hop) = hop else {
                return Err(self.end());
            };
            // Every host has its turn, the last of a long list with its first addresses at least.
            let most = limits::ATTEMPT_ADDRESSES.saturating_sub(self.tried);
            let most = most.max(limits::CONNECTS_AT_ONCE);
            let waiting: VecDeque<_> = hop.addresses.into_iter().take(most).collect();
            self.tried += waiting.len();
            self.host = Some(Host {
                name: hop.name,
                implicit_tls: hop.implicit_tls,
                protocol: self.hops.protocol(),
                waiting,
            });
        }
        self.host.as_mut().ok_or_else(nobody)
    }

    /// The address given last has failed.
    pub fn failed(&mut self, reason: Reason, onward: Onward) {
        match onward {
            Onward::NextAddress => {}
            Onward::NextHost => {
                let left = self.host.take().map_or(0, |host| host.waiting.len());
                self.tried -= left;
            }
            Onward::Stop => self.stopped = true,
        }
        self.last = Some(reason);
    }

    /// The address given last has failed, may do better on a new connection, and is the next to be dialled.
    pub fn again(&mut self, reason: Reason, address: SocketAddr) {
        self.last = Some(reason);
        if let Some(host) = &mut self.host {
            host.waiting.push_front(address);
        }
    }

    fn end(&mut self) -> Outcome {
        self.last.take().map_or_else(nobody, Outcome::Deferred)
    }
}

fn nobody() -> Outcome {
    Outcome::Deferred(Reason::ours("4.4.4", "there is no host to try"))
}
