//! Outbound mail: which message is tried when, how it is handed over, and what its sender is told.

pub mod attempt;
mod attempt_link;
pub mod attempt_outcome;
mod attempt_walk;
mod connection;
mod destinations;
pub mod dsn;
mod dsn_words;
pub mod lanes;
mod local;
pub mod maildir;
mod maildir_files;
mod outcome;
mod remote;
pub mod route;
pub mod schedule;
mod worker;
