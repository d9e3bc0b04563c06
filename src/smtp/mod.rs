//! The protocol: no I/O, no allocation, no clock.
//!
//! Bytes go in and come out through slices that the caller owns; a machine keeps counts and states, never a list and never
//! a body. [`server`] answers a client, [`client`] drives a next hop; the other modules are the words that both speak.
//!
//! What it cannot do by its shape: answer 250 to a message without being shown a proof that it is on the disk, believe
//! that TLS is up without a proof of the handshake, and lose step on a line that is too long.

pub mod address;
pub mod client;
pub mod command;
pub mod data;
pub mod date;
pub mod extensions;
pub mod header;
pub mod intake;
pub mod line;
pub mod parameters;
pub mod peer_offer;
pub mod reply;
pub mod reply_reader;
pub mod server;
pub mod steps;
pub mod stuffing;
pub mod xtext;
