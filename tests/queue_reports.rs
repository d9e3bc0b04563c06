//! `facteur queue` on a message that is kept for the report that sends it back (RET=FULL).

mod queue_lab;
mod support;

use queue_lab::*;
use support::facteur::Facteur;
use support::smtp::Client;
use support::until;

/// Queues a message that fails, whose sender's host puts the report off; returns both ids.
fn fails_and_goes_back(lab: &Lab, facteur: &Facteur) -> (String, String) {
    let mut client = Client::connect(facteur.port).expect("a session");
    for (line, answer) in [
        ("EHLO client.test", "250"),
        ("MAIL FROM:<ann@one.example> RET=FULL", "250"),
        ("RCPT TO:<nobody@one.example>", "250"),
        ("DATA", "354"),
    ] {
        client.say(line, answer).expect(line);
    }
    client.send(TEXT).expect("a message");
    let reply = client.say(".", "250").expect("250");
    let id = reply.split_whitespace().last().expect("an id").to_owned();
    let report = until("a report that waits", || {
        let lines = lab.json(&["list"]);
        let back = format!("\"sends_back\": \"{id}\"");
        let its = lines.iter().find(|line| line.contains(&back))?;
        let put_off = its.contains("greylisted");
        let (_, id) = its.split_once("\"id\": \"")?;
        let (id, _) = id.split_once('"')?;
        put_off.then(|| id.to_owned())
    });
    (id, report)
}

#[test]
fn what_is_kept_for_a_report_is_shown_as_that_and_goes_with_it() {
    let lab = Lab::new();
    let facteur = lab.start();
    let (id, report) = fails_and_goes_back(&lab, &facteur);
    let check = || {
        let list = lab.told(&["list"]);
        let kept = format!("failed, and kept for {report}, which sends it back");
        let row = list.lines().find(|line| line.starts_with(&id));
        assert!(row.expect("a row").contains("  failed  "), "{list}");
        assert!(list.contains(&format!("       ({kept})\n")), "{list}");
        assert!(list.contains("2 messages, 1 recipient, "), "{list}");
        assert!(list.contains("; 1 deferred, 1 kept for a report"), "{list}");
        let of_original = lab.json(&["show", &id]).remove(0);
        for part in [
            format!("\"kept_for\": \"{report}\""),
            "\"state\": \"failed\"".to_owned(),
        ] {
            assert!(of_original.contains(&part), "{part}: {of_original}");
        }
        assert!(lab.told(&["show", &id]).contains(&kept));
        let shown = lab.told(&["show", &report]);
        assert!(shown.contains(&format!("sends back {id}")), "{shown}");
        let body = lab.told(&["show", &report, "--body"]);
        let text = std::str::from_utf8(TEXT).expect("UTF-8");
        assert!(body.contains(text), "{body}");
        assert!(body.contains("Content-Type: message/rfc822\r\n"), "{body}");
        assert!(shown.contains(&format!("size       {} octets", body.len())));
    };
    check();
    refused(&lab.queue(&["drop", &id]), 1, &[&id, &report]);
    refused(&lab.queue(&["retry", &id]), 1, &[&id, &report]);
    facteur.stop();
    check();
    refused(&lab.queue(&["drop", &id]), 1, &[&id, &report]);
    check();
    lab.told(&["drop", &report]);
    assert_eq!(lab.told(&["list"]), "the queue is empty\n");
}
