use super::*;
use std::fmt::Write as _;

fn home(domain: &str) -> Home {
    match domain {
        "pi" | "localhost" => Home::NamesOnly,
        "box.example" => Home::Mailboxes,
        _ => Home::Elsewhere,
    }
}

fn parse(text: &str) -> Result<Aliases, BadLine> {
    Aliases::parse(text, "pi", home)
}

#[track_caller]
fn expanded(text: &str, name: &str) -> Option<Vec<String>> {
    let aliases = parse(text).unwrap();
    let found = aliases.expand(name)?;
    Some(found.into_iter().map(str::to_owned).collect())
}

#[track_caller]
fn leads(text: &str, name: &str, to: &[&str]) {
    assert_eq!(expanded(text, name).as_deref().unwrap_or(&[]), to);
}

#[test]
fn what_aliases_5_allows_is_read() {
    let text = "# who gets what\n\nroot: ann@far.example\n\"John Doe\" : root , bob@far.example,\n\tcarl@far.example\n\
                # between\n  dora@far.example\r\nPostmaster:root\n\"a,b:c\":\"x y\"@far.example\n";
    leads(text, "root", &["ann@far.example"]);
    leads(text, "postmaster", &["ann@far.example"]);
    leads(text, "a,b:c", &["\"x y\"@far.example"]);
    let of_john = [
        "bob@far.example",
        "carl@far.example",
        "dora@far.example",
        "ann@far.example",
    ];
    leads(text, "john doe", &of_john);
    assert_eq!(expanded(text, "nobody"), None);
    assert_eq!(parse(text).unwrap().count(), 4);
}

#[test]
fn names_are_followed_in_any_local_domain_and_in_no_other() {
    let text = "a: root\nb: ROOT@localhost\nc: root@box.example\nd: root@far.example\nroot: ann@far.example\n";
    for name in ["a", "b", "c"] {
        leads(text, name, &["ann@far.example"]);
    }
    leads(text, "d", &["root@far.example"]);
    leads(text, "root+cron", &["ann@far.example"]);
}

#[test]
fn loops_are_cut_and_nobody_comes_twice() {
    leads(
        "a: b, x@far.example\nb: a, x@FAR.example, y@far.example",
        "a",
        &["x@far.example", "y@far.example"],
    );
    // Oneself is the mailbox: a copy stays here.
    let own = "ann: ann@box.example, ann@far.example\nbob: \\ann@box.example";
    leads(own, "ann", &["ann@box.example", "ann@far.example"]);
    leads(own, "bob", &["ann@box.example"]);
}

#[test]
fn wrong_lines_are_named() {
    for (text, line, part) in [
        ("a: x@y\nb: |/bin/sh", 2, "is a program"),
        ("a: \"|/bin/sh -c x\"", 1, "is a program"),
        ("a: x@y,\n /var/mail/a", 2, "is a file"),
        ("a: :Include:/etc/list", 1, "is a list in a file"),
        ("a: b\nb: a", 1, "in a circle to nobody"),
        (
            "a: a",
            1,
            "\"a\" is no other alias, and pi has no mailboxes",
        ),
        ("a: nobody", 1, "pi has no mailboxes"),
        ("a: nobody@localhost", 1, "localhost has no mailboxes"),
        ("a:\nb: x@y", 1, "\"a\" has no target"),
        ("a: ,", 1, "has no target"),
        ("a x@y", 1, "is no \"name: target, target\""),
        (" x@y", 1, "goes on with no entry"),
        ("a@y: x@y", 1, "is no name of this machine"),
        ("a: \"x@y", 1, "a quote without its end"),
        ("a: x y@z", 1, "is no address"),
        ("a: x@y # Ann", 1, "is no address"),
        ("a: x@y\nA: z@y", 2, "stands in line 1 already"),
    ] {
        let bad = parse(text).unwrap_err();
        assert_eq!(bad.line, line, "{text:?}: {}", bad.why);
        assert!(bad.why.contains(part), "{text:?}: {}", bad.why);
    }
}

#[test]
fn more_than_a_message_can_have_is_an_error() {
    let mut text = "all: some, last@far.example\nsome: u0@far.example".to_owned();
    for n in 1..limits::RECIPIENTS - 1 {
        let _ = write!(text, ", u{n}@far.example");
    }
    assert_eq!(expanded(&text, "all").unwrap().len(), limits::RECIPIENTS);
    text += ", one-more@far.example";
    let bad = parse(&text).unwrap_err();
    assert_eq!(bad.line, 1);
    assert!(bad.why.contains("more than 100 recipients"), "{}", bad.why);
    let long = |n: usize| format!("{}{n}@{}.example", "l".repeat(200), "d".repeat(60));
    let long: Vec<String> = (0..40).map(long).collect();
    let bad = parse(&format!("long: {}", long.join(", "))).unwrap_err();
    assert!(bad.why.contains("octets"), "{}", bad.why);
    // The same mailbox again is no further recipient.
    assert!(parse(&text.replace("one-more", "last")).is_ok());
}

#[test]
fn a_chain_and_a_file_have_their_ends() {
    let chain = |names: usize| {
        let mut text = String::new();
        for n in 1..names {
            let _ = writeln!(text, "n{n}: n{}", n + 1);
        }
        text + &format!("n{names}: x@far.example\n")
    };
    assert!(parse(&chain(limits::ALIASES_PASSED)).is_ok());
    let bad = parse(&chain(limits::ALIASES_PASSED + 1)).unwrap_err();
    assert!(bad.why.contains("leads over more than"), "{}", bad.why);
    let mut many = String::new();
    for n in 0..=limits::ALIAS_ITEMS / 2 {
        let _ = writeln!(many, "n{n}: x@far.example");
    }
    assert!(
        parse(&many)
            .unwrap_err()
            .why
            .contains("names and targets in all")
    );
}
