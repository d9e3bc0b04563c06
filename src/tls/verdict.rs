//! How the server name of a client's hello was answered.

/// By which entry of the table the certificate was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The entry of exactly that name.
    Exact,
    /// A line of the compiled-in table for all names below this one: `.example.org`.
    Parent(Box<str>),
    /// A wildcard under `--certs`: `*.example.org`.
    Wildcard(Box<str>),
    /// The default: none was sent, or it was an address.
    NoName,
    /// The default: there is no entry for it.
    UnknownName,
}
