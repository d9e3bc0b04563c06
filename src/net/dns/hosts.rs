//! What records say of mail hosts and their addresses.

use super::data::Data;
use super::{DnsError, Mx};
use crate::limits;
use crate::policy::target::host_name;
use std::net::IpAddr;

pub(super) fn mail_hosts(records: Vec<Data>) -> Mx {
    let mut hosts: Vec<(u16, String)> = records
        .into_iter()
        .filter_map(|data| match data {
            Data::Mx {
                preference,
                exchange,
            } => Some((preference, exchange)),
            _ => None,
        })
        .collect();
    // RFC 7505 3: only alone does "." mean anything.
    if hosts.iter().all(|(_, exchange)| exchange == ".") {
        return Mx::NullMx;
    }
    hosts = hosts
        .into_iter()
        .filter_map(|(preference, exchange)| Some((preference, host_name(&exchange)?)))
        .collect();
    // The order need not be a secret, so fastrand will do.
    fastrand::shuffle(&mut hosts);
    hosts.sort_by_key(|(preference, _)| *preference);
    let mut kept: Vec<(u16, String)> = Vec::new();
    for (preference, host) in hosts {
        if kept.len() < limits::DNS_MX_HOSTS && !kept.iter().any(|(_, known)| *known == host) {
            kept.push((preference, host));
        }
    }
    Mx::Hosts(kept)
}

/// In an order of their own each time: the cache gives one and the same for up to an hour, and who has several addresses
/// shares the load among them (RFC 1794).
pub(super) fn addresses(records: Vec<Data>) -> Vec<IpAddr> {
    let address = |data| match data {
        Data::Address(address) => Some(address),
        _ => None,
    };
    let addresses = records.into_iter().filter_map(address);
    let mut addresses: Vec<IpAddr> = addresses.take(limits::DNS_ADDRESSES).collect();
    fastrand::shuffle(&mut addresses);
    addresses
}

pub(super) fn alternate(six: Vec<IpAddr>, four: Vec<IpAddr>) -> Vec<IpAddr> {
    let (mut six, mut four) = (six.into_iter(), four.into_iter());
    let mut all = Vec::new();
    loop {
        let pair = [six.next(), four.next()];
        if pair == [None, None] {
            return all;
        }
        all.extend(pair.into_iter().flatten());
    }
}

/// Of two families without an address, what to make of it: who knows nothing for sure must try again.
pub(super) fn worse(six: DnsError, four: DnsError) -> DnsError {
    match (six, four) {
        (_, four @ DnsError::Temporary(_)) => four,
        (six @ DnsError::Temporary(_), _) => six,
        (DnsError::NoSuchName, _) => DnsError::NoSuchName,
        (_, four) => four,
    }
}
