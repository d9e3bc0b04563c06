//! What a sender asks of reports (RFC 3461) and of TLS (RFC 8689), from its session to the next hop and back.

#[path = "support/peer.rs"]
mod peer;
#[path = "support/python.rs"]
mod python;
#[path = "support/relay.rs"]
mod relay;
mod support;

use facteur::smtp::parameters::{Notify, Ret};
use facteur::spool::{Addressee, Facts, Role, Sender};
use peer::{Answer, Event, Peer};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::thread::{self, JoinHandle};

use relay::{Folder, Relay, Setup, maildir};
use support::facteur::Facteur;
use support::smtp::Client;

const TEXT: &str = "Subject: hello\r\n\r\nOne line.\r\n";
const OFFER: &str = "250-peer.example\r\n250-PIPELINING\r\n250-DSN\r\n250 8BITMIME";
const NEVER: Notify = Notify {
    success: false,
    failure: false,
    delay: false,
};

/// A next hop with DSN that takes everything but mail for nobody.
fn with_dsn() -> Peer {
    Peer::start(|_, asked| {
        if asked.starts_with("EHLO") {
            return Some(Answer::Say(OFFER));
        }
        refuses_nobody(asked)
    })
}

fn refuses_nobody(asked: &str) -> Option<Answer> {
    asked
        .starts_with("RCPT TO:<nobody")
        .then_some(Answer::Say("550 5.1.1 no such user"))
}

fn to_peer_or_home(folder: &Folder, peer: &Peer) -> Setup {
    let boxes = format!("maildir:{}/{{user}}", folder.0.display());
    let smtp = format!("smtp:{}", peer.address);
    Setup::to(&[("*", smtp), ("home.example", boxes)])
}

/// The commands of the envelope that a peer saw.
fn envelope(peer: &Peer) -> Vec<String> {
    let of_envelope = |event| match event {
        Event::Command(_, line) if line.contains(":<") => Some(line),
        _ => None,
    };
    peer.seen().into_iter().filter_map(of_envelope).collect()
}

/// One session, whose parameters are of every kind.
fn send_with_parameters(peer: &Peer) {
    let folder = support::Folder::new();
    let facteur = Facteur::start(folder.as_ref(), &["--relay", &peer.address.to_string()]);
    let mut client = Client::connect(facteur.port).expect("a session");
    for (line, answer) in [
        ("EHLO client.test", "250"),
        ("MAIL FROM:<ann@a.test> ret=hdrs EnvId=QQ+2B314159", "250"),
        (
            "RCPT TO:<bob@b.test> NOTIFY=delay,SUCCESS ORCPT=rfc822;Bob+2Bold@B.test",
            "250",
        ),
        ("RCPT TO:<eve@b.test> NOTIFY=NEVER", "250"),
        ("RCPT TO:<joe@b.test> ORCPT=X400;/c=FR+2C", "501"),
        ("RCPT TO:<joe@b.test> ORCPT=X-400;/c+3DFR", "250"),
        ("DATA", "354"),
        ("Subject: hello\r\n\r\nhi\r\n.", "250"),
        ("QUIT", "221"),
    ] {
        client.say(line, answer).expect(line);
    }
    peer.messages(1);
    facteur.stop();
}

#[test]
fn a_next_hop_with_dsn_gets_what_the_client_asked_for() {
    let peer = with_dsn();
    send_with_parameters(&peer);
    let seen = envelope(&peer);
    assert!(
        seen[0].starts_with("MAIL FROM:<ann@a.test>")
            && seen[0].ends_with(" RET=HDRS ENVID=QQ+2B314159"),
        "{seen:?}"
    );
    assert_eq!(
        seen[1..],
        [
            "RCPT TO:<bob@b.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+2Bold@B.test",
            "RCPT TO:<eve@b.test> NOTIFY=NEVER",
            "RCPT TO:<joe@b.test> ORCPT=X-400;/c+3DFR",
        ]
    );
}

#[test]
fn a_next_hop_without_dsn_hears_nothing_of_it() {
    let peer = Peer::willing();
    send_with_parameters(&peer);
    assert_eq!(
        envelope(&peer),
        [
            "MAIL FROM:<ann@a.test>",
            "RCPT TO:<bob@b.test>",
            "RCPT TO:<eve@b.test>",
            "RCPT TO:<joe@b.test>",
        ]
    );
}

#[test]
fn the_longest_parameters_go_out() {
    let folder = Folder::new("longest");
    let peer = with_dsn();
    let relay = Relay::start(&folder.0, &to_peer_or_home(&folder, &peer));
    let (envid, orcpt) = ("e".repeat(100), format!("rfc822;{}", "o".repeat(493)));
    let sender = Sender {
        address: "ann@home.example",
        ret: Some(Ret::Full),
        envid: Some(&envid),
    };
    let addresses: Vec<_> = (0..50).map(|n| format!("u{n}@one.test")).collect();
    let every = Notify {
        success: true,
        failure: true,
        delay: true,
    };
    let to: Vec<_> = addresses
        .iter()
        .map(|address| Addressee {
            address,
            notify: Some(every),
            orcpt: Some(&orcpt),
            role: Role::Mailbox,
        })
        .collect();
    relay.submit_with(&sender, &to, Facts::default(), TEXT);
    let got = peer.messages(1).remove(0).to;
    let wanted =
        |address: &String| format!("<{address}> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT={orcpt}");
    assert!(
        got.iter()
            .eq(&addresses.iter().map(wanted).collect::<Vec<_>>())
    );
    assert!(envelope(&peer)[0].ends_with(&format!(" RET=FULL ENVID={envid}")));
    relay.until_empty();
    relay.stop();
}

#[test]
fn an_original_recipient_in_utf_8_is_written_as_the_next_hop_can_read_it() {
    for (offer, mail, rcpt) in [
        (
            "250-peer.example\r\n250-SMTPUTF8\r\n250 DSN",
            "MAIL FROM:<ann@home.example> SMTPUTF8",
            "RCPT TO:<bob@one.test> ORCPT=utf-8;ren\u{e9}@x",
        ),
        (
            "250-peer.example\r\n250 DSN",
            "MAIL FROM:<ann@home.example>",
            "RCPT TO:<bob@one.test> ORCPT=utf-8;ren\\x{E9}@x",
        ),
    ] {
        let folder = Folder::new("orcpt-utf8");
        let peer =
            Peer::start(move |_, asked| asked.starts_with("EHLO").then_some(Answer::Say(offer)));
        let relay = Relay::start(&folder.0, &to_peer_or_home(&folder, &peer));
        let sender = Sender {
            address: "ann@home.example",
            ..Sender::default()
        };
        let bob = Addressee {
            orcpt: Some("utf-8;ren\u{e9}@x"),
            ..Addressee::from("bob@one.test")
        };
        relay.submit_with(&sender, &[bob], Facts::default(), TEXT);
        peer.messages(1);
        assert_eq!(envelope(&peer), [mail, rcpt]);
        relay.until_empty();
        relay.stop();
    }
}

const SUCCESS: Notify = Notify {
    success: true,
    ..NEVER
};

fn asks(address: &str, notify: Notify) -> Addressee<'_> {
    Addressee {
        notify: Some(notify),
        ..Addressee::from(address)
    }
}

fn ann<'a>() -> Sender<'a> {
    Sender {
        address: "ann@home.example",
        ..Sender::default()
    }
}

#[test]
fn who_asks_for_it_hears_of_success_where_no_next_hop_will_tell() {
    let folder = Folder::new("success");
    let peer = Peer::start(|_, asked| refuses_nobody(asked));
    let relay = Relay::start(&folder.0, &to_peer_or_home(&folder, &peer));
    let all = Notify {
        failure: true,
        ..SUCCESS
    };
    let to = [
        asks("bob@one.test", SUCCESS),
        asks("nobody@one.test", all),
        Addressee::from("eve@one.test"),
    ];
    relay.submit_with(&ann(), &to, Facts::default(), TEXT);
    let to = [
        asks("joe@home.example", SUCCESS),
        asks("jim@home.example", SUCCESS),
    ];
    relay.submit_with(&ann(), &to, Facts::default(), TEXT);
    relay.until("two reports", |_| {
        relay.counted(|counters| &counters.dsns) == 2
    });
    relay.until_empty();
    assert_eq!(relay.counted(|counters| &counters.delivered), 6);
    let mut found: Vec<_> = maildir(&folder.0.join("ann"))
        .iter()
        .map(|dsn| python::fields(dsn))
        .collect();
    found.sort();
    assert_eq!(
        found,
        [
            "Your message could not be delivered to some of its recipients
rfc822; bob@one.test relayed 2.0.0 smtp; 250 2.0.0 taken dns; [127.0.0.1]
rfc822; nobody@one.test failed 5.1.1 smtp; 550 5.1.1 no such user dns; [127.0.0.1]
",
            "Your message was delivered
rfc822; joe@home.example delivered 2.0.0 x-facteur; it is in the mailbox None
rfc822; jim@home.example delivered 2.0.0 x-facteur; it is in the mailbox None
"
        ]
    );
    relay.stop();
}

#[test]
fn success_with_a_next_hop_that_knows_dsn_is_its_to_tell() {
    let folder = Folder::new("duty");
    let peer = with_dsn();
    let relay = Relay::start(&folder.0, &to_peer_or_home(&folder, &peer));
    relay.submit_with(
        &ann(),
        &[asks("bob@one.test", SUCCESS)],
        Facts::default(),
        TEXT,
    );
    // Nor has a report itself anybody who asks for one.
    let from_nobody = Sender::default();
    let eve = [asks("eve@home.example", SUCCESS)];
    relay.submit_with(&from_nobody, &eve, Facts::default(), TEXT);
    assert_eq!(peer.messages(1)[0].to, ["<bob@one.test> NOTIFY=SUCCESS"]);
    relay.until("both", |_| {
        relay.counted(|counters| &counters.delivered) == 2
    });
    relay.until_empty();
    assert_eq!(relay.counted(|counters| &counters.dsns), 0);
    relay.stop();
}

#[test]
fn never_means_that_no_report_is_sent() {
    let folder = Folder::new("never");
    let peer = with_dsn();
    let relay = Relay::start(&folder.0, &to_peer_or_home(&folder, &peer));
    let sender = Sender {
        address: "ann@home.example",
        ..Sender::default()
    };
    let nobody = |notify| Addressee {
        notify: Some(notify),
        ..Addressee::from("nobody@one.test")
    };
    let success = Notify {
        success: true,
        ..NEVER
    };
    for notify in [NEVER, success] {
        relay.submit_with(&sender, &[nobody(notify)], Facts::default(), TEXT);
    }
    relay.until("both tried", |_| envelope(&peer).len() == 4);
    relay.until_empty();
    assert_eq!(relay.counted(|counters| &counters.failed), 2);
    assert_eq!(relay.counted(|counters| &counters.dsns), 0);
    assert!(maildir(&folder.0.join("ann")).is_empty());
    relay.stop();
}

#[test]
fn the_report_names_what_the_sender_named() {
    let folder = Folder::new("names");
    let peer = Peer::start(|_, asked| refuses_nobody(asked));
    let relay = Relay::start(&folder.0, &to_peer_or_home(&folder, &peer));
    let sender = Sender {
        address: "ann@home.example",
        ret: Some(Ret::Full),
        envid: Some("QQ+2B1"),
    };
    let told = Addressee {
        notify: Some(Notify {
            failure: true,
            ..NEVER
        }),
        orcpt: Some("rfc822;No+2Bbody@one.test"),
        ..Addressee::from("nobody@one.test")
    };
    let untold = Addressee {
        notify: Some(NEVER),
        ..Addressee::from("nobody2@one.test")
    };
    relay.submit_with(&sender, &[told, untold], Facts::default(), TEXT);
    relay.until("tried", |_| envelope(&peer).len() == 3);
    relay.until_empty();
    let dsns = maildir(&folder.0.join("ann"));
    assert_eq!(dsns.len(), 1);
    for piece in [
        "\nReporting-MTA: dns; relay.example\nOriginal-Envelope-Id: QQ+1\n",
        "\n\nOriginal-Recipient: rfc822; No+body@one.test\nFinal-Recipient: rfc822; nobody@one.test\n",
    ] {
        assert!(dsns[0].contains(piece), "{piece}: {}", dsns[0]);
    }
    assert!(!dsns[0].contains("nobody2"));
    relay.stop();
}

/// An LMTP server at a Unix socket, for one message, without TLS; its RCPT.
fn boxes_behind(socket: &Path) -> JoinHandle<String> {
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(peer::PATIENCE)).unwrap();
        let (mut out, mut rcpt) = (stream.try_clone().unwrap(), String::new());
        out.write_all(b"220 boxes\r\n").unwrap();
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let reply = match line.split([' ', ':']).next() {
                Some("LHLO") => "250-boxes\r\n250 ENHANCEDSTATUSCODES\r\n",
                Some("DATA") => "354 go\r\n",
                Some("MAIL" | ".") => "250 2.0.0 ok\r\n",
                Some("RCPT") => {
                    rcpt = line;
                    "250 2.1.5 ok\r\n"
                }
                Some("QUIT") => "221 bye\r\n",
                _ => continue,
            };
            out.write_all(reply.as_bytes()).unwrap();
        }
        rcpt
    })
}

#[test]
fn requiretls_goes_to_no_next_hop_yet_and_into_a_mailbox() {
    let folder = Folder::new("requiretls");
    let peer = with_dsn();
    let mut setup = to_peer_or_home(&folder, &peer);
    let socket = folder.0.join("lmtp");
    let boxes = boxes_behind(&socket);
    let lmtp = format!("lmtp:{}", socket.display());
    setup.routes.push(("boxes.example".to_owned(), lmtp));
    let relay = Relay::start(&folder.0, &setup);
    let sender = Sender {
        address: "ann@home.example",
        ..Sender::default()
    };
    let facts = Facts {
        require_tls: true,
        ..Facts::default()
    };
    let to = ["bob@one.test", "eve@home.example", "joe@boxes.example"].map(Addressee::from);
    relay.submit_with(&sender, &to, facts, TEXT);
    relay.until("a report", |_| {
        relay.counted(|counters| &counters.dsns) == 1
    });
    relay.until_empty();
    assert_eq!(maildir(&folder.0.join("eve")).len(), 1);
    assert_eq!(relay.counted(|counters| &counters.dsns), 1, "bob's");
    assert_eq!(boxes.join().unwrap(), "RCPT TO:<joe@boxes.example>");
    assert_eq!(peer.connections(), 0, "no host is asked in vain");
    let dsns = maildir(&folder.0.join("ann"));
    assert_eq!(dsns.len(), 1);
    assert!(dsns[0].contains("\nStatus: 5.7.30\n"), "{}", dsns[0]);
    relay.stop();
}

#[test]
fn requiretls_of_a_session_is_kept_with_its_message() {
    let folder = support::Folder::new();
    let peer = with_dsn();
    let boxes = folder.join("mail");
    let domain = format!("home.example=maildir:{}/{{user}}", boxes.display());
    let next_hop = peer.address.to_string();
    let facteur = Facteur::start(
        folder.as_ref(),
        &["--relay", &next_hop, "--domain", &domain],
    );
    let script = format!(
        "import smtplib, ssl
s = smtplib.SMTP('127.0.0.1', {})
c = ssl._create_unverified_context()
s.starttls(context=c)
s.ehlo()
assert s.has_extn('requiretls')
s.sendmail('ann@home.example', 'bob@one.test', 'Subject: x\\n\\nhi\\n', ['REQUIRETLS'])
s.quit()",
        facteur.port
    );
    let done = Command::new("python3").args(["-c", &script]).status();
    assert!(done.expect("python3 is there").success());
    let dsn = support::until("a report", || maildir(&boxes.join("ann")).pop());
    assert!(dsn.contains("\nStatus: 5.7.30\n"), "{dsn}");
    assert_eq!(peer.connections(), 0);
    facteur.stop();
}
