//! The accepting side's configuration.

use std::sync::Arc;

use async_rustls::rustls::ServerConfig;
use async_rustls::rustls::server::NoServerSessionStorage;

use super::{Table, provider};

/// A configuration that answers with the certificates of `table`.
///
/// No TLS 1.3 tickets and no session storage: some large senders disconnect on tickets (chasquid issue 64, maddy 730, mox
/// 237), and what is not stored needs no ceiling. A client that offers ALPN must offer `smtp` (IANA's name, for
/// cross-protocol attacks, RFC 7301); one that offers none is served.
pub fn config(table: Arc<Table>) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("both providers have suites for TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(table);
    config.alpn_protocols = vec![b"smtp".to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Arc::new(config)
}
