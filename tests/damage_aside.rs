//! A segment that the disk damages does not cost the spool its room for ever: once its mail is gone and people are told, it
//! is set aside, and another takes its place.

mod damaged;
mod support;

use std::fs;

use damaged::{MARK, damage, flags, start};
use support::Folder;
use support::facteur::{Facteur, command_of};
use support::smtp::Client;

fn send(facteur: &Facteur, to: &str, body: &[u8]) {
    let mut client = Client::connect(facteur.port).expect("a session");
    client.say("EHLO client.test", "250").expect("EHLO");
    let sent = client.submit("ann@home.test", to, body);
    sent.expect("acknowledged");
}

fn check(folder: &Folder, flags: &[String]) -> String {
    let flags = flags.iter().map(String::as_str);
    let words: Vec<_> = std::iter::once("check").chain(flags).collect();
    let output = command_of(folder.as_ref(), &words).output();
    let output = output.expect("facteur runs").stdout;
    String::from_utf8(output).expect("UTF-8")
}

#[test]
fn a_damaged_segment_is_set_aside_for_the_owner_and_another_takes_its_place() {
    let folder = Folder::new();
    let flags = flags();
    let facteur = start(&folder, &flags);
    facteur.wait_log(&["spool fill done"]);
    send(&facteur, "bob@far.test", &[MARK, b"\r\n"].concat());
    facteur.wait_log(&["attempt", "result=deferred"]);
    facteur.stop();

    let damaged = damage(&folder);
    let facteur = start(&folder, &flags);
    facteur.wait_log(&["spool damage", "segment=000001.seg"]);
    facteur.wait_log(&["dsn", "result=queued"]);
    // Mail that fills the rest of the segment, so that it is no longer the one that is written.
    for _ in 0..5 {
        send(&facteur, "ann@home.test", &b"more of it\r\n".repeat(80_000));
    }
    facteur.wait_log(&["spool renewed segment=000001.seg aside=000001-1.bad"]);
    let segments = folder.join("facteur-spool");
    let aside = fs::read(segments.join("000001-1.bad")).expect("set aside");
    let place = damaged.windows(MARK.len() - 1);
    let place = place.zip(0..).find(|(part, _)| *part == &MARK[1..]);
    let at: usize = place.expect("the damaged message").1;
    assert_eq!(aside[at - 1], b'S', "as the disk gave it");
    let warned = check(&folder, &flags);
    assert!(
        warned.contains("damaged segments: count=1, set aside as *.bad"),
        "{warned}"
    );
    facteur.stop();

    fs::remove_file(segments.join("000001-1.bad")).expect("looked at");
    let facteur = start(&folder, &flags);
    facteur.wait_log(&["spool open segments=6 entries=0"]);
    let log = facteur.log();
    assert!(
        !log.contains("spool damage") && !log.contains("spool lost"),
        "{log}"
    );
    facteur.stop();
    assert!(!check(&folder, &flags).contains("*.bad"));
}
