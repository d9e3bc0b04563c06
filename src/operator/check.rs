//! `facteur check`: would `serve` start with these flags, and would mail flow? It changes nothing.

mod certificates;
mod dns;
mod names;
mod next_hops;
mod policy;
mod ports;
mod served;
mod spool;

use super::ceiling::Ceiling;
use super::client_certificates::ClientCertificates;
use super::config::Config;
use super::serve;
use std::fmt::{self, Write as _};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gravity {
    /// It is as it should be.
    Ok,
    /// The relay starts, and somebody may be surprised later.
    Warning,
    /// The relay does not start, or mail does not flow.
    Error,
}

impl fmt::Display for Gravity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// What was found, in the order of the looking.
#[derive(Debug, Default)]
pub struct Report {
    text: String,
    worst: Option<Gravity>,
}

impl Report {
    fn add(&mut self, gravity: Gravity, what: impl fmt::Display) {
        self.worst = self.worst.max(Some(gravity));
        let _ = writeln!(self.text, "{gravity}: {what}"); // a String takes all
    }

    fn ok(&mut self, what: impl fmt::Display) {
        self.add(Gravity::Ok, what);
    }

    fn warning(&mut self, what: impl fmt::Display) {
        self.add(Gravity::Warning, what);
    }

    fn error(&mut self, what: impl fmt::Display) {
        self.add(Gravity::Error, what);
    }

    /// Whether something stands in the way of mail.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.worst == Some(Gravity::Error)
    }
}

/// A finding a line.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Looks at all that `serve` needs. `now` is in unix seconds.
#[must_use]
pub fn run(config: &Config, now: u64) -> Report {
    let mut report = Report::default();
    resources(config, &mut report);
    let running = spool::running(&config.spool.dir);
    certificates::look(config, now, running, &mut report);
    client_certificates(config, &mut report);
    policy::look(config, &mut report);
    ports::look(config, running, &mut report);
    // With --user, as that user from here on.
    spool::look(config, running, &mut report);
    names::look(config, &mut report);
    smol::block_on(async {
        dns::look(config, &mut report).await;
        next_hops::look(config, &mut report).await;
    });
    report
}

/// Open files and memory.
fn resources(config: &Config, report: &mut Report) {
    if let Err(why) = serve::allow_descriptors(config) {
        report.error(why);
    }
    let ceiling = Ceiling::of(config);
    match machine_memory() {
        Some(all) if ceiling.total() as u64 > all => {
            report.warning(format_args!(
                "{ceiling}: the machine has {} KiB in all; --sessions and --outbound set what is needed",
                all >> 10
            ));
        }
        _ => report.ok(ceiling),
    }
}

/// Octets of memory that the machine has.
fn machine_memory() -> Option<u64> {
    let figures = rustix::system::sysinfo();
    (figures.totalram as u64).checked_mul(figures.mem_unit.into())
}

/// `--client-ca`, as at boot.
fn client_certificates(config: &Config, report: &mut Report) {
    let read = ClientCertificates::of(config).read();
    if let Ok(Some(line)) = read
        .as_ref()
        .map(|clients| clients.as_ref()?.no_authorities())
    {
        report.warning(line);
    }
    match read {
        Ok(None) => {}
        Ok(Some(clients)) if clients.roots() > MANY_ROOTS => report.warning(format_args!(
            "--client-ca: {} authorities; if they are public ones, whoever has a certificate of theirs may relay",
            clients.roots()
        )),
        Ok(Some(clients)) => report.ok(format_args!(
            "client certificates roots={} fingerprints={}",
            clients.roots(),
            config.relay_clientcerts.len()
        )),
        Err(why) => report.error(why),
    }
}

/// More authorities than an owner has: the system's bundle has more than a hundred.
const MANY_ROOTS: usize = 20;
