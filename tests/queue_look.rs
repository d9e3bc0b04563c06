//! `facteur queue list` and `show`, on a running relay and on a stopped one.

mod queue_lab;
mod support;

use queue_lab::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::smtp::Client;
use support::until;

#[test]
fn the_list_says_what_waits_for_what_running_and_stopped() {
    let lab = Lab::new();
    let facteur = lab.start();
    assert_eq!(lab.told(&["list"]), "the queue is empty\n");
    let id = lab.deferred(&facteur, &["bob@one.example", "\"e e\"@one.example"]);
    let check = |end: &str| {
        let list = lab.told(&["list"]);
        let mut lines = list.lines();
        assert!(lines.next().expect("a head").starts_with("ID           "));
        let row: Vec<&str> = lines.next().expect("a row").split_whitespace().collect();
        assert_eq!((row[0], row[3], row[4]), (&*id, "1", "in"), "{list}");
        assert_eq!(row[6], "ren\u{e9}@home.example");
        let rest: Vec<&str> = lines.collect();
        let said = format!("       127.0.0.1: {GREYLISTED}");
        assert_eq!(
            rest[..4],
            [
                "    to bob@one.example",
                &said,
                "    to \"e e\"@one.example",
                &said
            ]
        );
        assert!(rest[4].starts_with("1 message, 2 recipients, "), "{list}");
        assert!(rest[4].ends_with(end), "{list}");
        let json = lab.json(&["list"]);
        assert_eq!(json.len(), 1);
        for part in [
            format!("\"id\": \"{id}\""),
            "\"sender\": \"ren\\u00e9@home.example\"".to_owned(),
            "\"address\": \"\\\"e e\\\"@one.example\"".to_owned(),
            "\"reply\": \"451 4.7.1 greylisted, \\\"try\\\" later\"".to_owned(),
            "\"host\": \"127.0.0.1\"".to_owned(),
            "\"attempts\": 1".to_owned(),
        ] {
            assert!(json[0].contains(&part), "{part}: {}", json[0]);
        }
    };
    check("; 1 deferred");
    facteur.stop();
    check("; 1 deferred; no relay runs");
}

#[test]
fn the_list_says_what_is_being_tried_and_what_was_made_due() {
    let lab = Lab::new();
    let facteur = lab.start_with(&["--outbound", "1"]);
    let first = lab.deferred(&facteur, &["bob@one.example"]);
    let second = lab.deferred(&facteur, &["eve@one.example"]);
    let states = || {
        let all = lab.told(&["list", "--json"]);
        let waits =
            |line: &&str| line.contains("\"state\":\"queued\"") && line.contains("\"next\":1");
        let due = |line: &&str| line.contains("\"state\":\"queued\",\"attempts\":1,\"next\":null");
        let tried =
            |line: &&str| line.contains("\"state\":\"trying\",\"attempts\":1,\"next\":null");
        let lines: Vec<&str> = all.lines().collect();
        let count = |which: &dyn Fn(&&str) -> bool| lines.iter().filter(|line| which(line)).count();
        (count(&waits), count(&due), count(&tried))
    };
    assert_eq!(states(), (2, 0, 0));
    lab.hop.say_nothing();
    lab.told(&["retry"]);
    until("an attempt", || (states() == (0, 1, 1)).then_some(()));
    let list = lab.told(&["list"]);
    let row = |id: &str| {
        let row = list.lines().find(|line| line.starts_with(id));
        let words = row.expect("a row").split_whitespace();
        words.skip(4).collect::<Vec<_>>().join(" ")
    };
    let (tried, due) = match row(&first).starts_with("trying") {
        true => (&first, &second),
        false => (&second, &first),
    };
    assert_eq!(row(tried), "trying ren\u{e9}@home.example");
    assert_eq!(row(due), "now ren\u{e9}@home.example");
    assert!(list.ends_with("; 0 deferred, 1 being tried\n"), "{list}");
    for (id, state) in [(tried, "being tried"), (due, "next try now")] {
        let shown = lab.told(&["show", id]);
        let state = format!("           queued, 1 attempt, {state}\n");
        assert!(shown.contains(&state), "{shown}");
    }
    facteur.kill();
    // Nobody runs, nothing is tried; and what was asked of the relay went with it.
    assert_eq!(states(), (2, 0, 0));
}

#[test]
fn what_was_said_goes_with_its_segment_and_comes_back_with_the_next_attempt() {
    let lab = Lab::new();
    let facteur = lab.start();
    let id = lab.deferred(&facteur, &["bob@one.example"]);
    let text = [TEXT, &b"A line of a long message.\r\n".repeat(130_000)].concat();
    let mut client = Client::connect(facteur.port).expect("a session");
    client.say("EHLO client.test", "250").expect("EHLO");
    let forgotten = "       (what was said is not kept any more; the log has it)\n";
    // Each fills most of a segment.
    let list = until("all segments' use", || {
        client
            .submit("ann@a.example", "joe@home.example", &text)
            .expect("250");
        until("its delivery", || {
            let list = lab.told(&["list"]);
            (!list.contains("joe@home.example")).then_some(())
        });
        std::fs::remove_dir_all(lab.mail()).expect("a Maildir");
        let list = lab.told(&["list"]);
        list.contains(forgotten).then_some(list)
    });
    let row: Vec<&str> = list
        .lines()
        .nth(1)
        .expect("a row")
        .split_whitespace()
        .collect();
    assert_eq!((row[3], row[4]), ("1", "in"), "{list}");
    assert!(!list.contains(GREYLISTED), "{list}");
    assert!(
        lab.told(&["show", &id])
            .contains("\nattempt    earlier: what was said is not kept")
    );
    lab.told(&["retry"]);
    until("what is said now", || {
        lab.told(&["list"]).contains(GREYLISTED).then_some(())
    });
    let shown = lab.told(&["show", &id]);
    assert!(
        shown.contains("queued, 2 attempts") && shown.contains(GREYLISTED),
        "{shown}"
    );
    assert!(shown.contains("\nattempt    earlier: "), "{shown}");
    facteur.stop();
}

#[test]
fn a_header_that_is_cut_says_so() {
    let lab = Lab::new();
    let facteur = lab.start();
    let mut client = Client::connect(facteur.port).expect("a session");
    client.say("EHLO client.test", "250").expect("EHLO");
    let line = format!("X-Line: {}\r\n", "x".repeat(90));
    for (lines, cut) in [(600, false), (800, true)] {
        let text = [line.repeat(lines).as_bytes(), b"\r\nOne line.\r\n"].concat();
        let reply = client.submit("ann@a.example", "bob@one.example", &text);
        let reply = reply.expect("250");
        let id = reply.split_whitespace().last().expect("an id");
        let shown = lab.told(&["show", id]);
        let goes_on =
            "\n\n(the header goes on: these are its first 65536 octets; --body gives all)\n";
        assert_eq!(shown.ends_with(goes_on), cut, "{shown}");
        let json = lab.json(&["show", id]);
        assert!(json[0].contains(&format!("\"header_cut\": {cut}")));
    }
    facteur.kill();
}

#[test]
fn a_look_at_a_stopped_spool_changes_no_octet_of_it() {
    let lab = Lab::new();
    let facteur = lab.start();
    let id = lab.deferred(&facteur, &["bob@one.example"]);
    // What a start would mend: the end of a killed relay, with its socket left behind.
    facteur.kill();
    let before = lab.files();
    lab.told(&["list"]);
    lab.told(&["list", "--json"]);
    lab.told(&["show", &id]);
    lab.told(&["show", &id, "--body"]);
    assert!(lab.files() == before);
    let facteur = lab.start();
    assert!(lab.told(&["list"]).contains(&id));
    facteur.stop();
}

#[test]
fn show_tells_all_of_a_message_and_gives_it_octet_for_octet() {
    let lab = Lab::new();
    let facteur = lab.start();
    let id = lab.deferred(
        &facteur,
        ["ann@home.example", "bob@one.example"][1..].as_ref(),
    );
    lab.told(&["retry", &id]);
    facteur.wait_log(&["result=deferred", &id]);
    until("a second attempt", || {
        let shown = lab.told(&["show", &id]);
        (shown.matches("\nattempt  ").count() == 2).then_some(())
    });
    let shown = lab.told(&["show", &id]);
    for part in [
        &*format!("id         {id}\n"),
        "sender     ren\u{e9}@home.example\n",
        "recipient  bob@one.example\n           queued, 2 attempts, next try in ",
        &format!("           127.0.0.1: {GREYLISTED}\n           to bob@one.example\n"),
        "\n\nReceived: from client.test",
        "\nSubject: hello\nX-Seen: \\u{1b}[31mred\n",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("One line.") && !shown.contains('\u{1b}'));
    let body = lab.queue(&["show", &id, "--body"]).stdout;
    assert!(body.starts_with(b"Received: from client.test") && body.ends_with(TEXT));
    let json = lab.json(&["show", &id]);
    assert!(json[0].contains("\"attempted\": [{\"at\": "), "{}", json[0]);
    assert!(
        json[0].contains("\\nX-Seen: \\u001b[31mred\\r\\n\""),
        "{}",
        json[0]
    );
    facteur.stop();
}

#[test]
fn what_is_wrong_is_one_line() {
    let lab = Lab::new();
    let path = "facteur-spool";
    refused(&lab.queue(&["list"]), 1, &[path]);
    refused(&lab.queue(&["retry"]), 1, &[path]);
    assert!(!lab.spool().exists(), "nothing is made of a mistyped name");
    lab.start().stop();
    let some = "1j0t7dfr3v2";
    let no_spool = lab.folder.file("flags", "");
    let no_spool = no_spool.to_str().expect("UTF-8");
    for (words, status, parts) in [
        (&[][..], 2, &["list", "drop ID"][..]),
        (&["lst"], 2, &["\"lst\"", "retry [ID...]"]),
        (&["list", some], 2, &[some, "too many"]),
        (&["show"], 2, &["show", "ID"]),
        (&["show", some, "x"], 2, &["\"x\"", "too many"]),
        (&["drop"], 2, &["drop", "ID"]),
        (&["drop", "all"], 2, &["\"all\"", "eleven"]),
        (&["drop", some, "all"], 2, &["\"all\"", "eleven"]),
        (&["retry", some, "--dsn"], 2, &["--dsn", "drop"]),
        (&["list", "--body"], 2, &["--body"]),
        (
            &["show", some, "--body", "--json"],
            2,
            &["--body", "--json"],
        ),
        (&["retry", "--dsn"], 2, &["--dsn", "drop"]),
        (&["list", "--spool"], 2, &["--spool"]),
        (&["list", "--domain", "x"], 2, &["--domain", "--help"]),
        (&["show", some], 1, &[some, "not in the queue"]),
        (&["drop", some], 1, &[some, "not in the queue"]),
        (&["retry", some], 1, &[some, "not in the queue"]),
        (&["list", "--spool=/nowhere"], 1, &["/nowhere"]),
        (&["list", "--spool=."], 1, &["no spool in it"]),
        (&["drop", some, "--spool=."], 1, &["no spool in it"]),
        (&["list", "--spool", no_spool], 1, &["Not a directory"]),
        (
            &["retry", "--spool", no_spool],
            1,
            &["spool", "Not a directory"],
        ),
        (
            &["list", "--flags", "/nowhere/flags"],
            2,
            &["/nowhere/flags"],
        ),
    ] {
        refused(&lab.queue(words), status, parts);
    }
    let help = lab.told(&["--help"]);
    assert!(help.contains("--spool") && help.contains("octet for octet"));
}

#[test]
fn the_spool_is_found_where_serves_flags_put_it() {
    let lab = Lab::new();
    lab.start().stop();
    let elsewhere = lab.folder.join("elsewhere");
    std::fs::rename(lab.spool(), &elsewhere).expect("moved");
    let text = format!(
        "spool {}\nrelay x.example\nlisten 127.0.0.1:1\n",
        elsewhere.display()
    );
    let flags = lab.folder.file("flags", &text);
    let flags = flags.to_str().expect("UTF-8");
    assert_eq!(
        lab.told(&["list", "--flags", flags]),
        "the queue is empty\n"
    );
}

#[test]
fn a_long_queue_is_listed_while_mail_flows() {
    let lab = Lab::new();
    let facteur = lab.start();
    let mut client = Client::connect(facteur.port).expect("a session");
    client.say("EHLO client.test", "250").expect("EHLO");
    for number in 0..1000 {
        let to = format!("u{number}@one.example");
        client.submit("ann@a.example", &to, TEXT).expect("250");
    }
    until("a thousand deferrals", || {
        let list = lab.told(&["list", "--json"]);
        (list.matches("\"attempts\":1").count() == 1000).then_some(())
    });
    let stop = Arc::new(AtomicBool::new(false));
    let load = std::thread::spawn({
        let (stop, port) = (Arc::clone(&stop), facteur.port);
        move || {
            let mut client = Client::connect(port).expect("a session");
            client.say("EHLO client.test", "250").expect("EHLO");
            let mut sent = 0;
            while !stop.load(Ordering::SeqCst) {
                client
                    .submit("ann@a.example", "joe@home.example", TEXT)
                    .expect("250");
                sent += 1;
            }
            sent
        }
    });
    for _ in 0..10 {
        let list = lab.told(&["list", "--json"]);
        assert_eq!(list.matches("greylisted").count(), 1000);
        assert_eq!(
            list.lines()
                .filter(|line| line.contains("@one.example"))
                .count(),
            1000
        );
    }
    stop.store(true, Ordering::SeqCst);
    assert!(load.join().expect("no panic") > 10, "mail went on");
    assert_eq!(lab.told(&["retry"]), "1000 deferred deliveries due now\n");
    facteur.stop();
}
