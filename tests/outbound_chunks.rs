//! What the sending side does with hosts that offer CHUNKING, on a real spool.

#[path = "support/dns_server.rs"]
mod dns_server;
#[path = "support/peer.rs"]
mod peer;
#[path = "support/relay.rs"]
mod relay;

use dns_server::DnsServer;
use peer::{Answer, Event, Peer};
use relay::{Folder, Relay, Setup};

const TEXT: &str = "Subject: hello\r\n\r\nOne line.\r\n.A dot.\r\n.\r\n";
const OFFER: &str = "250-peer.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 CHUNKING";

/// A host that offers CHUNKING and does as the script says.
fn host(script: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static) -> Peer {
    Peer::start(move |_, asked| match asked.starts_with("EHLO") {
        true => Some(Answer::Say(OFFER)),
        false => script(asked),
    })
}

fn start(folder: &Folder, peer: &Peer) -> Relay {
    let setup = Setup {
        retry: "1s..1s",
        ..Setup::to(&[("*", format!("smtp:{}", peer.address))])
    };
    Relay::start(&folder.0, &setup)
}

/// How often the host got commands that begin so.
fn heard(peer: &Peer, verb: &str) -> usize {
    let is = |event: &&Event| matches!(event, Event::Command(_, line) if line.starts_with(verb));
    peer.seen().iter().filter(is).count()
}

#[test]
fn messages_go_out_octet_for_octet_by_bdat() {
    let folder = Folder::new("chunks");
    let peer = host(|_| None);
    let relay = start(&folder, &peer);
    for n in 1..=3 {
        relay.submit("ann@example.org", &["bob@one.test"], TEXT);
        let message = peer.messages(n).remove(n - 1);
        assert_eq!(
            message.data,
            format!("Received: by relay.example\r\n{TEXT}")
        );
    }
    relay.until_empty();
    let large = format!("Subject: large\r\n\r\n{}", "One line.\r\n".repeat(4000));
    relay.submit("ann@example.org", &["bob@one.test"], &large);
    peer.messages(4);
    relay.until_empty();
    assert_eq!((heard(&peer, "BDAT"), heard(&peer, "DATA")), (3, 1));
    relay.stop();
}

#[test]
fn what_a_host_refuses_as_a_command_goes_by_data_at_once() {
    let folder = Folder::new("no-chunks");
    let peer = host(|asked| {
        let refused = asked.starts_with("BDAT");
        refused.then_some(Answer::SayAndClose("502 5.5.1 not here"))
    });
    let relay = start(&folder, &peer);
    relay.submit("ann@example.org", &["bob@one.test"], TEXT);
    peer.wait(|events| {
        let data = |event: &Event| matches!(event, Event::Command(_, line) if line == "DATA");
        events.iter().any(data).then_some(())
    });
    relay.until_empty();
    relay.submit("ann@example.org", &["bob@one.test"], TEXT);
    peer.messages(2);
    relay.until_empty();
    assert_eq!(relay.counted(|counters| &counters.delivered), 2);
    assert_eq!(relay.counted(|counters| &counters.failed), 0);
    assert_eq!(relay.counted(|counters| &counters.deferred), 0);
    assert_eq!(heard(&peer, "BDAT"), 1);
    relay.stop();
}

#[test]
fn a_kept_connection_that_the_host_closed_costs_no_delay() {
    let folder = Folder::new("closed-chunks");
    let peer = host(|asked| {
        let chunk = asked.starts_with("BDAT");
        chunk.then_some(Answer::SayAndClose("250 2.0.0 taken"))
    });
    let relay = start(&folder, &peer);
    for n in 1..=5 {
        relay.submit("ann@example.org", &["bob@one.test"], TEXT);
        peer.messages(n);
        peer.wait(|events| events.contains(&Event::Closed(n - 1)).then_some(()));
    }
    relay.until_empty();
    assert_eq!(relay.counted(|counters| &counters.deferred), 0);
    relay.stop();
}

#[test]
fn a_message_put_off_on_a_kept_connection_goes_to_the_next_host() {
    let folder = Folder::new("next-chunks");
    let peer = host(|asked| match asked.split([' ', ':']).next() {
        Some("MAIL") if asked.contains("grey") => Some(Answer::Say("451 4.7.1 later")),
        Some("RCPT" | "BDAT") if asked.contains("eve") => Some(Answer::Say("503 5.5.1 no MAIL")),
        _ => None,
    });
    let mut second = peer.address;
    second.set_ip("127.0.0.2".parse().unwrap());
    let backup = Peer::start_at(second, |_, _| None);
    let dns = DnsServer::start(
        "one.test MX 10 a.one.test\none.test MX 20 b.one.test\na.one.test A 127.0.0.1\nb.one.test A 127.0.0.2\n",
    );
    let setup = Setup {
        resolver: Some(dns.address()),
        smtp_port: peer.address.port(),
        ..Setup::to(&[])
    };
    let relay = Relay::start(&folder.0, &setup);
    relay.submit("ann@example.org", &["bob@one.test"], TEXT);
    peer.messages(1);
    relay.until_empty();
    relay.submit("grey@example.org", &["eve@one.test"], TEXT);
    assert_eq!(backup.messages(1)[0].from, "<grey@example.org>");
    relay.until_empty();
    assert_eq!(heard(&peer, "MAIL FROM:<grey"), 1);
    relay.stop();
}
