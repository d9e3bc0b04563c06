//! What a peer offers in its reply to EHLO, and whether a message can go to it.

use core::fmt;

use super::client::Envelope;
use super::reply_reader::EnhancedCode;
use crate::limits;

/// The extensions of a peer that facteur knows, from its reply to EHLO; none after HELO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// RFC 2920
    pub pipelining: bool,
    /// RFC 3030
    pub chunking: bool,
    /// RFC 6152
    pub eight_bit_mime: bool,
    /// RFC 6531
    pub smtputf8: bool,
    /// RFC 3207
    pub starttls: bool,
    /// RFC 3461
    pub dsn: bool,
    /// RFC 1870
    pub size: Option<Size>,
}

/// The largest message that a peer takes, as it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// SIZE is understood; no limit was given.
    NoLimit,
    /// The largest message that it takes.
    Octets(u64),
}

/// Why a message cannot go to this peer as it is. It is not tried: facteur mangles nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// An 8-bit body, and no 8BITMIME.
    EightBitBody,
    /// UTF-8 header fields, and no SMTPUTF8.
    Utf8Headers,
    /// A UTF-8 address, and no SMTPUTF8.
    Utf8Address,
    /// The message is larger than the peer's SIZE.
    Size,
    /// REQUIRETLS, which facteur cannot hand on yet: it goes to no host.
    RequireTls,
    /// The address would not be one SMTP path: it is too long or holds control characters.
    Address,
}

impl Offer {
    /// Takes one line of the reply to EHLO, without its code. Unknown keywords are passed over (RFC 5321 4.1.1.1).
    pub fn take_line(&mut self, line: &str) {
        let (keyword, arguments) = line.split_once(' ').unwrap_or((line, ""));
        let is = |name: &str| keyword.eq_ignore_ascii_case(name);
        if is("PIPELINING") {
            self.pipelining = true;
        } else if is("CHUNKING") {
            self.chunking = true;
        } else if is("8BITMIME") {
            self.eight_bit_mime = true;
        } else if is("SMTPUTF8") {
            self.smtputf8 = true;
        } else if is("STARTTLS") {
            self.starttls = true;
        } else if is("DSN") {
            self.dsn = true;
        } else if is("SIZE") {
            self.size = Some(match arguments.trim().parse() {
                Ok(octets) if octets > 0 => Size::Octets(octets),
                _ => Size::NoLimit,
            });
        }
    }

    /// Whether the peer can take this message at all, its recipients apart.
    ///
    /// # Errors
    /// What it lacks.
    pub fn admits(&self, envelope: &impl Envelope) -> Result<(), Lack> {
        if envelope.requires_tls() {
            return Err(Lack::RequireTls);
        }
        self.admits_address(envelope.sender())?;
        if envelope.has_utf8_headers() && !self.smtputf8 {
            return Err(Lack::Utf8Headers);
        }
        if envelope.has_8bit_body() && !self.eight_bit_mime {
            return Err(Lack::EightBitBody);
        }
        match self.size {
            Some(Size::Octets(most)) if envelope.size() > most => Err(Lack::Size),
            _ => Ok(()),
        }
    }

    /// Whether an address can go to the peer. A recipient it cannot take does not keep the others from it.
    ///
    /// # Errors
    /// [`Lack::Utf8Address`] or [`Lack::Address`].
    pub fn admits_address(&self, address: &str) -> Result<(), Lack> {
        if address.len() > limits::MAILBOX || address.bytes().any(|b| b.is_ascii_control()) {
            return Err(Lack::Address);
        }
        if !address.is_ascii() && !self.smtputf8 {
            return Err(Lack::Utf8Address);
        }
        Ok(())
    }
}

impl Lack {
    /// The enhanced code of the failure (RFC 3463, RFC 6531).
    #[must_use]
    pub fn enhanced(self) -> EnhancedCode {
        let (subject, detail) = match self {
            Self::EightBitBody => (6, 3),
            Self::Utf8Headers => (6, 9),
            Self::Utf8Address => (6, 7),
            Self::Size => (3, 4),
            Self::RequireTls => (7, 30),
            Self::Address => (1, 3),
        };
        EnhancedCode {
            class: 5,
            subject,
            detail,
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EightBitBody => "the message has an 8-bit body and the host lacks 8BITMIME",
            Self::Utf8Headers => "the message has UTF-8 headers and the host lacks SMTPUTF8",
            Self::Utf8Address => "the address is in UTF-8 and the host lacks SMTPUTF8",
            Self::Size => "the message is larger than the host accepts",
            Self::RequireTls => {
                "the message demands REQUIRETLS, and this mail relay cannot hand such mail on"
            }
            Self::Address => "the address cannot be written in an SMTP command",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(lines: &[&str]) -> Offer {
        let mut offer = Offer::default();
        for line in lines {
            offer.take_line(line);
        }
        offer
    }

    #[derive(Clone, Copy)]
    struct Mail(&'static str, u64, bool, bool);
    impl Envelope for Mail {
        fn sender(&self) -> &str {
            self.0
        }
        fn recipients(&self) -> usize {
            0
        }
        fn recipient(&self, _: usize) -> &str {
            ""
        }
        fn size(&self) -> u64 {
            self.1
        }
        fn has_8bit_body(&self) -> bool {
            self.2
        }
        fn has_utf8_headers(&self) -> bool {
            self.3
        }
        fn requires_tls(&self) -> bool {
            false
        }
    }

    struct TlsOnly(Mail);
    impl Envelope for TlsOnly {
        fn sender(&self) -> &str {
            self.0.sender()
        }
        fn recipients(&self) -> usize {
            0
        }
        fn recipient(&self, _: usize) -> &str {
            ""
        }
        fn size(&self) -> u64 {
            self.0.size()
        }
        fn has_8bit_body(&self) -> bool {
            false
        }
        fn has_utf8_headers(&self) -> bool {
            false
        }
        fn requires_tls(&self) -> bool {
            true
        }
    }

    #[test]
    fn keywords_are_read_in_any_case_and_unknown_ones_passed_over() {
        let all = offer(&[
            "pipelining",
            "chunking",
            "Size 1000",
            "8BITMIME",
            "SMTPUTF8",
            "ENHANCEDSTATUSCODES",
            "DSN",
            "STARTTLS",
            "X-UNKNOWN 5",
            "",
        ]);
        let bits = [
            all.pipelining,
            all.chunking,
            all.eight_bit_mime,
            all.smtputf8,
            all.starttls,
            all.dsn,
        ];
        assert_eq!(bits, [true; 6]);
        assert_eq!(all.size, Some(Size::Octets(1000)));
        for line in [
            "SIZE",
            "SIZE 0",
            "SIZE many",
            "SIZE 99999999999999999999999",
        ] {
            assert_eq!(offer(&[line]).size, Some(Size::NoLimit), "{line}");
        }
        assert_eq!(offer(&["PIPELINING-NOT", "XSIZE 5"]), Offer::default());
    }

    #[test]
    fn a_host_that_lacks_what_a_message_is_gets_none_of_it() {
        let plain = Mail("a@x", 1000, false, false);
        assert_eq!(Offer::default().admits(&plain), Ok(()));
        assert_eq!(offer(&["SIZE 1000"]).admits(&plain), Ok(()));
        assert_eq!(offer(&["SIZE 999"]).admits(&plain), Err(Lack::Size));

        let tls_only = offer(&["REQUIRETLS"]).admits(&TlsOnly(plain));
        assert_eq!(tls_only, Err(Lack::RequireTls));
        assert_eq!(Lack::RequireTls.enhanced().to_string(), "5.7.30");

        let eight_bit = Mail("a@x", 1, true, false);
        assert_eq!(
            offer(&["SMTPUTF8"]).admits(&eight_bit),
            Err(Lack::EightBitBody)
        );
        assert_eq!(offer(&["8BITMIME"]).admits(&eight_bit), Ok(()));

        let headers = Mail("a@x", 1, false, true);
        assert_eq!(
            offer(&["8BITMIME"]).admits(&headers),
            Err(Lack::Utf8Headers)
        );
        assert_eq!(offer(&["SMTPUTF8"]).admits(&headers), Ok(()));

        let sender = Mail("jürgen@x", 1, false, false);
        assert_eq!(Offer::default().admits(&sender), Err(Lack::Utf8Address));
        assert_eq!(offer(&["SMTPUTF8"]).admits(&sender), Ok(()));
        for address in ["a@x\r\nRCPT TO:<b@y>", "a\0@x", "a\nb@x"] {
            assert_eq!(
                offer(&["SMTPUTF8"]).admits_address(address),
                Err(Lack::Address)
            );
        }
    }
}
