//! The accepting side's configuration.

use std::sync::Arc;

use async_rustls::rustls::server::{NoClientAuth, NoServerSessionStorage};
use async_rustls::rustls::{ServerConfig, ServerConnection};

use super::client_certificate::Clients;
use super::established::Told;
use super::{Established, Table, provider};

/// What handshakes are answered with: fixed once made, a renewal makes another one.
pub struct Config {
    rustls: Arc<ServerConfig>,
    table: Arc<Table>,
    clients: Option<Arc<Clients>>,
}

/// A configuration that answers with the certificates of `table`, and asks clients for theirs if any of `clients` may be
/// known by one.
///
/// No TLS 1.3 tickets and no session storage: some large senders disconnect on tickets (chasquid issue 64, maddy 730, mox
/// 237), and what is not stored needs no ceiling. A client that offers ALPN must offer `smtp` (IANA's name, for
/// cross-protocol attacks, RFC 7301); one that offers none is served. Of the suites that a client offers it gets the first
/// of ours, AES-256 before AES-128 before ChaCha20: scanners hold a server without an order of its own against it.
pub fn config(table: Arc<Table>, clients: Option<Arc<Clients>>) -> Arc<Config> {
    let verifier = match &clients {
        Some(clients) => clients.verifier(),
        None => Arc::new(NoClientAuth),
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("both providers have suites for TLS 1.2 and 1.3")
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(&table) as _);
    config.alpn_protocols = vec![b"smtp".to_vec()];
    config.ignore_client_order = true;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Arc::new(Config {
        rustls: Arc::new(config),
        table,
        clients,
    })
}

impl Config {
    /// As rustls takes it.
    pub fn rustls(&self) -> &Arc<ServerConfig> {
        &self.rustls
    }

    /// What a handshake with this configuration agreed on, and what both names are worth at `now` (seconds since 1970);
    /// `None` while it goes on.
    pub(crate) fn established(
        &self,
        connection: &ServerConnection,
        now: u64,
    ) -> Option<Established> {
        let chain = connection.peer_certificates().unwrap_or_default();
        let told = Told {
            entry: self.table.verdict(connection.server_name()),
            client: self
                .clients
                .as_ref()
                .and_then(|clients| clients.judge(chain, now)),
        };
        Established::of_server(connection, told)
    }
}
