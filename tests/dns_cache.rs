//! Answers that are kept: for how long, and when they are asked for again. The clock is the test's own.

#[path = "support/dns_server.rs"]
mod dns_server;

use dns_server::DnsServer;
use facteur::limits;
use facteur::net::dns::{Clock, DnsError, Mx, Patience, Resolver};
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Patience = Patience {
    one_try: Duration::from_millis(400),
    look_up: Duration::from_secs(3),
};

/// A resolver and the seconds that its clock shows.
struct Aging {
    resolver: Resolver,
    seconds: Arc<AtomicU64>,
}

impl Aging {
    fn of(resolver: Resolver) -> Self {
        let (start, seconds) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let shown = Arc::clone(&seconds);
        let now = move || start + Duration::from_secs(shown.load(Ordering::SeqCst));
        let resolver = resolver
            .with_patience(PATIENCE)
            .with_clock(Clock(Arc::new(now)));
        Self { resolver, seconds }
    }

    fn asking(server: &DnsServer) -> Self {
        Self::of(Resolver::new(vec![server.address()]))
    }

    fn at(&self, seconds: u64) -> &Self {
        self.seconds.store(seconds, Ordering::SeqCst);
        self
    }

    fn mx(&self, domain: &str) -> Result<Mx, DnsError> {
        smol::block_on(self.resolver.mx(domain))
    }

    fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        smol::block_on(self.resolver.addresses(host))
    }
}

fn host(name: &str) -> Result<Mx, DnsError> {
    Ok(Mx::Hosts(vec![(10, name.into())]))
}

/// A cache that gave one order for an hour would send all mail to one of them.
#[test]
fn each_of_a_host_s_addresses_is_the_first_now_and_then() {
    let server = DnsServer::start("h.test A 192.0.2.1\nh.test A 192.0.2.2\nh.test A 192.0.2.3");
    let aging = Aging::asking(&server);
    let firsts: HashSet<IpAddr> = (0..200)
        .map(|_| aging.addresses("h.test").unwrap()[0])
        .collect();
    assert_eq!(firsts.len(), 3);
}

#[test]
fn a_corrected_zone_waits_for_its_ttl_and_no_longer() {
    let server = DnsServer::start("a.test MX 10 old.test");
    let aging = Aging::asking(&server);
    assert_eq!(aging.mx("a.test"), host("old.test"));
    server.set_zone("a.test MX 10 new.test");
    assert_eq!(aging.at(59).mx("A.test."), host("old.test"));
    assert_eq!(server.asked(), ["MX a.test"]);
    assert_eq!(aging.at(60).mx("a.test"), host("new.test"));
}

#[test]
fn no_such_name_and_no_such_record_last_as_long_as_the_soa_says() {
    let server = DnsServer::start("bare.test A 192.0.2.1");
    let aging = Aging::asking(&server);
    let nothing = || (aging.mx("gone.test"), aging.mx("bare.test"));
    let none = (Ok(Mx::NoSuchName), Ok(Mx::NoRecords));
    assert_eq!(nothing(), none);
    server.set_zone("gone.test MX 10 mx.test\nbare.test MX 10 mx.test");
    aging.at(29);
    assert_eq!(nothing(), none);
    assert_eq!(server.asked().len(), 2);
    aging.at(30);
    assert_eq!(nothing(), (host("mx.test"), host("mx.test")));
}

#[test]
fn without_an_soa_nothing_negative_is_kept() {
    let server = DnsServer::start("* does no-soa");
    let aging = Aging::asking(&server);
    assert_eq!(aging.mx("gone.test"), Ok(Mx::NoSuchName));
    server.set_zone("gone.test MX 10 mx.test");
    assert_eq!(aging.mx("gone.test"), host("mx.test"));
}

#[test]
fn failures_are_not_kept() {
    for deed in ["servfail", "refused", "malformed", "silent"] {
        let server = DnsServer::start(&format!("* does {deed}"));
        let aging = Aging::asking(&server);
        assert!(
            matches!(aging.mx("a.test"), Err(DnsError::Temporary(_))),
            "{deed}"
        );
        server.set_zone("a.test MX 10 mx.test");
        assert_eq!(aging.mx("a.test"), host("mx.test"), "{deed}");
    }
}

#[test]
fn aliases_end_with_the_shortest_of_their_ttls() {
    let server =
        DnsServer::start("a.test CNAME b.test\nb.test A 192.0.2.1\nc.test CNAME gone.test");
    let aging = Aging::asking(&server);
    let first = aging.addresses("a.test");
    assert!(first.is_ok());
    assert_eq!(aging.mx("c.test"), Ok(Mx::NoSuchName));
    let asked = server.asked().len();
    assert_eq!(aging.at(29).addresses("a.test"), first);
    assert_eq!(aging.mx("c.test"), Ok(Mx::NoSuchName));
    assert_eq!(server.asked().len(), asked);
    // The name behind the alias is gone for 30 seconds only.
    server.set_zone("c.test CNAME gone.test\ngone.test MX 10 mx.test");
    assert_eq!(aging.at(30).mx("c.test"), host("mx.test"));
}

#[test]
fn forgetting_asks_again_at_once() {
    let server = DnsServer::start("a.test MX 10 old.test");
    let aging = Aging::asking(&server);
    assert_eq!(aging.mx("b.test"), Ok(Mx::NoSuchName));
    assert_eq!(aging.mx("a.test"), host("old.test"));
    server.set_zone("a.test MX 10 new.test\nb.test MX 10 mx.test");
    aging.resolver.forget();
    assert_eq!(aging.mx("a.test"), host("new.test"));
    assert_eq!(aging.mx("b.test"), host("mx.test"));
}

#[test]
fn renewing_reads_resolv_conf_and_asks_again() {
    let file = std::env::temp_dir().join(format!("facteur-renew-{}", std::process::id()));
    std::fs::write(&file, "nameserver fe80::1%999998\n").unwrap();
    let resolver = Resolver::of_file(&file);
    std::fs::write(&file, "nameserver fe80::1%999999\n").unwrap();
    resolver.renew();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(resolver.servers()[0].to_string(), "[fe80::1%999999]:53");
}

#[test]
fn a_stampede_asks_once() {
    let server = DnsServer::start("a.test A 192.0.2.1\nbad.test does silent");
    let aging = Aging::asking(&server);
    let stampede = |name: &'static str| {
        let executor = smol::LocalExecutor::new();
        let all: Vec<_> = (0..100)
            .map(|_| executor.spawn(aging.resolver.addresses(name)))
            .collect();
        smol::block_on(executor.run(async {
            let mut found = Vec::new();
            for one in all {
                found.push(one.await);
            }
            found
        }))
    };
    for found in stampede("a.test") {
        assert_eq!(found.unwrap(), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    }
    let mut asked = server.asked();
    asked.sort();
    assert_eq!(asked, ["A a.test", "AAAA a.test"]);
    // Who waits for a failure has it too, instead of waiting for one of its own.
    for found in stampede("bad.test") {
        assert!(matches!(found, Err(DnsError::Temporary(_))), "{found:?}");
    }
    assert_eq!(server.asked().len(), 2 + 2 * limits::DNS_ROUNDS);
}

#[test]
fn who_asks_and_is_cut_off_leaves_nobody_waiting() {
    let server = DnsServer::start("a.test MX 10 mx.test\na.test does silent");
    let aging = Aging::asking(&server);
    smol::block_on(async {
        let mut first = Box::pin(aging.resolver.mx("a.test"));
        assert!(smol::future::poll_once(&mut first).await.is_none());
        let mut second = Box::pin(aging.resolver.mx("a.test"));
        assert!(smol::future::poll_once(&mut second).await.is_none());
        server.set_zone("a.test MX 10 mx.test");
        drop(first);
        assert_eq!(second.await, host("mx.test"));
    });
}

#[test]
fn a_giant_answer_is_given_and_not_kept() {
    let text = vec!["x".repeat(250); 40].join(" ");
    let server = DnsServer::start(&format!("big.test TXT {text}"));
    let aging = Aging::asking(&server);
    for asked in [2, 4] {
        let found = smol::block_on(aging.resolver.txt("big.test")).unwrap();
        assert_eq!(found.records[0].len(), 10_000);
        assert_eq!(server.asked().len(), asked, "{:?}", server.asked());
    }
}
