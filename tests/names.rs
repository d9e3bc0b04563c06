//! Who exists: `--recipients`, `--alias` and Postmaster, from RCPT to the next hop and the Maildir, and at SIGHUP.

#[path = "support/peer.rs"]
mod peer;
#[path = "support/python.rs"]
mod python;
mod support;

use peer::{Answer, Event, Peer};
use std::fs;
use support::facteur::{Facteur, refused};
use support::smtp::Client;
use support::{Folder, maildir_messages, only_message, said, until};

const OFFER: &str = "250-peer.example\r\n250-DSN\r\n250 8BITMIME";
const ALIASES: &str = "# the Pi's own\nroot: ann@far.test\npostmaster: root\nstaff: root,\n ann@far.test, bob@near.test\n\
                       bob: bob@near.test, ann@far.test\n";

/// A relay with a Maildir for near.test; the rest, far.test too, goes to the peer.
struct Lab {
    folder: Folder,
    peer: Peer,
    facteur: Facteur,
}

impl Lab {
    fn start() -> Self {
        let folder = Folder::new();
        folder.file("recipients", "bob@near.test\nann@far.test\n");
        folder.file("aliases", ALIASES);
        let peer = Peer::start(|_, asked: &str| match asked {
            _ if asked.starts_with("EHLO") => Some(Answer::Say(OFFER)),
            _ if asked.starts_with("RCPT TO:<gone@") => Some(Answer::Say("550 5.1.1 gone")),
            _ => None,
        });
        let far = format!("far.test=smtp:{}", peer.address);
        let relay = peer.address.to_string();
        let flags = [
            ["--hostname", "pi.test"],
            ["--domain", "near.test=maildir:mail/{user}"],
            ["--domain", &far],
            ["--relay", &relay],
            ["--recipients", "recipients"],
            ["--alias", "aliases"],
        ];
        let facteur = Facteur::start(folder.as_ref(), flags.as_flattened());
        Self {
            folder,
            peer,
            facteur,
        }
    }

    /// A session of this machine, up to MAIL.
    fn client(&self) -> Client {
        self.client_of("cron")
    }

    fn client_of(&self, sender: &str) -> Client {
        let mut client = Client::connect(self.facteur.port).expect("a session");
        client.say("EHLO pi.test", "250").expect("EHLO");
        let mail = format!("MAIL FROM:<{sender}>");
        client.say(&mail, "250").expect("MAIL");
        client
    }

    /// What RCPT gets; nothing is sent.
    fn answer(&self, to: &str) -> String {
        let mut client = self.client();
        let reply = client.say(&format!("RCPT TO:<{to}>"), "");
        reply.expect("a reply").trim_end().to_owned()
    }

    /// Sends a message with these RCPTs.
    fn send(&self, rcpts: &[&str]) {
        self.send_from("cron", rcpts);
    }

    fn send_from(&self, sender: &str, rcpts: &[&str]) {
        let mut client = self.client_of(sender);
        for rcpt in rcpts {
            client.say(&format!("RCPT TO:{rcpt}"), "250").expect(rcpt);
        }
        client.say("DATA", "354").expect("DATA");
        client
            .say("Subject: hi\r\n\r\nhi\r\n.", "250")
            .expect("the end");
    }

    /// The RCPTs that the peer saw.
    fn rcpts(&self) -> Vec<String> {
        let rcpt = |event| match event {
            Event::Command(_, line) if line.starts_with("RCPT") => Some(line),
            _ => None,
        };
        self.peer.seen().into_iter().filter_map(rcpt).collect()
    }
}

#[test]
fn the_machine_s_own_mail_goes_to_the_alias_s_target() {
    let lab = Lab::start();
    lab.send(&["<root> NOTIFY=SUCCESS,FAILURE"]);
    let message = &lab.peer.messages(1)[0];
    let sent = &message.to;
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert_eq!(
        lab.rcpts(),
        ["RCPT TO:<ann@far.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;root@pi.test"]
    );
    let text = &message.data;
    assert!(text.contains("for <root@pi.test>"), "{text}");
    assert_eq!(lab.answer("nobody"), "550 5.1.1 No such mailbox here");
    lab.facteur.stop();
}

#[test]
fn one_message_is_one_copy_for_a_mailbox() {
    let lab = Lab::start();
    lab.send(&[
        "<staff@near.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;all@old.test",
        "<Root@localhost>",
        "<bob+tag@near.test>",
        "<ann@FAR.test>",
    ]);
    lab.peer.messages(1);
    let message = only_message(&lab.folder.join("mail/bob"));
    assert!(!message.contains("\tfor <"), "{message}");
    // An alias of several is told of no success (RFC 3461 5.2.7.3); whom the sender wrote to stays known. The others' wish, which
    // is unstated, is FAILURE.
    assert_eq!(
        lab.rcpts(),
        ["RCPT TO:<ann@far.test> NOTIFY=FAILURE,DELAY ORCPT=rfc822;all@old.test"]
    );
    assert_eq!(maildir_messages(&lab.folder.join("mail")).len(), 1);
    lab.facteur.stop();
}

/// What one of its names wants told is told, in whichever order they come.
#[test]
fn a_mailbox_that_is_named_twice_has_both_wishes() {
    let lab = Lab::start();
    lab.send_from(
        "boss@else.test",
        &[
            "<gone@else.test> NOTIFY=NEVER",
            "<gone@ELSE.test>",
            "<ann@far.test> NOTIFY=NEVER",
            "<root@pi.test> NOTIFY=DELAY",
            "<carl@else.test>",
            "<carl@else.test> NOTIFY=NEVER",
            "<\"carl\"@else.test> NOTIFY=SUCCESS",
            "<dora@else.test>",
            "<dora@else.test> NOTIFY=NEVER",
        ],
    );
    let report = lab.peer.messages(2).pop().expect("a report");
    assert_eq!(report.to, ["<boss@else.test>"]);
    assert!(
        report
            .data
            .contains("Final-Recipient: rfc822; gone@else.test")
    );
    let mut rcpts = lab.rcpts();
    rcpts.sort_unstable();
    assert_eq!(
        rcpts,
        [
            "RCPT TO:<ann@far.test> NOTIFY=DELAY",
            "RCPT TO:<boss@else.test>",
            "RCPT TO:<carl@else.test> NOTIFY=SUCCESS,FAILURE",
            "RCPT TO:<dora@else.test> NOTIFY=FAILURE",
            "RCPT TO:<gone@else.test> NOTIFY=FAILURE",
        ]
    );
    lab.facteur.stop();
}

#[test]
fn what_an_alias_stands_for_counts_as_recipients() {
    let lab = Lab::start();
    let many: Vec<String> = (0..60).map(|n| format!("u{n}@else.test")).collect();
    lab.folder
        .file("aliases", &format!("{ALIASES}many: {}\n", many.join(", ")));
    lab.facteur.signal("HUP");
    lab.facteur.wait_log(&["aliases names=5"]);
    let mut client = lab.client();
    for n in 0..41 {
        let rcpt = format!("RCPT TO:<v{n}@else.test>");
        client.say(&rcpt, "250").expect(&rcpt);
    }
    client.say("RCPT TO:<many>", "452 4.5.3").expect("no room");
    client
        .say("RCPT TO:<u7@else.test>", "250")
        .expect("room for one");
    drop(client);
    lab.facteur.stop();
}

/// The recipients of what came to the peer, and the subject.
fn told(peer: &Peer, count: usize) -> (Vec<String>, String) {
    let last = peer.messages(count).pop().expect("a message");
    let mut to = last.to.clone();
    to.sort_unstable();
    let subject = last.data.lines().find(|line| line.starts_with("Subject: "));
    (to, subject.unwrap_or_default().to_owned())
}

#[test]
fn a_report_to_an_alias_goes_where_mail_to_it_goes() {
    let lab = Lab::start();
    let failed = "Subject: Your message could not be delivered";
    let ann = vec!["<ann@far.test>".to_owned()];
    lab.send_from("root", &["<gone@else.test>"]);
    assert_eq!(told(&lab.peer, 1), (ann.clone(), failed.to_owned()));
    let report = &lab.peer.messages(1)[0];
    assert!(report.data.contains("\nTo: <root@pi.test>"), "{report:?}");
    // Several targets, one of them a Maildir here, and by a sub-address.
    lab.send_from("staff+x@near.test", &["<gone@else.test>"]);
    assert_eq!(told(&lab.peer, 2), (ann.clone(), failed.to_owned()));
    let copy = only_message(&lab.folder.join("mail/bob"));
    assert!(copy.contains("To: <staff+x@near.test>"), "{copy}");
    // Nobody's address: the postmaster hears of it at once, not by a bounce of the bounce.
    lab.send_from("eve@near.test", &["<gone@else.test>"]);
    let note = "Subject: A message whose sender has no mailbox here could not be delivered";
    assert_eq!(told(&lab.peer, 3), (ann, note.to_owned()));
    let text = &lab.peer.messages(3)[2].data;
    assert!(text.contains("<eve@near.test>, has no mailbox"), "{text}");
    assert_eq!(maildir_messages(&lab.folder.join("mail")).len(), 1);
    // As SIGHUP leaves it.
    lab.folder.file("aliases", "root: new@far.test\n");
    lab.facteur.signal("HUP");
    lab.facteur.wait_log(&["aliases names=1"]);
    lab.send_from("root", &["<gone@else.test>"]);
    let new = vec!["<new@far.test>".to_owned()];
    assert_eq!(told(&lab.peer, 4), (new, failed.to_owned()));
    lab.facteur.stop();
}

#[test]
fn who_asks_for_success_hears_that_an_alias_of_several_was_expanded() {
    let lab = Lab::start();
    lab.send_from(
        "boss@else.test",
        &[
            "<staff@near.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;all@old.test",
            "<Bob@near.test> NOTIFY=SUCCESS",
            "<postmaster@near.test> NOTIFY=SUCCESS",
        ],
    );
    let mut messages = lab.peer.messages(2);
    messages.sort_by_key(|message| message.data.contains("multipart/report"));
    // Once, with what is left of NOTIFY; the postmaster's alias is one of a single target.
    let rcpt = "<ann@far.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;all@old.test";
    assert_eq!(messages[0].to, [rcpt]);
    assert_eq!(messages[1].to, ["<boss@else.test>"]);
    let report = python::fields(&messages[1].data.replace("pi.test", "relay.example"));
    assert_eq!(
        report,
        "Your message was passed on\n\
         rfc822; staff@near.test expanded 2.0.0 x-facteur; the alias was expanded None\n\
         rfc822; Bob@near.test expanded 2.0.0 x-facteur; the alias was expanded None\n"
    );
    let text = &messages[1].data;
    assert!(
        text.contains("\nOriginal-Recipient: rfc822; all@old.test"),
        "{text}"
    );
    assert!(!text.contains("ann@"), "no word of where it went: {text}");
    assert_eq!(maildir_messages(&lab.folder.join("mail")).len(), 1);
    // Nothing more comes: not for one that stands for one, nor for a null sender, nor for who asks for none.
    lab.send_from("", &["<staff@near.test> NOTIFY=SUCCESS"]);
    lab.send(&["<staff@near.test>"]);
    lab.peer.messages(4);
    lab.facteur.wait_log(&["from=\"cron@pi.test\""]);
    lab.facteur.stop();
    assert_eq!(lab.peer.messages(4).len(), 4);
}

#[test]
fn so_many_expansions_are_told_of_one_message() {
    let lab = Lab::start();
    let most = facteur::limits::EXPANSIONS;
    let alias = |n| format!("s{n}: ann@far.test, bob@near.test\n");
    let aliases: String = (0..=most).map(alias).collect();
    lab.folder.file("aliases", &aliases);
    lab.facteur.signal("HUP");
    lab.facteur
        .wait_log(&[&format!("aliases names={}", most + 1)]);
    let mut client = lab.client();
    for n in 0..most {
        let rcpt = format!("RCPT TO:<s{n}> NOTIFY=SUCCESS");
        client.say(&rcpt, "250").expect(&rcpt);
    }
    let last = format!("RCPT TO:<s{most}> NOTIFY=SUCCESS");
    client.say(&last, "452 4.5.3").expect("no room");
    let last = format!("RCPT TO:<s{most}>");
    client.say(&last, "250").expect("nothing to be told");
    drop(client);
    lab.facteur.stop();
}

#[test]
fn sighup_takes_what_is_good_and_keeps_what_went_bad() {
    let lab = Lab::start();
    assert!(lab.answer("eve@far.test").starts_with("550 5.1.1"));
    assert!(lab.answer("postmaster@far.test").starts_with("250"));
    lab.folder.file("recipients", "eve@far.test\n@near.test\n");
    lab.folder
        .file("aliases", "root: ann@far.test\nann: |/bin/sh\n");
    lab.facteur.signal("HUP");
    lab.facteur.wait_log(&[
        "ERROR",
        "names unchanged: --alias aliases:2: ",
        "is a program",
    ]);
    until("the new list", || {
        lab.answer("eve@far.test").starts_with("250").then_some(())
    });
    assert!(lab.answer("ann@far.test").starts_with("550 5.1.1"));
    assert!(lab.answer("staff").starts_with("250"), "the old aliases");
    fs::remove_file(lab.folder.join("recipients")).expect("a file");
    lab.folder.file("aliases", "new: ann@far.test\n");
    lab.facteur.signal("HUP");
    lab.facteur
        .wait_log(&["ERROR", "--recipients recipients: No such file"]);
    until("the new aliases", || {
        lab.answer("new").starts_with("250").then_some(())
    });
    assert!(
        lab.answer("eve@far.test").starts_with("250"),
        "the old list"
    );
    // There is no alias postmaster any more, and far.test lists none: the first domain's is.
    assert!(
        lab.answer("postmaster@far.test").starts_with("250"),
        "near.test takes all"
    );
    lab.facteur.stop();
}

#[test]
fn a_bad_file_is_an_error_at_start() {
    let folder = Folder::new();
    folder.file("list", "ann@far.test\nann@elsewhere.test\n");
    folder.file("aliases", "a: b\nb: a\n");
    let pipe = folder.join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    std::os::unix::fs::symlink(&pipe, folder.join("link")).expect("a link");
    let domain = ["--domain", "far.test", "--listen", "127.0.0.1:0"];
    for (flags, told) in [
        (
            ["--recipients", "pipe"],
            "--recipients pipe: it is no regular file",
        ),
        (
            ["--recipients", "."],
            "--recipients .: it is no regular file",
        ),
        (["--alias", "link"], "--alias link: it is no regular file"),
        (["--client-ca", "pipe"], "--client-ca pipe: "),
        (
            ["--spool-key", "link"],
            "--spool-key link: it is no regular file",
        ),
        (
            ["--recipients", "list"],
            "--recipients list:2: \"ann@elsewhere.test\"",
        ),
        (["--recipients", "none"], "--recipients none: No such file"),
        (
            ["--alias", "aliases"],
            "--alias aliases:1: \"a\" leads round",
        ),
    ] {
        let output = refused(folder.as_ref(), &[&domain[..], &flags].concat());
        assert_eq!(output.status.code(), Some(1));
        let said = said(&output);
        assert!(said.contains(told), "{said}");
    }
    // Nothing at all is none.
    let output = refused(
        folder.as_ref(),
        &["--flags", "/dev/null", "--recipients", "."],
    );
    assert!(said(&output).contains("--recipients .: "), "{output:?}");
    for flags in ["pipe", "link", "."] {
        let output = refused(folder.as_ref(), &["--flags", flags]);
        assert_eq!(output.status.code(), Some(2));
        let told = format!("--flags {flags}: it is no regular file");
        assert!(said(&output).contains(&told), "{output:?}");
    }
}

#[test]
fn boot_warns_where_nobody_is_postmaster() {
    let folder = Folder::new();
    folder.file("list", "ann@far.test\n");
    let flags = ["--domain", "far.test", "--recipients", "list"];
    let facteur = Facteur::start(folder.as_ref(), &flags);
    facteur.wait_log(&["WARN", "--postmaster: none"]);
    let mut client = Client::connect(facteur.port).expect("a session");
    for (line, answer) in [
        ("EHLO a.test", "250"),
        ("MAIL FROM:<>", "250"),
        ("RCPT TO:<Postmaster>", "550 5.1.1"),
        ("RCPT TO:<postmaster@far.test>", "550 5.1.1"),
        ("RCPT TO:<Ann@far.test>", "250"),
    ] {
        client.say(line, answer).expect(line);
    }
    drop(client);
    facteur.stop();
}
