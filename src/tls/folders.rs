//! `--certs DIR`: a folder a certificate, as certbot lays them.

use std::path::PathBuf;
use std::sync::Arc;

use async_rustls::rustls::sign::CertifiedKey;

/// `DIR/NAME/fullchain.pem` and `privkey.pem`, checked.
#[derive(Clone)]
pub(super) struct Folder {
    pub path: PathBuf,
    /// Its own name, lower-case and in A-labels.
    pub name: String,
    /// Every DNS name of its certificate; wildcards as `*.parent`.
    pub names: Vec<String>,
    pub certified: Arc<CertifiedKey>,
    /// Why what the disk has now is not served instead, where it is not.
    pub kept: Option<String>,
}

/// A folder that is not served, and why.
pub(super) struct Skipped {
    pub name: String,
    pub reason: String,
}
