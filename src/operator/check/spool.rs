//! Is the queue's folder there, ours, whole, and large enough?

use super::Report;
use crate::limits;
use crate::operator::config::Config;
use crate::operator::control::{self, Intake};
use crate::operator::spool_key;
use crate::operator::user::User;
use crate::spool::{Inspector, Key, OpenError};
use rustix::fs::Access;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Whether a relay has this spool open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Running {
    Yes,
    No,
}

/// Looks as `--user`, if there is one, and stays it; for a spool that is yet to be made only then, as it is root's to make.
pub fn look(config: &Config, running: Running, report: &mut Report) {
    let dir = &config.spool.dir;
    let user = match config.user.as_deref().map(User::named).transpose() {
        Ok(user) => user.flatten(),
        Err(why) => return report.error(why),
    };
    let file = config.spool_key.as_deref();
    let key = file.map(|file| spool_key::read(file, user.as_ref()));
    let is_there = dir.exists();
    if let Some(user) = user.as_ref().filter(|_| is_there) {
        if let Err(why) = user.give_spool(dir) {
            report.error(why);
        }
        become_user(user, report);
    }
    if let Some(user) = user.as_ref().filter(|_| !is_there)
        && let Err(why) = user.can_come_to(dir)
    {
        report.error(why);
    }
    match key.transpose() {
        Ok(key) => content(config, key.as_ref(), running, report),
        Err(why) => report.error(why),
    }
    if let Some(user) = user.filter(|_| !is_there) {
        become_user(&user, report);
    }
}

fn become_user(user: &User, report: &mut Report) {
    match user.become_for_good() {
        Ok(()) => report.ok(format_args!("--user {}: uid {}", user.name, user.uid)),
        Err(why) => report.error(why),
    }
}

fn content(config: &Config, key: Option<&Key>, running: Running, report: &mut Report) {
    let dir = &config.spool.dir;
    match Inspector::look(dir, key, None) {
        Ok(inspector) => {
            queue(&inspector, config, report);
            size(&inspector, config, report);
        }
        Err(OpenError::Io { problem, .. }) if problem.kind() == io::ErrorKind::NotFound => {
            room(config, config.spool.size, report);
        }
        Err(problem) => report.error(problem),
    }
    set_aside(dir, report);
    if running == Running::Yes {
        intake(dir, report);
        handshakes(dir, report);
    }
}

/// Segments that the disk damaged.
fn set_aside(dir: &Path, report: &mut Report) {
    // A folder that cannot be read was told of.
    let names = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let paths = names.map(|entry| entry.path());
    let bad = paths.filter(|path| path.extension().is_some_and(|end| end == "bad"));
    let count = bad.count();
    if count > 0 {
        report.warning(format_args!(
            "spool {}: the disk damaged segments: count={count}, set aside as *.bad; look at them, remove them, and doubt the disk",
            dir.display()
        ));
    }
}

/// Looks whether the spool is locked, and lets go at once.
pub fn running(dir: &Path) -> Running {
    let lock = File::open(dir.join("lock")).map(|file| file.try_lock_shared());
    match lock {
        Ok(Err(TryLockError::WouldBlock)) => Running::Yes,
        _ => Running::No,
    }
}

/// What a start would find.
fn queue(inspector: &Inspector, config: &Config, report: &mut Report) {
    let queued = inspector.queued();
    for broken in queued.iter().filter(|message| message.broken) {
        report.warning(format_args!(
            "spool {}: message {} is damaged and will not be sent",
            config.spool.dir.display(),
            broken.id
        ));
    }
    report.ok(format_args!(
        "spool {}: {} messages queued",
        config.spool.dir.display(),
        queued.len()
    ));
}

fn size(inspector: &Inspector, config: &Config, report: &mut Report) {
    let (has, wanted) = (inspector.size(), config.spool.size);
    if wanted < has {
        report.error(format_args!(
            "--spool-size {wanted}: the spool has {has} octets, and only grows"
        ));
    }
    if inspector.missing() > 0 {
        report.warning(format_args!(
            "spool {}: {} MiB of its {} MiB are not there: a relay that runs makes them, at {} MiB a second, as far as the file system has room",
            config.spool.dir.display(),
            inspector.missing() >> 20,
            has >> 20,
            limits::SPOOL_FILL_RATE >> 20
        ));
    }
    for file in inspector.unreadable() {
        report.warning(format_args!(
            "spool {}: neither header of {} can be read: it is kept as it is, and not used; move it away, and the next start makes another",
            config.spool.dir.display(),
            file.display()
        ));
    }
    // Whole segments only.
    if wanted.saturating_sub(has) >= limits::SPOOL_SEGMENT as u64 {
        room(config, wanted - has, report);
    }
}

/// Is there room for so many octets more?
fn room(config: &Config, need: u64, report: &mut Report) {
    let dir = std::path::absolute(&config.spool.dir).unwrap_or_else(|_| config.spool.dir.clone());
    let there = existing(&dir);
    if let Err(problem) = rustix::fs::access(&there, Access::WRITE_OK) {
        return report.error(format_args!(
            "--spool {}: cannot be made in {}: {problem}",
            dir.display(),
            there.display()
        ));
    }
    let free = rustix::fs::statvfs(&there)
        .map(|figures| figures.f_bavail.saturating_mul(figures.f_frsize));
    match free {
        Ok(free) if free < need => report.error(format_args!(
            "--spool {}: {need} octets are to be made, and its file system has {free} free",
            dir.display()
        )),
        Ok(_) => report.ok(format_args!(
            "spool {}: {} MiB will be made",
            dir.display(),
            need >> 20
        )),
        Err(problem) => report.error(format_args!("--spool {}: {problem}", dir.display())),
    }
}

/// The nearest folder that is there.
fn existing(dir: &Path) -> PathBuf {
    let there = dir.ancestors().find(|parent| parent.is_dir());
    there.unwrap_or(Path::new("/")).to_owned()
}

/// What the running relay says of itself.
fn intake(dir: &Path, report: &mut Report) {
    match control::intake(dir) {
        Ok(Some(Intake::Open)) => report.ok("the running relay takes mail"),
        Ok(Some(Intake::Closed)) => report.error(
            "the running relay refuses new mail (451 4.3.0; 452 4.3.1 where the disk is full): a write to the spool failed, and no fresh segment has proved good since; its log names the file",
        ),
        Ok(None) => report.warning(
            "a relay has the spool open and does not listen at its socket: it is starting or stopping",
        ),
        Err(why) => report.warning(format_args!("the running relay: {why}")),
    }
}

/// Its figures since boot.
fn handshakes(dir: &Path, report: &mut Report) {
    match control::tls(dir) {
        Ok(Some(lines)) if lines.is_empty() => report.ok("the running relay: tls no handshake yet"),
        Ok(Some(lines)) => {
            for line in lines {
                report.ok(format_args!("the running relay: {line}"));
            }
        }
        // Told already.
        Ok(None) => {}
        Err(why) => report.warning(format_args!("the running relay: no figures of TLS: {why}")),
    }
}
