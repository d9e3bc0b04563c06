<<<<<<< HEAD
//! (layer to come)
pub mod dns;
=======
//! The network: byte streams in clear or in TLS, and deadlines.

pub mod deadline;
pub mod stream;
>>>>>>> dcf8b1c38d7c6ec9abdde283395c17ceec0b7a45
