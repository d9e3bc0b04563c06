//! Is the queue's folder there, ours, whole, and large enough?

use super::Report;
use crate::operator::config::Config;
use rustix::fs::Access;
use std::path::Path;

/// Whether a relay has this spool open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Running {
    Yes,
    No,
}

pub fn look(config: &Config, _now: u64, report: &mut Report) -> Running {
    let dir = &config.spool.dir;
    if !dir.exists() {
        to_be_made(config, report);
        return Running::No;
    }
    Running::No
}

/// The folder is made at the first boot: is there room?
fn to_be_made(config: &Config, report: &mut Report) {
    let dir = std::path::absolute(&config.spool.dir).unwrap_or_else(|_| config.spool.dir.clone());
    let there = dir
        .ancestors()
        .find(|parent| parent.is_dir())
        .unwrap_or(Path::new("/"));
    if let Err(problem) = rustix::fs::access(there, Access::WRITE_OK) {
        return report.error(format_args!(
            "--spool {}: cannot be made in {}: {problem}",
            dir.display(),
            there.display()
        ));
    }
    let size = config.spool.size;
    match rustix::fs::statvfs(there)
        .map(|figures| figures.f_bavail.saturating_mul(figures.f_frsize))
    {
        Ok(free) if free < size => report.error(format_args!(
            "--spool {}: --spool-size {size} octets, and its file system has {free} free",
            dir.display()
        )),
        Ok(_) => report.ok(format_args!(
            "spool {}: will be made, {} MiB",
            dir.display(),
            size >> 20
        )),
        Err(problem) => report.error(format_args!("--spool {}: {problem}", dir.display())),
    }
}
