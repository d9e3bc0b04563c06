//! Where mail for a domain goes: the TARGET of `--route`, `--domain` and `--relay`.

use super::idn;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// One place that mail can be handed to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The hosts that DNS names for the recipient's own domain (RFC 5321 5.1).
    Mx,
    /// A named or addressed next hop.
    Smtp(NextHop),
    /// A server that speaks LMTP (RFC 2033).
    Lmtp(Lmtp),
    /// A Maildir on this machine.
    Maildir(MaildirTemplate),
}

/// A next hop that a flag names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// Where it is.
    pub host: Host,
    /// None: the default of the transport (25, or 465 with implicit TLS).
    pub port: Option<u16>,
    /// Whether TLS comes first.
    pub security: Security,
}

/// Where an LMTP server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Lmtp {
    /// Over TCP: this host, never its MX. There is no port of its own, so one is always given, and never 25.
    Tcp {
        /// Never [`Host::MxOf`].
        host: Host,
        /// Where it listens.
        port: u16,
    },
    /// The Unix socket of this absolute path.
    Socket(Arc<Path>),
}

/// Whether TLS comes before the greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Security {
    /// Plain first; STARTTLS as the level asks.
    StartTls,
    /// TLS from the first byte (RFC 8314), whatever the level.
    Implicit,
}

/// How a flag names a next hop. Names are A-labels in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// The MX hosts of this name.
    MxOf(String),
    /// This very host: written `[HOST]`, or given by `--relay`.
    Exactly(String),
    /// This address.
    Address(IpAddr),
}

/// A Maildir's path, in which `{user}` stands for the recipient's local part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MaildirTemplate(String);

/// What is wrong with a local part as a folder's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAFolder;

impl MaildirTemplate {
    /// The Maildir of one recipient; the local part is lower-cased.
    ///
    /// # Errors
    /// [`NotAFolder`] where the local part is empty, begins with a dot, or holds `/` or NUL: it may not choose the path.
    pub fn folder(&self, local_part: &str) -> Result<PathBuf, NotAFolder> {
        if !self.0.contains("{user}") {
            return Ok(PathBuf::from(&self.0));
        }
        let illegal = local_part.is_empty()
            || local_part.starts_with('.')
            || local_part.contains(['/', '\0']);
        if illegal || local_part.len() > MAX_FOLDER_NAME {
            return Err(NotAFolder);
        }
        Ok(PathBuf::from(
            self.0.replace("{user}", &local_part.to_lowercase()),
        ))
    }

    /// The path before `{user}`, as far as it can exist before the first delivery.
    #[must_use]
    pub fn base(&self) -> &Path {
        Path::new(self.0.split("{user}").next().unwrap_or(&self.0))
    }
}

/// What ext4 and most other file systems allow for one name.
const MAX_FOLDER_NAME: usize = 255;

impl Target {
    /// Whether mail to it stays on this machine: that is no hop of a network, and needs no TLS, not for REQUIRETLS either
    /// (RFC 8689 is about transmission by SMTP).
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Maildir(_) | Self::Lmtp(Lmtp::Socket(_)))
    }

    /// The value of `--relay`: `HOST[:PORT]` or `smtps:HOST[:PORT]`, never by MX.
    ///
    /// # Errors
    /// One line that says what is accepted.
    pub fn smarthost(text: &str) -> Result<Self, String> {
        let (security, rest) = match text.strip_prefix("smtps:") {
            Some(rest) => (Security::Implicit, rest),
            None => (
                Security::StartTls,
                text.strip_prefix("smtp:").unwrap_or(text),
            ),
        };
        let (host, port) = host_and_port(rest)?;
        let host = match host {
            Host::MxOf(name) => Host::Exactly(name),
            other => other,
        };
        Ok(Self::Smtp(NextHop {
            host,
            port,
            security,
        }))
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            format!(
                "{text:?} is no target: smtp:HOST[:PORT], smtps:HOST[:PORT], lmtp:HOST:PORT, lmtp:/SOCKET or maildir:DIR"
            )
        };
        let (transport, rest) = text.split_once(':').ok_or_else(wrong)?;
        let security = match transport {
            "smtp" => Security::StartTls,
            "smtps" => Security::Implicit,
            "lmtp" => return lmtp(rest).map(Self::Lmtp),
            "maildir" if is_template(rest) => {
                return Ok(Self::Maildir(MaildirTemplate(rest.to_owned())));
            }
            _ => return Err(wrong()),
        };
        let (host, port) = host_and_port(rest)?;
        Ok(Self::Smtp(NextHop {
            host,
            port,
            security,
        }))
    }
}

/// What stands behind `lmtp:`.
fn lmtp(text: &str) -> Result<Lmtp, String> {
    if text.starts_with('/') {
        if text.len() > MAX_SOCKET_PATH || text.contains('\0') {
            return Err(format!(
                "{text:?} is no path of a socket: it may have {MAX_SOCKET_PATH} octets"
            ));
        }
        return Ok(Lmtp::Socket(Path::new(text).into()));
    }
    match host_and_port(text)? {
        (_, None) => Err(format!(
            "{text:?} is no LMTP server: HOST:PORT or /SOCKET; there is no port of its own"
        )),
        (_, Some(25)) => Err(format!(
            "{text:?} is no LMTP server: port 25 is SMTP's (RFC 2033)"
        )),
        (host, Some(port)) => Ok(Lmtp::Tcp {
            host: match host {
                Host::MxOf(name) => Host::Exactly(name),
                other => other,
            },
            port,
        }),
    }
}

/// What Linux allows for the path of a Unix socket.
const MAX_SOCKET_PATH: usize = 107;

/// A path in which braces stand around nothing but `user`.
fn is_template(path: &str) -> bool {
    !path.is_empty() && !path.contains('\0') && !path.replace("{user}", "").contains(['{', '}'])
}

/// `HOST`, `[HOST]`, an address, `[IPv6]`, each with an optional `:PORT`.
fn host_and_port(text: &str) -> Result<(Host, Option<u16>), String> {
    let wrong = || {
        format!("{text:?} is no next hop: HOST, [HOST] or an address, with :PORT where it differs")
    };
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Ok((Host::Address(address.into()), None));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, after) = rest.split_once(']').ok_or_else(wrong)?;
        let port = match after {
            "" => None,
            _ => Some(port(after.strip_prefix(':').ok_or_else(wrong)?).ok_or_else(wrong)?),
        };
        let inside = inside.strip_prefix("IPv6:").unwrap_or(inside);
        return match inside.parse::<IpAddr>() {
            Ok(address) => Ok((Host::Address(address), port)),
            Err(_) => Ok((Host::Exactly(host_name(inside).ok_or_else(wrong)?), port)),
        };
    }
    let (host, port) = match text.split_once(':') {
        Some((host, digits)) => (host, Some(port(digits).ok_or_else(wrong)?)),
        None => (text, None),
    };
    match host.parse::<IpAddr>() {
        Ok(address) => Ok((Host::Address(address), port)),
        Err(_) => Ok((Host::MxOf(host_name(host).ok_or_else(wrong)?), port)),
    }
}

fn port(digits: &str) -> Option<u16> {
    digits.parse().ok().filter(|&port| port != 0)
}

/// A host name as a flag may give it: letters, digits, `-`, `_` and dots, beyond ASCII whatever IDNA allows. As A-labels,
/// lower-cased, without a last dot.
#[must_use]
pub fn host_name(text: &str) -> Option<String> {
    let name = idn::a_labels(text.strip_suffix('.').unwrap_or(text)).ok()?;
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    (name.len() <= 253 && name.split('.').all(label)).then(|| name.into_owned())
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mx => f.write_str("mx"),
            Self::Maildir(template) => write!(f, "maildir:{}", template.0),
            Self::Smtp(hop) => write!(f, "{hop}"),
            Self::Lmtp(server) => write!(f, "lmtp:{server}"),
        }
    }
}

impl fmt::Display for Lmtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Tcp { host, port } => match host {
                Host::MxOf(name) | Host::Exactly(name) => write!(f, "{name}:{port}"),
                Host::Address(address) => write!(f, "{}", SocketAddr::new(*address, *port)),
            },
        }
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.security {
            Security::StartTls => "smtp:",
            Security::Implicit => "smtps:",
        })?;
        match &self.host {
            Host::MxOf(name) => f.write_str(name)?,
            Host::Exactly(name) => write!(f, "[{name}]")?,
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}")?,
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_written_as_they_are_read() {
        for text in [
            "smtp:mail.example",
            "smtp:[mail.example]:2525",
            "smtp:192.0.2.1:26",
            "smtps:[2001:db8::1]",
            "lmtp:mail.example:24",
            "lmtp:127.0.0.1:24",
            "lmtp:[2001:db8::1]:24",
            "lmtp:/run/dovecot/lmtp",
            "maildir:/var/mail/{user}",
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        assert_eq!(
            "smtp:[IPv6:2001:db8::1]:26"
                .parse::<Target>()
                .unwrap()
                .to_string(),
            "smtp:[2001:db8::1]:26"
        );
        assert_eq!(
            Target::smarthost("Mail.Example.:587").unwrap().to_string(),
            "smtp:[mail.example]:587"
        );
        assert_eq!(
            "smtp:Bücher.example:26"
                .parse::<Target>()
                .unwrap()
                .to_string(),
            "smtp:xn--bcher-kva.example:26"
        );
        assert_eq!(
            Target::smarthost("smtps:mail.example").unwrap().to_string(),
            "smtps:[mail.example]"
        );
        assert_eq!(
            Target::smarthost("2001:db8::1").unwrap().to_string(),
            "smtp:[2001:db8::1]"
        );
    }

    #[test]
    fn wrong_targets_are_named() {
        for text in [
            "",
            "mail.example",
            "smtp:",
            "smtp:a b",
            "smtp:\u{2100}.example",
            "smtp:x:0",
            "smtp:x:99999",
            "smtp:[x",
            "maildir:",
            "maildir:/m/{name}",
            "uucp:x",
            "lmtp:",
            "lmtp:mail.example",
            "lmtp:mail.example:25",
            "lmtp:run/lmtp",
            &format!("lmtp:/{}", "x".repeat(107)),
        ] {
            let problem = text.parse::<Target>().unwrap_err();
            assert!(problem.contains("is no"), "{text}: {problem}");
        }
    }

    #[test]
    fn a_local_part_never_chooses_the_path() {
        let Ok(Target::Maildir(template)) = "maildir:/m/{user}/box".parse() else {
            panic!("a maildir target")
        };
        assert_eq!(template.folder("Ann").unwrap(), Path::new("/m/ann/box"));
        for local in ["", "..", ".x", "a/b", "a\0b", "/etc"] {
            assert_eq!(template.folder(local), Err(NotAFolder), "{local:?}");
        }
        assert_eq!(template.base(), Path::new("/m/"));
    }
}
