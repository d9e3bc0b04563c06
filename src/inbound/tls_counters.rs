//! Handshakes since boot, by what they agreed on and by why they failed.
//!
//! What is counted is fixed at boot (versions, suites, groups, reasons) or is in the table of certificates (entries, as
//! many as [`limits::TLS_ENTRIES`]): a client can add to a figure, and to nothing else. A renewal leaves them as they are.

use crate::limits;
use crate::tls::failure::Failure;
use crate::tls::{Established, Verdict};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Figures under names that are fixed at boot.
#[derive(Debug)]
struct Tally(Box<[(&'static str, AtomicU64)]>);

/// What is none of the names.
const OTHER: &str = "other";

impl Tally {
    fn of(names: impl Iterator<Item = &'static str>) -> Self {
        let names = names.filter(|name| *name != OTHER).chain([OTHER]);
        Self(names.map(|name| (name, AtomicU64::new(0))).collect())
    }

    fn count(&self, name: &str) {
        let known = self.0.iter().find(|(known, _)| *known == name);
        if let Some((_, figure)) = known.or(self.0.last()) {
            figure.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Those that are not zero: ` TLSv1.3=12 TLSv1.2=3`.
    fn told(&self) -> String {
        let figures = self.0.iter();
        let figures = figures.map(|(name, figure)| (name, figure.load(Ordering::Relaxed)));
        figures
            .filter(|(_, figure)| *figure > 0)
            .map(|(name, figure)| format!(" {name}={figure}"))
            .collect()
    }
}

/// The table's entries that were served.
#[derive(Debug, Default)]
struct Entries {
    known: BTreeMap<Box<str>, u64>,
    /// Handshakes of entries that there was no room for.
    others: u64,
}

impl Entries {
    fn count(&mut self, entry: &str) {
        if let Some(figure) = self.known.get_mut(entry) {
            *figure += 1;
        } else if self.known.len() < limits::TLS_ENTRIES {
            self.known.insert(entry.into(), 1);
        } else {
            self.others += 1;
        }
    }

    /// The `most` that have the most, as ` mx.example.org=7`, and the rest together.
    fn told(&self, most: usize) -> Vec<String> {
        let mut all: Vec<_> = self.known.iter().collect();
        all.sort_by_key(|(_, figure)| std::cmp::Reverse(**figure)); // stable: then by the name
        let (first, rest) = all.split_at(all.len().min(most));
        let mut told: Vec<_> = first
            .iter()
            .map(|(entry, figure)| format!(" {entry}={figure}"))
            .collect();
        let others = self.others + rest.iter().map(|(_, figure)| **figure).sum::<u64>();
        if others > 0 {
            told.push(format!(" others={others}"));
        }
        told
    }
}

/// Handshakes since boot.
#[derive(Debug)]
pub struct TlsCounters {
    versions: Tally,
    suites: Tally,
    groups: Tally,
    failures: Tally,
    entries: Mutex<Entries>,
}

impl Default for TlsCounters {
    fn default() -> Self {
        Self {
            versions: Tally::of(Established::VERSIONS.into_iter()),
            suites: Tally::of(Established::suites()),
            groups: Tally::of(Established::groups()),
            failures: Tally::of(Failure::ALL.into_iter().map(Failure::word)),
            entries: Mutex::default(),
        }
    }
}

impl TlsCounters {
    /// One that came to its end.
    pub fn count(&self, tls: &Established) {
        self.versions.count(tls.version());
        self.suites.count(tls.suite());
        self.groups.count(tls.group().unwrap_or(OTHER));
        let entry = match (tls.entry(), tls.sni()) {
            // A name of the table's, as it found it: lower-case.
            (Some(Verdict::Exact), Some(name)) => name,
            (Some(Verdict::Parent(entry) | Verdict::Wildcard(entry)), _) => entry,
            _ => "default",
        };
        self.entries().count(entry);
    }

    /// One that did not.
    pub fn count_failure(&self, failure: Failure) {
        self.failures.count(failure.word());
    }

    /// What is known, a line for each kind; of entries the `most` that have the most, in lines of at most
    /// [`limits::TLS_ENTRIES_LINE`] octets. What there is none of is left out.
    pub fn lines(&self, most: usize) -> Vec<String> {
        let kinds = [
            ("versions", &self.versions),
            ("suites", &self.suites),
            ("groups", &self.groups),
            ("failures", &self.failures),
        ];
        let mut lines = Vec::new();
        for (kind, tally) in kinds {
            let told = tally.told();
            if !told.is_empty() {
                lines.push(format!("tls {kind}{told}"));
            }
        }
        let entries = self.entries().told(most);
        let mut line = String::new();
        for entry in entries {
            if !line.is_empty() && line.len() + entry.len() > limits::TLS_ENTRIES_LINE {
                lines.push(std::mem::take(&mut line));
            }
            if line.is_empty() {
                line.push_str("tls entries");
            }
            line += &entry;
        }
        lines.extend(Some(line).filter(|line| !line.is_empty()));
        lines
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_counted_as_other_and_what_is_zero_is_not_told() {
        let tally = Tally::of(["a", "b"].into_iter());
        assert_eq!(tally.told(), "");
        for name in ["b", "b", "never heard of"] {
            tally.count(name);
        }
        assert_eq!(tally.told(), " b=2 other=1");
    }

    #[test]
    fn entries_are_counted_up_to_the_limit_and_told_in_bounded_lines() {
        let counters = TlsCounters::default();
        for name in 0..limits::TLS_ENTRIES + 5 {
            counters.entries().count(&format!("{name:04}.example"));
        }
        counters.entries().count("0007.example");
        assert_eq!(counters.entries().known.len(), limits::TLS_ENTRIES);
        let others = limits::TLS_ENTRIES + 5 - 2;
        let told = format!("tls entries 0007.example=2 0000.example=1 others={others}");
        assert_eq!(counters.lines(2), [told]);
        let all = counters.lines(usize::MAX);
        assert!(
            all.iter()
                .all(|line| line.len() < limits::TLS_ENTRIES_LINE + 20)
        );
        let figures = all.iter().flat_map(|line| line.split(' ').skip(2));
        assert_eq!(figures.count(), limits::TLS_ENTRIES + 1);
        assert!(all.last().unwrap().ends_with(" others=5"), "{all:?}");
    }

    #[test]
    fn failures_are_told_by_their_words() {
        let counters = TlsCounters::default();
        for failure in [Failure::Lost, Failure::Version, Failure::Version] {
            counters.count_failure(failure);
        }
        let told = "tls failures no-shared-version=2 lost=1";
        assert_eq!(counters.lines(1), [told]);
    }
}
