//! Which entry serves clients without a name, or with one that nothing is for.

use std::sync::Arc;

use async_rustls::rustls::sign::CertifiedKey;

use super::super::compiled::folded;
use super::super::folders::{Folder, Skipped};
use super::super::kind::Kind;
use super::choice::Entry;
use super::dates::Dates;
use super::{Table, TableError, Trouble};
use crate::policy::idn;

/// The default's certificates, at most one of a kind of key.
#[derive(Clone)]
pub(super) struct Default {
    /// The name that it was chosen by.
    pub name: String,
    /// Whose choice that was.
    by: By,
    /// The preferred first; never empty.
    pub pairs: Vec<Arc<CertifiedKey>>,
}

/// Who chose it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// `--default-cert`.
    Flag,
    /// The hostname has an entry.
    Hostname,
    /// The compiled-in table: its `default` line, or its first name.
    Compiled,
    /// Nobody: it is the first folder.
    Order,
}

impl Table {
    /// The default by `--default-cert`, else by the hostname. Where none can be chosen it is an error at boot; later one bad
    /// folder must not hold up the renewals of all others: what `before` was chosen by serves, renewed if it was, or its
    /// certificates themselves if that is gone.
    pub(super) fn choose_default(
        &mut self,
        (asked, hostname): (Option<&str>, &str),
        skipped: &[Skipped],
        before: Option<&Self>,
        dates: &Dates,
    ) -> Result<Option<Default>, TableError> {
        let old = before.and_then(|before| before.default.as_ref());
        let chosen = match asked {
            Some(name) => self.asked_default(name, skipped, dates).map(Some),
            None => self.own_default(hostname, skipped, old, dates),
        };
        let (Some(before), Some(old)) = (before, old) else {
            return chosen;
        };
        match chosen {
            Ok(chosen) => {
                if let Some(new) = &chosen
                    && [old.by, new.by] == [By::Order; 2]
                    && old.name != new.name
                {
                    let (old, new) = (&old.name, &new.name);
                    let line = format!(
                        "certificate default={new} was={old} reason=\"the folder is gone; --default-cert or a certificate for the hostname would choose one\""
                    );
                    self.troubles.push(Trouble::warning(line));
                }
                Ok(chosen)
            }
            Err(problem) => {
                let reason = problem.to_string();
                let line = format!("certificate default kept as it was reason={reason:?}");
                self.troubles.push(Trouble::warning(line));
                Ok(Some(self.kept_default(before, old, dates)))
            }
        }
    }

    /// What the default was chosen by, as it is now; or as it was.
    fn kept_default(&mut self, before: &Self, old: &Default, dates: &Dates) -> Default {
        let renewed = match old.by {
            // A folder of the hostname that is not for it is none of its choice.
            By::Hostname => {
                let own = self.lookup(&known_as(&old.name));
                own.and_then(|(_, own)| self.of_entry(old.name.clone(), own, By::Hostname).ok())
            }
            by => {
                let again = self.asked_default(&old.name, &[], dates).ok();
                again.map(|again| Default { by, ..again })
            }
        };
        if let Some(renewed) = renewed {
            return renewed;
        }
        let had = before.folders.iter().chain(&before.gone);
        let is_used = |folder: &&Folder| {
            let own = |pair| Arc::ptr_eq(pair, &folder.certified);
            old.pairs.iter().any(own)
                && !self
                    .folders
                    .iter()
                    .any(|here| Arc::ptr_eq(&here.certified, &folder.certified))
        };
        let gone = had.filter(is_used).map(|folder| Folder {
            names: Vec::new(),
            kept: Some(
                "its folder is gone, or for other names now; it stays, because it is the default"
                    .to_owned(),
            ),
            ..folder.clone()
        });
        self.gone = gone.collect();
        old.clone()
    }

    /// `--default-cert`: a folder, or a name of the table.
    fn asked_default(
        &self,
        name: &str,
        skipped: &[Skipped],
        dates: &Dates,
    ) -> Result<Default, TableError> {
        let asked = known_as(name);
        if let Some(folder) = self.folder_called(&asked) {
            return Ok(self.of_folder(folder, By::Flag, dates));
        }
        if let Some(bad) = skipped.iter().find(|bad| bad.name == asked) {
            let (name, reason) = (asked, bad.reason.clone());
            return Err(TableError::BadDefault { name, reason });
        }
        match self.lookup(asked.strip_prefix('*').unwrap_or(&asked)) {
            Some((_, entry)) => self.of_entry(asked, entry, By::Flag),
            None => Err(TableError::UnknownDefault {
                name: name.to_string(),
                names: self.all_names().collect(),
            }),
        }
    }

    /// Without `--default-cert`: the hostname's, else the table's `default`, else the first name; of folders the one that
    /// was the first at boot, while it is there: a folder that comes later and sorts before it is nobody's choice. An error where
    /// the hostname's was the default and there is none: another domain's would be the wrong one for everybody.
    fn own_default(
        &self,
        hostname: &str,
        skipped: &[Skipped],
        before: Option<&Default>,
        dates: &Dates,
    ) -> Result<Option<Default>, TableError> {
        let name = known_as(hostname);
        // Another domain's certificate in its place would be the wrong one for everybody, without a word.
        if let Some(bad) = skipped.iter().find(|bad| bad.name == name)
            && self.folder_called(&name).is_none()
        {
            let reason = bad.reason.clone();
            return Err(TableError::BadHostname { name, reason });
        }
        if let Some((_, own)) = self.lookup(&name) {
            return self
                .of_entry(hostname.to_string(), own, By::Hostname)
                .map(Some);
        }
        if before.is_some_and(|before| before.by == By::Hostname) {
            return Err(TableError::GoneHostname { name });
        }
        if let Some(run) = self.compiled.default {
            let lines = Entry::Compiled(run);
            return self
                .of_entry("default".to_string(), lines, By::Compiled)
                .map(Some);
        }
        let first = self.compiled.first.map(|span| self.compiled.text(span));
        // By its name, so that a folder of that name goes before it.
        if let Some((name, (_, entry))) = first.and_then(|name| Some((name, self.lookup(name)?))) {
            return self
                .of_entry(name.to_string(), entry, By::Compiled)
                .map(Some);
        }
        let kept = before.and_then(|before| self.folder_called(&before.name));
        let folder = kept.or_else(|| self.folders.first());
        Ok(folder.map(|folder| self.of_folder(folder, By::Order, dates)))
    }

    /// A folder as the default, with the other kinds of keys that its name has: its own, or else its certificate's first. One
    /// beyond its dates gives way to another of its name that is within them.
    fn of_folder(&self, folder: &Folder, by: By, dates: &Dates) -> Default {
        let kind = |pair: &CertifiedKey| Kind::of(pair.key.algorithm());
        let own = &folder.certified;
        let called = folder.names.iter().find(|name| **name == folder.name);
        let entry = called
            .or(folder.names.first())
            .and_then(|name| self.lookup(name.strip_prefix('*').unwrap_or(name)));
        let mut pairs: Vec<_> = entry
            .into_iter()
            .flat_map(|(_, entry)| self.pairs_of(entry).filter_map(Result::ok))
            .collect();
        let is_better = |other: &Arc<CertifiedKey>| {
            !Arc::ptr_eq(other, own)
                && kind(other) == kind(own)
                && dates.lapse(own).is_some()
                && dates.lapse(other).is_none()
        };
        if !pairs.iter().any(is_better) {
            pairs.retain(|other| kind(other) != kind(own));
            pairs.push(Arc::clone(own));
        }
        if pairs.len() > 1 {
            pairs.sort_by_key(|pair| (dates.lapse(pair).is_some(), kind(pair)));
        }
        let name = folder.name.clone();
        Default { name, by, pairs }
    }

    /// An entry as the default. A pair of it that this crypto provider cannot use is an error only if it is the last.
    fn of_entry(&self, name: String, entry: Entry<'_>, by: By) -> Result<Default, TableError> {
        let (mut pairs, mut why) = (Vec::new(), String::from("no certificate"));
        for pair in self.pairs_of(entry) {
            match pair {
                Ok(pair) => pairs.push(pair),
                Err(problem) => why = problem,
            }
        }
        if pairs.is_empty() {
            return Err(TableError::Entry { name, problem: why });
        }
        Ok(Default { name, by, pairs })
    }

    /// The folder of exactly this name, whatever its certificate is for.
    fn folder_called(&self, name: &str) -> Option<&Folder> {
        self.folders.iter().find(|folder| folder.name == name)
    }

    /// All names, each once however many certificates it has, the compiled-in first.
    fn all_names(&self) -> impl Iterator<Item = String> {
        let compiled = self.compiled.names.iter();
        let compiled = compiled.map(|name| self.compiled.text(name.text).to_string());
        let runs = self.names.chunk_by(|(a, _), (b, _)| a == b);
        let names = runs.map(|run| &run[0].0);
        let added = names.filter(|name| self.compiled.find(name).is_none());
        // A folder's wildcard is for one label, as its certificate has it; a line's `.parent` for all.
        let star = |name: &str| if name.starts_with('.') { "*" } else { "" };
        compiled.chain(added.map(move |name| format!("{}{name}", star(name))))
    }
}

/// A name that the owner wrote, as the table has it.
fn known_as(name: &str) -> String {
    folded(&idn::key(name.strip_suffix('.').unwrap_or(name)))
}
