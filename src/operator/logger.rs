//! Log lines on standard error: simple_logger's, but a relay outlives the reader of its log.

use log::{LevelFilter, Log, Metadata, Record, SetLoggerError};
use simple_logger::SimpleLogger;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// [`SimpleLogger`], whose `eprintln!` panics when the other end of the pipe has gone or the disk under a redirected log
/// is full: there is nobody to tell then, and mail must go on.
pub struct Logger(SimpleLogger);

impl Logger {
    /// Lets all lines up to a level out from now on; once in a process.
    ///
    /// # Errors
    /// There is a logger already.
    pub fn install(level: LevelFilter) -> Result<(), SetLoggerError> {
        let logger = SimpleLogger::new().with_level(level).with_utc_timestamps();
        log::set_max_level(logger.max_level());
        log::set_boxed_logger(Box::new(Self(logger)))
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        // It holds no state that a panic could leave half changed.
        let _ = catch_unwind(AssertUnwindSafe(|| self.0.log(record)));
    }

    fn flush(&self) {}
}
