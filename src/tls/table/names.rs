//! Which folder of `--certs` serves which name, and which had to give way.

use super::super::folders::Folder;
use super::super::kind::Kind;
use super::dates::{Dates, Lapse};

/// A name and the place of a folder that serves it; a wildcard as `.parent`.
pub(super) type Served = (Box<str>, usize);

/// A folder that does not serve some of its names, because another has a key of the same kind for them.
#[derive(Debug)]
pub(super) struct Clash {
    /// Its place.
    pub folder: usize,
    /// The other's.
    pub winner: usize,
    /// Why the other has them.
    pub why: Why,
    /// The kind of both keys.
    pub kind: Kind,
    /// The first of the names, as the table has it.
    pub name: String,
    /// How many they are.
    pub count: usize,
    /// It serves no name at all.
    pub is_idle: bool,
}

/// Why one folder goes before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It is the folder of exactly that name: as it should be.
    Name,
    /// It is the first.
    Order,
    /// It is within its dates, and the other, which would have the name otherwise, is not.
    Dates(Lapse),
}

/// Every name that the folders' certificates are for, sorted, a name's folders by the kind of their keys, those within
/// their dates first. Where several have a name with keys of one kind, one within its dates has it before others, then the
/// folder of exactly that name, then the first.
pub(super) fn names_of(folders: &[Folder], dates: &Dates) -> (Vec<Served>, Vec<Clash>) {
    let mut all: Vec<(&str, Kind, usize)> = Vec::new();
    for (at, folder) in folders.iter().enumerate() {
        let kind = Kind::of(folder.certified.key.algorithm());
        let entries = folder.names.iter().map(|name| entry(name));
        all.extend(entries.map(|entry| (entry, kind, at)));
    }
    all.sort_unstable();
    all.dedup();
    let (mut names, mut clashes) = (Vec::<Served>::new(), Clashes::of(folders));
    let mut is_idle = vec![true; folders.len()];
    for of_name in all.chunk_by(|a, b| a.0 == b.0) {
        let winners = match of_name {
            [(_, _, alone)] => vec![*alone],
            _ => winners(of_name, dates, &mut clashes),
        };
        for at in winners {
            is_idle[at] = false;
            names.push((of_name[0].0.into(), at));
        }
    }
    for clash in &mut clashes.all {
        clash.is_idle = is_idle[clash.folder];
    }
    (names, clashes.all)
}

/// Of a name's folders those that serve it, at most one of a kind of key.
fn winners(
    of_name: &[(&str, Kind, usize)],
    dates: &Dates,
    clashes: &mut Clashes<'_>,
) -> Vec<usize> {
    let (mut valid, mut lapsed) = (Vec::new(), Vec::new());
    for run in of_name.chunk_by(|a, b| a.1 == b.1) {
        let folders = clashes.folders;
        let ranked = run.iter().map(|&(name, _, at)| {
            let is_other = entry(&folders[at].name) != name;
            (dates.lapse(&folders[at].certified), is_other, at)
        });
        let ranked: Vec<_> = ranked.collect();
        let rank = |one: &&(Option<Lapse>, bool, usize)| (one.0.is_some(), one.1, one.2);
        let Some(&best) = ranked.iter().min_by_key(rank) else {
            continue;
        };
        for &(lapse, is_other, at) in ranked.iter().filter(|one| one.2 != best.2) {
            let why = match lapse {
                Some(lapse) if (is_other, at) < (best.1, best.2) => Why::Dates(lapse),
                _ if !best.1 => Why::Name,
                _ => Why::Order,
            };
            clashes.add(run[0].0, at, best.2, why);
        }
        match best.0 {
            None => valid.push(best.2),
            Some(_) => lapsed.push(best.2),
        }
    }
    valid.append(&mut lapsed);
    valid
}

/// A certificate's name as the table has it: a wildcard as `.parent`.
fn entry(name: &str) -> &str {
    name.strip_prefix('*').unwrap_or(name)
}

/// Those that were found so far.
struct Clashes<'a> {
    folders: &'a [Folder],
    all: Vec<Clash>,
}

impl<'a> Clashes<'a> {
    fn of(folders: &'a [Folder]) -> Self {
        let all = Vec::new();
        Self { folders, all }
    }

    fn add(&mut self, name: &str, folder: usize, winner: usize, why: Why) {
        let loser = &self.folders[folder];
        let place = |name: &str| loser.names.iter().position(|own| entry(own) == name);
        let same =
            |clash: &&mut Clash| (clash.folder, clash.winner, clash.why) == (folder, winner, why);
        let Some(known) = self.all.iter_mut().rev().find(same) else {
            self.all.push(Clash {
                folder,
                winner,
                why,
                kind: Kind::of(loser.certified.key.algorithm()),
                name: name.to_owned(),
                count: 1,
                is_idle: false,
            });
            return;
        };
        known.count += 1;
        // The one that its certificate names first.
        if place(name) < place(&known.name) {
            known.name = name.to_owned();
        }
    }
}
