//! The compiled-in table and the folders, as at boot; and a line for each certificate.

use super::{Gravity, Report};
use crate::limits;
use crate::operator::certificates::Certificates;
use crate::operator::config::Config;
use crate::tls::table::listed::Listed;

/// `now` is in unix seconds.
pub fn look(config: &Config, now: u64, report: &mut Report) {
    let Some(certificates) = Certificates::of(config) else {
        return report.ok("certificates: no listener speaks TLS (--tls-in none)");
    };
    let table = match certificates.load() {
        Ok(table) => table,
        Err(why) => return report.error(format_args!("certificates: {why}")),
    };
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
    let clock = (now >= limits::CLOCK_FLOOR.as_secs()).then_some(now);
    report.ok(format_args!("certificates {table}"));
    let listed = table.listed();
    for certificate in listed.iter().take(limits::CHECK_CERTIFICATES) {
        tell(certificate, clock, report);
    }
    if let Some(more) = listed.len().checked_sub(limits::CHECK_CERTIFICATES + 1) {
        report.ok(format_args!(
            "certificates: {} more, which end later",
            more + 1
        ));
    }
}

/// `now` is None where the clock is not set.
fn tell(certificate: &Listed, now: Option<u64>, report: &mut Report) {
    let (gravity, left) = left(certificate, now);
    report.add(
        gravity,
        format_args!(
            "certificate names=\"{}\" source=\"{}\" key=\"{}\" issuer={:?} left=\"{left}\"",
            certificate.first_names(),
            certificate.origin,
            certificate.about.key,
            certificate.about.issuer,
        ),
    );
}

/// How long it lasts, in whole days.
fn left(certificate: &Listed, now: Option<u64>) -> (Gravity, String) {
    let (Some(valid), Some(now)) = (certificate.about.valid, now) else {
        return (Gravity::Ok, "unknown".to_owned());
    };
    let days = now.abs_diff(valid.until) / DAY;
    let days = match days {
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    match now > valid.until {
        true => (Gravity::Warning, format!("expired {days} ago")),
        false => (Gravity::Ok, days),
    }
}

const DAY: u64 = 86_400;
