//! The way through a destination's hosts and addresses, in order.

use crate::limits;

use super::outcome::{Outcome, Reason};
use super::peer::Endpoint;
use crate::outbound::route::{Hop, Hops};
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

pub(super) struct Walk<'w, 'h> {
    hops: &'w mut Hops<'h>,
    hop: Option<Hop>,
    /// The next address of `hop`.
    next: usize,
    tried: usize,
    stopped: bool,
    /// Why the last address failed.
    last: Option<Reason>,
}

impl<'w, 'h> Walk<'w, 'h> {
    pub fn new(hops: &'w mut Hops<'h>) -> Self {
        Self {
            hops,
            hop: None,
            next: 0,
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

    /// The next address to try, or what follows when there is none.
    pub async fn next(&mut self) -> Result<Place, Outcome> {
        loop {
            if self.stopped || self.tried >= limits::ATTEMPT_ADDRESSES {
                return Err(self.end());
            }
            if let Some(hop) = &self.hop
                && let Some(&address) = hop.addresses.get(self.next)
            {
                self.next += 1;
                self.tried += 1;
                return Ok(Place {
                    host: hop.name.clone(),
                    address: Endpoint::Tcp(address),
                    implicit_tls: hop.implicit_tls,
                    protocol: self.hops.protocol(),
                });
            }
            self.next = 0;
            self.hop = self.hops.next().await.map_err(|e| Outcome::of_route(&e))?;
            if self.hop.is_none() {
                return Err(self.end());
            }
        }
    }

    /// The address given last has failed.
    pub fn failed(&mut self, reason: Reason, onward: Onward) {
        match onward {
            Onward::NextAddress => {}
            Onward::NextHost => self.hop = None,
            Onward::Stop => self.stopped = true,
        }
        self.last = Some(reason);
    }

    fn end(&mut self) -> Outcome {
        let nobody = || Reason::ours("4.4.4", "there is no host to try");
        Outcome::Deferred(self.last.take().unwrap_or_else(nobody))
    }
}
