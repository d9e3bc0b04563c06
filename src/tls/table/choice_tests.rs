//! Several certificates for a name, and what is told of a name.

use super::super::certificates::{self as test, made, made_ed25519, made_rsa};
use super::super::domains;
use super::super::found::Found;
use super::tests::{ALL, leaf, line, table_of};
use super::*;
use async_rustls::rustls::SignatureScheme::{self, *};
use std::path::PathBuf;

const EC: SignatureScheme = ECDSA_NISTP256_SHA256;

/// What a client gets that can verify these.
fn shown(table: &Table, sni: Option<&str>, schemes: &[SignatureScheme]) -> Vec<u8> {
    table.find(sni, schemes).unwrap().cert[0].to_vec()
}

/// What is said of the table, with `dir` as DIR.
fn told(table: &Table, dir: &std::path::Path) -> Vec<String> {
    let dir = dir.display().to_string();
    let line = |trouble: &Trouble| format!("{} {trouble}", trouble.level).replace(&dir, "DIR");
    table.troubles().iter().map(line).collect()
}

fn load(compiled: &'static Compiled, dirs: &[&test::Folder], default: Option<&str>) -> Table {
    let dirs: Vec<PathBuf> = dirs.iter().map(|dir| dir.path().to_path_buf()).collect();
    Table::load(
        compiled,
        &Found::now(compiled, &dirs),
        default,
        "relay.invalid",
    )
    .unwrap()
}

#[test]
fn of_a_name_s_certificates_a_client_gets_the_first_that_it_can_verify() {
    let certs = test::Folder::new();
    let names = &["mx.example.org", "relay.example.org"];
    let (rsa, ed, ec) = (made_rsa(names), made_ed25519(names), made(names));
    let only_ec = made(&["ec.example.org"]);
    certs.lineage("rsa", &rsa);
    certs.lineage("ed", &ed);
    certs.lineage("ec", &ec);
    certs.lineage("only", &only_ec);
    // In the order of the least wanted; the last is read at boot.
    let far = format!("{}/ec", certs.path().display());
    let text: String = [
        line("mx.example.org", "rsa"),
        line("ec.example.org", "only"),
        line("mx.example.org", "ed"),
        line("mx.example.org", &far),
        line("default", "rsa"),
        line("default", &far),
    ]
    .concat();
    let table = load(table_of(&text, &certs), &[], None);
    assert_eq!(table.to_string(), "names=2 default=default");
    for (sni, schemes, expected) in [
        ("mx.example.org", &ALL[..], &ec),
        ("mx.example.org", &[RSA_PKCS1_SHA256, ED25519], &ed),
        ("mx.example.org", &[RSA_PKCS1_SHA256], &rsa),
        (
            "mx.example.org",
            &[ECDSA_NISTP384_SHA384, RSA_PSS_SHA512],
            &rsa,
        ),
        // None of its own: the default's that can be verified, else its own.
        ("ec.example.org", &[RSA_PSS_SHA256], &rsa),
        ("ec.example.org", &[ED25519, EC], &only_ec),
        ("ec.example.org", &[ED25519], &only_ec),
        ("ec.example.org", &[], &only_ec),
        ("x", &ALL, &ec),
        ("x", &[RSA_PSS_SHA256], &rsa),
        ("x", &[ED25519], &ec),
    ] {
        let got = shown(&table, Some(sni), schemes);
        assert!(got == expected.der, "{sni} {schemes:?}");
    }
    assert!(shown(&table, None, &[RSA_PKCS1_SHA256]) == rsa.der);
}

#[test]
fn folders_of_one_name_and_other_kinds_all_serve() {
    let dir = test::Folder::new();
    let names = &["mx.example.org", "*.example.net"];
    let (ec, rsa, newer) = (made(names), made_rsa(names), made(names));
    dir.lineage("mx.example.org", &rsa);
    dir.lineage("mx.example.org-0001", &ec);
    dir.lineage("mx.example.org-0002", &newer);
    for default in [None, Some("mx.example.org")] {
        let table = load(&COMPILED, &[&dir], default);
        assert_eq!(table.len(), 2);
        for sni in [Some("mx.example.org"), Some("a.example.net")] {
            assert!(shown(&table, sni, &ALL) == ec.der, "the first ECDSA one");
            assert!(shown(&table, sni, &[RSA_PSS_SHA256]) == rsa.der);
        }
        // The first folder, or the one that is asked for, with the other kinds of its name.
        assert!(shown(&table, None, &ALL) == ec.der);
        assert!(shown(&table, None, &[RSA_PSS_SHA256]) == rsa.der);
        let clashes = told(&table, dir.path());
        assert_eq!(
            clashes,
            [
                "WARN certificate clash folder=DIR/mx.example.org-0002 names=\"mx.example.org and 1 more\" kind=ECDSA \
                 served_by=DIR/mx.example.org-0001"
            ]
        );
        let dirs = [dir.path().to_path_buf()];
        let again = table
            .load_again(&COMPILED, &Found::now(&COMPILED, &dirs), default, "h")
            .unwrap();
        assert_eq!(again.troubles(), table.troubles(), "to be told once");
    }
}

#[test]
fn the_folder_of_exactly_the_name_wins_and_the_other_is_named() {
    let dir = test::Folder::new();
    let (broad, exact) = (
        made(&["b.example.org", "a.example.org"]),
        made(&["b.example.org"]),
    );
    dir.lineage("a-broad", &broad);
    dir.lineage("B.example.org", &exact);
    let table = load(&COMPILED, &[&dir], None);
    assert!(leaf(&table, Some("b.example.org")) == exact.der);
    assert!(leaf(&table, Some("a.example.org")) == broad.der);
    let told = told(&table, dir.path());
    assert_eq!(
        told,
        [
            "INFO certificate clash folder=DIR/a-broad names=\"b.example.org\" kind=ECDSA served_by=DIR/B.example.org"
        ]
    );
}

#[test]
fn two_keys_of_one_kind_for_a_name_are_an_error_at_boot_and_told_later() {
    let certs = test::Folder::new();
    let names = &["mx.example.org"];
    certs.lineage("one", &made(names));
    certs.lineage("two", &made_rsa(names));
    let at = certs.path().display().to_string();
    let text: String = ["one", "two"]
        .map(|folder| line("mx.example.org", &format!("{at}/{folder}")))
        .concat();
    let compiled = table_of(&text, &certs);
    let table = Table::load(compiled, &Found::now(compiled, &[]), None, "h").unwrap();
    certs.lineage("two", &made(names));
    let error = Table::load(compiled, &Found::now(compiled, &[]), None, "h").unwrap_err();
    let expected = "config/domains, entry mx.example.org: DIR/one/fullchain.pem and DIR/two/fullchain.pem both have such \
                    a key (ECDSA); it may have one of each kind";
    assert_eq!(error.to_string().replace(&at, "DIR"), expected);
    let again = table
        .load_again(compiled, &Found::now(compiled, &[]), None, "h")
        .unwrap();
    let told = told(&again, certs.path());
    assert_eq!(told, [format!("WARN certificate clash {expected}")]);
}

#[test]
fn the_verdict_is_the_entry_or_why_there_is_none() {
    let (certs, dir) = (test::Folder::new(), test::Folder::new());
    certs.lineage("far", &made(&["*.example.org"]));
    dir.lineage("wild", &made(&["*.sub.example.org", "mx.example.org"]));
    let table = load(
        table_of(&line(".example.org", "far"), &certs),
        &[&dir],
        None,
    );
    for (sni, expected) in [
        (Some("MX.example.org."), "exact"),
        (Some("a.example.org"), "parent=.example.org"),
        (Some("a.b.c.example.org"), "parent=.example.org"),
        (Some("a.sub.example.org"), "wildcard=*.sub.example.org"),
        (Some("a.b.sub.example.org"), "parent=.example.org"),
        (Some("example.org"), "default (unknown name)"),
        (Some(""), "default (unknown name)"),
        (None, "default (no name)"),
    ] {
        assert_eq!(table.verdict(sni).to_string(), expected, "{sni:?}");
    }
}

#[test]
fn names_in_any_script_are_known_by_their_a_labels() {
    let (certs, dir) = (test::Folder::new(), test::Folder::new());
    let (mx, wild) = (
        made(&["xn--bcher-kva.example"]),
        made(&["*.xn--r8jz45g.xn--zckzah"]),
    );
    let (other, no_idn) = (
        made(&["xn--mnchen-3ya.example"]),
        made(&["xn--a-ecp.example"]),
    );
    certs.lineage("mx", &mx);
    certs.lineage("wild", &wild);
    certs.lineage("no-idn", &no_idn);
    dir.lineage("0", &made(&["xn--mnchen-3ya.example"]));
    dir.lineage("München.example", &other); // the folder of exactly that name
    let text = line("BÜCHER.Example.", "mx")
        + &line(".例え。テスト", "wild")
        + &line("XN--A-ECP.example", "no-idn");
    let compiled = table_of(&text, &certs);
    let table = load(compiled, &[&dir], None);
    for (sni, expected) in [
        ("xn--bcher-kva.example", &mx),
        ("XN--BCHER-KVA.EXAMPLE", &mx),
        ("a.xn--r8jz45g.xn--zckzah", &wild),
        ("xn--mnchen-3ya.example", &other),
        // No valid IDN, but a name that a host may have.
        ("xn--a-ecp.example", &no_idn),
    ] {
        assert!(leaf(&table, Some(sni)) == expected.der, "{sni}");
        assert_ne!(table.verdict(Some(sni)), Verdict::UnknownName, "{sni}");
    }
    for (asked, expected) in [("münchen.example", &other), ("bu\u{308}cher.example", &mx)] {
        let table = load(compiled, &[&dir], Some(asked));
        assert!(leaf(&table, None) == expected.der, "{asked}");
    }
    let hostname =
        Table::load(compiled, &Found::now(compiled, &[]), None, "Bücher.example").unwrap();
    assert!(leaf(&hostname, None) == mx.der);
    // Two ways to write one name are one name.
    let twice = line("bücher.example", "mx") + &line("xn--bcher-kva.example", "mx");
    assert_eq!(
        domains::read(&twice, certs.path(), &provider()).unwrap_err(),
        "config/domains:2: xn--bcher-kva.example stands in line 1 already"
    );
}
