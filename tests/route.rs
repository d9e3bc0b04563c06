//! Which hosts mail goes to, against a scripted DNS server (RFC 5321 5.1; CONFORMANCE: "RFC 5321, sending").

#[path = "support/dns_server.rs"]
mod dns_server;
#[path = "support/routes.rs"]
mod routes;

use dns_server::DnsServer;
use facteur::net::source::Family;
use facteur::outbound::route::{Hop, Hops};
use facteur::policy::target::Target;
use routes::{fails, goes_to, router, waits, walk};

const ZONE: &str = "
    # Plain cases.
    one.test       MX 10 a.one.test
    one.test       MX 20 b.one.test
    a.one.test     A 192.0.2.11
    a.one.test     AAAA 2001:db8::11
    b.one.test     A 192.0.2.12
    bare.test      A 192.0.2.13
    null.test      MX 0 .
    nothing.test   -
    down.test      does servfail
    illegal.test   MX 10 a\\032b.test

    # bücher.test and ü.test.
    xn--bcher-kva.test  MX 10 b.one.test
    xn--tda.test   A 192.0.2.15

    # Hosts that cannot be found.
    holes.test     MX 10 gone.test
    holes.test     MX 20 down.test
    holes.test     MX 30 nothing.test
    half.test      MX 10 gone.test
    half.test      MX 20 b.one.test

    # Ways back to us: relay.test listens on 192.0.2.77:25.
    relay.test     A 192.0.2.77
    backup.test    MX 10 a.one.test
    backup.test    MX 20 Relay.test
    backup.test    MX 20 peer.test
    backup.test    MX 30 b.one.test
    first.test     MX 10 relay.test
    first.test     MX 20 b.one.test
    other-name.test  MX 10 a.one.test
    other-name.test  MX 20 us.test
    other-name.test  MX 30 b.one.test
    us.test        A 192.0.2.78
    us.test        A 192.0.2.77
    only-us.test   MX 10 us.test
    unsure.test    MX 10 down.test
    unsure.test    MX 20 us.test

    # Loopback.
    loop.test      MX 10 loop4.test
    loop.test      MX 20 loop6.test
    loop.test      MX 25 mapped.test
    loop.test      MX 30 any.test
    loop4.test     A 127.0.0.53
    loop6.test     AAAA ::1
    mapped.test    AAAA ::ffff:127.0.0.1
    any.test       A 0.0.0.0
    mixed.test     A 127.0.0.1
    mixed.test     A 192.0.2.14
    partly.test    MX 10 loop4.test
    partly.test    MX 20 b.one.test
    bare-loop.test A 127.0.0.1
";

#[test]
fn mail_hosts_come_in_order_with_their_addresses() {
    let server = DnsServer::start(ZONE);
    let router = router(&server);
    goes_to(
        walk(&router, "mx", "one.test"),
        &[
            "a.one.test [2001:db8::11]:25 192.0.2.11:25",
            "b.one.test 192.0.2.12:25",
        ],
    );
    goes_to(
        walk(&router, "mx", "Bare.Test"),
        &["bare.test 192.0.2.13:25"],
    );
}

#[test]
fn of_a_host_only_addresses_of_the_family_are_dialled() {
    let server = DnsServer::start(ZONE);
    let mut router = router(&server);
    router.family = Family::V4;
    let four = ["a.one.test 192.0.2.11:25", "b.one.test 192.0.2.12:25"];
    goes_to(walk(&router, "mx", "one.test"), &four);
    router.family = Family::V6;
    goes_to(
        walk(&router, "mx", "one.test"),
        &["a.one.test [2001:db8::11]:25"],
    );
    let bare = walk(&router, "mx", "bare.test");
    waits(
        bare,
        "4.4.4",
        "bare.test has no address of --outbound-family 6",
    );
    let named = walk(&router, "smtp:192.0.2.1", "any.test");
    goes_to(named, &["192.0.2.1 192.0.2.1:25"]);
}

#[test]
fn a_host_is_looked_up_when_its_turn_comes() {
    let server = DnsServer::start(ZONE);
    let router = router(&server);
    smol::block_on(async {
        let mut hops = router.hops(&Target::Mx, "one.test").await.unwrap();
        assert_eq!(server.asked(), ["MX one.test"]);
        let first = hops.next().await.unwrap().unwrap();
        assert_eq!(first.name, "a.one.test");
        assert!(
            !server
                .asked()
                .iter()
                .any(|line| line.contains("b.one.test"))
        );
        hops.next().await.unwrap().unwrap();
        assert!(server.asked().contains(&"A b.one.test".to_owned()));
        assert_eq!(hops.next().await, Ok(None));
        assert_eq!(hops.next().await, Ok(None));
    });
}

#[test]
fn a_domain_beyond_ascii_is_looked_up_by_its_a_labels() {
    let server = DnsServer::start(ZONE);
    let router = router(&server);
    for domain in ["b\u{fc}cher.test", "BU\u{308}CHER.Test"] {
        goes_to(walk(&router, "mx", domain), &["b.one.test 192.0.2.12:25"]);
    }
    goes_to(
        walk(&router, "mx", "\u{fc}.test"),
        &["xn--tda.test 192.0.2.15:25"],
    );
}

#[test]
fn a_domain_that_takes_no_mail_fails_at_once() {
    let server = DnsServer::start(ZONE);
    let router = router(&server);
    fails(
        walk(&router, "mx", "gone.test"),
        "5.1.2",
        "gone.test does not exist",
    );
    fails(
        walk(&router, "mx", "null.test"),
        "5.1.10",
        "null.test takes no mail",
    );
    fails(
        walk(&router, "mx", "nothing.test"),
        "5.1.2",
        "neither a mail host nor an address",
    );
    fails(walk(&router, "mx", "a..test"), "5.1.2", "is no domain");
    fails(walk(&router, "mx", ""), "5.1.2", "is no domain");
    // Nothing of IDNA's: the reading direction would turn.
    fails(
        walk(&router, "mx", "a\u{202e}b.test"),
        "5.1.2",
        "is no domain",
    );
    assert!(
        !server
            .asked()
            .iter()
            .any(|question| question.contains("b.test"))
    );
}

#[test]
fn what_dns_cannot_tell_now_is_waited_for() {
    let server = DnsServer::start(ZONE);
    let router = router(&server);
    waits(walk(&router, "mx", "down.test"), "4.4.3", "SERVFAIL");
    waits(
        walk(&router, "mx", "illegal.test"),
        "4.4.4",
        "no legal host",
    );
    waits(walk(&router, "mx", "holes.test"), "4.4.4", "gone.test");
    goes_to(
        walk(&router, "mx", "half.test"),
        &["b.one.test 192.0.2.12:25"],
    );
}

#[test]
fn a_flag_s_target_is_waited_for_and_never_fails_for_dns() {
    let server = DnsServer::start(ZONE);
    let router = router(&server);
    for target in [
        "smtp:gone.test",
        "smtp:[gone.test]",
        "smtp:null.test",
        "smtp:[nothing.test]",
        "smtp:[one.test]",
        "smtps:nothing.test",
    ] {
        waits(walk(&router, target, "one.test"), "4.4.4", "next hop");
    }
    waits(
        walk(&router, "smtp:down.test", "one.test"),
        "4.4.3",
        "SERVFAIL",
    );
    waits(
        walk(&router, "smtp:[down.test]", "one.test"),
        "4.4.3",
        "SERVFAIL",
    );
    waits(
        walk(&router, "maildir:/tmp/x", "one.test"),
        "4.3.5",
        "not a host",
    );
}

#[test]
fn a_flag_s_target_has_its_port_and_its_transport() {
    let server = DnsServer::start(ZONE);
    let mut router = router(&server);
    router.smtp_port = 2600;
    for (target, hops) in [
        ("smtp:192.0.2.1", "192.0.2.1 192.0.2.1:25"),
        ("smtp:[2001:db8::1]:26", "2001:db8::1 [2001:db8::1]:26"),
        ("smtps:192.0.2.1", "192.0.2.1 192.0.2.1:465 tls"),
        ("smtp:[bare.test]", "bare.test 192.0.2.13:25"),
        ("smtps:[bare.test]", "bare.test 192.0.2.13:465 tls"),
        // Found by MX, so at --smtp-port unless the flag has one.
        ("smtp:partly.test", "b.one.test 192.0.2.12:2600"),
        ("smtp:partly.test:26", "b.one.test 192.0.2.12:26"),
        ("smtps:partly.test", "b.one.test 192.0.2.12:465 tls"),
        ("smtp:bare.test", "bare.test 192.0.2.13:2600"),
    ] {
        goes_to(walk(&router, target, "x.test"), &[hops]);
    }
    goes_to(
        walk(&router, "mx", "bare.test"),
        &["bare.test 192.0.2.13:2600"],
    );
}

#[test]
fn the_own_name_cuts_the_list_at_its_preference() {
    let server = DnsServer::start(ZONE);
    let router = router(&server);
    goes_to(
        walk(&router, "mx", "backup.test"),
        &["a.one.test [2001:db8::11]:25 192.0.2.11:25"],
    );
    goes_to(
        walk(&router, "smtp:backup.test", "x.test"),
        &["a.one.test [2001:db8::11]:25 192.0.2.11:25"],
    );
    fails(
        walk(&router, "mx", "first.test"),
        "5.4.6",
        "would come back",
    );
    fails(
        walk(&router, "mx", "RELAY.test"),
        "5.4.6",
        "would come back",
    );
    assert!(
        !server
            .asked()
            .iter()
            .any(|line| line.starts_with("A relay.test"))
    );
}

#[test]
fn the_own_address_under_another_name_cuts_it_too() {
    let server = DnsServer::start(ZONE);
    let mut router = router(&server);
    goes_to(
        walk(&router, "mx", "other-name.test"),
        &["a.one.test [2001:db8::11]:25 192.0.2.11:25"],
    );
    fails(
        walk(&router, "mx", "only-us.test"),
        "5.4.6",
        "would come back",
    );
    fails(walk(&router, "mx", "us.test"), "5.4.6", "would come back");
    fails(
        walk(&router, "mx", "[192.0.2.77]"),
        "5.4.6",
        "would come back",
    );
    waits(
        walk(&router, "smtp:192.0.2.77", "x.test"),
        "4.4.6",
        "would come back",
    );
    waits(
        walk(&router, "smtp:[us.test]", "x.test"),
        "4.4.6",
        "would come back",
    );
    // A flag's MX list that leads home: a slip of the owner's, whether by name or by address.
    for target in ["smtp:first.test", "smtp:only-us.test"] {
        waits(walk(&router, target, "x.test"), "4.4.6", "would come back");
    }
    // The preferred host may be another than us, once DNS knows it again.
    waits(walk(&router, "mx", "unsure.test"), "4.4.3", "down.test");
    // Another port is another server.
    goes_to(
        walk(&router, "smtp:192.0.2.77:26", "x.test"),
        &["192.0.2.77 192.0.2.77:26"],
    );
    router.smtp_port = 26;
    let hops = walk(&router, "mx", "us.test").unwrap();
    assert!(hops[0].contains("192.0.2.78:26") && hops[0].contains("192.0.2.77:26"));
}

#[test]
fn dns_does_not_send_mail_to_loopback() {
    let server = DnsServer::start(ZONE);
    let router = router(&server);
    for domain in [
        "loop.test",
        "bare-loop.test",
        "localhost",
        "[127.0.0.9]",
        "[IPv6:::1]",
        "[IPv6:::ffff:127.0.0.1]",
        "[0.0.0.0]",
    ] {
        fails(walk(&router, "mx", domain), "5.4.6", "loopback");
    }
    goes_to(
        walk(&router, "mx", "mixed.test"),
        &["mixed.test 192.0.2.14:25"],
    );
    goes_to(
        walk(&router, "mx", "partly.test"),
        &["b.one.test 192.0.2.12:25"],
    );
    // Nor by the MX records of a name that a flag gives.
    waits(
        walk(&router, "smtp:loop.test", "x.test"),
        "4.4.6",
        "loopback",
    );
}

#[test]
fn with_mx_loopback_it_does() {
    let server = DnsServer::start(ZONE);
    let mut router = router(&server);
    router.mx_loopback = true;
    goes_to(
        walk(&router, "mx", "loop.test"),
        &[
            "loop4.test 127.0.0.53:25",
            "loop6.test [::1]:25",
            "mapped.test 127.0.0.1:25",
            "any.test 127.0.0.1:25",
        ],
    );
    // Our own listener is on this port.
    router.smtp_port = 2525;
    goes_to(
        walk(&router, "mx", "loop4.test"),
        &["loop4.test 127.0.0.53:2525"],
    );
    fails(
        walk(&router, "mx", "bare-loop.test"),
        "5.4.6",
        "would come back",
    );
    fails(walk(&router, "mx", "any.test"), "5.4.6", "would come back");
}

#[test]
fn flags_may_name_loopback_but_not_our_listener() {
    let server = DnsServer::start(ZONE);
    let router = router(&server);
    for (target, hop) in [
        ("smtp:127.0.0.1:2526", "127.0.0.1 127.0.0.1:2526"),
        ("smtp:[bare-loop.test]:26", "bare-loop.test 127.0.0.1:26"),
        ("smtp:bare-loop.test:26", "bare-loop.test 127.0.0.1:26"),
        ("smtp:localhost:26", "localhost 127.0.0.1:26 [::1]:26"),
    ] {
        goes_to(walk(&router, target, "one.test"), &[hop]);
    }
    waits(
        walk(&router, "smtp:127.0.0.1:2525", "one.test"),
        "4.4.6",
        "would come back",
    );
    waits(
        walk(&router, "smtp:[localhost]:2525", "one.test"),
        "4.4.6",
        "would come back",
    );
}

#[test]
fn address_literals_are_dialled_as_they_are() {
    let server = DnsServer::start(ZONE);
    let router = router(&server);
    goes_to(
        walk(&router, "mx", "[192.0.2.1]"),
        &["192.0.2.1 192.0.2.1:25"],
    );
    goes_to(
        walk(&router, "mx", "[ipv6:2001:db8::1]"),
        &["2001:db8::1 [2001:db8::1]:25"],
    );
    for literal in [
        "[]",
        "[192.0.2.1",
        "[192.0.2]",
        "[2001:db8::1]",
        "[IPv6:192.0.2.1]",
        "[X400:x]",
        "[é]",
    ] {
        fails(walk(&router, "mx", literal), "5.1.2", "is no address");
    }
    assert_eq!(server.asked(), [""; 0]);
}

#[test]
fn a_fixed_list_is_given_as_it_is() {
    let hop = |name: &str| Hop {
        name: name.into(),
        addresses: vec!["192.0.2.1:25".parse().unwrap()],
        implicit_tls: true,
    };
    smol::block_on(async {
        let mut hops = Hops::fixed(vec![hop("a.test"), hop("b.test")]);
        assert_eq!(hops.next().await, Ok(Some(hop("a.test"))));
        assert_eq!(hops.next().await, Ok(Some(hop("b.test"))));
        assert_eq!(hops.next().await, Ok(None));
    });
}
