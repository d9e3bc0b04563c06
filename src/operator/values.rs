//! The values that flags take, read once: what a flag cannot mean never leaves this module.

use crate::policy::idn;
use crate::policy::level::Level;
use crate::policy::target::{self, Target};
use crate::smtp::address::Mailbox;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// `ADDR:PORT[,LEVEL]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where to listen.
    pub address: SocketAddr,
    /// The security level there, where it differs from `--tls-in`.
    pub level: Option<Level>,
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, level) = match text.split_once(',') {
            Some((address, level)) => (address, Some(level.parse()?)),
            None => (text, None),
        };
        Ok(Self {
            address: socket_address(address)?,
            level,
        })
    }
}

/// `ADDR:PORT`, with the address in numbers: a name would need a look-up that can block.
///
/// # Errors
/// One line that says what is accepted.
pub fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is no ADDR:PORT, such as 0.0.0.0:25 or [::]:25"))
}

/// `ADDR[:PORT]` of a DNS server; the port is 53.
///
/// # Errors
/// One line that says what is accepted.
pub fn resolver(text: &str) -> Result<SocketAddr, String> {
    let alone = text.parse().map(|address| SocketAddr::new(address, 53));
    match alone.or_else(|_| text.parse()) {
        Ok(server) if server.port() != 0 => Ok(server),
        _ => Err(format!("{text:?} is no ADDR[:PORT], such as 9.9.9.9")),
    }
}

/// An address in numbers, for `--outbound-address`.
///
/// # Errors
/// One line that says what is accepted.
pub fn address(text: &str) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(address) if !address.is_unspecified() && !address.is_multicast() => Ok(address),
        _ => Err(format!(
            "{text:?} is no address of this machine, such as 192.0.2.1 or 2001:db8::1"
        )),
    }
}

/// Octets: a number, with K, M or G for powers of 1,024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (digits, unit) = match text.char_indices().last() {
            Some((at, 'K' | 'k')) => (&text[..at], 1 << 10),
            Some((at, 'M' | 'm')) => (&text[..at], 1 << 20),
            Some((at, 'G' | 'g')) => (&text[..at], 1 << 30),
            _ => (text, 1),
        };
        let number: Option<u64> = digits.parse().ok();
        let size = number
            .and_then(|number| number.checked_mul(unit))
            .filter(|&size| size > 0);
        size.map(Self)
            .ok_or_else(|| format!("{text:?} is no size: a number, with K, M or G, such as 25M"))
    }
}

/// `NAME[=TARGET]` of `--domain`, `NAME=TARGET` of `--route`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// A domain; for `--route` also `.parent` or `*`.
    pub name: String,
    /// None: by DNS.
    pub target: Option<Target>,
}

/// The value of `--domain`.
///
/// # Errors
/// One line that says what is accepted.
pub fn domain(text: &str) -> Result<Named, String> {
    let (name, target) = match text.split_once('=') {
        Some((name, target)) => (name, Some(target.parse()?)),
        None => (text, None),
    };
    let wrong = || format!("{name:?} is no domain, such as example.org or bücher.example");
    let name = target::host_name(name).ok_or_else(wrong)?;
    Ok(Named { name, target })
}

/// The value of `--route`.
///
/// # Errors
/// One line that says what is accepted.
pub fn route(text: &str) -> Result<Named, String> {
    let (name, target) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is no NAME=TARGET"))?;
    let known = name == "*" || target::host_name(name.strip_prefix('.').unwrap_or(name)).is_some();
    if !known {
        return Err(format!("{name:?} is no domain, .parent or *"));
    }
    Ok(Named {
        name: name.to_owned(),
        target: Some(target.parse()?),
    })
}

/// A folder's path.
///
/// # Errors
/// One line that says what is accepted.
pub fn folder(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("an empty path: a folder is wanted, such as /var/spool/facteur".to_owned()),
        path => Ok(path.into()),
    }
}

/// A host name.
///
/// # Errors
/// One line that says what is accepted.
pub fn host_name(text: &str) -> Result<String, String> {
    target::host_name(text)
        .ok_or_else(|| format!("{text:?} is no host name, such as mx.example.org"))
}

/// A mailbox; its domain becomes A-labels, so that every host takes it.
///
/// # Errors
/// One line that says what is accepted.
pub fn mailbox(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is no address, such as ann@example.org");
    let mailbox = Mailbox::parse(text).map_err(|_| wrong())?;
    let local = mailbox.local_part();
    match idn::a_labels(mailbox.domain().as_str()) {
        Ok(domain) if local.as_str().is_ascii() => Ok(format!("{local}@{domain}")),
        _ => Err(wrong()),
    }
}

/// A count from 1 to 65,535.
///
/// # Errors
/// One line that says what is accepted.
pub fn count(text: &str) -> Result<u16, String> {
    let number = text.parse().ok().filter(|&number| number > 0);
    number.ok_or_else(|| format!("{text:?} is no number from 1 to 65535"))
}

/// A log level.
///
/// # Errors
/// One line that says what is accepted.
pub fn log_level(text: &str) -> Result<log::LevelFilter, String> {
    match text {
        "error" => Ok(log::LevelFilter::Error),
        "warn" => Ok(log::LevelFilter::Warn),
        "info" => Ok(log::LevelFilter::Info),
        "debug" => Ok(log::LevelFilter::Debug),
        "trace" => Ok(log::LevelFilter::Trace),
        _ => Err(format!(
            "{text:?} is no log level: error, warn, info, debug or trace"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_the_help_says() {
        let listen: Listen = "[::]:25,encrypt".parse().unwrap();
        assert_eq!(
            (listen.address.port(), listen.level),
            (25, Some(Level::Encrypt))
        );
        assert_eq!("25M".parse(), Ok(Size(25 << 20)));
        assert_eq!("1g".parse(), Ok(Size(1 << 30)));
        assert_eq!("512".parse(), Ok(Size(512)));
        assert_eq!(resolver("::1").unwrap().to_string(), "[::1]:53");
        assert_eq!(resolver("127.0.0.1:5353").unwrap().port(), 5353);
        assert_eq!(
            domain("Example.Org").unwrap(),
            Named {
                name: "example.org".into(),
                target: None
            }
        );
        assert_eq!(
            domain("BÜCHER.example").unwrap().name,
            "xn--bcher-kva.example"
        );
        assert_eq!(mailbox("a@ü.example").unwrap(), "a@xn--tda.example");
        assert_eq!(host_name("ü.example").unwrap(), "xn--tda.example");
        assert_eq!(route(".a=smtp:[b]").unwrap().name, ".a");
    }

    #[test]
    fn wrong_values_are_told_with_what_would_be_right() {
        for text in ["localhost:25", "25", "0.0.0.0:25,starttls", "0.0.0.0:99999"] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
        for text in ["", "M", "-1", "0", "1.5M", "25MB", "99999999999G"] {
            assert!(text.parse::<Size>().unwrap_err().contains("25M"), "{text}");
        }
        assert!(domain("a b").is_err() && domain("*").is_err() && domain("a=b").is_err());
        assert!(route("a").is_err() && route("**=smtp:[b]").is_err() && route("*=x").is_err());
        assert!(resolver("127.0.0.1:0").is_err() && host_name("-").is_err());
        assert!(
            domain("\u{2100}.example")
                .unwrap_err()
                .contains("bücher.example")
        );
        assert!(mailbox("ann").is_err() && mailbox("é@x").is_err());
        assert!(count("0").is_err() && log_level("loud").is_err());
    }
}
