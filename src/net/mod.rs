//! (layer to come)
pub mod dns;
//! The network: byte streams in clear or in TLS, and deadlines.

pub mod deadline;
pub mod stream;
