//! facteur, a mail relay in one small binary.
//!
//! The code is layered, and a module uses only modules of earlier layers (`tests/layers.rs` holds it to that):
//!
//! | layer | module | what it knows |
//! |---|---|---|
//! | | [`limits`] | every capacity and deadline, and what happens at it |
//! | 0 | [`smtp`] | the protocol as two state machines: no I/O, no clock, no allocation |
//! | 0 | [`policy`] | decisions as pure functions: who may relay, which target, when to try again, which TLS level |
//! | 1 | [`spool`] | the durable queue: a log of checksummed records in preallocated segments |
//! | 2 | [`tls`] | the table of names and certificates, and the two sides' configurations |
//! | 3 | [`net`] | streams (plain or TLS), deadlines, DNS |
//! | 4 | [`inbound`], [`outbound`] | sessions with clients; attempts at next hops. Neither knows the other |
//! | 5 | [`operator`] | flags, boot, signals, drain |
//!
//! A message flows one way:
//!
//! ```text
//! listener -> session (smtp::server) -> spool accept -> 250
//!                                         |
//!               schedule <----------------+
//!                  -> route -> attempt (smtp::client) -> spool settle (done | defer | DSN -> spool accept)
//! ```
//!
//! What keeps the arrows one way:
//!
//! - **Proofs.** The final 250 can be written only from a [`spool::Durable`], which only the spool mints after its
//!   `fdatasync`; "TLS is up" only from a [`tls::Established`], which only a finished handshake mints. The server machine
//!   is generic over both, so the protocol layer names neither.
//! - **Verdicts.** MAIL, RCPT and the end of data wait for a verdict from outside the machine.
//! - **The clock is an argument.** No layer below inbound and outbound reads the time.

#![forbid(unsafe_code)]

pub mod inbound;
pub mod limits;
pub mod net;
pub mod operator;
pub mod outbound;
pub mod policy;
pub mod smtp;
pub mod spool;
pub mod tls;
