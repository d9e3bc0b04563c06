//! The compiled-in table and the folders, as at boot; and a line for each certificate.

use super::served::{self, Live};
use super::spool::Running;
use super::{Gravity, Report};
use crate::limits;
use crate::operator::certificates::Certificates;
use crate::operator::config::Config;
use crate::tls::Table;
use crate::tls::table::listed::Listed;
use std::thread;

/// `now` is in unix seconds.
pub fn look(config: &Config, now: u64, running: Running, report: &mut Report) {
    let Some(certificates) = Certificates::of(config) else {
        return report.ok("certificates: no listener speaks TLS (--tls-in none)");
    };
    let clock = (now >= limits::CLOCK_FLOOR.as_secs()).then_some(now);
    let mut live = served::ask(&config.spool.dir, running, report);
    let mut table = certificates.load();
    // What is bad or gone a relay believes at the second look.
    for _ in 0..3 {
        let listed = table.as_ref().map(Table::listed);
        let disk = listed.as_deref().map_err(|why| why.as_str());
        let behind = |live: &Live| live.may_catch_up(disk);
        if !live.as_ref().is_some_and(behind) {
            break;
        }
        thread::sleep(limits::CERTIFICATE_LOOK);
        live = served::ask(&config.spool.dir, running, report);
        table = certificates.load();
    }
    let listed = match &table {
        Ok(table) => Some(start(table, (now, clock), live.as_ref(), report)),
        Err(why) => {
            report.error(format_args!("certificates: {why}"));
            None
        }
    };
    if let Some(live) = live {
        let table = table.as_ref().ok().zip(listed.as_deref());
        live.tell(table, clock, report);
    }
}

/// What a start would serve. `clock` is None where it is not set.
fn start(
    table: &Table,
    (now, clock): (u64, Option<u64>),
    live: Option<&Live>,
    report: &mut Report,
) -> Vec<Listed> {
    for trouble in table.troubles().iter().chain(&table.date_troubles(now)) {
        match trouble.level {
            log::Level::Info => report.ok(trouble),
            _ => report.warning(trouble),
        }
    }
    if table.is_development() {
        report.warning(
            "certificates: only this build's own for localhost; give --certs DIR, or fill config/domains and build",
        );
    }
    report.ok(format_args!("certificates {table}"));
    let listed = table.listed();
    for certificate in listed.iter().take(limits::CHECK_CERTIFICATES) {
        tell(certificate, clock, live, report);
    }
    if let Some(more) = listed.len().checked_sub(limits::CHECK_CERTIFICATES + 1) {
        report.ok(format_args!(
            "certificates: {} more, which end later",
            more + 1
        ));
    }
    listed
}

/// `now` is None where the clock is not set.
fn tell(certificate: &Listed, now: Option<u64>, live: Option<&Live>, report: &mut Report) {
    let until = certificate.about.valid.map(|valid| valid.until);
    let (mut gravity, left) = left(until, now);
    let served = match live.map(|live| live.serves(certificate)) {
        None => String::new(),
        Some(None) => format!(" sha256={}", certificate.fingerprint),
        Some(Some(true)) => format!(" sha256={} relay=same", certificate.fingerprint),
        Some(Some(false)) => {
            gravity = Gravity::Warning;
            format!(" sha256={} relay=differs", certificate.fingerprint)
        }
    };
    report.add(
        gravity,
        format_args!(
            "certificate names={:?} source={:?} key={:?} issuer={:?} left={left:?}{served}",
            certificate.first_names(),
            certificate.origin.to_string(),
            certificate.about.key,
            certificate.about.issuer,
        ),
    );
}

/// How long a certificate lasts, in whole days, that is valid until then.
pub fn left(until: Option<u64>, now: Option<u64>) -> (Gravity, String) {
    let (Some(until), Some(now)) = (until, now) else {
        return (Gravity::Ok, "unknown".to_owned());
    };
    let days = now.abs_diff(until) / DAY;
    let days = match days {
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    match now > until {
        true => (Gravity::Warning, format!("expired {days} ago")),
        false => (Gravity::Ok, days),
    }
}

const DAY: u64 = 86_400;
