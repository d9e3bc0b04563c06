//! SMTP or LMTP, and how each says hello.

/// What is spoken with a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 5321.
    #[default]
    Smtp,
    /// RFC 2033: LHLO, and after the final dot a reply for each recipient that was accepted.
    Lmtp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hello {
    Ehlo,
    Helo,
    Lhlo,
}

impl Hello {
    /// With the space behind it.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Ehlo => "EHLO ",
            Self::Helo => "HELO ",
            Self::Lhlo => "LHLO ",
        }
    }

    pub fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Smtp => Self::Ehlo,
            Protocol::Lmtp => Self::Lhlo,
        }
    }
}
