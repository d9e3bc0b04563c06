//! Names that a renewal no longer covers: their clients get another certificate from then on, which is hardly meant.

use std::path::PathBuf;

use log::Level;

use super::choice::Entry;
use super::{Table, Trouble};
use crate::limits;

/// A folder, and which names it served before.
pub(super) struct Dropped {
    pub folder: PathBuf,
    pub names: Vec<String>,
    pub how: How,
}

/// Why it serves them no more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Its certificate was renewed without them.
    Renewed,
    /// It is not there any more: somebody removed it.
    Removed,
}

/// Those of `before` that `after` does not cover.
pub(super) fn dropped(before: &[String], after: &[String]) -> Vec<String> {
    let has = |name: &str| after.iter().any(|other| other == name);
    let covers = |name: &str| {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        has(name) || parent.is_some_and(|parent| has(&format!("*.{parent}")))
    };
    let gone = before.iter().filter(|name| !covers(name));
    gone.cloned().collect()
}

impl Table {
    /// In a line each; beyond [`limits::CERTIFICATE_WARNINGS`] the rest is counted.
    pub(super) fn all_dropped(&self, all: &[Dropped]) -> Vec<Trouble> {
        let (first, rest) = all.split_at(all.len().min(limits::CERTIFICATE_WARNINGS));
        let mut told: Vec<_> = first.iter().map(|one| self.dropped(one)).collect();
        if !rest.is_empty() {
            let line = format!("certificates gone or for fewer names: {} more", rest.len());
            told.push(Trouble::warning(line));
        }
        told
    }

    /// In a line, with what such clients get now.
    fn dropped(&self, dropped: &Dropped) -> Trouble {
        let first = dropped.names.iter().take(limits::CHECK_NAMES);
        let mut told: Vec<String> = first
            .map(|name| format!("{name} (now {})", self.instead(name)))
            .collect();
        if let Some(more) = dropped.names.len().checked_sub(told.len() + 1) {
            told.push(format!("and {} more", more + 1));
        }
        let (folder, names) = (dropped.folder.display(), told.join(", "));
        let (level, what) = match dropped.how {
            How::Renewed => (Level::Warn, "certificate renewed for fewer names"),
            How::Removed => (Level::Info, "certificate gone"),
        };
        let text = format!("{what} folder={folder} dropped={names:?}");
        Trouble { level, text }
    }

    /// Where the certificate is from that serves a name.
    fn instead(&self, name: &str) -> String {
        match self.lookup(name.strip_prefix('*').unwrap_or(name)) {
            Some((_, Entry::Folders([(_, at), ..]))) => {
                self.folders[*at].path.display().to_string()
            }
            Some((_, Entry::Compiled(_))) => "config/domains".to_owned(),
            _ => format!("the default {}", self.default_name().unwrap_or("none")),
        }
    }
}
