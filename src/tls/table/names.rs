//! Which folder of `--certs` serves which name, and which had to give way.

use std::collections::{BTreeMap, HashSet};

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
    /// The first of the names.
    pub name: String,
    /// How many they are.
    pub count: usize,
    /// It serves no name at all.
    pub is_idle: bool,
}

/// Why one folder goes before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    let mut all: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, folder) in folders.iter().enumerate() {
        for name in &folder.names {
            let of_name = all.entry(name).or_default();
            if of_name.last() != Some(&at) {
                of_name.push(at);
            }
        }
    }
    let kind = |at: usize| Kind::of(folders[at].certified.key.algorithm());
    let mut names = Vec::<Served>::new();
    let mut clashes: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for (name, mut of_name) in all {
        if of_name.len() > 1 {
            let lapse = |at: usize| dates.lapse(&folders[at].certified);
            let otherwise = |at: usize| (folders[at].name != *name, at);
            of_name.sort_by_key(|&at| (kind(at), lapse(at).is_some(), otherwise(at)));
            for run in of_name.chunk_by(|&a, &b| kind(a) == kind(b)) {
                let winner = run[0];
                for &loser in &run[1..] {
                    let why = match lapse(loser) {
                        Some(lapse) if otherwise(loser) < otherwise(winner) => Why::Dates(lapse),
                        _ if folders[winner].name == *name => Why::Name,
                        _ => Why::Order,
                    };
                    clashes.entry((loser, winner, why)).or_default().push(name);
                }
            }
            of_name.dedup_by_key(|at| kind(*at));
            of_name.sort_by_key(|&at| lapse(at).is_some()); // stable: then by their kinds
        }
        let entry = name.strip_prefix('*').unwrap_or(name);
        names.extend(of_name.into_iter().map(|at| (entry.into(), at)));
    }
    names.sort_by(|(a, _), (b, _)| a.cmp(b)); // stable: a name's folders stay in order
    let busy: HashSet<usize> = names.iter().map(|(_, at)| *at).collect();
    let clash = |((folder, winner, why), all): ((usize, usize, Why), Vec<&str>)| Clash {
        folder,
        winner,
        why,
        kind: kind(folder),
        // Its own first: the others of a certificate are behind.
        name: (folders[folder].names.iter())
            .find(|name| all.contains(&&***name))
            .cloned()
            .unwrap_or_default(),
        count: all.len(),
        is_idle: !busy.contains(&folder),
    };
    let clashes = clashes.into_iter().map(clash).collect();
    (names, clashes)
}
