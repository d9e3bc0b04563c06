//! `facteur queue retry` and `drop`, and the socket by which they reach a running relay.

mod queue_lab;
mod support;

use queue_lab::peer::{self, Answer, Peer};
use queue_lab::*;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use support::facteur::Facteur;
use support::smtp::Client;
use support::{Folder, free_port, only_message_and_copies, until};

#[test]
fn retry_delivers_at_once_what_the_next_hop_takes_now() {
    let lab = Lab::new();
    let facteur = lab.start();
    let first = lab.deferred(&facteur, &["bob@one.example"]);
    let second = lab.deferred(&facteur, &["eve@two.example"]);
    lab.hop.be_willing();
    assert_eq!(
        lab.told(&["retry", &first]),
        "1 deferred delivery due now\n"
    );
    assert_eq!(lab.hop.peer.messages(1)[0].to, ["<bob@one.example>"]);
    until("its end", || (lab.json(&["list"]).len() == 1).then_some(()));
    assert!(lab.told(&["list"]).contains(&second), "the other one waits");
    assert_eq!(
        lab.json(&["retry"]),
        ["{\"due\": 1, \"id\": null, \"running\": true}"]
    );
    assert_eq!(lab.hop.peer.messages(2)[1].to, ["<eve@two.example>"]);
    until("the end", || {
        (lab.told(&["list"]) == "the queue is empty\n").then_some(())
    });
    assert_eq!(
        lab.told(&["retry"]),
        "nothing was waiting for a later try\n"
    );
    refused(
        &lab.queue(&["retry", &first]),
        1,
        &[&first, "not in the queue"],
    );
    facteur.stop();
}

#[test]
fn a_retry_of_a_stopped_spool_counts_at_the_next_start() {
    let lab = Lab::new();
    let facteur = lab.start();
    let id = lab.deferred(&facteur, &["bob@one.example"]);
    facteur.stop();
    lab.hop.be_willing();
    assert_eq!(
        lab.told(&["retry", &id]),
        "1 deferred delivery due when the relay starts: it does not run\n"
    );
    assert!(
        lab.told(&["list"]).contains(GREYLISTED),
        "what was said is kept"
    );
    let facteur = lab.start();
    lab.hop.peer.messages(1);
    facteur.stop();
}

#[test]
fn a_dropped_message_is_gone_for_good_and_its_sender_is_told_if_asked() {
    let lab = Lab::new();
    for running in [true, false] {
        let facteur = lab.start();
        let quiet = lab.deferred(&facteur, &["bob@one.example"]);
        let told = lab.deferred(&facteur, &["eve@two.example"]);
        let kept = lab.deferred(&facteur, &["joe@three.example"]);
        let facteur = match running {
            true => Some(facteur),
            false => {
                facteur.stop();
                None
            }
        };
        assert_eq!(lab.told(&["drop", &quiet]), "dropped, 1 recipient\n");
        assert_eq!(
            lab.told(&["drop", &told, "--dsn", "--hostname=relay.example"]),
            "dropped, 1 recipient; a DSN to the sender tells of 1\n"
        );
        refused(
            &lab.queue(&["drop", &told]),
            1,
            &[&told, "not in the queue"],
        );
        // Killed: what is dropped must be so on the disk.
        facteur.into_iter().for_each(Facteur::kill);
        let facteur = lab.start();
        let dsn = only_message_and_copies(&lab.mail());
        for part in [
            "\nFinal-Recipient: rfc822; eve@two.example\n",
            "\nStatus: 5.0.0\n",
        ] {
            assert!(dsn.contains(part), "{dsn}");
        }
        let flat = dsn.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            flat.contains("the postmaster of relay.example removed it"),
            "{dsn}"
        );
        until("the DSN's end", || {
            (lab.json(&["list"]).len() == 1).then_some(())
        });
        assert_eq!(
            lab.json(&["drop", &kept]),
            [format!(
                "{{\"dropped\": 1, \"id\": \"{kept}\", \"running\": true, \"told\": 0}}"
            )]
        );
        assert_eq!(lab.told(&["list"]), "the queue is empty\n");
        facteur.stop();
        std::fs::remove_dir_all(lab.mail()).expect("a Maildir");
    }
}

#[test]
fn a_dropped_message_s_dsn_goes_where_the_sender_s_alias_leads() {
    let lab = Lab::new();
    let aliases = lab.folder.join("aliases");
    lab.folder.file("aliases", "ren\u{e9}: ann@home.example\n");
    let alias = format!("--alias={}", aliases.display());
    let home = format!("home.example=maildir:{}/{{user}}", lab.mail().display());
    lab.folder.file(
        "flags",
        &format!("--hostname relay.example\n--domain {home}\n{alias}\n"),
    );
    let flags = lab.folder.join("flags").display().to_string();
    for running in [true, false] {
        let facteur = lab.start_with(&[&alias]);
        let id = lab.deferred(&facteur, &["bob@one.example"]);
        let facteur = match running {
            true => Some(facteur),
            false => {
                facteur.stop();
                None
            }
        };
        assert_eq!(
            lab.told(&["drop", &id, "--dsn", "--flags", &flags]),
            "dropped, 1 recipient; a DSN to the sender tells of 1\n"
        );
        let facteur = facteur.unwrap_or_else(|| lab.start_with(&[&alias]));
        let dsn = only_message_and_copies(&lab.mail().join("ann"));
        assert!(dsn.contains("\nTo: <ann@home.example>\n"), "{dsn}");
        facteur.stop();
        std::fs::remove_dir_all(lab.mail()).expect("a Maildir");
    }
}

#[test]
fn a_dropped_message_has_one_dsn_however_many_tries_it_waits_for() {
    let lab = Lab::new();
    let nobody = format!("two.example=smtp:[127.0.0.1]:{}", free_port());
    for running in [true, false] {
        let facteur = lab.start_with(&["--route", &nobody]);
        let id = lab.submit(
            &facteur,
            &["bob@one.example", "eve@two.example", "joe@two.example"],
        );
        until("two tries to wait for", || {
            let list = lab.told(&["list", "--json"]);
            (list.matches("\"attempts\":1").count() == 3).then_some(())
        });
        let facteur = match running {
            true => Some(facteur),
            false => {
                facteur.stop();
                None
            }
        };
        assert_eq!(
            lab.told(&["drop", &id, "--dsn", "--hostname=relay.example"]),
            "dropped, 3 recipients; a DSN to the sender tells of 3\n"
        );
        facteur.into_iter().for_each(Facteur::kill);
        let facteur = lab.start();
        let dsn = only_message_and_copies(&lab.mail());
        for name in ["bob@one", "eve@two", "joe@two"] {
            let told = format!("\nFinal-Recipient: rfc822; {name}.example\n");
            assert_eq!(dsn.matches(&told).count(), 1, "{dsn}");
        }
        until("the queue's end", || {
            (lab.told(&["list"]) == "the queue is empty\n").then_some(())
        });
        only_message_and_copies(&lab.mail());
        facteur.stop();
        std::fs::remove_dir_all(lab.mail()).expect("a Maildir");
    }
}

#[test]
fn many_messages_are_changed_by_one_command_whatever_becomes_of_one() {
    let lab = Lab::new();
    for running in [true, false] {
        let facteur = lab.start();
        let ids: Vec<String> = (0..20)
            .map(|_| lab.submit(&facteur, &["bob@one.example"]))
            .collect();
        let mut words: Vec<&str> = ids.iter().map(String::as_str).collect();
        until("twenty deferrals", || {
            let list = lab.told(&["list", "--json"]);
            (list.matches("\"attempts\":1").count() == ids.len()).then_some(())
        });
        let facteur = match running {
            true => Some(facteur),
            false => {
                facteur.stop();
                None
            }
        };
        let retried = lab.told(&["retry", words[0], words[1], words[0]]);
        assert_eq!(retried.lines().count(), 2, "each once: {retried}");
        assert!(retried.starts_with(&format!("{}: 1 deferred delivery due ", words[0])));
        until("their attempts", || {
            let list = lab.told(&["list", "--json"]);
            let tried = list.matches("\"attempts\":2").count();
            (!running || tried == 2).then_some(())
        });
        // As a person may type it.
        let capitals = words[2].to_uppercase();
        words[2] = &capitals;
        words.insert(7, "1j0t7dfr3v2");
        let output = lab.queue(&[&["drop"], &*words].concat());
        let said = String::from_utf8(output.stdout).expect("UTF-8");
        let wanted = ids.iter().map(|id| format!("{id}: dropped, 1 recipient\n"));
        assert_eq!(said, wanted.collect::<String>());
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            "facteur: 1j0t7dfr3v2 is not in the queue\n"
        );
        facteur.into_iter().for_each(Facteur::kill);
        assert_eq!(lab.told(&["list"]), "the queue is empty\n");
    }
}

#[test]
fn what_is_being_delivered_is_left_to_its_end() {
    let folder = Folder::new();
    let peer = Peer::start(|_, asked| asked.starts_with("MAIL").then_some(Answer::Stall));
    let relay = peer.address.to_string();
    let facteur = Facteur::start(folder.as_ref(), &["--relay", &relay]);
    let mut client = Client::connect(facteur.port).expect("a session");
    client.say("EHLO client.test", "250").expect("EHLO");
    let reply = client
        .submit("ann@a.example", "bob@b.example", b"Subject: x\r\n\r\nx\r\n")
        .expect("250");
    let word = reply.split_whitespace().last().expect("an id");
    let id = word;
    peer.wait(|events| {
        events
            .iter()
            .any(|event| matches!(event, peer::Event::Command(_, line) if line.starts_with("MAIL")))
            .then_some(())
    });
    let output = queue(folder.as_ref(), &["drop", id]);
    refused(&output, 1, &[id, "is being delivered at this moment"]);
    let list = queue(folder.as_ref(), &["list"]);
    assert!(String::from_utf8_lossy(&list.stdout).contains("trying  ann@a.example"));
    facteur.kill();
}

#[test]
fn a_relay_that_hangs_is_told_of_and_does_nothing_later() {
    let lab = Lab::new();
    let facteur = lab.start();
    let id = lab.deferred(&facteur, &["bob@one.example"]);
    facteur.signal("STOP");
    until("a halt", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", facteur.pid()));
        stat.expect("a process").contains(") T ").then_some(())
    });
    let hangs = "facteur-spool/control: the relay does not answer within ";
    let list = lab.told(&["list"]);
    let said = format!("; 1 deferred; what is being tried is not known: {hangs}");
    assert!(list.contains(&said), "{list}");
    assert!(lab.told(&["show", &id]).contains(hangs));
    // More than it would let wait.
    let commands = [&["retry"][..], &["drop", &id], &["retry", &id]];
    std::thread::scope(|scope| {
        for words in commands.iter().cycle().take(9) {
            let nothing_done = || refused(&lab.queue(words), 1, &[hangs, "nothing is done"]);
            scope.spawn(nothing_done);
        }
    });
    facteur.signal("CONT");
    assert_eq!(lab.told(&["retry"]), "1 deferred delivery due now\n");
    facteur.wait_log(&["by hand", "answer=\"ok 1\""]);
    assert!(lab.told(&["list"]).contains(&id), "{}", facteur.log());
    assert_eq!(facteur.log().matches("by hand").count(), 1);
    facteur.stop();
}

#[test]
fn the_socket_is_the_relays_alone_and_no_client_holds_it_up() {
    let lab = Lab::new();
    let path = lab.spool().join("control");
    let facteur = lab.start();
    let found = std::fs::symlink_metadata(&path).expect("a socket");
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o7777, 0o600);
    // As many as are heard at once, and more, of which none says anything: each has its time.
    let silent: Vec<_> = (0..6).map(|_| UnixStream::connect(&path)).collect();
    assert_eq!(
        lab.told(&["retry"]),
        "nothing was waiting for a later try\n"
    );
    drop(silent);
    for line in [
        &b"facteur-queue 1 retry\n"[..],
        b"\xff\n",
        &[b'x'; 4096],
        b"drop",
    ] {
        let mut stream = UnixStream::connect(&path).expect("the relay");
        stream.write_all(line).expect("taken");
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        // Closed with octets unread, it is a reset.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.starts_with(b"no ") || answer.is_empty());
    }
    let mut client = Client::connect(facteur.port).expect("mail goes on");
    client.say("QUIT", "221").expect("QUIT");
    facteur.stop();
    assert!(!path.exists(), "gone with the relay");
}

#[test]
fn a_stale_socket_is_replaced_and_another_file_left_alone() {
    let lab = Lab::new();
    lab.start().stop();
    let path = lab.spool().join("control");
    drop(UnixListener::bind(&path).expect("a socket"));
    let facteur = lab.start();
    assert_eq!(
        lab.told(&["retry"]),
        "nothing was waiting for a later try\n"
    );
    facteur.stop();
    std::fs::write(&path, "mine").expect("a file");
    let facteur = lab.start();
    facteur.wait_log(&["control", "no socket"]);
    facteur.stop();
    assert_eq!(std::fs::read(&path).expect("still there"), b"mine");
}

#[test]
fn commands_on_a_stopped_spool_and_a_start_wait_for_one_another() {
    let lab = Lab::new();
    let facteur = lab.start();
    let ids: Vec<String> = (0..6)
        .map(|_| lab.submit(&facteur, &["bob@one.example"]))
        .collect();
    // None of them is tried by the relay that starts.
    until("six deferrals", || {
        let deferred = facteur.log().matches("result=deferred").count();
        (deferred == ids.len()).then_some(())
    });
    facteur.stop();
    let facteur = std::thread::scope(|scope| {
        for id in &ids {
            scope.spawn(|| lab.told(&["drop", id]));
        }
        lab.start()
    });
    assert_eq!(lab.told(&["list"]), "the queue is empty\n");
    facteur.stop();
}
