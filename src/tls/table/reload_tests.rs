//! Reading again: what was good stays where it is bad now.

use super::super::certificates::{self as test, Made, made, made_between};
use super::tests::{leaf, line, table_of};
use super::*;

/// `--certs` with two folders, read at boot.
pub(super) struct Setting {
    pub dir: test::Folder,
    hostname: &'static str,
    asked: Option<&'static str>,
    pub table: Table,
}

impl Setting {
    pub fn boot(lineages: &[(&str, &Made)], hostname: &'static str) -> Self {
        let dir = test::Folder::new();
        for (name, made) in lineages {
            dir.lineage(name, made);
        }
        let dirs = [dir.path().to_path_buf()];
        let table = Table::load(&COMPILED, &Found::now(&COMPILED, &dirs), None, hostname).unwrap();
        Self {
            dir,
            hostname,
            asked: None,
            table,
        }
    }

    /// Reads again; the error where the old table stays.
    pub fn again(&mut self) -> Result<(), String> {
        let dirs = [self.dir.path().to_path_buf()];
        let read = self.table.load_again(
            &COMPILED,
            &Found::now(&COMPILED, &dirs),
            self.asked,
            self.hostname,
        );
        self.table = read.map_err(|problem| problem.to_string())?;
        Ok(())
    }

    pub fn shows(&self, sni: &str, expected: &Made) -> bool {
        leaf(&self.table, Some(sni)) == expected.der
    }
}

#[test]
fn a_folder_that_went_bad_keeps_its_certificate_and_its_place() {
    let (mx, other) = (made(&["mx.example.org"]), made(&["other.example.org"]));
    let mut setting = Setting::boot(&[("mx.example.org", &mx), ("other", &other)], "h");
    assert_eq!(setting.table.default_name(), Some("mx.example.org"));
    let renewed = made(&["other.example.org"]);
    setting.dir.lineage("other", &renewed);
    setting.dir.write("mx.example.org/privkey.pem", "half");
    // Twice: what was kept once is kept again.
    for _ in 0..2 {
        setting.again().unwrap();
        assert!(setting.shows("mx.example.org", &mx));
        assert!(setting.shows("other.example.org", &renewed), "renewed");
        assert_eq!(setting.table.default_name(), Some("mx.example.org"));
        assert!(setting.shows("x", &mx), "the default is the same");
    }
    setting.dir.lineage("mx.example.org", &renewed);
    setting.again().unwrap();
    assert!(setting.shows("other.example.org", &renewed));
    assert!(
        !setting.shows("mx.example.org", &mx),
        "good again: replaced"
    );
}

#[test]
fn a_folder_that_is_gone_is_gone() {
    let (mx, other) = (made(&["mx.example.org"]), made(&["other.example.org"]));
    let mut setting = Setting::boot(&[("mx.example.org", &mx), ("other", &other)], "h");
    std::fs::remove_dir_all(setting.dir.path().join("mx.example.org")).unwrap();
    setting.again().unwrap();
    assert!(setting.shows("mx.example.org", &other), "the default now");
    // An empty folder is bad, not gone; one that was never good is skipped.
    std::fs::remove_file(setting.dir.path().join("other/fullchain.pem")).unwrap();
    setting.dir.write("new/README", "");
    setting.again().unwrap();
    assert!(setting.shows("other.example.org", &other));
    assert_eq!(setting.table.len(), 1);
}

#[test]
fn the_hostname_s_bad_folder_is_an_error_where_it_would_choose_the_default() {
    let (relay, other) = (
        made(&["relay.example.org"]),
        made(&["other.example.org", "relay.example.org"]),
    );
    let dir = test::Folder::new();
    dir.lineage("other.example.org", &other);
    dir.lineage("Relay.example.org", &relay);
    dir.write("Relay.example.org/privkey.pem", &other.key);
    let dirs = [dir.path().to_path_buf()];
    let boot =
        |asked, hostname| Table::load(&COMPILED, &Found::now(&COMPILED, &dirs), asked, hostname);
    let error = boot(None, "relay.Example.org.").unwrap_err().to_string();
    let start = "the certificate of the hostname relay.example.org, which is the default without \
                 --default-cert: the key ";
    assert!(error.starts_with(start), "{error}");
    assert!(boot(Some("other.example.org"), "relay.example.org").is_ok());
    assert!(boot(None, "mx.example.org").is_ok());
    // One of another --certs with the same name is what the hostname chooses.
    let good = test::Folder::new();
    good.lineage("relay.example.org", &relay);
    let dirs = [dir.path().to_path_buf(), good.path().to_path_buf()];
    let table = Table::load(
        &COMPILED,
        &Found::now(&COMPILED, &dirs),
        None,
        "relay.example.org",
    )
    .unwrap();
    assert!(leaf(&table, None) == relay.der);
}

#[test]
fn at_sighup_the_default_stays_when_the_hostname_s_folder_is_bad() {
    let (relay, other) = (made(&["relay.example.org"]), made(&["a.example.org"]));
    let lineages = [("a.example.org", &other), ("relay.example.org", &relay)];
    let mut setting = Setting::boot(&lineages, "relay.example.org");
    setting.dir.write("relay.example.org/fullchain.pem", "");
    setting.again().unwrap();
    assert!(setting.shows("x", &relay));
    setting.asked = Some("relay.example.org");
    setting.again().unwrap();
    assert!(setting.shows("x", &relay));
}

#[test]
fn a_default_that_cannot_be_chosen_keeps_the_old_one_and_holds_up_no_renewal() {
    // The hostname's folder is bad as it comes: what was the default is, and it and all others are renewed.
    let other = made(&["a.example.org"]);
    let mut setting = Setting::boot(&[("a.example.org", &other)], "relay.example.org");
    setting.dir.write("relay.example.org/fullchain.pem", "");
    setting.again().unwrap();
    assert!(setting.shows("x", &other));
    let (renewed, new) = (made(&["a.example.org"]), made(&["b.example.org"]));
    setting.dir.lineage("a.example.org", &renewed);
    setting.dir.lineage("b.example.org", &new);
    setting.again().unwrap();
    assert!(setting.shows("b.example.org", &new));
    assert!(setting.shows("x", &renewed));
    let told = setting.table.troubles().iter().map(ToString::to_string);
    let told = told.collect::<Vec<_>>().join("\n");
    let start =
        "certificate default kept as it was reason=\"the certificate of the hostname relay.";
    assert!(told.contains(start), "{told}");

    // The folder that --default-cert names is removed.
    setting.asked = Some("a.example.org");
    std::fs::remove_dir_all(setting.dir.path().join("a.example.org")).unwrap();
    for _ in 0..2 {
        setting.again().unwrap();
        assert!(setting.shows("x", &renewed));
    }
    let newer = made(&["b.example.org"]);
    setting.dir.lineage("b.example.org", &newer);
    setting.again().unwrap();
    assert!(setting.shows("b.example.org", &newer));
    assert!(setting.shows("x", &renewed));
}

#[test]
fn a_file_of_the_compiled_in_table_that_went_bad_keeps_its_certificate() {
    let certs = test::Folder::new();
    let (one, two) = (made(&["one.example.org"]), made(&["two.example.org"]));
    certs.lineage("one", &one);
    certs.lineage("two", &two);
    let at = certs.path().display();
    let text: String = ["one", "two"]
        .map(|name| line(&format!("{name}.example.org"), &format!("{at}/{name}")))
        .concat();
    let compiled = table_of(&text, &certs);
    let table = Table::load(compiled, &Found::now(compiled, &[]), None, "h").unwrap();
    let renewed = made(&["two.example.org"]);
    certs.lineage("two", &renewed);
    for bad in [made(&["else.example.org"]).chain, String::new()] {
        certs.write("one/fullchain.pem", &bad);
        let table = table
            .load_again(compiled, &Found::now(compiled, &[]), None, "h")
            .unwrap();
        assert!(leaf(&table, Some("one.example.org")) == one.der);
        assert!(leaf(&table, Some("two.example.org")) == renewed.der);
        assert!(
            Table::load(compiled, &Found::now(compiled, &[]), None, "h").is_err(),
            "at boot"
        );
    }
}

#[test]
fn a_renewed_file_of_the_compiled_in_table_is_told_by_its_entry() {
    let certs = test::Folder::new();
    let names = ["one.example.org", "two.example.org"];
    certs.lineage("one", &made(&names));
    let at = format!("{}/one", certs.path().display());
    let compiled = table_of(&names.map(|name| line(name, &at)).concat(), &certs);
    let mut found = Found::now(compiled, &[]);
    let table = Table::load(compiled, &found, None, "h").unwrap();
    let mut told = |table: &Table| {
        let fresh = found.take_fresh();
        let news = fresh.iter().filter_map(|fresh| table.news(fresh));
        news.collect::<Vec<_>>()
    };
    let line = format!("entry=\"one.example.org and 1 more\" chain={at}/fullchain.pem");
    assert_eq!(told(&table), [line]);
    assert_eq!(told(&table), [""; 0]);
    // For other names: it is not served, so it is no news.
    certs.lineage("one", &made(&["else.example.org"]));
    let mut found = Found::now(compiled, &[]);
    let table = table.load_again(compiled, &found, None, "h").unwrap();
    assert!(
        found
            .take_fresh()
            .iter()
            .all(|fresh| table.news(fresh).is_none())
    );
}

#[test]
fn a_folder_that_comes_later_and_sorts_first_does_not_become_the_default() {
    let (old, new) = (made(&["m.example.org"]), made(&["a.example.org"]));
    let mut setting = Setting::boot(&[("m.example.org", &old)], "relay.invalid");
    setting.dir.lineage("a.example.org", &new);
    for _ in 0..2 {
        setting.again().unwrap();
        assert!(setting.shows("a.example.org", &new));
        assert!(setting.shows("x", &old), "the default is the same");
    }
    let renewed = made(&["m.example.org"]);
    setting.dir.lineage("m.example.org", &renewed);
    setting.again().unwrap();
    assert!(setting.shows("x", &renewed), "renewed");
    std::fs::remove_dir_all(setting.dir.path().join("m.example.org")).unwrap();
    setting.again().unwrap();
    assert!(setting.shows("x", &new), "it is gone");
}

#[test]
fn certificates_out_of_date_are_named_with_how_long() {
    const DAY: u64 = 86_400;
    let (old, new) = (
        made_between(&["old.example.org"], 10_000 * DAY, 20_000 * DAY),
        made_between(&["new.example.org"], 30_000 * DAY, 30_400 * DAY),
    );
    let (certs, dir) = (test::Folder::new(), test::Folder::new());
    certs.lineage("old", &old);
    certs.lineage("new", &new);
    certs.lineage("mx", &made(&["mx.example.org"]));
    dir.lineage("0", &old);
    // One embedded, with the default the same; one read at boot.
    let far = format!("{}/new", certs.path().display());
    let text = line("default", "old")
        + &line("old.example.org", "old")
        + &line("mx.example.org", "mx")
        + &line("new.example.org", &far);
    let compiled = table_of(&text, &certs);
    let dirs = [dir.path().to_path_buf()];
    let table = Table::load(compiled, &Found::now(compiled, &dirs), None, "h").unwrap();
    let told = |now| table.out_of_date(now).collect::<Vec<_>>();
    let folder = format!("folder={}/0", dirs[0].display());
    assert_eq!(
        told(20_012 * DAY),
        [
            "entry=new.example.org reason=\"it is not valid yet, but in 9988 days\"".to_owned(),
            "entry=old.example.org reason=\"it expired 12 days ago\"".to_owned(),
            format!("{folder} reason=\"it expired 12 days ago\""),
        ]
    );
    assert_eq!(
        told(19_990 * DAY)[1..],
        [
            "entry=old.example.org reason=\"it expires in 10 days\"".to_owned(),
            format!("{folder} reason=\"it expires in 10 days\""),
        ]
    );
}
