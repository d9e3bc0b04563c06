//! Decisions as pure functions, and their words.
//!
//! Nothing here waits, reads a clock or a file: what a decision needs is an argument, so each can be tested by a table.

pub mod aliases;
pub mod clock;
pub mod directory;
pub mod idn;
pub mod level;
pub mod recipients;
pub mod relay;
pub mod retry;
pub mod routes;
pub mod target;
