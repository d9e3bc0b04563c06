//! (layer to come)

pub mod client;
mod client_group;
pub mod peer_offer;
pub mod reply_reader;
pub mod stuffing;
