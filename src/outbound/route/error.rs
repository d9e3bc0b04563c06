//! Why there is no host to try, and whose mistake it is.

use std::fmt;

use super::AskedBy;

/// Why there is no host to try. Displays as code and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteError {
    /// To try again cannot help: the recipients fail. The code is an enhanced one (RFC 3463).
    Permanent {
        /// As `5.1.2`.
        code: &'static str,
        /// For the log and the DSN.
        text: String,
    },
    /// The recipients are deferred.
    Temporary {
        /// As `4.4.3`.
        code: &'static str,
        /// For the log, and for the DSN when the message has become too old.
        text: String,
    },
}

pub(super) fn permanent(code: &'static str, text: String) -> RouteError {
    RouteError::Permanent { code, text }
}

pub(super) fn temporary(code: &'static str, text: String) -> RouteError {
    RouteError::Temporary { code, text }
}

/// Routing loop detected (RFC 3463 3.5).
pub(super) const LOOP: &str = "5.4.6";

impl RouteError {
    pub(super) fn by(self, asked_by: AskedBy) -> Self {
        match (asked_by, self) {
            (AskedBy::Flag, Self::Permanent { code, text }) => Self::Temporary {
                code: if code == LOOP { "4.4.6" } else { "4.4.4" },
                text,
            },
            (_, trouble) => trouble,
        }
    }

    /// The enhanced status code (RFC 3463).
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Permanent { code, .. } | Self::Temporary { code, .. } => code,
        }
    }

    /// What happened, for logs and DSNs.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Permanent { text, .. } | Self::Temporary { text, .. } => text,
        }
    }
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code(), self.text())
    }
}

impl std::error::Error for RouteError {}
