//! What the reply to EHLO offers.

use super::reply::write_line;
use heapless::VecView;

/// What this server offers now; it differs inside and outside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The largest message, in octets (RFC 1870).
    pub size: u64,
    /// STARTTLS (RFC 3207): outside TLS, where there is a certificate.
    pub starttls: bool,
    /// REQUIRETLS (RFC 8689): inside TLS.
    pub require_tls: bool,
}

impl Offer {
    /// Appends the whole reply to EHLO; the last line has a space behind its code. The buffer has room for
    /// [`crate::limits::REPLY`] octets.
    pub fn write(&self, out: &mut VecView<u8>, hostname: &str) {
        write_line(out, format_args!("250-{hostname}"));
        write_line(out, format_args!("250-PIPELINING"));
        write_line(out, format_args!("250-SIZE {}", self.size));
        write_line(out, format_args!("250-8BITMIME"));
        write_line(out, format_args!("250-SMTPUTF8"));
        write_line(out, format_args!("250-CHUNKING"));
        write_line(out, format_args!("250-DSN"));
        if self.starttls {
            write_line(out, format_args!("250-STARTTLS"));
        }
        if self.require_tls {
            write_line(out, format_args!("250-REQUIRETLS"));
        }
        write_line(out, format_args!("250 ENHANCEDSTATUSCODES"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_has_a_space() {
        let mut out: heapless::Vec<u8, 512> = heapless::Vec::new();
        Offer {
            size: 1,
            starttls: true,
            require_tls: false,
        }
        .write(&mut out, "mx.example");
        let text = core::str::from_utf8(&out).unwrap();
        let spaced = text.lines().filter(|line| line.starts_with("250 ")).count();
        assert!(spaced == 1 && text.lines().last().unwrap().starts_with("250 "));
        assert!(
            !text.contains("REQUIRETLS")
                && text.contains("250-STARTTLS\r\n")
                && text.contains("250-SIZE 1\r\n")
        );
    }
}
