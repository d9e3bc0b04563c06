//! The connecting side's configuration at the levels `may` and `encrypt`: TLS against listeners, the certificate not
//! checked (RFC 7435).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use async_rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use async_rustls::rustls::client::Resumption;
use async_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use async_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::compiled::folded;
use super::provider;

/// A configuration for `may` and `encrypt`: no check of the certificate, SNI sent, no resumption.
pub fn config() -> Arc<ClientConfig> {
    let provider = provider();
    let verifier = Unchecked(
        provider
            .signature_verification_algorithms
            .supported_schemes(),
    );
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("both providers have suites for TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// `host` as rustls takes it: a host name is sent as SNI, an address (bare or in brackets) is not.
///
/// A host that is neither by rustls's rules still gets TLS, without SNI: a strange MX name must not make mail fail at
/// levels that check no name. An authenticated level must not use this fallback.
pub(crate) fn server_name(host: &str) -> ServerName<'static> {
    let host = folded(host);
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    let literal = literal.strip_prefix("ipv6:").unwrap_or(literal);
    if let Ok(address) = literal.parse::<IpAddr>() {
        return ServerName::from(address);
    }
    ServerName::try_from(host)
        .unwrap_or_else(|_| ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
}

/// The SNI that [`server_name`] makes rustls send.
pub(crate) fn sni<'a>(name: &'a ServerName<'_>) -> Option<&'a str> {
    match name {
        ServerName::DnsName(name) => Some(name.as_ref()),
        _ => None,
    }
}

/// Accepts every certificate and signature. The signature's check would parse the certificate, which fails for X.509 v1
/// and very small RSA keys; where nobody knows whose key it is, it proves nothing.
#[derive(Debug)]
struct Unchecked(Vec<SignatureScheme>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sent_and_addresses_are_not() {
        for (host, expected) in [
            ("MX.Example.org", Some("mx.example.org")),
            ("mx.example.org.", Some("mx.example.org")),
            ("_odd_.example.org", Some("_odd_.example.org")),
            ("192.0.2.1", None),
            ("[192.0.2.1]", None),
            ("2001:db8::1", None),
            ("[IPv6:2001:db8::1]", None),
            ("-bad-.example.org", None),
            ("mx .example.org", None),
            ("", None),
            ("münchen.example", None),
        ] {
            assert_eq!(sni(&server_name(host)), expected, "{host}");
        }
    }
}
