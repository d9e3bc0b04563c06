//! DNS look-ups against Debian's unbound, which looks up, follows and proves as resolvers in the field do, in zones of
//! our own (dns_zones). Nothing leaves this machine.

mod support;

use facteur::net::dns::{DnsError, Dnssec, Mx, Resolver};
use facteur::policy::idn;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Child;
use support::{Folder, free_port, program, until};

/// Runs until it is dropped.
struct Unbound {
    child: Child,
    address: SocketAddr,
    _folder: Folder,
}

/// The DS record of signed.test.
const ANCHOR: &str =
    "signed.test. DS 7440 13 2 74ef729ba4e8677a1f563d7c34ad0789ab001f4334e9cd6c4d91a7e3aa8aa9e9";

impl Unbound {
    fn start() -> Self {
        let folder = Folder::new();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let zones = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dns_zones");
        let mut text = format!(
            "server:\n directory: {zones:?}\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n use-syslog: no\n \
             do-daemonize: no\n interface: {}@{}\n module-config: \"validator iterator\"\n num-threads: 1\n \
             trust-anchor: {ANCHOR:?}\n local-zone: \"test.\" nodefault\nremote-control:\n control-enable: no\n",
            address.ip(),
            address.port()
        );
        for zone in ["facteur.test", "signed.test"] {
            text += &format!(
                "auth-zone:\n name: {zone:?}\n zonefile: \"{zone}.zone\"\n for-downstream: no\n for-upstream: yes\n"
            );
        }
        let config = folder.file("unbound.conf", &text);
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let child = program("unbound", "unbound")
            .arg("-c")
            .arg(&config)
            .stderr(log)
            .spawn()
            .expect("unbound starts");
        let unbound = Self {
            child,
            address,
            _folder: folder,
        };
        until("unbound answers", || {
            smol::block_on(unbound.resolver().mx("facteur.test")).ok()
        });
        unbound
    }

    fn resolver(&self) -> Resolver {
        Resolver::new(vec![self.address])
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One server for all: to start it takes longer than to ask it.
#[test]
fn a_real_resolver_is_understood() {
    let unbound = Unbound::start();
    let resolver = unbound.resolver();
    mail_hosts_and_their_absence(&resolver);
    aliases(&resolver);
    texts_and_keys(&resolver);
    proofs(&resolver);
}

fn mx(resolver: &Resolver, domain: &str) -> Result<Mx, DnsError> {
    smol::block_on(resolver.mx(domain))
}

fn addresses(resolver: &Resolver, host: &str) -> Result<Vec<String>, DnsError> {
    let found = smol::block_on(resolver.addresses(host))?;
    Ok(found.iter().map(IpAddr::to_string).collect())
}

fn mail_hosts_and_their_absence(resolver: &Resolver) {
    // Again from what is kept.
    for _ in 0..2 {
        let Ok(Mx::Hosts(mut hosts)) = mx(resolver, "mail.facteur.test") else {
            panic!("mail hosts")
        };
        assert_eq!(hosts[2], (20, "backup.facteur.test".into()));
        hosts.sort();
        assert_eq!(hosts[0], (10, "first.facteur.test".into()));
        assert_eq!(hosts[1], (10, "second.facteur.test".into()));
        assert_eq!(mx(resolver, "never.facteur.test"), Ok(Mx::NullMx));
        assert_eq!(mx(resolver, "bare.facteur.test"), Ok(Mx::NoRecords));
        assert_eq!(mx(resolver, "gone.facteur.test"), Ok(Mx::NoSuchName));
        let none = addresses(resolver, "never.facteur.test");
        assert_eq!(none, Err(DnsError::NoData));
        let gone = addresses(resolver, "gone.facteur.test");
        assert_eq!(gone, Err(DnsError::NoSuchName));
        let first = addresses(resolver, "first.facteur.test").unwrap();
        assert_eq!(first, ["2001:db8::1", "192.0.2.1"]);
    }
    let bookshop = idn::a_labels("Bücher.facteur.test").unwrap();
    let host = idn::a_labels("mö.facteur.test").unwrap().into_owned();
    assert_eq!(
        mx(resolver, &bookshop),
        Ok(Mx::Hosts(vec![(10, host.clone())]))
    );
    assert_eq!(addresses(resolver, &host).unwrap(), ["192.0.2.5"]);
    // Sixty of them do not fit into a datagram.
    let Ok(Mx::Hosts(many)) = mx(resolver, "many.facteur.test") else {
        panic!("mail hosts")
    };
    let best = "a-mail-host-with-a-long-name-00.of.facteur.test";
    assert_eq!(many[0], (0, best.into()));
    assert_eq!(many.len(), facteur::limits::DNS_MX_HOSTS);
}

fn aliases(resolver: &Resolver) {
    let Ok(Mx::Hosts(hosts)) = mx(resolver, "chain.facteur.test") else {
        panic!("mail hosts")
    };
    assert_eq!(hosts.len(), 3);
    assert_eq!(mx(resolver, "dangling.facteur.test"), Ok(Mx::NoSuchName));
    let circle = mx(resolver, "loop.facteur.test");
    assert!(matches!(circle, Err(DnsError::Temporary(_))), "{circle:?}");
}

fn texts_and_keys(resolver: &Resolver) {
    let txt = |name| smol::block_on(resolver.txt(name)).unwrap().records;
    let long = format!("{}{}c", "a".repeat(255), "b".repeat(255));
    assert_eq!(txt("long.facteur.test"), [long.into_bytes()]);
    assert_eq!(
        txt("_mta-sts.mail.facteur.test"),
        [b"v=STSv1; id=20261124;"]
    );
    let tlsa = smol::block_on(resolver.tlsa(25, "first.facteur.test")).unwrap();
    assert_eq!(tlsa.dnssec, Dnssec::NotValidated);
    let [record] = &tlsa.records[..] else {
        panic!("{tlsa:?}")
    };
    let numbers = (record.usage, record.selector, record.matching);
    assert_eq!(numbers, (3, 1, 1));
    assert_eq!(record.association.len(), 32);
    assert_eq!(record.association[..3], [0x01, 0x23, 0x45]);
    let none = smol::block_on(resolver.tlsa(25, "second.facteur.test"));
    assert_eq!(none, Err(DnsError::NoSuchName));
}

fn proofs(resolver: &Resolver) {
    let of_mx = smol::block_on(resolver.proved_mx("signed.test")).unwrap();
    assert_eq!(of_mx.dnssec, Dnssec::Validated);
    let of_host = smol::block_on(resolver.proved_addresses("mx.signed.test")).unwrap();
    assert_eq!(of_host.dnssec, Dnssec::Validated);
    let keys = smol::block_on(resolver.tlsa(25, "mx.signed.test")).unwrap();
    assert_eq!((keys.dnssec, keys.records.len()), (Dnssec::Validated, 1));
    // Out of the signed zone into one that is not.
    let alias = smol::block_on(resolver.proved_addresses("alias.signed.test")).unwrap();
    assert_eq!(alias.dnssec, Dnssec::NotValidated);
    let plain = smol::block_on(resolver.proved_mx("mail.facteur.test")).unwrap();
    assert_eq!(plain.dnssec, Dnssec::NotValidated);
    // What was changed after it was signed is neither proved nor plain.
    for forged in [
        smol::block_on(resolver.txt("bogus.signed.test")).map(|_| ()),
        mx(resolver, "bogus.signed.test").map(|_| ()),
    ] {
        let Err(DnsError::Temporary(why)) = &forged else {
            panic!("{forged:?}")
        };
        assert!(why.contains("SERVFAIL"), "{why}");
    }
}
