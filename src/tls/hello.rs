//! Which versions a client's first message offers, looked at before rustls has it.
//!
//! rustls (0.23) wants the extension signature_algorithms before it looks at the versions. Clients that end with TLS 1.1 do
//! not send it (TLS 1.2 brought it, RFC 5246 7.4.1.4.1), so they would be told handshake_failure, and their owners would look
//! for the fault in the certificate.

use crate::limits;

/// What the octets that have come say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The hello is not whole yet.
    Part,
    /// It offers nothing from TLS 1.2 on; its own version, as it stands in the message.
    TooOld(u16),
    /// It is for rustls: it offers what we have, or it is none, malformed, or larger than [`limits::CLIENT_HELLO`].
    Other,
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SUPPORTED_VERSIONS: u16 = 43;
const TLS_1_2: u16 = 0x0303;

/// The most octets of a record in clear (RFC 8446 5.1).
const RECORD: usize = 1 << 14;

/// Looks at all octets that have come so far.
#[must_use]
pub fn look(octets: &[u8]) -> Seen {
    if let Some(seen) = look_at_ssl_2(octets) {
        return seen;
    }
    let (mut message, mut rest) = (Vec::new(), octets);
    while !rest.is_empty() {
        let [HANDSHAKE, 3, _, high, low, body @ ..] = rest else {
            let is_begun = rest.len() < 5 && [HANDSHAKE, 3].starts_with(&rest[..rest.len().min(2)]);
            return if is_begun { Seen::Part } else { Seen::Other };
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if !(1..=RECORD).contains(&length) {
            return Seen::Other;
        }
        let (part, behind) = body.split_at(length.min(body.len()));
        message.extend_from_slice(part);
        rest = behind;
        match message[..] {
            [CLIENT_HELLO, a, b, c, ref hello @ ..] => {
                let length = u32::from_be_bytes([0, a, b, c]) as usize;
                if length > limits::CLIENT_HELLO {
                    return Seen::Other;
                }
                if let Some(hello) = hello.get(..length) {
                    return judge(hello).unwrap_or(Seen::Other);
                }
            }
            [] | [CLIENT_HELLO, ..] => {}
            _ => return Seen::Other,
        }
    }
    Seen::Part
}

/// The hello of SSL 2.0, which older clients began with whatever they spoke (RFC 5246 E.2): a length with the high bit, and
/// then no list of extensions. None: it is no such hello.
fn look_at_ssl_2(octets: &[u8]) -> Option<Seen> {
    match *octets {
        [length, ..] if length & 0x80 == 0 => None,
        [_, _, CLIENT_HELLO, 0, 2, ..] => Some(Seen::TooOld(2)),
        [_, _, CLIENT_HELLO, 3, minor, ..] => Some(Seen::TooOld(0x0300 | u16::from(minor))),
        [_] | [_, _] | [_, _, CLIENT_HELLO] | [_, _, CLIENT_HELLO, 0 | 3] => Some(Seen::Part),
        _ => None,
    }
}

/// Of a whole ClientHello's body (RFC 8446 4.1.2). Where it has the extension supported_versions, that alone counts (4.2.1).
/// None: it is malformed.
fn judge(hello: &[u8]) -> Option<Seen> {
    let (version, rest) = hello.split_first_chunk()?;
    let version = u16::from_be_bytes(*version);
    let (_, rest) = rest.split_at_checked(32)?; // its random octets
    let (_session, rest) = after_octet(rest)?;
    let (_suites, rest) = after_two(rest)?;
    let (_compression, rest) = after_octet(rest)?;
    let mut extensions = match rest {
        [] => rest,
        _ => after_two(rest)?.0,
    };
    let mut is_enough = version >= TLS_1_2;
    while let Some((number, rest)) = extensions.split_first_chunk() {
        let (content, rest) = after_two(rest)?;
        extensions = rest;
        if u16::from_be_bytes(*number) == SUPPORTED_VERSIONS {
            let (offered, _) = after_octet(content)?;
            is_enough = offered
                .chunks_exact(2)
                .any(|offer| matches!(offer, [3, 3 | 4]));
        }
    }
    Some(match is_enough {
        true => Seen::Other,
        false => Seen::TooOld(version),
    })
}

/// What is as long as the octet before it says, and the rest.
fn after_octet(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = octets.split_first()?;
    rest.split_at_checked(length.into())
}

/// The same with a length in two octets.
fn after_two(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = octets.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(*length).into())
}

#[cfg(test)]
#[path = "../../tests/support/hello.rs"]
#[allow(dead_code)] // the tests of the whole relay use the rest
mod made;

#[cfg(test)]
mod tests {
    use super::made::{Hello, SUPPORTED_VERSIONS, records};
    use super::*;

    fn old(version: u16) -> Hello {
        let mut hello = Hello::tls_1_2();
        hello.version = version;
        hello
    }

    #[test]
    fn what_ends_before_tls_1_2_is_too_old_however_it_says_so() {
        for (hello, seen) in [
            (old(0x0300), Seen::TooOld(0x0300)),
            (old(0x0302), Seen::TooOld(0x0302)),
            (old(0x0303), Seen::Other),
            (old(0x0304), Seen::Other),
            (Hello::tls_1_3(), Seen::Other),
            (old(0x0301).and(SUPPORTED_VERSIONS, &[2, 3, 4]), Seen::Other),
            (
                old(0x0303).and(SUPPORTED_VERSIONS, &[4, 0x1a, 0x1a, 3, 2]),
                Seen::TooOld(0x0303),
            ),
            // Malformed: longer than it is.
            (old(0x0302).and(SUPPORTED_VERSIONS, &[9, 3, 2]), Seen::Other),
        ] {
            let whole = hello.message();
            for most in [1, 7, usize::MAX] {
                assert_eq!(look(&records(&whole, most)), seen, "{:?}", hello.extensions);
            }
        }
        let mut bare = old(0x0300);
        bare.extensions.clear();
        let mut bare = bare.message();
        bare.truncate(bare.len() - 2); // not even the length of a list
        bare[3] -= 2;
        assert_eq!(
            look(&records(&bare, 100)),
            Seen::TooOld(0x0300),
            "SSL 3.0's"
        );
        assert_eq!(
            look(&[0x80, 46, 1, 3, 1, 0, 21]),
            Seen::TooOld(0x0301),
            "SSL 2.0's form"
        );
    }

    #[test]
    fn nothing_is_waited_for_that_rustls_would_not_wait_for() {
        let whole = old(0x0302).record();
        for end in 0..whole.len() {
            assert_eq!(look(&whole[..end]), Seen::Part, "{end}");
        }
        for other in [
            &b"GET / HTTP/1.0\r\n"[..],
            &[22, 2],
            &[22, 3, 1, 0, 0],
            &[22, 3, 1, 0x7f, 0xff],
            &[22, 3, 1, 0, 1, 2],
            &[22, 3, 1, 0, 4, 1, 255, 255, 255],
            &[22, 3, 1, 0, 2, 1, 0, 21, 3],
            &[255; 9],
        ] {
            assert_eq!(look(other), Seen::Other, "{other:?}");
        }
    }
}
