//! Why handshakes fail, in kinds that can be counted.

mod words;

pub use words::{Words, in_words};

use std::fmt;

use async_rustls::rustls::{
    AlertDescription, Error, InvalidMessage, PeerIncompatible as Lacks, PeerMisbehaved as Breach,
};

/// What a handshake failed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The peer knows neither TLS 1.2 nor 1.3.
    Version,
    /// No suite in common.
    Suite,
    /// No key exchange group in common.
    Group,
    /// No certificate that the peer can verify, or none at all.
    Certificate,
    /// The peer, of TLS 1.2, does not say which signatures it can verify: it means SHA-1 (RFC 5246 7.4.1.4.1).
    Algorithms,
    /// The peer offered ALPN, and not `smtp`.
    Alpn,
    /// The peer's certificate, which is not its own or not to be read.
    PeerCertificate,
    /// The peer sent an alert: it refused ours, mostly.
    Alert,
    /// What the peer sent is no TLS, or against its rules.
    Malformed,
    /// It was not done in time.
    Late,
    /// The connection ended first.
    Lost,
    /// The rest; the relay's own stop is part of it.
    Other,
}

impl Failure {
    /// All, in the order in which they are told.
    pub const ALL: [Self; 12] = [
        Self::Version,
        Self::Suite,
        Self::Group,
        Self::Certificate,
        Self::Algorithms,
        Self::Alpn,
        Self::PeerCertificate,
        Self::Alert,
        Self::Malformed,
        Self::Late,
        Self::Lost,
        Self::Other,
    ];

    /// Of what rustls says.
    pub fn of(error: &Error) -> Self {
        match error {
            Error::PeerIncompatible(lack) => Self::of_lack(lack),
            // Its only ones in a server: the resolver has no certificate, or none that signs as the client wants it.
            Error::General(_) => Self::Certificate,
            Error::NoApplicationProtocol => Self::Alpn,
            Error::InvalidCertificate(_) | Error::NoCertificatesPresented => Self::PeerCertificate,
            Error::AlertReceived(_) => Self::Alert,
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_)
            | Error::DecryptError
            | Error::PeerSentOversizedRecord => Self::Malformed,
            _ => Self::Other,
        }
    }

    /// The alert that rustls (0.23) owes the peer after this error and does not send, of all that a server fails with: it
    /// ends these without one. None: it has sent one, or the peer did.
    pub fn owed_alert(error: &Error) -> Option<AlertDescription> {
        match error {
            Error::General(text) if text == "incompatible signing key" => {
                Some(AlertDescription::HandshakeFailure)
            }
            Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge) => {
                Some(AlertDescription::DecodeError)
            }
            Error::PeerMisbehaved(
                Breach::MessageInterleavedWithHandshakeMessage
                | Breach::TooManyEmptyFragments
                | Breach::TooManyWarningAlertsReceived
                | Breach::RejectedEarlyDataInterleavedWithHandshakeMessage,
            ) => Some(AlertDescription::UnexpectedMessage),
            _ => None,
        }
    }

    fn of_lack(lack: &Lacks) -> Self {
        match lack {
            Lacks::ServerDoesNotSupportTls12Or13
            | Lacks::ServerTlsVersionIsDisabledByOurConfig
            | Lacks::SupportedVersionsExtensionRequired
            | Lacks::Tls12NotOffered
            | Lacks::Tls12NotOfferedOrEnabled => Self::Version,
            Lacks::NoCipherSuitesInCommon => Self::Suite,
            Lacks::NoKxGroupsInCommon
            | Lacks::NamedGroupsExtensionRequired
            | Lacks::KeyShareExtensionRequired
            | Lacks::EcPointsExtensionRequired
            | Lacks::NoEcPointFormatsInCommon
            | Lacks::UncompressedEcPointsRequired => Self::Group,
            Lacks::NoSignatureSchemesInCommon => Self::Certificate,
            // Its versions were seen to be good before (super::hello).
            Lacks::SignatureAlgorithmsExtensionRequired => Self::Algorithms,
            _ => Self::Malformed,
        }
    }

    /// As the log and `check` have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Version => "no-shared-version",
            Self::Suite => "no-shared-suite",
            Self::Group => "no-shared-group",
            Self::Certificate => "no-certificate",
            Self::Algorithms => "no-signature-algorithms",
            Self::Alpn => "no-shared-alpn",
            Self::PeerCertificate => "client-certificate",
            Self::Alert => "alert",
            Self::Malformed => "malformed",
            Self::Late => "late",
            Self::Lost => "lost",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_in_its_place_and_by_its_own_word() {
        for (at, failure) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(failure as usize, at);
            let same = Failure::ALL.iter().filter(|f| f.word() == failure.word());
            assert_eq!(same.count(), 1, "{failure}");
        }
    }
}
