//! DNS look-ups against a server that answers, fails, stalls and lies.

#[path = "support/dns_server.rs"]
mod dns_server;

use dns_server::DnsServer;
use facteur::limits;
use facteur::net::dns::{DnsError, Dnssec, Mx, Patience, Resolver, Tlsa};
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Short, for servers that are meant to be waited for; any answer on loopback comes long before.
const PATIENCE: Patience = Patience {
    one_try: Duration::from_millis(400),
    look_up: Duration::from_secs(3),
};

fn asking(servers: &[&DnsServer]) -> Resolver {
    Resolver::new(servers.iter().map(|server| server.address()).collect()).with_patience(PATIENCE)
}

fn mx(resolver: &Resolver, domain: &str) -> Result<Mx, DnsError> {
    smol::block_on(resolver.mx(domain))
}

fn addresses(resolver: &Resolver, host: &str) -> Result<Vec<String>, DnsError> {
    let found = smol::block_on(resolver.addresses(host))?;
    Ok(found.iter().map(IpAddr::to_string).collect())
}

/// What a temporary failure says; anything else is a defect.
fn why<T: std::fmt::Debug>(outcome: Result<T, DnsError>) -> String {
    match outcome {
        Err(DnsError::Temporary(words)) => words,
        other => panic!("{other:?} is not temporary"),
    }
}

#[test]
fn mail_hosts_come_by_preference_and_at_random_within_one() {
    let server = DnsServer::start(
        "example.test MX 20 c.example.test
         example.test MX 10 a.example.test
         example.test MX 10 B.Example.test
         example.test MX 30 a.example.test",
    );
    let resolver = asking(&[&server]);
    let mut orders = HashSet::new();
    for _ in 0..64 {
        let Ok(Mx::Hosts(hosts)) = mx(&resolver, "Example.Test") else {
            panic!("mail hosts")
        };
        let names: Vec<_> = hosts.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(hosts[2], (20, "c.example.test".into()));
        assert_eq!(names.len(), 3, "a host twice is one host");
        orders.insert(names.join(" "));
    }
    let both = [
        "a.example.test b.example.test c.example.test",
        "b.example.test a.example.test c.example.test",
    ];
    assert_eq!(orders, both.map(String::from).into());
}

#[test]
fn no_mail_no_records_and_no_name_are_told_apart() {
    let server = DnsServer::start(
        "never.test MX 0 .
         both.test MX 0 .
         both.test MX 10 mx.both.test
         odd.test MX 10 mx\\032host.odd.test
         bare.test A 192.0.2.1
         alias.test CNAME gone.test",
    );
    let resolver = asking(&[&server]);
    assert_eq!(mx(&resolver, "never.test"), Ok(Mx::NullMx));
    assert_eq!(
        mx(&resolver, "both.test"),
        Ok(Mx::Hosts(vec![(10, "mx.both.test".into())]))
    );
    assert_eq!(mx(&resolver, "odd.test"), Ok(Mx::Hosts(vec![])));
    assert_eq!(mx(&resolver, "bare.test"), Ok(Mx::NoRecords));
    assert_eq!(mx(&resolver, "gone.test"), Ok(Mx::NoSuchName));
    assert_eq!(mx(&resolver, "alias.test"), Ok(Mx::NoSuchName));
    assert_eq!(addresses(&resolver, "gone.test"), Err(DnsError::NoSuchName));
    assert_eq!(addresses(&resolver, "never.test"), Err(DnsError::NoData));
}

#[test]
fn both_families_take_turns() {
    let server = DnsServer::start(
        "both.test A 192.0.2.1
         both.test A 192.0.2.2
         both.test A 192.0.2.3
         both.test AAAA 2001:db8::1
         four.test A 192.0.2.4
         six.test AAAA 2001:db8::6",
    );
    let resolver = asking(&[&server]);
    let mut both = addresses(&resolver, "both.test").unwrap();
    both[1..].sort_unstable();
    assert_eq!(both, ["2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    assert_eq!(addresses(&resolver, "four.test").unwrap(), ["192.0.2.4"]);
    assert_eq!(addresses(&resolver, "six.test").unwrap(), ["2001:db8::6"]);
}

#[test]
fn aliases_are_followed_within_an_answer_and_beyond() {
    let zone = "a.test CNAME b.test
         b.test CNAME c.test
         c.test A 192.0.2.3
         c.test MX 10 mx.test";
    for behaviour in ["", "\n* does no-chase"] {
        let server = DnsServer::start(&format!("{zone}{behaviour}"));
        let resolver = asking(&[&server]);
        assert_eq!(addresses(&resolver, "a.test").unwrap(), ["192.0.2.3"]);
        assert_eq!(
            mx(&resolver, "a.test"),
            Ok(Mx::Hosts(vec![(10, "mx.test".into())]))
        );
    }
}

#[test]
fn aliases_in_a_circle_or_without_end_are_temporary() {
    let mut zone =
        String::from("a.test CNAME b.test\nb.test CNAME a.test\nself.test CNAME self.test\n");
    for step in 0..=limits::DNS_ALIASES {
        zone += &format!("n{step}.test CNAME n{}.test\n", step + 1);
    }
    zone += &format!("n{}.test A 192.0.2.1\n", limits::DNS_ALIASES + 1);
    for behaviour in ["", "* does no-chase"] {
        let server = DnsServer::start(&format!("{zone}{behaviour}"));
        let resolver = asking(&[&server]);
        for host in ["a.test", "self.test", "n0.test"] {
            assert!(
                why(addresses(&resolver, host)).contains("CNAMEs loop"),
                "{host}"
            );
        }
        // One fewer is still right.
        assert_eq!(addresses(&resolver, "n1.test").unwrap(), ["192.0.2.1"]);
    }
}

#[test]
fn a_lie_that_comes_first_is_not_believed() {
    for lie in [
        "wrong-id",
        "wrong-question",
        "wrong-source",
        "out-of-order",
        "flood",
    ] {
        let server = DnsServer::start(&format!(
            "host.test A 192.0.2.1\nhost.test MX 10 mx.test\nhost.test does {lie}"
        ));
        let resolver = asking(&[&server]);
        assert_eq!(
            addresses(&resolver, "host.test").unwrap(),
            ["192.0.2.1"],
            "{lie}"
        );
        assert_eq!(
            mx(&resolver, "host.test"),
            Ok(Mx::Hosts(vec![(10, "mx.test".into())])),
            "{lie}"
        );
    }
}

#[test]
fn a_long_answer_comes_by_tcp_and_only_then() {
    let records = |count| -> String {
        (0..count)
            .map(|host| format!("many.test MX {host} mail-host-number-{host}.many.test\n"))
            .collect()
    };
    // Above the 512 octets of DNS without EDNS, below 1232; then above; then more than is read at all.
    for (count, tcp) in [(20, false), (100, true)] {
        let server = DnsServer::start(&records(count));
        let Ok(Mx::Hosts(hosts)) = mx(&asking(&[&server]), "many.test") else {
            panic!("mail hosts")
        };
        assert_eq!(hosts.len(), limits::DNS_MX_HOSTS);
        assert_eq!(hosts[0], (0, "mail-host-number-0.many.test".into()));
        let asked = server.asked();
        assert_eq!(
            asked.contains(&"MX many.test by TCP".to_owned()),
            tcp,
            "{asked:?}"
        );
    }
    let server = DnsServer::start(&records(1000));
    assert!(why(mx(&asking(&[&server]), "many.test")).contains("octets, above"));
}

#[test]
fn of_many_addresses_the_first_are_kept() {
    let zone: String = (1..=30)
        .map(|host| format!("many.test A 192.0.2.{host}\n"))
        .collect();
    let server = DnsServer::start(&zone);
    let found = addresses(&asking(&[&server]), "many.test").unwrap();
    assert_eq!(found.len(), limits::DNS_ADDRESSES);
    assert!(found.contains(&"192.0.2.1".to_owned()) && !found.contains(&"192.0.2.30".to_owned()));
}

#[test]
fn of_five_hundred_addresses_in_one_answer_some_are_kept() {
    let zone: String = (0..500)
        .map(|host| format!("many.test A 10.0.{}.{}\n", host / 250, host % 250))
        .collect();
    let server = DnsServer::start(&zone);
    let found = addresses(&asking(&[&server]), "many.test").unwrap();
    assert_eq!(found.len(), limits::DNS_ADDRESSES);
}

#[test]
fn who_floods_us_with_lies_is_asked_where_nobody_can_lie() {
    let server = DnsServer::start("host.test MX 10 mx.test\nhost.test does flood");
    assert_eq!(
        mx(&asking(&[&server]), "host.test"),
        Ok(Mx::Hosts(vec![(10, "mx.test".into())]))
    );
    assert_eq!(server.asked(), ["MX host.test", "MX host.test by TCP"]);
}

#[test]
fn the_strings_of_a_text_are_one_and_texts_are_several() {
    let (first, second) = ("a".repeat(255), "b".repeat(255));
    let server = DnsServer::start(&format!(
        "_mta-sts.a.test CNAME _mta-sts.b.test
         _mta-sts.b.test TXT v=STSv1; id=1;
         long.test TXT {first} {second} c
         long.test TXT other
         bare.test A 192.0.2.1"
    ));
    let resolver = asking(&[&server]);
    let txt = |name: &str| smol::block_on(resolver.txt(name)).map(|found| found.records);
    assert_eq!(txt("_mta-sts.a.test"), Ok(vec![b"v=STSv1;id=1;".to_vec()]));
    let long = format!("{first}{second}c").into_bytes();
    assert_eq!(txt("long.test"), Ok(vec![long, b"other".to_vec()]));
    assert_eq!(txt("bare.test"), Err(DnsError::NoData));
    assert_eq!(txt("gone.test"), Err(DnsError::NoSuchName));
}

#[test]
fn tlsa_records_come_whole_and_broken_ones_do_not_vanish() {
    let server = DnsServer::start(
        "_25._tcp.mx.test TLSA 3 1 1 0a0bff
         _25._tcp.odd.test TLSA 3
         _25._tcp.shut.test does servfail",
    );
    let resolver = asking(&[&server]);
    let tlsa = |host: &str| smol::block_on(resolver.tlsa(25, host)).map(|found| found.records);
    let record = Tlsa {
        usage: 3,
        selector: 1,
        matching: 1,
        association: vec![10, 11, 255],
    };
    assert_eq!(tlsa("MX.test"), Ok(vec![record]));
    assert_eq!(tlsa("odd.test").unwrap()[0].usage, 255);
    assert_eq!(tlsa("none.test"), Err(DnsError::NoSuchName));
    assert!(why(tlsa("shut.test")).contains("SERVFAIL"));
}

#[test]
fn an_answer_is_proved_only_if_each_part_of_it_is() {
    let server = DnsServer::start(
        "signed.test MX 10 mx.signed.test
         mx.signed.test A 192.0.2.1
         mx.signed.test AAAA 2001:db8::1
         half.test CNAME mx.signed.test
         plain.test MX 10 mx.signed.test
         signed.test does validated
         mx.signed.test A does validated
         * does no-chase",
    );
    let resolver = asking(&[&server]);
    let of_mx = |name| smol::block_on(resolver.proved_mx(name)).unwrap().dnssec;
    let of_host = |name| smol::block_on(resolver.proved_addresses(name)).unwrap();
    // Twice: what is kept is no other.
    for _ in 0..2 {
        assert_eq!(of_mx("signed.test"), Dnssec::Validated);
        assert_eq!(of_mx("plain.test"), Dnssec::NotValidated);
        assert_eq!(of_host("mx.signed.test").dnssec, Dnssec::NotValidated);
        assert_eq!(of_host("half.test").dnssec, Dnssec::NotValidated);
    }
    server.set_zone(
        "mx.signed.test A 192.0.2.1\nmx.signed.test AAAA 2001:db8::1\nmx.signed.test does validated",
    );
    resolver.forget();
    assert_eq!(of_host("mx.signed.test").dnssec, Dnssec::Validated);
}

const HOST: &str = "host.test A 192.0.2.1\nhost.test AAAA 2001:db8::1\n";

#[test]
fn a_server_of_no_use_is_passed_over() {
    let good = DnsServer::start(HOST);
    for deed in [
        "servfail",
        "refused",
        "silent",
        "garbage",
        "malformed",
        "lies",
        "referral",
        "tcp-truncate",
        "tcp-silent",
        "tcp-cut",
        "tcp-trickle",
        "pointer-loop",
        "claims",
    ] {
        let bad = DnsServer::start(&format!("{HOST}* does {deed}"));
        let resolver = asking(&[&bad, &good]);
        assert_eq!(
            addresses(&resolver, "host.test").unwrap(),
            ["2001:db8::1", "192.0.2.1"],
            "{deed}"
        );
        // From now on the good one is asked first.
        let asked = bad.asked().len();
        assert!(addresses(&resolver, "host.test").is_ok());
        assert_eq!(bad.asked().len(), asked, "{deed}");
    }
}

#[test]
fn nothing_but_servers_of_no_use_is_temporary_in_time() {
    std::thread::scope(|threads| {
        for (deed, words) in [
            ("servfail", "answers SERVFAIL"),
            ("refused", "answers REFUSED"),
            ("silent", "does not answer within"),
            ("garbage", "does not answer within"),
            ("lies", "does not answer within"),
            ("malformed", "gives a malformed answer"),
            ("referral", "sends us to other servers"),
            ("tcp-truncate", "cuts its answer by TCP too"),
            ("tcp-silent", "does not answer within"),
            ("tcp-cut", "ends its answer by TCP before it is whole"),
            ("tcp-trickle", "does not answer within"),
            ("pointer-loop", "gives a malformed answer"),
            ("claims", "gives a malformed answer"),
        ] {
            threads.spawn(move || no_use(deed, words));
        }
    });
}

fn no_use(deed: &str, words: &str) {
    let servers = [0, 1].map(|_| DnsServer::start(&format!("{HOST}* does {deed}")));
    let resolver = asking(&[&servers[0], &servers[1]]);
    let said = why(addresses(&resolver, "host.test"));
    assert!(said.contains(words), "{deed}: {said}");
    assert!(said.contains(&servers[1].address().to_string()), "{said}");
    for server in &servers {
        assert!(server.asked().len() >= 2 * limits::DNS_ROUNDS, "{deed}");
    }
}

#[test]
fn a_look_up_ends_at_its_deadline_whatever_the_number_of_servers() {
    let server = DnsServer::start("* does silent");
    let resolver = Resolver::new(vec![server.address(); 1000]).with_patience(Patience {
        one_try: Duration::from_millis(50),
        look_up: Duration::from_millis(300),
    });
    let start = Instant::now();
    why(mx(&resolver, "host.test"));
    assert!(start.elapsed() < Duration::from_secs(50), "not 100 s");
}

#[test]
fn a_port_without_a_server_costs_no_wait() {
    let closed: SocketAddr = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let server = DnsServer::start(HOST);
    let resolver = Resolver::new(vec![closed, server.address()]);
    // With the patience of a whole test, whoever waits does not come to an end.
    let resolver = resolver.with_patience(Patience {
        one_try: Duration::from_secs(3600),
        look_up: Duration::from_secs(3600),
    });
    assert!(addresses(&resolver, "host.test").is_ok());
    assert!(why(addresses(&Resolver::new(vec![closed]), "host.test")).contains("refused"));
    assert!(why(addresses(&Resolver::new(vec![]), "host.test")).contains("no DNS server"));
}

#[test]
fn a_server_without_edns_is_asked_without() {
    let server = DnsServer::start(&format!("{HOST}* does no-edns"));
    assert!(addresses(&asking(&[&server]), "host.test").is_ok());
}

#[test]
fn one_family_that_fails_does_not_hide_the_other_nor_prove_anything() {
    // Of AAAA this server knows nothing but failure.
    let server =
        DnsServer::start("four.test A 192.0.2.4\nnone.test MX 10 mx.test\n* AAAA does servfail");
    let resolver = asking(&[&server]);
    assert_eq!(addresses(&resolver, "four.test").unwrap(), ["192.0.2.4"]);
    assert!(why(addresses(&resolver, "none.test")).contains("SERVFAIL"));
}

#[test]
fn an_illegal_name_is_not_asked_about() {
    let server = DnsServer::start(HOST);
    let resolver = asking(&[&server]);
    for name in [
        "",
        ".",
        "a..test",
        "a b.test",
        "ü.test",
        "a\0.test",
        &"a".repeat(64),
        &"a.".repeat(200),
    ] {
        assert_eq!(mx(&resolver, name), Err(DnsError::IllegalName), "{name:?}");
        assert_eq!(
            addresses(&resolver, name),
            Err(DnsError::IllegalName),
            "{name:?}"
        );
    }
    assert_eq!(server.asked(), [""; 0]);
}

#[test]
fn localhost_is_this_machine_without_being_asked_about() {
    let server = DnsServer::start("localhost A 192.0.2.66\nlocalhost MX 10 evil.test");
    let resolver = asking(&[&server]);
    assert_eq!(
        addresses(&resolver, "LocalHost.").unwrap(),
        ["127.0.0.1", "::1"]
    );
    assert_eq!(mx(&resolver, "box.localhost"), Ok(Mx::NoRecords));
    assert_eq!(server.asked(), [""; 0]);
}

#[test]
fn a_changed_resolv_conf_is_noticed_when_no_server_answers() {
    let file = std::env::temp_dir().join(format!("facteur-resolv-{}", std::process::id()));
    // Addresses behind interfaces that no machine has cannot be asked.
    std::fs::write(&file, "nameserver fe80::1%999998\n").unwrap();
    let resolver = Resolver::of_file(&file).with_patience(PATIENCE);
    std::fs::write(&file, "nameserver fe80::1%999999\n").unwrap();
    let shown = || resolver.servers()[0].to_string();
    assert_eq!(shown(), "[fe80::1%999998]:53");
    let said = why(mx(&resolver, "host.test"));
    std::fs::remove_file(&file).unwrap();
    assert!(said.contains("fe80::1%999999"), "{said}");
    assert_eq!(shown(), "[fe80::1%999999]:53");
}
