//! The binary: argv to a subcommand, and its exit status.

fn main() {}
