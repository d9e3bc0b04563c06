//! Outbound mail: which message is tried when, how it is handed over, and what its sender is told.

pub mod lanes;
