//! What the running relay serves, beside what the disk has: a renewal that did not come shows here first.

use super::Report;
use super::certificates::left;
use super::spool::Running;
use crate::limits;
use crate::operator::certificates::Looker;
use crate::operator::control::{self, Said, Served, source};
use crate::tls::Table;
use crate::tls::table::listed::{Listed, Origin};
use std::collections::HashSet;
use std::path::Path;

/// What the relay says of its certificates.
pub struct Live {
    serves: Vec<Served>,
    /// Their sources and fingerprints.
    known: HashSet<(String, String)>,
    looker: Looker,
    /// Seconds since the end of its last look.
    looked: u64,
    refused: Option<String>,
    troubles: Vec<String>,
    /// It has more of the compiled-in table than it tells.
    is_part: bool,
}

/// Asks it. None where none runs, or none that could say; the latter is told.
pub fn ask(dir: &Path, running: Running, report: &mut Report) -> Option<Live> {
    if running == Running::No {
        return None;
    }
    match control::certificates(dir) {
        // With its figures it is told that it does not listen.
        Ok(None) => None,
        Ok(Some(said)) if said.is_empty() => {
            report.warning(
                "the running relay: serves no certificates: it runs with --tls-in none, and these flags do not",
            );
            None
        }
        Ok(Some(said)) => Some(Live::of(said)),
        Err(why) => {
            report.warning(format_args!("the running relay: certificates: {why}"));
            None
        }
    }
}

impl Live {
    fn of(said: Vec<Said>) -> Self {
        let mut live = Self {
            serves: Vec::new(),
            known: HashSet::new(),
            looker: Looker::Nobody,
            looked: 0,
            refused: None,
            troubles: Vec::new(),
            is_part: false,
        };
        for line in said {
            match line {
                Said::Looker(looker) => live.looker = looker,
                Said::Looked(seconds) => live.looked = seconds,
                Said::Refused(why) => live.refused = Some(why),
                Said::Trouble(text) => live.troubles.push(text),
                Said::Untold(_) => live.is_part = true,
                Said::Serves(served) => {
                    let key = (served.source.clone(), served.fingerprint.clone());
                    live.known.insert(key);
                    live.serves.push(served);
                }
            }
        }
        live
    }

    /// Whether it serves this; None: it has not told of all.
    pub fn serves(&self, listed: &Listed) -> Option<bool> {
        let serves = self.known.contains(&key(listed));
        (serves || !self.is_part || listed.origin != Origin::Compiled).then_some(serves)
    }

    /// Whether it may see at one of its next looks what it does not serve now, or say why not. `disk` is what a start would
    /// serve, or why there would be none.
    pub fn may_catch_up(&self, disk: Result<&[Listed], &str>) -> bool {
        if self.refused.is_some() || !self.looks() || self.is_silent() {
            return false;
        }
        match disk {
            Ok(listed) => {
                let mut on_disk = listed.iter().filter(|one| one.origin != Origin::Compiled);
                on_disk.any(|one| self.serves(one) == Some(false))
                    || self.old(Some(listed)).any(|old| old.kept.is_none())
            }
            Err(why) => {
                let mut kept = self.serves.iter().filter_map(|one| one.kept.as_deref());
                !kept.any(|kept| why.ends_with(kept))
            }
        }
    }

    fn looks(&self) -> bool {
        matches!(self.looker, Looker::Relay | Looker::Apart(_))
    }

    /// Whether it looks, and no look comes to its end.
    fn is_silent(&self) -> bool {
        self.looks() && self.looked > limits::CERTIFICATE_SILENCE.as_secs()
    }

    /// What it serves of the disk that the disk does not have. Where it is not known what that has, what was kept.
    fn old(&self, listed: Option<&[Listed]>) -> impl Iterator<Item = &Served> {
        let here = listed.map(|listed| listed.iter().map(key).collect::<HashSet<_>>());
        let compiled = Origin::Compiled.to_string();
        self.serves.iter().filter(move |served| match &here {
            Some(here) => {
                let key = (served.source.clone(), served.fingerprint.clone());
                served.source != compiled && !here.contains(&key)
            }
            None => served.kept.is_some(),
        })
    }

    /// What is not as the disk has it, and whether renewals still come. `table` is what a start would serve, where it would.
    pub fn tell(&self, table: Option<(&Table, &[Listed])>, now: Option<u64>, report: &mut Report) {
        let mut differs = 0;
        let listed = table.map(|(_, listed)| listed);
        for old in self.old(listed) {
            let (_, left) = left(old.until, now);
            let why = match &old.kept {
                Some(why) => why,
                None => {
                    "the disk has no such certificate, or another one that the relay has not taken"
                }
            };
            report.warning(format_args!(
                "the running relay: serves an older certificate names={:?} source={:?} key={:?} issuer={:?} left={left:?} sha256={} reason={why:?}",
                old.names, old.source, old.key, old.issuer, old.fingerprint
            ));
            differs += 1;
        }
        self.tell_troubles(table.map(|(table, _)| table), report);
        if let Some(why) = &self.refused {
            report.error(format_args!(
                "the running relay: takes nothing of what is new, because of one thing: {why}"
            ));
        }
        let missing = listed.unwrap_or_default().iter();
        differs += missing
            .filter(|one| self.serves(one) == Some(false))
            .count();
        let served = match self.serves.len() {
            1 => "1 certificate".to_owned(),
            count => format!("{count} certificates"),
        };
        if self.is_silent() {
            report.error(format_args!(
                "the running relay: has not looked for certificates for {} s ({}), which it does every {} s: its reader is stopped, or the file system of --certs does not answer",
                self.looked,
                match &self.looker {
                    Looker::Apart(pid) => format!("process {pid}"),
                    _ => "itself".to_owned(),
                },
                limits::CERTIFICATE_LOOK.as_secs()
            ));
        }
        let looker = match &self.looker {
            Looker::Nobody => String::new(),
            Looker::Relay => ", and looks for others itself".to_owned(),
            Looker::Apart(pid) => format!(", and process {pid} looks for others"),
            Looker::Gone(why) => {
                return report.error(format_args!(
                    "the running relay: the process that reads certificates is gone ({why}): {}",
                    Looker::GONE
                ));
            }
        };
        match differs {
            0 if listed.is_none() => {
                report.ok(format_args!("the running relay: serves {served}{looker}"))
            }
            0 => report.ok(format_args!(
                "the running relay: serves {served} as the disk has them{looker}"
            )),
            differs => report.warning(format_args!(
                "the running relay: serves {served}; not as the disk has them: {differs}{looker}"
            )),
        }
    }

    /// What it warns of, and a start would not, but for what is told of a certificate that it kept.
    fn tell_troubles(&self, table: Option<&Table>, report: &mut Report) {
        let ours = table.map(Table::troubles).unwrap_or_default();
        let news = self.troubles.iter().filter(|text| {
            !text.starts_with("certificate kept as it was ")
                && !ours.iter().any(|own| own.to_string() == **text)
        });
        for trouble in news.take(limits::CERTIFICATE_WARNINGS) {
            report.warning(format_args!("the running relay: {trouble}"));
        }
    }
}

fn key(listed: &Listed) -> (String, String) {
    (source(&listed.origin), listed.fingerprint.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `check` tells where these flags and the disk give no table.
    fn told(said: Vec<Said>) -> (String, bool) {
        let mut report = Report::default();
        Live::of(said).tell(None, Some(1_800_000_000), &mut report);
        (report.to_string(), report.has_errors())
    }

    fn kept() -> Said {
        Said::Serves(Served {
            source: "/live/mx.test".to_owned(),
            fingerprint: "00:FF".to_owned(),
            until: Some(1_800_864_000),
            key: "RSA 2048".to_owned(),
            issuer: "R3".to_owned(),
            names: "mx.test default".to_owned(),
            kept: Some("half a key".to_owned()),
        })
    }

    #[test]
    fn a_reader_that_is_dead_or_hangs_is_an_error() {
        let looks = |seconds| vec![Said::Looker(Looker::Apart(7)), Said::Looked(seconds)];
        let (text, is_bad) = told(looks(3));
        assert_eq!(
            (&*text, is_bad),
            (
                "ok: the running relay: serves 0 certificates, and process 7 looks for others\n",
                false
            )
        );
        let (text, is_bad) = told(looks(99));
        let start =
            "error: the running relay: has not looked for certificates for 99 s (process 7)";
        assert!(text.starts_with(start) && is_bad, "{text}");
        let (text, is_bad) = told(vec![Said::Looker(Looker::Gone("signal: 9".to_owned()))]);
        let start = "error: the running relay: the process that reads certificates is gone (signal: 9): those";
        assert!(text.starts_with(start) && is_bad, "{text}");
    }

    #[test]
    fn what_is_served_instead_is_told_with_the_reason() {
        let (text, is_bad) = told(vec![Said::Looker(Looker::Relay), kept()]);
        let line = "warning: the running relay: serves an older certificate names=\"mx.test default\" \
                    source=\"/live/mx.test\" key=\"RSA 2048\" issuer=\"R3\" left=\"10 days\" sha256=00:FF \
                    reason=\"half a key\"\n";
        assert!(text.starts_with(line) && !is_bad, "{text}");
        let (text, is_bad) = told(vec![Said::Refused("two of a kind".to_owned()), kept()]);
        assert!(text.contains("error: the running relay: takes nothing of what is new, because of one thing: two of a kind"));
        assert!(is_bad);
    }

    #[test]
    fn it_is_waited_for_only_while_it_may_see_what_it_does_not_know() {
        let looker = |looker| Live::of(vec![Said::Looker(looker), Said::Looked(2), kept()]);
        let relay = looker(Looker::Relay);
        assert!(relay.may_catch_up(Err("something else")));
        assert!(
            !relay.may_catch_up(Err("the default: half a key")),
            "it knows"
        );
        assert!(!relay.may_catch_up(Ok(&[])), "it says why");
        assert!(!looker(Looker::Gone(String::new())).may_catch_up(Err("x")));
        assert!(!looker(Looker::Nobody).may_catch_up(Err("x")));
    }
}
