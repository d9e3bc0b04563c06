//! Outbound mail: which message is tried when, how it is handed over, and what its sender is told.

pub mod attempt;
pub mod by_hand;
pub mod clocks;
mod damage;
mod destinations;
mod down;
pub mod dsn;
mod expanded;
mod fates;
mod from_field;
pub mod lanes;
mod local;
pub mod maildir;
mod notes;
mod outcome;
pub mod probe;
mod remote;
mod report;
pub mod route;
pub mod schedule;
mod trying;
mod worker;
