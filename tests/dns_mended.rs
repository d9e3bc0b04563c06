//! A zone that is mended while mail waits for it: `facteur queue retry` and SIGHUP do not go by what DNS said before.

#[path = "support/dns_server.rs"]
mod dns_server;
mod support;

use dns_server::DnsServer;
use support::facteur::{Facteur, command_of};
use support::sink::Sink;
use support::smtp::Client;
use support::{Folder, numbered, succeed};

/// The mail host's address is missing; the SOA lets that be believed for 30 seconds.
const BROKEN: &str = "shop.test MX 10 mx.shop.test\nmx.shop.test -";
const MENDED: &str = "shop.test MX 10 mx.shop.test\nmx.shop.test A 127.0.0.1";

struct Lab {
    dns: DnsServer,
    sink: Sink,
    folder: Folder,
    facteur: Facteur,
}

impl Lab {
    fn new() -> Self {
        let (dns, sink, folder) = (DnsServer::start(BROKEN), Sink::start(), Folder::new());
        let (resolver, port) = (dns.address().to_string(), sink.port.to_string());
        let flags = ["--resolver", &resolver, "--smtp-port", &port];
        let flags = [&flags[..], &["--mx-loopback", "--spool", "spool"]].concat();
        let facteur = Facteur::start(folder.as_ref(), &flags);
        Self {
            dns,
            sink,
            folder,
            facteur,
        }
    }

    fn submit(&self, number: u64) {
        let mut client = Client::connect(self.facteur.port).expect("a session");
        client.say("EHLO client.test", "250").expect("EHLO");
        client
            .submit("a@client.test", "bob@shop.test", &numbered::message(number))
            .expect("taken");
    }
}

#[test]
fn a_retry_by_hand_asks_dns_again() {
    let lab = Lab::new();
    lab.submit(1);
    lab.facteur.wait_log(&["deferred", "mx.shop.test"]);
    lab.dns.set_zone(MENDED);
    let mut retry = command_of(lab.folder.as_ref(), &["queue", "retry", "--spool", "spool"]);
    assert_eq!(succeed(&mut retry), "1 deferred delivery due now\n");
    lab.sink.wait_taken(&[1]);
    lab.facteur.stop();
}

#[test]
fn sighup_lets_dns_be_asked_again() {
    let lab = Lab::new();
    lab.submit(1);
    lab.facteur.wait_log(&["deferred", "mx.shop.test"]);
    lab.dns.set_zone(MENDED);
    let asked = lab.dns.asked().len();
    lab.facteur.signal("HUP");
    // The last of what it does.
    lab.facteur.wait_log(&["inbound", "sessions="]);
    lab.submit(2);
    lab.sink.wait_taken(&[2]);
    assert!(lab.dns.asked().len() > asked);
    lab.facteur.stop();
}
