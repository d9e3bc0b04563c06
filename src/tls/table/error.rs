//! Why there is no table.

use std::fmt;
use std::path::PathBuf;

use super::super::kind::Kind;

/// Why there is no table: one line that names the thing.
#[derive(Debug)]
pub enum TableError {
    /// The certificate of a file that the compiled-in table names is for other names.
    NotCovered {
        /// The table's name for it.
        name: String,
        /// The certificate's file.
        chain: PathBuf,
        /// The names that it is for.
        has: Vec<String>,
    },
    /// Two keys of one kind, at least one of them read at boot.
    Twice {
        /// The table's name for them.
        name: String,
        /// The kind.
        kind: Kind,
        /// The two chains' files.
        chains: [String; 2],
    },
    /// A file of the compiled-in table, read at boot, is bad; or an embedded chain does not parse with this crypto provider.
    Entry {
        /// The table's name for it.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A `--certs` folder that cannot be listed.
    Folder {
        /// The folder.
        dir: PathBuf,
        /// The system's reason.
        problem: String,
    },
    /// `--default-cert` names a folder that was skipped.
    BadDefault {
        /// The folder.
        name: String,
        /// Why it was skipped.
        reason: String,
    },
    /// The folder of the hostname, whose certificate is the default, was skipped.
    BadHostname {
        /// The folder.
        name: String,
        /// Why it was skipped.
        reason: String,
    },
    /// The hostname's certificate was the default, and there is none any more.
    GoneHostname {
        /// The hostname.
        name: String,
    },
    /// `--default-cert` names nothing; what it could have named.
    UnknownDefault {
        /// What was asked for.
        name: String,
        /// What there is.
        names: Vec<String>,
    },
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotCovered { name, chain, has } => write!(
                f,
                "config/domains, entry {name}: {} is not for it; it has {}",
                chain.display(),
                listed(has)
            ),
            Self::Twice { name, kind, chains } => write!(
                f,
                "config/domains, entry {name}: {} and {} both have such a key ({kind}); it may have one of each kind",
                chains[0], chains[1]
            ),
            Self::Entry { name, problem } => {
                write!(f, "config/domains, entry {name}: {problem}")
            }
            Self::Folder { dir, problem } => write!(f, "--certs {}: {problem}", dir.display()),
            Self::BadDefault { name, reason } => write!(f, "--default-cert {name}: {reason}"),
            Self::BadHostname { name, reason } => write!(
                f,
                "the certificate of the hostname {name}, which is the default without --default-cert: {reason}"
            ),
            Self::GoneHostname { name } => write!(
                f,
                "nothing is for the hostname {name} any more, whose certificate is the default without --default-cert"
            ),
            Self::UnknownDefault { name, names } => write!(
                f,
                "--default-cert {name}: no such certificate; there are {}",
                listed(names)
            ),
        }
    }
}

impl std::error::Error for TableError {}

/// The first few of `names`, for one line.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 10;
    match names.len() {
        0 => "none".to_string(),
        count if count <= SHOWN => names.join(", "),
        count => format!("{} and {} more", names[..SHOWN].join(", "), count - SHOWN),
    }
}
