//! What is to be said of a table that serves all the same. The table says it at each reading; who tells people, tells it
//! once.

use std::fmt;
use std::sync::Arc;

use log::Level;

use super::super::compiled::{Source, Span};
use super::super::found::Fresh;
use super::names::{Clash, Why};
use super::{Table, TableError};
use crate::limits;

/// A line for people: what is wrong, and what serves instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// A warning, or something that is as it should be.
    pub level: Level,
    pub(super) text: String,
}

impl Trouble {
    pub(super) fn warning(text: String) -> Self {
        let level = Level::Warn;
        Self { level, text }
    }
}

/// As the log has it.
impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Table {
    /// What clients that check dates hold against the certificates at `now` (seconds since 1970), or will soon. Beyond
    /// [`limits::CERTIFICATE_WARNINGS`] the rest is counted.
    pub fn date_troubles(&self, now: u64) -> Vec<Trouble> {
        if now < limits::CLOCK_FLOOR.as_secs() {
            let line = "certificates: the clock is not set, their dates are not looked at";
            return vec![Trouble::warning(line.to_owned())];
        }
        let mut all = self.out_of_date(now);
        let first = all.by_ref().take(limits::CERTIFICATE_WARNINGS);
        let mut lines: Vec<_> = first
            .map(|one| format!("certificate dates {one}"))
            .collect();
        match all.count() {
            0 => {}
            more => lines.push(format!("certificate dates: the same of {more} more")),
        }
        lines.into_iter().map(Trouble::warning).collect()
    }

    /// A piece of a log line that names what is new; None for a pair of the compiled-in table that does not serve, because it
    /// is for other names.
    pub fn news(&self, fresh: &Fresh) -> Option<String> {
        let (at, certified) = match fresh {
            Fresh::Folder(path) => return Some(format!("folder={}", path.display())),
            Fresh::File(at, certified) => (*at, certified),
        };
        let served = self.files.get(&at)?;
        if !Arc::ptr_eq(served, certified) {
            return None;
        }
        let mut names = self.compiled.uses().filter(|&(_, pair)| pair == at);
        let first = names.next().map_or("none", |(name, _)| name);
        let more = match names.count() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let chain = self.chain_path(at);
        let entry = format!("{first}{more}");
        Some(format!("entry={entry:?} chain={chain}"))
    }

    /// A folder that gives way to another.
    pub(super) fn clash(&self, clash: &Clash) -> Trouble {
        let [loser, winner] =
            [clash.folder, clash.winner].map(|at| self.folders[at].path.display());
        let star = match clash.name.starts_with('.') {
            true => "*",
            false => "",
        };
        let names = match clash.count {
            1 => format!("{star}{}", clash.name),
            count => format!("{star}{} and {} more", clash.name, count - 1),
        };
        let kind = clash.kind;
        let mut text = format!(
            "certificate clash folder={loser} names={names:?} kind={kind} served_by={winner}"
        );
        if let Why::Dates(lapse) = clash.why {
            text += &format!(" reason={:?}", lapse.reason());
        }
        // A folder that serves nothing at all is hardly meant.
        let level = match clash.why {
            Why::Name if !clash.is_idle => Level::Info,
            _ => Level::Warn,
        };
        Trouble { level, text }
    }

    /// An entry with two keys of one kind, which the build could not know: one at least is read from the disk.
    pub(super) fn twice(&self) -> Option<TableError> {
        if self.files.is_empty() {
            return None;
        }
        let mut entries = self.compiled.entries();
        entries.find_map(|(name, run)| self.twice_in(name, run))
    }

    fn twice_in(&self, name: &str, run: Span) -> Option<TableError> {
        let mut known = Vec::new();
        for pair in self.compiled.choices.run(run) {
            let kind = self.kind(pair)?;
            if let Some((other, _)) = known.iter().find(|(_, known)| *known == kind) {
                return Some(TableError::Twice {
                    name: name.to_string(),
                    kind,
                    chains: [*other, pair].map(|at| self.chain_path(at)),
                });
            }
            known.push((pair, kind));
        }
        None
    }

    /// Where a compiled-in pair's chain comes from.
    fn chain_path(&self, at: u32) -> String {
        match self.compiled.pairs.get(at as usize) {
            Some(Source::Files { chain, .. }) => self.compiled.text(chain).to_string(),
            _ => "the embedded chain".to_string(),
        }
    }
}
