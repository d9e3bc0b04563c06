//! How the server name of a client's hello was answered.

use std::fmt;

/// By which entry of the table the certificate was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an entry of exactly that name.
    Exact,
    /// By this parent (`.example.org`), a table's line or a certificate's wildcard.
    Parent(Box<str>),
    /// The default certificate: no name was sent, or an address.
    NoName,
    /// The default certificate: nothing is known of the name.
    Unknown,
}

/// The entry: `exact`, the parent's name, or `default`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "exact",
            Self::Parent(parent) => parent,
            Self::NoName | Self::Unknown => "default",
        })
    }
}
