//! Two lineages for a name: one within its dates goes before one that is not, at boot and as time passes.

use super::super::certificates::{self as test, Made, made, made_between, made_rsa};
use super::tests::{ALL, leaf};
use super::*;
use log::Level;

const DAY: u64 = 86_400;
/// In 2026.
const NOW: u64 = 20_600 * DAY;

fn found(dir: &test::Folder, moment: u64) -> Found {
    let mut found = Found::now(&COMPILED, &[dir.path().to_path_buf()]);
    found.moment = moment;
    found
}

fn load(dir: &test::Folder, moment: u64, default: Option<&str>) -> Table {
    Table::load(&COMPILED, &found(dir, moment), default, "relay.invalid").unwrap()
}

fn told(table: &Table, dir: &test::Folder) -> Vec<String> {
    let dir = dir.path().display().to_string();
    let line = |trouble: &Trouble| format!("{} {trouble}", trouble.level).replace(&dir, "DIR");
    table.troubles().iter().map(line).collect()
}

/// `mx.example.org`, valid for ten days, and `mx.example.org-0001`, which follows it five days later.
fn lineages() -> (test::Folder, Made, Made) {
    let dir = test::Folder::new();
    let names = &["mx.example.org"];
    let own = made_between(names, NOW, NOW + 10 * DAY);
    let next = made_between(names, NOW + 5 * DAY, NOW + 15 * DAY);
    dir.lineage("mx.example.org", &own);
    dir.lineage("mx.example.org-0001", &next);
    (dir, own, next)
}

#[test]
fn a_valid_lineage_goes_before_one_that_is_not() {
    let (dir, own, next) = lineages();
    let clash = "WARN certificate clash folder=DIR/mx.example.org";
    let names = "names=\"mx.example.org\" kind=ECDSA served_by=DIR/mx.example.org";
    let by_name = format!("{clash}-0001 {names}");
    let expired = format!("{clash} {names}-0001 reason=\"its certificate has expired\"");
    for (day, expected, line) in [
        // The folder's own name decides between two that are valid, and between two that are not.
        (0, &own, &by_name),
        (7, &own, &by_name),
        (11, &next, &expired),
        (16, &own, &by_name),
    ] {
        for default in [None, Some("mx.example.org")] {
            let table = load(&dir, NOW + day * DAY + 1, default);
            assert!(
                leaf(&table, Some("mx.example.org")) == expected.der,
                "{day}"
            );
            assert!(leaf(&table, None) == expected.der, "{day}");
            assert_eq!(&told(&table, &dir), std::slice::from_ref(line), "{day}");
        }
    }
    // Not valid yet.
    dir.lineage("mx.example.org", &next);
    dir.lineage("mx.example.org-0001", &own);
    let table = load(&dir, NOW + 1, None);
    assert!(leaf(&table, Some("mx.example.org")) == own.der);
    assert!(told(&table, &dir)[0].ends_with(" reason=\"its certificate is not valid yet\""));
    // A clock that is not set says nothing.
    assert!(leaf(&load(&dir, DAY, None), Some("mx.example.org")) == next.der);
}

#[test]
fn time_passes_and_the_table_says_when_it_holds_no_longer() {
    let (dir, own, next) = lineages();
    let mut table = load(&dir, NOW + 7 * DAY, None);
    let until = NOW + 10 * DAY;
    for (at, holds) in [
        (NOW + 5 * DAY - 1, false),
        (NOW + 5 * DAY, true),
        (until, true),
        (until + 1, false),
    ] {
        assert_eq!(table.holds_at(at), holds, "{at}");
    }
    for (day, expected) in [(7, &own), (11, &next)] {
        let found = found(&dir, NOW + day * DAY);
        table = table
            .load_again(&COMPILED, &found, None, "relay.invalid")
            .unwrap();
        assert!(leaf(&table, Some("mx.example.org")) == expected.der);
        assert!(leaf(&table, None) == expected.der, "the default");
    }
    // Where nothing clashes nothing hangs on the time.
    let dir = test::Folder::new();
    dir.lineage("mx.example.org", &own);
    assert!(load(&dir, NOW, None).holds_at(NOW + 100 * DAY));
}

#[test]
fn of_two_kinds_of_keys_the_valid_one_is_shown() {
    let dir = test::Folder::new();
    let names = &["mx.example.org"];
    let (old, rsa) = (
        made_between(names, NOW - 9 * DAY, NOW - DAY),
        made_rsa(names),
    );
    dir.lineage("mx.example.org", &old);
    dir.lineage("mx.example.org-0001", &rsa);
    for default in [None, Some("mx.example.org")] {
        let table = load(&dir, NOW, default);
        assert!(leaf(&table, Some("mx.example.org")) == rsa.der);
        assert!(leaf(&table, None) == rsa.der);
        // A client that can verify no other gets it all the same.
        let ec = &ALL[2..];
        assert!(table.find(None, ec).unwrap().cert[0].as_ref() == old.der);
        let before = load(&dir, NOW - 2 * DAY, default);
        assert!(leaf(&before, Some("mx.example.org")) == old.der);
        assert!(!before.holds_at(NOW));
    }
}

#[test]
fn a_folder_that_still_serves_other_names_gives_way_as_it_should() {
    let dir = test::Folder::new();
    dir.lineage("mx.example.org", &made(&["mx.example.org"]));
    dir.lineage("wide", &made(&["mx.example.org", "a.example.org"]));
    let level = |table: &Table| table.troubles().iter().map(|t| t.level).collect::<Vec<_>>();
    assert_eq!(level(&load(&dir, NOW, None)), [Level::Info]);
    dir.lineage("wide", &made(&["mx.example.org"]));
    assert_eq!(
        level(&load(&dir, NOW, None)),
        [Level::Warn],
        "it serves nothing"
    );
}
