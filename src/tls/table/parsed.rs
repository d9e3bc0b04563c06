//! The compiled-in table's pairs, parsed on first use and kept while they are used.

use std::sync::{Arc, PoisonError};

use async_rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_rustls::rustls::sign::CertifiedKey;

use super::super::algorithm::{Algorithm, unusable};
use super::super::compiled::Source;
use super::super::kind::Kind;
use super::Table;
use crate::limits;

/// A pair, or why this crypto provider cannot use it.
pub(super) type Parsed = Result<Arc<CertifiedKey>, String>;

impl Table {
    /// The kind of a compiled-in pair's key, without parsing it.
    pub(super) fn kind(&self, at: u32) -> Option<Kind> {
        match self.compiled.pairs.get(at as usize)? {
            Source::Embedded { kind, .. } => Some(kind),
            Source::Files { .. } => Some(Kind::of(self.files.get(&at)?.key.algorithm())),
        }
    }

    /// A pair of the compiled-in table; an embedded one is parsed on first use.
    pub(super) fn pair(&self, at: u32) -> Parsed {
        if let Some(read) = self.files.get(&at) {
            return Ok(Arc::clone(read));
        }
        if let Some(parsed) = self.recall(at) {
            return parsed;
        }
        // The build has checked it: what fails here is a kind of key that this provider lacks. The failure is kept too.
        let parsed = self.parse(at).map(Arc::new).inspect_err(|problem| {
            let mut uses = self.compiled.uses();
            let name = uses
                .find(|(_, pair)| *pair == at)
                .map_or("", |(name, _)| name);
            log::error!("certificate unusable name={name} reason={problem:?}");
        });
        let mut cache = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        cache.retain(|(pair, _)| *pair != at); // another thread may have parsed it too
        if cache.len() >= limits::CERTIFICATES_PARSED {
            drop(cache.remove(0));
        }
        cache.push((at, parsed.clone()));
        parsed
    }

    fn recall(&self, at: u32) -> Option<Parsed> {
        let mut cache = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        let found = cache.iter().rposition(|(pair, _)| *pair == at)?;
        let used = cache.remove(found);
        let parsed = used.1.clone();
        cache.push(used);
        Some(parsed)
    }

    fn parse(&self, at: u32) -> Result<CertifiedKey, String> {
        let Some(Source::Embedded { chain, key, .. }) = self.compiled.pairs.get(at as usize) else {
            return Err("the table names no such pair".to_string());
        };
        let chain = self.compiled.chain(chain).map(CertificateDer::from);
        let key = PrivateKeyDer::try_from(self.compiled.der(key))?;
        let known = Algorithm::of_private(&key);
        let key = self.provider.key_provider.load_private_key(key);
        let key = key.map_err(|_| unusable(known))?;
        Ok(CertifiedKey::new(chain.collect(), key))
    }
}
