//! The operator's side: flags, boot, signals, drain.

pub mod config;
pub mod flags;
pub mod serve;
pub mod values;
