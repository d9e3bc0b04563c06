//! The proof that TLS is up.

use std::fmt;

use super::{Verdict, client_certificate};
use async_rustls::rustls::{
    CipherSuite, ClientConnection, CommonState, NamedGroup, ProtocolVersion, ServerConnection,
};

/// What a finished handshake agreed on. Only a connection past its handshake mints one, so that whoever holds it may
/// write that TLS is up.
#[derive(Clone, Debug)]
pub struct Established {
    version: ProtocolVersion,
    suite: CipherSuite,
    group: Option<NamedGroup>,
    sni: Option<Box<str>>,
    /// Of a connection that was accepted.
    told: Option<Box<Told>>,
}

/// What a server makes of the names in a handshake.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub entry: Verdict,
    pub client: Option<client_certificate::Shown>,
}

impl Established {
    /// Of a connection that was accepted; `None` while its handshake goes on.
    pub(super) fn of_server(connection: &ServerConnection, told: Told) -> Option<Self> {
        Some(Self {
            told: Some(Box::new(told)),
            ..Self::of(connection, connection.server_name())?
        })
    }

    /// Of a connection that was made with `sni` in its hello; `None` while its handshake goes on.
    pub(crate) fn of_client(connection: &ClientConnection, sni: Option<&str>) -> Option<Self> {
        Self::of(connection, sni)
    }

    fn of(connection: &CommonState, sni: Option<&str>) -> Option<Self> {
        if connection.is_handshaking() {
            return None;
        }
        Some(Self {
            version: connection.protocol_version()?,
            suite: connection.negotiated_cipher_suite()?.suite(),
            group: connection
                .negotiated_key_exchange_group()
                .map(|group| group.name()),
            sni: sni.map(Box::from),
            told: None,
        })
    }

    /// `TLSv1.3` or `TLSv1.2`.
    pub fn version(&self) -> &'static str {
        match self.version {
            ProtocolVersion::TLSv1_2 => "TLSv1.2",
            ProtocolVersion::TLSv1_3 => "TLSv1.3",
            _ => "unknown",
        }
    }

    /// The suite by its IANA name, as RFC 8314 4.3 wants it in Received: `TLS_AES_256_GCM_SHA384`.
    pub fn suite(&self) -> &'static str {
        name(self.suite)
    }

    /// The key exchange group by its IANA name: `X25519MLKEM768`, `x25519`, `secp256r1` …; `None` without one.
    pub fn group(&self) -> Option<&'static str> {
        self.group.map(group_name)
    }

    /// The versions that [`Self::version`] tells.
    pub const VERSIONS: [&str; 2] = ["TLSv1.3", "TLSv1.2"];

    /// The suites that [`Self::suite`] tells.
    pub fn suites() -> impl Iterator<Item = &'static str> {
        SUITES.into_iter().map(|(_, name)| name)
    }

    /// The groups that [`Self::group`] tells, the preferred first.
    pub fn groups() -> impl Iterator<Item = &'static str> {
        let groups = super::provider().kx_groups.clone();
        groups.into_iter().map(|group| group_name(group.name()))
    }

    /// Which entry of the table gave the certificate, where the connection was accepted.
    pub fn entry(&self) -> Option<&Verdict> {
        self.told.as_ref().map(|told| &told.entry)
    }

    /// The certificate that the client showed, if it was asked for one.
    pub fn client(&self) -> Option<&client_certificate::Shown> {
        self.told.as_ref()?.client.as_ref()
    }

    /// The server name of the hello, lower-case; `None` where none was sent or it was an address.
    pub fn sni(&self) -> Option<&str> {
        self.sni.as_deref()
    }
}

/// The suites that rustls has. Its own names would bring those of the 368 that it only knows of: 20 KB. It calls the
/// suites of TLS 1.3 TLS13_…; IANA does not.
const SUITES: [(CipherSuite, &str); 9] = {
    use CipherSuite as Suite;
    [
        (Suite::TLS13_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384"),
        (Suite::TLS13_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256"),
        (
            Suite::TLS13_CHACHA20_POLY1305_SHA256,
            "TLS_CHACHA20_POLY1305_SHA256",
        ),
        (
            Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        ),
        (
            Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        ),
        (
            Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        ),
        (
            Suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        ),
        (
            Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        ),
        (
            Suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        ),
    ]
};

fn group_name(group: NamedGroup) -> &'static str {
    match group {
        NamedGroup::X25519 => "x25519",
        other => other.as_str().unwrap_or("unknown"),
    }
}

fn name(suite: CipherSuite) -> &'static str {
    let known = SUITES.iter().find(|(known, _)| *known == suite);
    known.map_or("unknown", |(_, name)| name)
}

/// As the log has it: version, suite, group and server name, the last two where there are any; and of a connection that was
/// accepted the entry that gave the certificate, and the client's certificate.
impl fmt::Display for Established {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.version(), self.suite())?;
        if let Some(group) = self.group() {
            write!(f, " {group}")?;
        }
        if let Some(name) = self.sni() {
            write!(f, " sni={name}")?;
        }
        match self.entry() {
            Some(Verdict::Exact) => f.write_str(" entry=exact")?,
            Some(Verdict::Parent(entry) | Verdict::Wildcard(entry)) => write!(f, " entry={entry}")?,
            Some(Verdict::NoName | Verdict::UnknownName) => f.write_str(" entry=default")?,
            None => {}
        }
        match self.client() {
            Some(shown) => write!(f, " client='{}' ({})", shown.name, shown.verdict),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_of_the_provider_has_its_iana_name() {
        for suite in &super::super::provider().cipher_suites {
            let rustls = format!("{:?}", suite.suite());
            assert_eq!(name(suite.suite()), rustls.replace("TLS13_", "TLS_"));
        }
    }
}
