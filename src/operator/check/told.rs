//! What other modules tell the log at boot is a finding here.

use super::{Gravity, Report};
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::sync::{Mutex, PoisonError};

/// Keeps warnings and errors.
struct Ear(Mutex<Vec<(Gravity, String)>>);

static EAR: Ear = Ear(Mutex::new(Vec::new()));

impl Log for Ear {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        let gravity = match record.level() {
            Level::Error => Gravity::Error,
            Level::Warn => Gravity::Warning,
            _ => return,
        };
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.push((gravity, record.args().to_string()));
    }

    fn flush(&self) {}
}

/// Takes the log's place. Where a test has a logger of its own, that one keeps it.
pub fn listen() {
    if log::set_logger(&EAR).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}

/// Adds what was told since the last call.
pub fn into(report: &mut Report) {
    let mut heard = EAR.0.lock().unwrap_or_else(PoisonError::into_inner);
    for (gravity, line) in heard.drain(..) {
        report.add(gravity, line);
    }
}
