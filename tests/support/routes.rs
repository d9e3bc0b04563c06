//! A router that asks a scripted DNS server, and what its ways come to, as text.

use crate::dns_server::DnsServer;
use facteur::net::dns::Resolver;
use facteur::outbound::route::{Hop, RouteError, Router};
use facteur::policy::target::Target;

pub fn router(server: &DnsServer) -> Router {
    Router {
        resolver: Resolver::new(vec![server.address()]),
        smtp_port: 25,
        mx_loopback: false,
        family: Default::default(),
        own_name: "relay.test".into(),
        own_addresses: vec![
            "192.0.2.77:25".parse().unwrap(),
            "127.0.0.1:2525".parse().unwrap(),
        ],
    }
}

/// Every hop, as `NAME ADDRESS...`; or the error.
pub fn walk(router: &Router, target: &str, domain: &str) -> Result<Vec<String>, RouteError> {
    let target = match target {
        "mx" => Target::Mx,
        other => other.parse().unwrap(),
    };
    smol::block_on(async {
        let mut hops = router.hops(&target, domain).await?;
        let mut all = Vec::new();
        while let Some(hop) = hops.next().await? {
            all.push(shown(&hop));
        }
        Ok(all)
    })
}

fn shown(hop: &Hop) -> String {
    let tls = if hop.implicit_tls { " tls" } else { "" };
    let addresses: Vec<_> = hop.addresses.iter().map(ToString::to_string).collect();
    format!("{} {}{tls}", hop.name, addresses.join(" "))
}

#[track_caller]
pub fn goes_to(outcome: Result<Vec<String>, RouteError>, hops: &[&str]) {
    assert_eq!(outcome.unwrap(), hops);
}

#[track_caller]
pub fn fails(outcome: Result<Vec<String>, RouteError>, wanted: &str, words: &str) {
    match outcome {
        Err(RouteError::Permanent { code, text }) => {
            assert_eq!(code, wanted, "{text}");
            assert!(text.contains(words), "{text}");
        }
        other => panic!("{other:?} is not permanent"),
    }
}

#[track_caller]
pub fn waits(outcome: Result<Vec<String>, RouteError>, wanted: &str, words: &str) {
    match outcome {
        Err(RouteError::Temporary { code, text }) => {
            assert_eq!(code, wanted, "{text}");
            assert!(text.contains(words), "{text}");
        }
        other => panic!("{other:?} is not temporary"),
    }
}
