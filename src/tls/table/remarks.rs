//! What the log is told of a table that serves all the same: once, not at every reading.

use std::collections::HashSet;

use log::Level;

use super::super::compiled::{Source, Span};
use super::names::Clash;
use super::{Table, TableError};

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Remark {
    level: Level,
    text: String,
}

impl Remark {
    pub(super) fn warning(text: String) -> Self {
        let level = Level::Warn;
        Self { level, text }
    }

    /// As the log has it, with `dir` as DIR.
    #[cfg(test)]
    pub(super) fn text(&self, dir: &std::path::Path) -> String {
        let dir = dir.display().to_string();
        format!("{} {}", self.level, self.text.replace(&dir, "DIR"))
    }
}

/// Tells what `before` did not hold yet.
pub(super) fn tell(remarks: &[Remark], before: &[Remark]) {
    for new in untold(remarks, before) {
        log::log!(new.level, "{}", new.text);
    }
}

pub(super) fn untold<'a>(
    remarks: &'a [Remark],
    before: &'a [Remark],
) -> impl Iterator<Item = &'a Remark> {
    let before: HashSet<&Remark> = before.iter().collect();
    remarks
        .iter()
        .filter(move |remark| !before.contains(remark))
}

impl Table {
    /// Of folders that give way to others.
    pub(super) fn remarks(&self, clashes: &[Clash]) -> Vec<Remark> {
        clashes.iter().map(|clash| self.clash(clash)).collect()
    }

    fn clash(&self, clash: &Clash) -> Remark {
        let [loser, winner] =
            [clash.folder, clash.winner].map(|at| self.folders[at].path.display());
        let names = match clash.count {
            1 => clash.name.clone(),
            count => format!("{} and {} more", clash.name, count - 1),
        };
        let kind = clash.kind;
        let text = format!(
            "certificate clash folder={loser} names={names:?} kind={kind} served_by={winner}"
        );
        let level = match clash.by_name {
            true => Level::Info,
            false => Level::Warn,
        };
        Remark { level, text }
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
