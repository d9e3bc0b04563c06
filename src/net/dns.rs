//! DNS look-ups: the mail hosts of a domain and the addresses of a host.

use std::net::{IpAddr, SocketAddr};

/// Asks the configured DNS servers. One is made at boot and shared by all.
#[derive(Debug)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
}

/// What DNS says of a domain's mail hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mx {
    /// Preference and host name, lowest preference first, in random order within one (RFC 5321 5.1).
    Hosts(Vec<(u16, String)>),
    /// The domain takes no mail (RFC 7505).
    NullMx,
    /// The name exists and has no MX records.
    NoRecords,
    /// The name does not exist.
    NoSuchName,
}

/// Why a look-up gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsError {
    /// It cannot be a name in DNS; nothing was asked.
    IllegalName,
    /// The name does not exist (NXDOMAIN).
    NoSuchName,
    /// The name exists without a record of the type.
    NoData,
    /// No server gave a usable answer in time; the words say what the last one did.
    Temporary(String),
}

impl Resolver {
    /// Asks these servers, in turn.
    #[must_use]
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers }
    }

    /// Asks the servers that `/etc/resolv.conf` names.
    #[must_use]
    pub fn system() -> Self {
        todo!()
    }

    /// The servers asked, for the boot log and `check`.
    #[must_use]
    pub fn servers(&self) -> Vec<SocketAddr> {
        self.servers.clone()
    }

    /// The mail hosts of a domain.
    ///
    /// # Errors
    /// [`DnsError::IllegalName`] or [`DnsError::Temporary`].
    pub async fn mx(&self, _domain: &str) -> Result<Mx, DnsError> {
        todo!()
    }

    /// The addresses of a host, never an empty list.
    ///
    /// # Errors
    /// [`DnsError`].
    pub async fn addresses(&self, _host: &str) -> Result<Vec<IpAddr>, DnsError> {
        todo!()
    }
}
