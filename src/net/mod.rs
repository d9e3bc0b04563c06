//! The network: byte streams in clear or in TLS, deadlines, and DNS.

mod begun;
pub mod deadline;
pub mod dns;
pub mod source;
pub mod stream;
