//! Outbound mail: which message is tried when, how it is handed over, and what its sender is told.

pub mod dsn;
pub mod dsn_words;
pub mod lanes;
pub mod maildir;
mod maildir_files;
//! (layer to come)
pub mod attempt;
mod attempt_link;
pub mod attempt_outcome;
mod attempt_walk;
mod connection;
pub mod route;
