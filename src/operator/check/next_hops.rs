//! Is there a way on for the mail that these flags take? What is asked is what `serve` would ask, and of each list of hosts
//! the first is greeted.

use super::Report;
use crate::limits;
use crate::net::deadline::within;
use crate::net::source::Sources;
use crate::net::stream::Stream;
use crate::operator::config::Config;
use crate::operator::serve;
use crate::outbound::route::{Hop, RouteError, Router};
use crate::policy::target::{MaildirTemplate, Target};
use rustix::fs::Access;
use smol::io::AsyncReadExt as _;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub async fn look(config: &Config, report: &mut Report) {
    let own = config.ports.iter().map(|port| port.address).collect();
    let router = serve::router(config, own);
    let targets = config
        .routes
        .targets()
        .filter(|target| **target != Target::Mx);
    for target in targets {
        match target {
            Target::Maildir(template) => maildir(target, template, report),
            _ => next_hop(&router, config, target, "", report).await,
        }
    }
    // Backup MX: the domain's own hosts.
    for domain in &config.relay.domains {
        if *config.routes.target(domain) == Target::Mx {
            next_hop(&router, config, &Target::Mx, domain, report).await;
        }
    }
}

async fn next_hop(
    router: &Router,
    config: &Config,
    target: &Target,
    domain: &str,
    report: &mut Report,
) {
    let what = match target {
        Target::Mx => format!("--domain {domain}, by its MX"),
        target => format!("next hop {target}"),
    };
    let first = match router.hops(target, domain).await {
        Ok(mut hops) => hops.next().await,
        Err(trouble) => Err(trouble),
    };
    match first {
        Ok(Some(hop)) => match greeting(&hop, config.outbound_sources).await {
            Ok((address, said)) => {
                report.ok(format_args!("{what}: {} [{address}] {said}", hop.name))
            }
            Err((address, why)) => {
                report.error(format_args!("{what}: {} [{address}]: {why}", hop.name))
            }
        },
        Ok(None) => report.error(format_args!("{what}: no host")),
        Err(RouteError::Permanent { code, text } | RouteError::Temporary { code, text }) => {
            report.error(format_args!("{what}: {code} {text}"));
        }
    }
}

/// What the first address that answers says; else the last one and what went wrong there.
async fn greeting(
    hop: &Hop,
    sources: Sources,
) -> Result<(SocketAddr, String), (SocketAddr, io::Error)> {
    let mut last = Err((
        SocketAddr::from(([0, 0, 0, 0], 0)),
        io::ErrorKind::NotFound.into(),
    ));
    for &address in &hop.addresses {
        let greeted = greet(sources, address, hop.implicit_tls);
        match within(limits::CHECK_WAIT, greeted).await {
            Ok(said) => return Ok((address, said)),
            Err(why) => last = Err((address, why)),
        }
    }
    last
}

async fn greet(sources: Sources, address: SocketAddr, implicit_tls: bool) -> io::Result<String> {
    let connected = Stream::connect_from(sources.towards(address.ip()), address).await;
    let mut stream = connected.map_err(|why| io::Error::other(why.to_string()))?;
    if implicit_tls {
        return Ok("takes connections".to_owned());
    }
    let mut line = [0; limits::PEER_REPLY_TEXT];
    let length = stream.read(&mut line).await?;
    let line = String::from_utf8_lossy(&line[..length]);
    let line = line.lines().next().unwrap_or_default();
    match line.starts_with("220") {
        true => Ok(format!("answers {line:?}")),
        false => Err(io::Error::other(format!(
            "says {line:?} where 220 was expected"
        ))),
    }
}

/// The folder that Maildirs are made in, or the Maildir itself.
fn maildir(target: &Target, template: &MaildirTemplate, report: &mut Report) {
    // Without a slash at its end, which a file does not have.
    let base: PathBuf = template.base().components().collect();
    let there = base.ancestors().find(|path| path.exists());
    let there = there.filter(|path| !path.as_os_str().is_empty());
    let there = there.unwrap_or(Path::new("."));
    if !there.is_dir() {
        return report.error(format_args!("{target}: {} is no folder", there.display()));
    }
    match rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => report.ok(format_args!("{target}: can be written")),
        Err(problem) => report.error(format_args!("{target}: {}: {problem}", there.display())),
    }
}
