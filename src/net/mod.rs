//! (layer to come)
pub mod dns;
