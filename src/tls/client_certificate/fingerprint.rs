//! `--relay-clientcert`: SHA-256 of a certificate, or of the public key in it.

#[cfg(feature = "aws-lc-rs")]
use aws_lc_rs as provider;
use provider::digest::{SHA256, digest};
#[cfg(not(feature = "aws-lc-rs"))]
use ring as provider;
use std::fmt;
use std::str::FromStr;

/// Octets of a SHA-256.
const OCTETS: usize = 32;

/// A SHA-256 of DER.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; OCTETS]);

impl Fingerprint {
    /// Of a certificate's or of a SubjectPublicKeyInfo's DER.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        let mut octets = [0; OCTETS];
        octets.copy_from_slice(digest(&SHA256, der).as_ref());
        Self(octets)
    }

    /// Its beginning, as openssl writes it: enough to tell certificates apart for people.
    #[must_use]
    pub fn short(&self) -> String {
        let octets = self.0.iter().take(SHORT);
        let octets: Vec<String> = octets.map(|octet| format!("{octet:02X}")).collect();
        octets.join(":")
    }
}

/// Octets of a fingerprint that are shown to people.
const SHORT: usize = 8;

impl FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = |text: &str| u8::from_str_radix(text, 16).ok();
        let plain = match text.contains(':') {
            // As openssl writes it: a colon between every two octets and nowhere else.
            true if text.split(':').all(|octet| octet.len() == 2) => text.replace(':', ""),
            true => String::new(),
            false => text.to_owned(),
        };
        let mut octets = [0; OCTETS];
        let is_whole = plain.len() == 2 * OCTETS && plain.bytes().all(|b| b.is_ascii_hexdigit());
        let read = is_whole.then(|| {
            for (at, octet) in octets.iter_mut().enumerate() {
                *octet = digits(&plain[2 * at..2 * at + 2])?;
            }
            Some(Self(octets))
        });
        read.flatten().ok_or_else(|| {
            format!(
                "{text:?} is no SHA-256: 64 hexadecimal digits, with or without colons, of a certificate or of its \
                 public key; openssl x509 -in FILE -noout -fingerprint -sha256 prints one"
            )
        })
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of no octets at all (FIPS 180-4's best known digest).
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_fingerprint_is_read_as_tools_write_it() {
        let colons: Vec<&str> = (0..32).map(|at| &EMPTY[2 * at..2 * at + 2]).collect();
        let colons = colons.join(":");
        for text in [
            EMPTY,
            &EMPTY.to_uppercase(),
            &colons,
            &colons.to_uppercase(),
        ] {
            assert_eq!(text.parse(), Ok(Fingerprint::of(b"")), "{text}");
        }
        assert_eq!(format!("{:?}", Fingerprint::of(b"")), EMPTY);
    }

    #[test]
    fn what_is_none_is_told_with_what_would_be_right() {
        for text in [
            "",
            &EMPTY[1..],
            &format!("{EMPTY}0"),
            &EMPTY.replace('e', "g"),
            &EMPTY.replacen("e3", "+3", 1),
            &format!("{}:", &EMPTY[1..]),
            &EMPTY.replacen("e3b", "e3:b", 1),
            "SHA256:4oyLDxkzOWwTQTbEzvOA8BlRTHVR5nGgxSl8OMZXn4E",
            "é3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85",
        ] {
            let why = text.parse::<Fingerprint>().unwrap_err();
            assert!(why.contains("64 hexadecimal digits"), "{text}: {why}");
        }
    }
}
