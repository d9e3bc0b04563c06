//! Which folder of `--certs` serves which name, and which had to give way.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::super::folders::Folder;
use super::super::kind::Kind;

/// A name and the place of a folder that serves it; a wildcard as `.parent`.
pub(super) type Served = (Box<str>, usize);

/// A folder that does not serve some of its names, because another has a key of the same kind for them.
#[derive(Debug)]
pub(super) struct Clash {
    /// Its place.
    pub folder: usize,
    /// The other's.
    pub winner: usize,
    /// The other is the folder of exactly that name: as it should be.
    pub by_name: bool,
    /// The kind of both keys.
    pub kind: Kind,
    /// The first of the names.
    pub name: String,
    /// How many they are.
    pub count: usize,
}

/// Every name that the folders' certificates are for, sorted, a name's folders by the kind of their keys. Where several
/// have a name with keys of one kind, the folder of exactly that name has it, else the first.
pub(super) fn names_of(folders: &[Folder]) -> (Vec<Served>, Vec<Clash>) {
    let mut names: BTreeMap<(&str, Kind), usize> = BTreeMap::new();
    let mut clashes = BTreeMap::new();
    for (at, folder) in folders.iter().enumerate() {
        let kind = Kind::of(folder.certified.key.algorithm());
        for name in &folder.names {
            let mut first = match names.entry((name, kind)) {
                Entry::Vacant(new) => *new.insert(at),
                Entry::Occupied(known) => *known.get(),
            };
            if first == at {
                continue;
            }
            let mut loser = at;
            if folder.name == *name && folders[first].name != *name {
                names.insert((name, kind), at);
                (first, loser) = (at, first);
            }
            let by_name = folders[first].name == *name;
            let clash = clashes
                .entry((loser, first, by_name))
                .or_insert_with(|| Clash {
                    folder: loser,
                    winner: first,
                    by_name,
                    kind,
                    name: name.clone(),
                    count: 0,
                });
            clash.count += 1;
        }
    }
    let entry = |name: &str| Box::<str>::from(name.strip_prefix('*').unwrap_or(name));
    let mut names: Vec<_> = names
        .into_iter()
        .map(|((name, _), at)| (entry(name), at))
        .collect();
    names.sort_by(|(a, _), (b, _)| a.cmp(b)); // stable: the kinds stay in order
    (names, clashes.into_values().collect())
}
