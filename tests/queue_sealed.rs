//! `facteur queue` on a sealed spool, of a running relay and of a stopped one, with its key and without.

mod queue_lab;
mod support;

use queue_lab::*;
use support::facteur::{Facteur, command_of};
use support::{only_message, until};

const KEY: [&str; 2] = ["--spool-key", "key"];

/// A lab with a spool's key and another one.
fn lab() -> Lab {
    let lab = Lab::new();
    for name in ["key", "other"] {
        let made = command_of(lab.folder.as_ref(), &["spool-key", name]).status();
        assert!(made.expect("facteur runs").success());
    }
    lab
}

/// Queues messages that the next hop puts off; their ids.
fn deferred(lab: &Lab, facteur: &Facteur, count: usize) -> Vec<String> {
    let before = lab
        .told(&[&["list", "--json"], &KEY[..]].concat())
        .lines()
        .count();
    let submit = |_| lab.submit(facteur, &["bob@one.example"]);
    let ids = (0..count).map(submit).collect();
    until("the deferrals", || {
        let list = lab.told(&[&["list", "--json"], &KEY[..]].concat());
        (list.matches("greylisted").count() == before + count).then_some(())
    });
    ids
}

#[test]
fn a_look_needs_the_key_whether_the_relay_runs_or_not() {
    let lab = lab();
    let facteur = lab.start_with(&KEY);
    let id = deferred(&lab, &facteur, 1).remove(0);
    let check = || {
        let list = lab.told(&[&["list"], &KEY[..]].concat());
        let parts = [
            &*id,
            "ren\u{e9}@home.example",
            "to bob@one.example",
            GREYLISTED,
        ];
        assert!(parts.iter().all(|part| list.contains(part)), "{list}");
        let shown = lab.told(&["show", &id, "--spool-key=key"]);
        for part in [
            "recipient  bob@one.example\n",
            GREYLISTED,
            "\nSubject: hello\n",
        ] {
            assert!(shown.contains(part), "{shown}");
        }
        let body = lab.queue(&["show", &id, "--body", "--spool-key=key"]);
        assert!(body.stdout.ends_with(TEXT));
        for words in [
            &["list"][..],
            &["list", "--json"],
            &["show", &id],
            &["show", &id, "--body"],
        ] {
            refused(
                &lab.queue(words),
                1,
                &["facteur-spool: it is sealed", "--spool-key FILE"],
            );
            let wrong = lab.queue(&[words, &["--spool-key", "other"]].concat());
            refused(&wrong, 1, &["facteur-spool: ", "another key"]);
            let missing = lab.queue(&[words, &["--spool-key", "none"]].concat());
            refused(&missing, 1, &["--spool-key none: No such file"]);
        }
    };
    check();
    facteur.stop();
    let before = lab.files();
    check();
    assert!(lab.files() == before);
}

#[test]
fn a_running_relay_changes_its_sealed_queue_itself() {
    let lab = lab();
    let facteur = lab.start_with(&KEY);
    let ids = deferred(&lab, &facteur, 2);
    // It has the key.
    assert_eq!(lab.told(&["drop", &ids[0]]), "dropped, 1 recipient\n");
    let told = lab.told(&["drop", &ids[1], "--dsn"]);
    assert_eq!(
        told,
        "dropped, 1 recipient; a DSN to the sender tells of 1\n"
    );
    assert!(only_message(&lab.mail()).contains("rfc822; bob@one.example"));
    let kept = deferred(&lab, &facteur, 1).remove(0);
    lab.hop.be_willing();
    assert_eq!(lab.told(&["retry", &kept]), "1 deferred delivery due now\n");
    lab.hop.peer.messages(1);
    facteur.stop();
    let list = lab.told(&["list", "--spool-key", "key"]);
    assert_eq!(list, "the queue is empty\n");
}

#[test]
fn a_stopped_sealed_queue_is_changed_with_its_key_and_by_no_other() {
    let lab = lab();
    let facteur = lab.start_with(&KEY);
    let ids = deferred(&lab, &facteur, 3);
    facteur.stop();
    let before = lab.files();
    for words in [
        &["retry"][..],
        &["retry", &ids[0]],
        &["drop", &ids[0]],
        &["drop", &ids[0], "--dsn"],
    ] {
        refused(&lab.queue(words), 1, &["it is sealed", "--spool-key FILE"]);
        let wrong = lab.queue(&[words, &["--spool-key", "other"]].concat());
        refused(&wrong, 1, &["another key"]);
    }
    assert!(lab.files() == before, "nothing is changed");
    let told = |words: &[&str]| lab.told(&[words, &KEY, &["--hostname", "relay.example"]].concat());
    assert_eq!(told(&["drop", &ids[0]]), "dropped, 1 recipient\n");
    assert_eq!(
        told(&["drop", &ids[1], "--dsn"]),
        "dropped, 1 recipient; a DSN to the sender tells of 1\n"
    );
    assert_eq!(
        told(&["retry", &ids[2]]),
        "1 deferred delivery due when the relay starts: it does not run\n"
    );
    let octets: Vec<u8> = lab
        .files()
        .into_iter()
        .flat_map(|(_, octets)| octets)
        .collect();
    for word in ["one.example", "hello", "greylisted", "postmaster"] {
        let stands = memchr::memmem::find(&octets, word.as_bytes());
        assert_eq!(stands, None, "{word} stands on the disk in clear");
    }
    lab.hop.be_willing();
    let facteur = lab.start_with(&KEY);
    lab.hop.peer.messages(1);
    assert!(only_message(&lab.mail()).contains("rfc822; bob@one.example"));
    until("the end", || {
        (told(&["list"]) == "the queue is empty\n").then_some(())
    });
    facteur.stop();
}
