use super::super::certificates::{self as test, made};
use super::super::compiled::laid;
use super::super::domains;
use super::super::layout::Layout;
use super::*;
use crate::limits;
use async_rustls::rustls::SignatureScheme::{self, *};
use std::path::{Path, PathBuf};

/// What the build would compile in.
fn compiled(layout: Layout) -> &'static Compiled {
    Box::leak(Box::new(Compiled {
        text: layout.text.leak(),
        der: layout.der.leak(),
        names: Records::new(laid(&layout.names).leak()),
        choices: Records::new(laid(&layout.choices).leak()),
        pairs: Records::new(laid(&layout.pairs).leak()),
        certificates: Records::new(laid(&layout.certificates).leak()),
        default: layout.default,
        first: layout.first,
        development: layout.development,
    }))
}

pub(super) fn table_of(text: &str, certs: &test::Folder) -> &'static Compiled {
    let domains = domains::read(text, certs.path(), &provider());
    compiled(domains.unwrap().layout)
}

fn load(compiled: &'static Compiled, dirs: &[&test::Folder]) -> Table {
    let dirs: Vec<PathBuf> = dirs.iter().map(|dir| dir.path().to_path_buf()).collect();
    Table::load(
        compiled,
        &Found::now(compiled, &dirs),
        None,
        "relay.invalid",
    )
    .unwrap()
}

/// What a client can verify that knows all kinds of keys.
pub(super) const ALL: [SignatureScheme; 3] = [RSA_PSS_SHA256, ED25519, ECDSA_NISTP256_SHA256];

pub(super) fn leaf(table: &Table, sni: Option<&str>) -> Vec<u8> {
    table.find(sni, &ALL).unwrap().cert[0].to_vec()
}

pub(super) fn line(name: &str, folder: &str) -> String {
    format!("{name} {folder}/fullchain.pem {folder}/privkey.pem\n")
}

#[test]
fn exact_then_nearest_parent_then_default() {
    let certs = test::Folder::new();
    let (mx, far, near) = (
        made(&["mx.example.org", "a.b.example.org"]),
        made(&["*.example.org"]),
        made(&["*.b.example.org"]),
    );
    let default = made(&["default.example"]);
    for (name, made) in [
        ("mx", &mx),
        ("far", &far),
        ("near", &near),
        ("default", &default),
    ] {
        certs.lineage(name, made);
    }
    let text = line("mx.example.org", "mx")
        + &line("a.b.example.org", "mx")
        + &line(".example.org", "far")
        + &line(".b.example.org", "near")
        + &line("default", "default");
    let table = load(table_of(&text, &certs), &[]);
    for (sni, expected) in [
        (Some("mx.example.org"), &mx),
        (Some("MX.EXAMPLE.ORG."), &mx),
        (Some("a.b.example.org"), &mx),
        (Some("other.b.example.org"), &near),
        (Some("x.y.b.example.org"), &near),
        (Some("b.example.org"), &far),
        (Some("x.mx.example.org"), &far),
        (Some("example.org"), &default),
        (Some("notexample.org"), &default),
        (Some("default"), &default),
        (Some(""), &default),
        (Some("."), &default),
        (Some("..example.com"), &default),
        (None, &default),
    ] {
        assert!(leaf(&table, sni) == expected.der, "{sni:?}");
    }
    assert_eq!(table.to_string(), "names=4 default=default");
}

#[test]
fn folders_add_and_override_and_their_wildcards_cover_one_label() {
    let (certs, dir) = (test::Folder::new(), test::Folder::new());
    let compiled_mx = made(&["mx.example.org", "other.example.org"]);
    certs.lineage("mx", &compiled_mx);
    let text = line("mx.example.org", "mx") + &line("other.example.org", "mx");
    let (mx, wild) = (
        made(&["mx.example.org"]),
        made(&["*.example.org", "example.org"]),
    );
    dir.lineage("mx.example.org", &mx);
    dir.lineage("example.org", &wild);
    let table = load(table_of(&text, &certs), &[&dir]);
    for (sni, expected) in [
        ("mx.example.org", &mx),
        ("other.example.org", &compiled_mx),
        ("new.example.org", &wild),
        ("example.org", &wild),
    ] {
        assert!(leaf(&table, Some(sni)) == expected.der, "{sni}");
    }
    assert!(
        leaf(&table, None) == mx.der,
        "the first line's name, as overridden"
    );
    assert!(
        leaf(&table, Some("x.y.example.org")) == mx.der,
        "no second label: the default"
    );
    assert_eq!(table.to_string(), "names=4 default=mx.example.org");
}

#[test]
fn the_folder_of_exactly_that_name_wins_a_clash_else_the_first() {
    let (one, two) = (test::Folder::new(), test::Folder::new());
    let (broad, exact) = (
        made(&["a.example.org", "b.example.org"]),
        made(&["a.example.org", "b.example.org", "c.example.org"]),
    );
    one.lineage("0-broad", &broad);
    two.lineage("a.example.org", &exact);
    let table = load(&COMPILED, &[&one, &two]);
    assert!(leaf(&table, Some("a.example.org")) == exact.der);
    assert!(leaf(&table, Some("b.example.org")) == broad.der);
    assert!(leaf(&table, Some("c.example.org")) == exact.der);
}

#[test]
fn the_development_certificate_serves_until_there_is_a_real_one() {
    let table = load(&COMPILED, &[]);
    assert!(table.is_development() && !table.is_empty());
    assert_eq!(table.to_string(), "names=1 default=localhost");
    let development = leaf(&table, None);
    assert!(leaf(&table, Some("localhost")) == development);

    let (dir, real) = (test::Folder::new(), made(&["mx.example.org"]));
    dir.lineage("mx.example.org", &real);
    let table = load(&COMPILED, &[&dir]);
    assert!(!table.is_development());
    assert!(leaf(&table, None) == real.der);
    let dirs = [dir.path().to_path_buf()];
    let table = Table::load(&COMPILED, &Found::now(&COMPILED, &dirs), None, "localhost").unwrap();
    assert!(
        leaf(&table, Some("localhost")) == real.der,
        "not even by its host's name"
    );
}

#[test]
fn the_default_is_asked_for_or_the_hostname_s_or_the_table_s_or_the_first() {
    let (certs, dir) = (test::Folder::new(), test::Folder::new());
    let (first, second) = (made(&["z.example.org"]), made(&["a.example.org"]));
    let (named, wild) = (made(&["odd.example.net"]), made(&["*.example.net"]));
    certs.lineage("first", &first);
    certs.lineage("second", &second);
    dir.lineage("work", &named);
    dir.lineage("wild", &wild);
    let lines = line("z.example.org", "first") + &line("a.example.org", "second");
    let (plain, with_default) = (
        table_of(&lines, &certs),
        table_of(&(lines.clone() + &line("default", "second")), &certs),
    );
    let dirs = [dir.path().to_path_buf()];
    let none = "relay.invalid";
    for (compiled, asked, hostname, expected) in [
        (plain, None, none, &first),
        (with_default, None, none, &second),
        (with_default, None, "Z.example.org", &first),
        (with_default, None, "relay.example.net", &wild),
        (
            with_default,
            Some("z.example.org"),
            "relay.example.net",
            &first,
        ),
        (with_default, Some("work"), none, &named),
        (with_default, Some("ODD.example.net."), none, &named),
        (with_default, Some("*.example.net"), none, &wild),
    ] {
        let table = Table::load(compiled, &Found::now(compiled, &dirs), asked, hostname).unwrap();
        assert!(leaf(&table, None) == expected.der, "{asked:?} {hostname}");
    }
}

#[test]
fn bad_folders_are_skipped_and_the_others_serve() {
    let dir = test::Folder::new();
    let (good, other) = (made(&["good.example.org"]), made(&["other.example.org"]));
    dir.lineage("good.example.org", &good);
    dir.lineage("mismatched", &other);
    dir.write("mismatched/privkey.pem", &good.key);
    dir.write("empty/README", "");
    dir.lineage("nameless", &made(&["192.0.2.1"]));
    dir.write("README", "certbot's");
    dir.write(".hidden/fullchain.pem", "");
    std::os::unix::fs::symlink("nowhere", dir.path().join("dangling")).unwrap();
    let table = load(&COMPILED, &[&dir]);
    assert_eq!(table.to_string(), "names=1 default=good.example.org");
    let skipped = ["dangling", "empty", "mismatched", "nameless"];
    assert_eq!(table.troubles().len(), skipped.len());
    for (trouble, name) in table.troubles().iter().zip(skipped) {
        let path = dir.path().join(name);
        let start = format!("certificate skipped folder={} reason=", path.display());
        assert!(trouble.to_string().starts_with(&start), "{trouble}");
    }

    let dirs = [dir.path().to_path_buf()];
    let error = |asked| {
        Table::load(&COMPILED, &Found::now(&COMPILED, &dirs), Some(asked), "h")
            .unwrap_err()
            .to_string()
    };
    assert!(
        error("mismatched").starts_with("--default-cert mismatched: the key "),
        "{}",
        error("mismatched")
    );
    assert_eq!(
        error("other.example.org"),
        "--default-cert other.example.org: no such certificate; there are good.example.org"
    );
    // With keys of two kinds it is one name all the same.
    dir.lineage("rsa", &test::made_rsa(&["good.example.org"]));
    assert_eq!(
        error("other.example.org"),
        "--default-cert other.example.org: no such certificate; there are good.example.org"
    );
}

#[test]
fn certbot_s_links_are_followed() {
    let dir = test::Folder::new();
    let made = made(&["mx.example.org"]);
    dir.write("archive/mx/fullchain1.pem", &made.chain);
    dir.write("archive/mx/privkey1.pem", &made.key);
    let live = dir.path().join("live/mx.example.org");
    std::fs::create_dir_all(&live).unwrap();
    for name in ["fullchain", "privkey"] {
        let target = format!("../../archive/mx/{name}1.pem");
        std::os::unix::fs::symlink(target, live.join(format!("{name}.pem"))).unwrap();
    }
    let found = Found::now(&COMPILED, &[dir.path().join("live")]);
    let table = Table::load(&COMPILED, &found, None, "h").unwrap();
    assert!(leaf(&table, Some("mx.example.org")) == made.der);
}

#[test]
fn a_folder_that_cannot_be_listed_is_an_error() {
    let dir = test::Folder::new();
    let (missing, file) = (dir.path().join("missing"), dir.write("file", ""));
    for bad in [missing, file] {
        let found = Found::now(&COMPILED, std::slice::from_ref(&bad));
        let error = Table::load(&COMPILED, &found, None, "h").unwrap_err();
        let start = format!("--certs {}: ", bad.display());
        assert!(error.to_string().starts_with(&start), "{error}");
    }
}

#[test]
fn files_of_the_table_are_read_at_boot_and_a_bad_one_is_an_error() {
    let dir = test::Folder::new();
    let (own, other) = (made(&["mx.example.org"]), made(&["mx.example.org"]));
    let chain = dir.write("chain.pem", &own.chain);
    let key = dir.write("key.pem", &own.key);
    let wrong = dir.write("wrong.pem", &other.key);
    let entry = |name: &str, key: &Path| {
        let text = format!("{name} {} {}\n", chain.display(), key.display());
        let compiled = table_of(&text, &dir);
        Table::load(compiled, &Found::now(compiled, &[]), None, "h")
    };
    assert!(leaf(&entry("mx.example.org", &key).unwrap(), None) == own.der);
    assert!(leaf(&entry("default", &key).unwrap(), Some("x")) == own.der);
    let mismatch = entry("mx.example.org", &wrong).unwrap_err().to_string();
    let expected = format!(
        "config/domains, entry mx.example.org: the key {} fits no certificate of {}",
        wrong.display(),
        chain.display()
    );
    assert_eq!(mismatch, expected);
    assert!(entry("default", &wrong).is_err());
    assert!(entry("default", &dir.path().join("missing")).is_err());
    let not_its = entry("a.example.org", &key).unwrap_err().to_string();
    assert!(
        not_its.ends_with("chain.pem is not for it; it has mx.example.org"),
        "{not_its}"
    );
}

#[test]
fn parsed_chains_are_kept_up_to_the_limit() {
    let certs = test::Folder::new();
    let count = limits::CERTIFICATES_PARSED + 3;
    let mut text = String::new();
    for n in 0..count {
        let name = format!("mx{n}.example.org");
        certs.lineage(&name, &made(&[&name]));
        text += &line(&name, &name);
    }
    let table = load(table_of(&text, &certs), &[]);
    let kept = || table.parsed.lock().unwrap().len();
    assert_eq!(kept(), 1, "boot parses the default only");
    for n in 0..count {
        table
            .find(Some(&format!("mx{n}.example.org")), &ALL)
            .unwrap();
        table.find(Some("mx0.example.org"), &ALL).unwrap();
    }
    assert_eq!(kept(), limits::CERTIFICATES_PARSED);
    let oldest: Vec<u32> = table
        .parsed
        .lock()
        .unwrap()
        .iter()
        .map(|kept| kept.0)
        .collect();
    assert!(oldest.contains(&0), "what is used is kept");
    assert!(!oldest.contains(&1));
    let find = || table.find(Some("mx1.example.org"), &ALL).unwrap();
    assert!(Arc::ptr_eq(&find(), &find()));
}
