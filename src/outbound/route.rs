//! Which hosts a recipient's mail goes to, in which order (RFC 5321 5.1).

use crate::net::dns::Resolver;
use crate::policy::target::Target;
use std::net::SocketAddr;

/// Finds next hops. One is made at boot and shared by all.
#[derive(Debug)]
pub struct Router {
    pub resolver: Resolver,
    /// Port of next hops found by MX.
    pub smtp_port: u16,
    /// Whether loopback addresses found by MX are dialled.
    pub mx_loopback: bool,
    /// Our `--hostname`, lower-cased.
    pub own_name: String,
    /// What we listen on.
    pub own_addresses: Vec<SocketAddr>,
}

/// A host to try: its addresses, in the order to dial them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Host name, or the address as text: for SNI and logs.
    pub name: String,
    /// Never empty.
    pub addresses: Vec<SocketAddr>,
    /// TLS before the greeting (RFC 8314).
    pub implicit_tls: bool,
}

/// The hosts for one destination, in the order to try them; each one's addresses are looked up when its turn comes.
#[derive(Debug)]
pub struct Hops<'r> {
    router: Option<&'r Router>,
}

/// Why there is no host to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteError {
    /// Trying again cannot help: the recipients fail.
    Permanent { code: &'static str, text: String },
    /// The recipients are deferred.
    Temporary { code: &'static str, text: String },
}

impl Router {
    /// The hosts for mail to a domain whose target is `target`.
    ///
    /// # Errors
    /// [`RouteError`] where there is none.
    pub async fn hops(
        &self,
        _target: &Target,
        _recipient_domain: &str,
    ) -> Result<Hops<'_>, RouteError> {
        todo!()
    }
}

impl Hops<'_> {
    /// A list that needs no look-up.
    #[must_use]
    pub fn fixed(_hops: Vec<Hop>) -> Hops<'static> {
        todo!()
    }

    /// The next host to try; None when the list is through.
    ///
    /// # Errors
    /// [`RouteError`] when the list is through and no host of it could be tried.
    pub async fn next(&mut self) -> Result<Option<Hop>, RouteError> {
        let _ = self.router;
        todo!()
    }
}
