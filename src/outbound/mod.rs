//! Outbound mail: which message is tried when, how it is handed over, and what its sender is told.

pub mod attempt;
pub mod by_hand;
mod damage;
mod destinations;
pub mod dsn;
pub mod lanes;
mod local;
pub mod maildir;
mod outcome;
pub mod probe;
mod remote;
mod report;
pub mod route;
pub mod schedule;
mod trying;
mod worker;
