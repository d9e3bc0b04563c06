//! What rustls says, in words for people: it shows the names of its own cases.

use std::fmt;
use std::io;

use async_rustls::rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage as Bad, PeerIncompatible as Lacks,
    PeerMisbehaved as Breach,
};

/// An error of rustls on either side of a connection, as a piece of a line. It has no quotes.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a>(pub &'a Error);

/// An error of a stream in TLS, of the same kind, in words.
#[must_use]
pub fn in_words(error: io::Error) -> io::Error {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    let words = match tls {
        Some(tls) => Words(tls).to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the peer closed the connection without TLS's close_notify".to_owned()
        }
        None => return error,
    };
    io::Error::new(error.kind(), words)
}

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Error::PeerIncompatible(lack) => lacking(lack),
            Error::PeerMisbehaved(breach) => misbehaved(breach),
            Error::InvalidMessage(Bad::DuplicateExtension(number)) => {
                return write!(f, "the peer sent extension {number} twice");
            }
            Error::InvalidMessage(bad) => malformed(*bad),
            Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
                "the peer sent a message of TLS out of its turn"
            }
            Error::AlertReceived(alert) => return received(*alert, f),
            Error::InvalidCertificate(problem) => certificate(problem),
            Error::NoCertificatesPresented => "the peer showed no certificate",
            // The first two are a server's only ones.
            Error::General(text) if text == "incompatible signing key" => {
                "no certificate here has a key whose signatures the peer can verify"
            }
            Error::General(text) if text.starts_with("no server certificate") => {
                "there is no certificate"
            }
            Error::NoApplicationProtocol => "the peer offered ALPN without smtp",
            Error::DecryptError => "what the peer sent cannot be decrypted",
            Error::PeerSentOversizedRecord => "the peer sent a record that is too large",
            Error::HandshakeNotComplete => "the handshake is not complete",
            Error::FailedToGetRandomBytes => "the system gave no random numbers",
            Error::FailedToGetCurrentTime => "the system gave no time",
            _ => "the TLS library failed",
        })
    }
}

fn lacking(lack: &Lacks) -> &'static str {
    match lack {
        Lacks::ServerDoesNotSupportTls12Or13
        | Lacks::ServerTlsVersionIsDisabledByOurConfig
        | Lacks::SupportedVersionsExtensionRequired
        | Lacks::Tls12NotOffered
        | Lacks::Tls12NotOfferedOrEnabled => "the peer has neither TLS 1.2 nor TLS 1.3",
        Lacks::NoCipherSuitesInCommon => "no cipher suite in common",
        Lacks::NoKxGroupsInCommon => "no key exchange group in common",
        Lacks::NamedGroupsExtensionRequired => {
            "the peer named no key exchange groups (supported_groups)"
        }
        Lacks::KeyShareExtensionRequired => "the peer sent no key share (key_share)",
        Lacks::EcPointsExtensionRequired
        | Lacks::NoEcPointFormatsInCommon
        | Lacks::UncompressedEcPointsRequired => {
            "the peer takes no uncompressed points of curves (ec_point_formats)"
        }
        Lacks::NoSignatureSchemesInCommon => "no signature scheme in common",
        Lacks::SignatureAlgorithmsExtensionRequired => {
            "the peer named no signature algorithms (signature_algorithms), which means SHA-1"
        }
        Lacks::NoCertificateRequestSignatureSchemesInCommon => {
            "no signature scheme in common for a client's certificate"
        }
        Lacks::ExtendedMasterSecretExtensionRequired => {
            "the peer has no extended master secret (extended_master_secret)"
        }
        Lacks::NullCompressionRequired => "the peer wants compression",
        _ => "the peer lacks what TLS needs here",
    }
}

fn misbehaved(breach: &Breach) -> &'static str {
    match breach {
        Breach::ServerNameMustContainOneHostName => SERVER_NAME,
        Breach::ServerNameDifferedOnRetry => "the peer changed the server name within a handshake",
        Breach::TooManyRenegotiationRequests => "the peer wants to renegotiate again and again",
        Breach::TooManyEmptyFragments
        | Breach::TooManyWarningAlertsReceived
        | Breach::TooManyKeyUpdateRequests
        | Breach::TooMuchEarlyDataReceived => {
            "the peer sent too much that says nothing: empty records, warnings, updates of keys or early data"
        }
        Breach::MessageInterleavedWithHandshakeMessage
        | Breach::RejectedEarlyDataInterleavedWithHandshakeMessage => {
            "the peer sent another record between the parts of a message"
        }
        Breach::OfferedEmptyApplicationProtocol => "the peer offered ALPN with an empty name",
        Breach::SignedKxWithWrongAlgorithm | Breach::SignedHandshakeWithUnadvertisedSigScheme => {
            "the peer signed with a scheme that it was not offered"
        }
        Breach::AttemptedDowngradeToTls12WhenTls13IsSupported => {
            "the peer has TLS 1.3 and was made to speak TLS 1.2: somebody stands in between"
        }
        Breach::InvalidKeyShare | Breach::MissingKeyShare | Breach::WrongGroupForKeyShare => {
            "the peer's key share is not valid"
        }
        Breach::OfferedDuplicateKeyShares | Breach::DuplicateClientHelloExtensions => {
            "the peer sent something twice that may stand once"
        }
        Breach::RefusedToFollowHelloRetryRequest => {
            "the peer did not send what it was asked for again"
        }
        _ => "the peer broke a rule of TLS",
    }
}

const SERVER_NAME: &str = "the peer sent a server name that is none";

fn malformed(bad: Bad) -> &'static str {
    match bad {
        Bad::InvalidContentType | Bad::UnknownProtocolVersion => {
            "what the peer sent is not TLS, or damaged"
        }
        Bad::MessageTooLarge | Bad::HandshakePayloadTooLarge | Bad::CertificatePayloadTooLarge => {
            "the peer sent a message that is too large"
        }
        Bad::MessageTooShort | Bad::MissingData(_) => "the peer sent a message that is cut short",
        Bad::TrailingData(_) => "the peer sent a message with octets left over",
        Bad::InvalidServerName => SERVER_NAME,
        Bad::InvalidEmptyPayload
        | Bad::NoSignatureSchemes
        | Bad::IllegalEmptyList(_)
        | Bad::IllegalEmptyValue
        | Bad::EmptyTicketValue => "the peer sent something empty that may not be",
        Bad::PreSharedKeyIsNotFinalExtension => "the peer sent pre_shared_key not as the last",
        Bad::UnsupportedCompression => "the peer wants compression",
        _ => "the peer sent a malformed message",
    }
}

fn certificate(problem: &CertificateError) -> &'static str {
    use CertificateError as Problem;
    match problem {
        Problem::BadEncoding => "the peer's certificate cannot be read",
        Problem::BadSignature => "the peer has not the key of the certificate that it showed",
        Problem::Expired | Problem::ExpiredContext { .. } => "the peer's certificate has expired",
        Problem::NotValidYet | Problem::NotValidYetContext { .. } => {
            "the peer's certificate is not valid yet"
        }
        Problem::UnknownIssuer => "the peer's certificate is of an unknown issuer",
        Problem::NotValidForName | Problem::NotValidForNameContext { .. } => {
            "the peer's certificate is for other names"
        }
        // Ours, of a chain beyond limits::CLIENT_CHAIN.
        Problem::ApplicationVerificationFailure => "the peer's certificates are too large",
        _ => "the peer's certificate cannot be used",
    }
}

/// By its name in RFC 8446 6, which rustls writes without underlines; in all but a few that is all the difference.
fn received(alert: AlertDescription, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("the peer sent the alert ")?;
    match alert {
        AlertDescription::UnrecognisedName => return f.write_str("unrecognized_name"),
        AlertDescription::EncryptedClientHelloRequired => return f.write_str("ech_required"),
        AlertDescription::UnknownPSKIdentity => return f.write_str("unknown_psk_identity"),
        _ => {}
    }
    let name = format!("{alert:?}");
    if !name.bytes().all(|octet| octet.is_ascii_alphabetic()) {
        return write!(f, "{}", u8::from(alert));
    }
    let mut after_small = false;
    for letter in name.chars() {
        if letter.is_uppercase() && after_small {
            f.write_str("_")?;
        }
        after_small = letter.is_lowercase();
        write!(f, "{}", letter.to_ascii_lowercase())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_has_its_name_or_its_number() {
        for (alert, name) in [
            (AlertDescription::UnknownCA, "unknown_ca"),
            (AlertDescription::BadRecordMac, "bad_record_mac"),
            (AlertDescription::UnknownPSKIdentity, "unknown_psk_identity"),
            (AlertDescription::UnrecognisedName, "unrecognized_name"),
            (AlertDescription::from(201), "201"),
        ] {
            let said = Words(&Error::AlertReceived(alert)).to_string();
            assert_eq!(said, format!("the peer sent the alert {name}"));
        }
    }

    #[test]
    fn no_case_of_rustls_shows_by_its_own_name() {
        for error in [
            Error::PeerIncompatible(Lacks::ServerRejectedEncryptedClientHello(None)),
            Error::PeerIncompatible(Lacks::Tls12NotOffered),
            Error::PeerMisbehaved(Breach::IncorrectBinder),
            Error::InvalidMessage(Bad::TrailingData("ClientHelloPayload")),
            Error::InvalidMessage(Bad::DuplicateExtension(16)),
            Error::InvalidMessage(Bad::InvalidCcs),
            Error::InvalidCertificate(CertificateError::Revoked),
            Error::General("incompatible signing key".into()),
            Error::EncryptError,
        ] {
            let said = Words(&error).to_string();
            let own = |word: &str| word.chars().skip(1).any(|c| c.is_uppercase());
            let camel = said.split(' ').any(|word| own(word) && word != "TLS");
            assert!(
                !camel && !said.contains(['"', '(', ':']),
                "{error:?}: {said}"
            );
        }
        let eof = io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "https://docs.rs/rustls/latest",
        );
        let said = in_words(eof);
        assert_eq!(said.kind(), io::ErrorKind::UnexpectedEof);
        assert!(said.to_string().ends_with("without TLS's close_notify"));
        let other = in_words(io::Error::from_raw_os_error(104));
        assert_eq!(other.raw_os_error(), Some(104));
    }
}
