//! A message that the disk damages while it waits: its sender and the postmaster are told, once.

mod damaged;
mod support;

use std::fs;
use std::path::PathBuf;

use damaged::{MARK, damage, flags, start};
use support::smtp::Client;
use support::{Folder, until};

fn mail_of(folder: &Folder, user: &str) -> Vec<PathBuf> {
    let new = fs::read_dir(folder.join(&format!("mail/{user}/new")));
    new.map(|entries| {
        entries
            .map(|entry| entry.expect("readable").path())
            .collect()
    })
    .unwrap_or_default()
}

#[test]
fn sender_and_postmaster_are_told_of_damage_once() {
    let folder = Folder::new();
    let flags = flags();
    let facteur = start(&folder, &flags);
    let mut client = Client::connect(facteur.port).expect("a session");
    client.say("EHLO client.test", "250").expect("EHLO");
    client
        .say("MAIL FROM:<ann@home.test> ENVID=letter-1", "250")
        .expect("MAIL");
    client.say("RCPT TO:<bob@far.test>", "250").expect("RCPT");
    client.say("DATA", "354").expect("DATA");
    client
        .send(&[b"Subject: hello\r\n\r\n", MARK, b"\r\n"].concat())
        .expect("a message");
    let id = client.say(".", "250").expect("accepted");
    let id = id.split_whitespace().last().expect("an id").to_owned();
    facteur.wait_log(&["attempt", "result=deferred"]);
    facteur.stop();

    damage(&folder);
    let facteur = start(&folder, &flags);
    facteur.wait_log(&["spool damage", &format!("id={id}")]);
    for user in ["ann", "chief"] {
        let mail = until("the report", || mail_of(&folder, user).pop());
        let report = fs::read_to_string(mail).expect("readable");
        for part in [
            "Final-Recipient: rfc822; bob@far.test",
            "Status: 5.3.0",
            "Action: failed",
            "Original-Envelope-Id: letter-1",
            "the disk of relay.test damaged the message",
        ] {
            assert!(report.contains(part), "{part} is missing in {report}");
        }
    }
    facteur.stop();

    let facteur = start(&folder, &flags);
    facteur.wait_log(&["listening"]);
    facteur.stop();
    assert_eq!(mail_of(&folder, "ann").len(), 1, "told once");
    assert_eq!(mail_of(&folder, "chief").len(), 1);
}
