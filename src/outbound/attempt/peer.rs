//! Whom a connection is with, as the log and reports tell it.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use crate::tls::Established;

/// Whom a connection is with.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The session's id in the log.
    pub session: SessionNumber,
    /// The name that DNS or the flags gave, else the address.
    pub host: String,
    /// Where it leads.
    pub address: Endpoint,
    /// None: in clear.
    pub tls: Option<Established>,
}

/// Where a connection leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A Unix socket on this machine.
    Socket(Arc<Path>),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Socket(path) => path.display().fmt(f),
        }
    }
}

/// An outbound session's number, `o1` in the log: inbound ones are `i1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionNumber(pub u64);

impl fmt::Display for SessionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "o{}", self.0)
    }
}

impl Peer {
    /// TLS version, suite and group, or `clear`.
    #[must_use]
    pub fn security(&self) -> String {
        self.tls
            .as_ref()
            .map_or_else(|| "clear".to_owned(), ToString::to_string)
    }
}
