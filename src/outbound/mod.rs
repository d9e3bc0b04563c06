//! (layer to come)
pub mod attempt;
mod attempt_link;
pub mod attempt_outcome;
mod attempt_walk;
mod connection;
pub mod route;
