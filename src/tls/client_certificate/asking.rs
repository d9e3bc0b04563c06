//! Asking clients for a certificate, and the proof that they have its key.

use std::sync::Arc;

use async_rustls::pki_types::{CertificateDer, UnixTime, alg_id};
use async_rustls::rustls::client::danger::HandshakeSignatureValid;
use async_rustls::rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use async_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use async_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
};
use webpki::EndEntityCert;

use crate::limits;
use crate::tls::der::{element, rsa_bits};

/// Asks for a certificate, takes any and none: what it is worth is judged after the handshake, so that a client with an
/// unknown one is served like one without.
#[derive(Debug)]
pub(super) struct Asking(pub(super) WebPkiSupportedAlgorithms);

impl Asking {
    pub(super) fn with(algorithms: WebPkiSupportedAlgorithms) -> Arc<dyn ClientCertVerifier> {
        Arc::new(Self(algorithms))
    }
}

impl ClientCertVerifier for Asking {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// No names of authorities: without them any client may answer (RFC 8446 4.2.4). With them, clients that heed them
    /// (Go's, Java's, Windows') keep back a certificate of another issuer, so the self-signed ones of `--relay-clientcert`
    /// and whatever lies below a cross-signed root; and every scanner would read whom the relay trusts. What they would be
    /// good for, the choice among several certificates, is no mail server's case.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    /// The chain is kept as long as its session, so it is bounded.
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let octets = |certificate: &CertificateDer<'_>| certificate.len();
        let chain = octets(end_entity) + intermediates.iter().map(octets).sum::<usize>();
        match chain <= limits::CLIENT_CHAIN {
            true => Ok(ClientCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match provable(certificate, &self.0) {
            Ok(_) => verify_tls12_signature(message, certificate, signature, &self.0),
            Err(_) => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match provable(certificate, &self.0) {
            Ok(_) => verify_tls13_signature(message, certificate, signature, &self.0),
            Err(_) => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// The certificate, if this side can check that its owner signed the handshake; else why not.
///
/// Where it cannot (X.509 v1, small RSA keys, unknown kinds of key), the handshake goes on without that check, as mail must
/// not suffer, and the certificate is worth nothing: anyone could have shown it. So this must hang on nothing but the
/// certificate, which the handshake and the verdict after it see alike.
pub(super) fn provable<'a>(
    certificate: &'a CertificateDer<'_>,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<EndEntityCert<'a>, &'static str> {
    let certificate = EndEntityCert::try_from(certificate).map_err(|problem| match problem {
        webpki::Error::UnsupportedCertVersion => "not of X.509 v3",
        _ => "not readable",
    })?;
    let key = certificate.subject_public_key_info();
    let parts = element(&key).and_then(|(_, key, _)| element(key));
    let (_, algorithm, bits) = parts.ok_or("not readable")?;
    let is_known = |known: &[u8]| known == algorithm;
    if !algorithms
        .all
        .iter()
        .any(|known| is_known(known.public_key_alg_id().as_ref()))
    {
        return Err("its kind of key is unknown");
    }
    match is_known(alg_id::RSA_ENCRYPTION.as_ref()) && !is_fit_rsa(bits) {
        true => Err("its RSA key is too small or too large"),
        false => Ok(certificate),
    }
}

/// Whether the bit string holds an RSA key of a size that both crypto libraries take.
fn is_fit_rsa(bits: &[u8]) -> bool {
    rsa_bits(bits).is_some_and(|bits| (2048..=8192).contains(&bits))
}
