//! Log lines on standard error.
//!
//! **Why not a crate's logger.** Those at hand print with `eprintln!`, which panics when the other end of the pipe has
//! gone: a relay must not stop because whoever reads its log did.

use super::serve::unix_micros;
use crate::smtp::date::Timestamp;
use log::{LevelFilter, Log, Metadata, Record, SetLoggerError};
use std::io::Write as _;

pub struct Logger(LevelFilter);

impl Logger {
    /// Lets all lines up to a level out from now on; once in a process.
    ///
    /// # Errors
    /// There is a logger already.
    pub fn install(level: LevelFilter) -> Result<(), SetLoggerError> {
        log::set_max_level(level);
        log::set_boxed_logger(Box::new(Self(level)))
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.0
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = line(record, unix_micros() / 1_000);
            // One write, so that lines of several threads do not mix. There is nobody to tell that it failed.
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

fn line(record: &Record<'_>, millis: u64) -> String {
    let (level, target) = (record.level(), record.target());
    let level = level.as_str();
    format!(
        "{} {level:<5} [{target}] {}\n",
        Timestamp(millis),
        record.args()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_time_level_place_and_words() {
        let record = |level| {
            let mut record = Record::builder();
            record.level(level).target("facteur::spool");
            line(
                &record.args(format_args!("open n=1")).build(),
                951_782_399_007,
            )
        };
        assert_eq!(
            record(log::Level::Info),
            "2000-02-28T23:59:59.007Z INFO  [facteur::spool] open n=1\n"
        );
        assert!(record(log::Level::Error).contains("Z ERROR [facteur"));
    }
}
