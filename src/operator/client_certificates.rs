//! `--client-ca` and `--relay-clientcert`: whom clients' certificates make known, read at boot and at SIGHUP.

use super::config::Config;
use crate::tls::client_certificate::{Clients, Fingerprint};
use log::{error, info, warn};
use std::path::PathBuf;
use std::sync::Arc;

/// The flags, and what was read by them last.
pub struct ClientCertificates {
    ca: Option<PathBuf>,
    fingerprints: Vec<Fingerprint>,
    read: Option<Arc<Clients>>,
}

impl ClientCertificates {
    /// Of the flags; nothing is read yet.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            ca: config.client_ca.clone(),
            fingerprints: config.relay_clientcerts.clone(),
            read: None,
        }
    }

    /// Reads the file; None where no flag asks for clients' certificates.
    ///
    /// # Errors
    /// One line that names the flag, the file and what is wrong. What was read before stays.
    pub fn read(&mut self) -> Result<Option<Arc<Clients>>, String> {
        if self.ca.is_none() && self.fingerprints.is_empty() {
            return Ok(None);
        }
        let read = Clients::read(self.ca.as_deref(), self.fingerprints.clone());
        let clients = Arc::new(read.map_err(|problem| format!("--client-ca {problem}"))?);
        self.read = Some(Arc::clone(&clients));
        Ok(Some(clients))
    }

    /// SIGHUP: where the file is bad now, those that it told of before are still known.
    pub fn read_again(&mut self) {
        match self.read() {
            Ok(Some(clients)) => {
                info!("client certificates roots={}", clients.roots());
                self.warn();
            }
            Ok(None) => {}
            Err(problem) => error!("client certificates unchanged: {problem}"),
        }
    }

    /// Says what is odd in what was read last.
    pub fn warn(&self) {
        if let Some(line) = self.read.as_ref().and_then(|read| read.no_authorities()) {
            warn!("{line}");
        }
    }

    /// What was read last.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Clients>> {
        self.read.clone()
    }
}
