//! Do the DNS servers answer, and is the own name known?

use super::Report;
use crate::net::dns::{DnsError, Resolver, is_localhost};
use crate::operator::config::Config;
use crate::policy::target::{Host, Target};
use std::net::IpAddr;

pub async fn look(config: &Config, report: &mut Report) {
    let all = match config.resolvers.is_empty() {
        true => Resolver::system().servers(),
        false => config.resolvers.clone().into(),
    };
    let mut usable = None;
    for &server in all.iter() {
        let resolver = Resolver::new(vec![server]);
        match own_addresses(&resolver, &config.hostname).await {
            Err(DnsError::Temporary(why)) => report.warning(format_args!("dns {server}: {why}")),
            answer => {
                report.ok(format_args!("dns {server}: answers"));
                usable.get_or_insert(answer);
            }
        }
    }
    let Some(own) = usable else {
        return no_server(config, report);
    };
    match own {
        Ok(addresses) => report.ok(format_args!("hostname {}: {addresses:?}", config.hostname)),
        Err(_) => report.warning(format_args!(
            "--hostname {}: has no address in DNS; many receivers refuse such a name in EHLO",
            config.hostname
        )),
    }
}

/// Any answer shows that the server lives, and the own name's is of use.
async fn own_addresses(resolver: &Resolver, hostname: &str) -> Result<Vec<IpAddr>, DnsError> {
    let found = resolver.addresses(hostname).await;
    // Nobody was asked.
    if is_localhost(hostname) || found == Err(DnsError::IllegalName) {
        resolver.reachable().await?;
    }
    found
}

/// Nobody answers: no next hop that has a name can be found.
fn no_server(config: &Config, report: &mut Report) {
    let rest = config.routes.target("");
    let by_name = |target: &Target| match target {
        Target::Mx => true,
        Target::Smtp(hop) => !matches!(hop.host, Host::Address(_)),
        Target::Maildir(_) => false,
    };
    if by_name(rest) || config.routes.targets().any(by_name) {
        report.error(
            "dns: no server answers, so that mail is deferred; give --resolver ADDR, or mend /etc/resolv.conf",
        );
    }
}
