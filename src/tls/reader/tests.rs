//! What a look tells, and what it waits with.

use super::super::certificates::{Folder as Certs, Made, made};
use super::super::table::COMPILED;
use super::*;
use std::fs;
use std::os::unix::fs::symlink;

/// A lineage as certbot keeps it: links in live/ that lead to numbered files in archive/.
struct Lineage {
    certs: Certs,
    reader: Reader,
}

const KINDS: [&str; 2] = ["fullchain", "privkey"];

impl Lineage {
    fn new(made: &Made) -> Self {
        let certs = Certs::new();
        let reader = Reader::new(&COMPILED, &[certs.path().join("live")]);
        let mut lineage = Self { certs, reader };
        lineage.archive(1, made);
        fs::create_dir_all(lineage.live()).unwrap();
        lineage.links(1);
        assert_eq!(lineage.look(Look::Final), ["listed 0", "good mx"]);
        lineage
    }

    fn live(&self) -> PathBuf {
        self.certs.path().join("live/mx")
    }

    fn archive(&self, version: u32, made: &Made) {
        let file = |kind| format!("archive/mx/{kind}{version}.pem");
        self.certs.write(&file("fullchain"), &made.chain);
        self.certs.write(&file("privkey"), &made.key);
    }

    fn link(&self, kind: &str, version: u32) {
        let target = format!("../../archive/mx/{kind}{version}.pem");
        symlink(target, self.live().join(format!("{kind}.pem"))).unwrap();
    }

    fn links(&self, version: u32) {
        KINDS.iter().for_each(|kind| self.link(kind, version));
    }

    fn unlink(&self, kind: &str) {
        fs::remove_file(self.live().join(format!("{kind}.pem"))).unwrap();
    }

    /// What a look tells, in words.
    fn look(&mut self, how: Look) -> Vec<String> {
        let mut told = Vec::new();
        self.reader.look(how, &mut |change| {
            told.push(match change {
                Change::Folder { name, read, .. } => {
                    let good = if read.is_ok() { "good" } else { "bad" };
                    format!("{good} {}", name.display())
                }
                Change::Gone { name, .. } => format!("gone {}", name.display()),
                Change::Listed { dir, problem: None } => format!("listed {dir}"),
                Change::Listed { dir, .. } => format!("not listed {dir}"),
                Change::File { at, .. } => format!("file {at}"),
            });
        });
        told
    }

    #[track_caller]
    fn sees(&mut self, expected: &[&str]) {
        assert_eq!(self.look(Look::Patient), expected);
    }
}

#[test]
fn a_look_between_certbot_s_links_tells_nothing() {
    let mut mx = Lineage::new(&made(&["mx.example.org"]));
    mx.sees(&[]);
    mx.archive(2, &made(&["mx.example.org"]));
    mx.sees(&[]);
    mx.unlink("privkey");
    mx.sees(&[]); // no key
    mx.link("privkey", 2);
    // A new key beside an old chain: bad once more, and this time not by a moment's chance.
    mx.sees(&["bad mx"]);
    mx.unlink("fullchain");
    mx.link("fullchain", 2);
    mx.sees(&["good mx"]);
    mx.sees(&[]);
}

#[test]
fn one_bad_look_among_good_ones_is_none() {
    let mut mx = Lineage::new(&made(&["mx.example.org"]));
    for version in 2..5 {
        mx.archive(version, &made(&["mx.example.org"]));
        KINDS.iter().for_each(|kind| mx.unlink(kind));
        mx.link("privkey", version);
        mx.sees(&[]);
        mx.link("fullchain", version);
        mx.sees(&["good mx"]);
        mx.sees(&[]);
    }
}

#[test]
fn what_stays_bad_is_told_once_and_what_is_good_again_at_once() {
    let own = made(&["mx.example.org"]);
    let mut mx = Lineage::new(&own);
    let half = mx.certs.path().join("archive/mx/privkey1.pem");
    fs::write(&half, &own.key[..40]).unwrap();
    mx.sees(&[]);
    mx.sees(&["bad mx"]);
    mx.sees(&[]);
    // The same reason: not told again, though the file has changed.
    fs::write(&half, &own.key[..60]).unwrap();
    mx.sees(&[]);
    mx.sees(&[]);
    fs::write(&half, &own.key).unwrap();
    mx.sees(&["good mx"]);
}

#[test]
fn the_same_pair_written_anew_is_no_news() {
    let own = made(&["mx.example.org"]);
    let mut mx = Lineage::new(&own);
    mx.archive(1, &own);
    mx.sees(&[]);
    assert!(mx.look(Look::Final).is_empty());
}

#[test]
fn a_folder_is_gone_when_two_looks_miss_it() {
    let mut mx = Lineage::new(&made(&["mx.example.org"]));
    let (live, away) = (mx.live(), mx.certs.path().join("away"));
    fs::rename(&live, &away).unwrap();
    mx.sees(&[]);
    fs::rename(&away, &live).unwrap();
    mx.sees(&[]);
    fs::remove_dir_all(&live).unwrap();
    mx.sees(&[]);
    mx.sees(&["gone mx"]);
    mx.sees(&[]);
    // certbot makes the folder first.
    fs::create_dir(&live).unwrap();
    mx.sees(&[]);
    mx.links(1);
    mx.sees(&["good mx"]);
}

#[test]
fn certs_that_cannot_be_listed_keep_what_is_known() {
    let mut mx = Lineage::new(&made(&["mx.example.org"]));
    let (certs, away) = (mx.certs.path().join("live"), mx.certs.path().join("away"));
    fs::rename(&certs, &away).unwrap();
    mx.sees(&[]);
    mx.sees(&["not listed 0"]);
    mx.sees(&[]);
    fs::rename(&away, &certs).unwrap();
    mx.sees(&["listed 0"]);
}

#[test]
fn who_asks_is_told_what_is_bad_now() {
    let mut mx = Lineage::new(&made(&["mx.example.org"]));
    mx.unlink("privkey");
    assert_eq!(mx.look(Look::Final), ["bad mx"]);
    fs::remove_dir_all(mx.live()).unwrap();
    assert_eq!(mx.look(Look::Final), ["gone mx"]);
}
