//! The binary: argv to a subcommand, and its exit status.

use std::process::ExitCode;

fn main() -> ExitCode {
    facteur::operator::run(std::env::args().skip(1).collect())
}
