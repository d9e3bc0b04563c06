//! What goes away while the relay runs: names of a renewed certificate, and the folder of the default.

use super::super::certificates::{Made, made, made_between};
use super::listed::Listed;
use super::reload_tests::Setting;

/// What is said of the table at this level, with `--certs` as DIR.
fn told(setting: &Setting, level: &str) -> Vec<String> {
    let dir = setting.dir.path().display().to_string();
    let lines = setting.table.troubles().iter();
    let lines = lines.filter(|trouble| trouble.level.as_str() == level);
    lines
        .map(|trouble| trouble.to_string().replace(&dir, "DIR"))
        .collect()
}

fn remove(setting: &Setting, folder: &str) {
    std::fs::remove_dir_all(setting.dir.path().join(folder)).unwrap();
}

/// `relay.example.org`, the hostname's, which ends in 2100, and another that sorts before it.
fn with_hostname(relay: &Made) -> Setting {
    let other = made(&["a.example.org"]);
    let lineages = [("a.example.org", &other), ("relay.example.org", relay)];
    Setting::boot(&lineages, "relay.example.org")
}

#[test]
fn the_hostname_s_certificate_stays_the_default_when_its_folder_is_gone() {
    let until = 47_482 * 86_400;
    let relay = made_between(&["relay.example.org"], 0, until);
    let mut setting = with_hostname(&relay);
    remove(&setting, "relay.example.org");
    let kept = "certificate default kept as it was reason=\"nothing is for the hostname relay.example.org any more, whose \
                certificate is the default without --default-cert\"";
    // The same line each time: it is told once.
    for _ in 0..2 {
        setting.again().unwrap();
        assert!(setting.shows("x", &relay));
        assert!(setting.shows("relay.example.org", &relay), "as the default");
        assert_eq!(told(&setting, "WARN"), [kept]);
    }
    // Its dates are watched, and it is listed.
    let dates: Vec<_> = setting.table.out_of_date(until + 200).collect();
    let folder = setting.dir.path().join("relay.example.org");
    let expected = format!(
        "folder={} reason=\"it expired 3 minutes ago\"",
        folder.display()
    );
    assert_eq!(dates, [expected]);
    let listed = setting.table.listed();
    let is_default = |one: &&Listed| one.names == ["default"];
    let default = listed.iter().find(is_default).expect("the default");
    assert!(default.kept.is_some() && default.about.valid.unwrap().until == until);
    // It comes back.
    let new = made(&["relay.example.org"]);
    setting.dir.lineage("relay.example.org", &new);
    setting.again().unwrap();
    assert!(setting.shows("x", &new));
    assert_eq!(told(&setting, "WARN"), [""; 0]);
    assert_eq!(setting.table.listed().len(), 2);
}

#[test]
fn the_hostname_s_certificate_stays_the_default_when_its_renewal_is_for_other_names() {
    let relay = made(&["relay.example.org", "mx.example.org"]);
    let mut setting = with_hostname(&relay);
    let fewer = made(&["mx.example.org"]);
    setting.dir.lineage("relay.example.org", &fewer);
    setting.again().unwrap();
    assert!(setting.shows("x", &relay));
    assert!(setting.shows("relay.example.org", &relay));
    assert!(setting.shows("mx.example.org", &fewer));
    let renewed = "certificate renewed for fewer names folder=DIR/relay.example.org dropped=\"relay.example.org (now the \
                   default relay.example.org)\"";
    assert_eq!(told(&setting, "WARN")[1..], [renewed]);
}

#[test]
fn a_default_that_was_the_first_folder_changes_with_a_warning() {
    let (mx, other) = (made(&["mx.example.org"]), made(&["other.example.org"]));
    let mut setting = Setting::boot(&[("mx.example.org", &mx), ("other", &other)], "h");
    remove(&setting, "mx.example.org");
    setting.again().unwrap();
    assert!(setting.shows("x", &other));
    let line = told(&setting, "WARN").concat();
    let start = "certificate default=other was=mx.example.org reason=\"the folder is gone";
    assert!(line.starts_with(start), "{line}");
    let gone = "certificate gone folder=DIR/mx.example.org dropped=\"mx.example.org (now the default other)\"";
    assert_eq!(told(&setting, "INFO"), [gone]);
    setting.again().unwrap();
    assert_eq!(told(&setting, "WARN"), [""; 0], "once");
}

#[test]
fn names_that_a_renewal_drops_are_told_with_what_serves_them() {
    let names = [
        "a.test", "b.test", "c.test", "d.e.test", "f.e.test", "*.g.test",
    ];
    let (wide, c) = (made(&names), made(&["c.test"]));
    let mut setting = Setting::boot(&[("a.test", &wide), ("c.test-0001", &c)], "a.test");
    // A wildcard covers what it did.
    setting
        .dir
        .lineage("a.test", &made(&["a.test", "*.e.test", "new.test"]));
    setting.again().unwrap();
    let told_once = "certificate renewed for fewer names folder=DIR/a.test dropped=\"b.test (now the default a.test), \
                     c.test (now DIR/c.test-0001), *.g.test (now the default a.test)\"";
    assert_eq!(told(&setting, "WARN"), [told_once]);
    setting.again().unwrap();
    assert_eq!(told(&setting, "WARN"), [""; 0], "once");
    // Of many the first few.
    let many: Vec<String> = (10..30).map(|n| format!("n{n}.test")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    setting
        .dir
        .lineage("a.test", &made(&[&["a.test"][..], &many].concat()));
    setting.again().unwrap();
    setting.dir.lineage("a.test", &made(&["a.test"]));
    setting.again().unwrap();
    let line = told(&setting, "WARN").concat();
    assert!(
        line.ends_with("n17.test (now the default a.test), and 12 more\""),
        "{line}"
    );
}

#[test]
fn of_many_folders_that_are_gone_the_first_few_are_told() {
    let certificates: Vec<_> = (0..crate::limits::CERTIFICATE_WARNINGS + 4)
        .map(|n| (format!("n{n:02}.test"), made(&[&format!("n{n:02}.test")])))
        .collect();
    let lineages: Vec<_> = certificates
        .iter()
        .map(|(name, made)| (&**name, made))
        .collect();
    let mut setting = Setting::boot(&lineages, "h");
    for (name, _) in &certificates[1..] {
        remove(&setting, name);
    }
    setting.again().unwrap();
    let lines = told(&setting, "INFO");
    assert_eq!(lines.len(), crate::limits::CERTIFICATE_WARNINGS);
    assert!(lines[0].contains("DIR/n01.test"), "{lines:?}");
    assert_eq!(
        told(&setting, "WARN"),
        ["certificates gone or for fewer names: 3 more"]
    );
}
