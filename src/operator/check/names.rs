//! Who exists: `--recipients`, `--alias` and the postmaster.

use super::Report;
use crate::operator::config::Config;
use crate::operator::directory::{Files, NO_POSTMASTER, NO_RECIPIENTS};
use crate::policy::directory::Directory;
use crate::policy::target::Target;
use std::sync::Arc;

pub fn look(config: &Config, report: &mut Report) {
    let files = Files::of(config, Arc::new(config.routes.clone()));
    let mut directory = Directory::default();
    let mut whole = true;
    match files.recipients() {
        Ok(Some(list)) => {
            match list.count() {
                0 => report.warning(NO_RECIPIENTS),
                count => report.ok(format_args!("recipients addresses={count}")),
            }
            directory.recipients = Some(Arc::new(list));
        }
        Ok(None) => without_recipients(config, report),
        Err(why) => {
            report.error(why);
            whole = false;
        }
    }
    match files.aliases() {
        Ok(Some(aliases)) => {
            report.ok(format_args!("aliases names={}", aliases.count()));
            directory.aliases = Some(Arc::new(aliases));
        }
        Ok(None) => {}
        Err(why) => {
            report.error(why);
            whole = false;
        }
    }
    if whole
        && config
            .relay
            .postmaster(&config.routes, &directory)
            .is_none()
    {
        report.warning(NO_POSTMASTER);
    }
}

/// Whoever writes to nobody gets a bounce, and may not be who wrote; or a folder that nobody reads.
fn without_recipients(config: &Config, report: &mut Report) {
    for domain in config.relay.domains.iter().filter(|it| *it != "localhost") {
        let then = match config.routes.target(domain) {
            Target::Smtp(_) | Target::Lmtp(_) if config.verify_rcpt => continue,
            Target::Maildir(_) => "makes a Maildir for each",
            _ => "bounces what its mailboxes refuse later to senders who may be forged",
        };
        report.warning(format_args!(
            "--domain {domain}: takes every local part and {then}; list those that exist with --recipients FILE"
        ));
    }
}
