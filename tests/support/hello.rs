//! A ClientHello made by hand, with whatever is wrong with it, and what a server says to it.

use std::io::{Read, Write};
use std::net::TcpStream;

/// Extensions by their IANA numbers.
pub const SERVER_NAME: u16 = 0;
pub const ALPN: u16 = 16;
pub const SESSION_TICKET: u16 = 35;
pub const PRE_SHARED_KEY: u16 = 41;
pub const EARLY_DATA: u16 = 42;
pub const SUPPORTED_VERSIONS: u16 = 43;

/// RFC 5246 7.4.1.2, RFC 8446 4.1.2.
#[derive(Clone)]
pub struct Hello {
    pub version: u16,
    pub session: Vec<u8>,
    pub suites: Vec<u16>,
    pub compression: Vec<u8>,
    pub extensions: Vec<(u16, Vec<u8>)>,
}

impl Hello {
    /// One of TLS 1.2: what the server says to it is all in clear.
    pub fn tls_1_2() -> Self {
        let groups = vec![0, 4, 0, 29, 0, 23];
        let schemes = vec![0, 8, 4, 3, 8, 4, 4, 1, 8, 7];
        Self {
            version: 0x0303,
            session: vec![],
            suites: vec![0xc02b, 0xc02f], // ECDHE with ECDSA and RSA, AES-128-GCM
            compression: vec![0],
            extensions: vec![(10, groups), (11, vec![1, 0]), (13, schemes), (23, vec![])],
        }
    }

    /// One of TLS 1.3 with a share for X25519.
    pub fn tls_1_3() -> Self {
        let mut hello = Self::tls_1_2();
        hello.suites = vec![0x1301];
        hello.session = vec![7; 32]; // of middlebox compatibility
        let share = [&[0, 36, 0, 29, 0, 32][..], &[9; 32]].concat();
        hello = hello.and(SUPPORTED_VERSIONS, &[2, 3, 4]);
        hello.and(51, &share).and(45, &[1, 1])
    }

    pub fn and(mut self, extension: u16, content: &[u8]) -> Self {
        self.extensions.push((extension, content.to_vec()));
        self
    }

    /// With a server name of these octets, well laid out (RFC 6066 3).
    pub fn named(self, name: &[u8]) -> Self {
        let entry = [&[0][..], &sized(name)].concat();
        self.and(SERVER_NAME, &sized(&entry))
    }

    /// The handshake message.
    pub fn message(&self) -> Vec<u8> {
        let suites: Vec<u8> = self
            .suites
            .iter()
            .flat_map(|suite| suite.to_be_bytes())
            .collect();
        let extension = |(number, content): &(u16, Vec<u8>)| {
            [&number.to_be_bytes()[..], &sized(content)].concat()
        };
        let extensions: Vec<u8> = self.extensions.iter().flat_map(extension).collect();
        let body = [
            &self.version.to_be_bytes()[..],
            &[5; 32],
            &[self.session.len() as u8],
            &self.session,
            &sized(&suites),
            &[self.compression.len() as u8],
            &self.compression,
            &sized(&extensions),
        ]
        .concat();
        let length = (body.len() as u32).to_be_bytes();
        [&[1][..], &length[1..], &body].concat()
    }

    /// The message in one record.
    pub fn record(&self) -> Vec<u8> {
        records(&self.message(), usize::MAX)
    }
}

/// With its length in two octets.
fn sized(content: &[u8]) -> Vec<u8> {
    [&(content.len() as u16).to_be_bytes()[..], content].concat()
}

/// A handshake message in records of at most so many octets.
pub fn records(message: &[u8], most: usize) -> Vec<u8> {
    let record = |part: &[u8]| [&[22, 3, 1][..], &sized(part)].concat();
    message.chunks(most.min(16_384)).flat_map(record).collect()
}

/// What a server said, in clear.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// The description of a fatal alert, which was all it said, and then the connection's end.
    Alert(u8),
    /// Its flight of TLS 1.2, down to ServerHelloDone: the messages' types and bodies.
    Flight(Vec<(u8, Vec<u8>)>),
    /// Something else.
    Other(Vec<u8>),
}

pub const UNEXPECTED_MESSAGE: Answer = Answer::Alert(10);
pub const HANDSHAKE_FAILURE: Answer = Answer::Alert(40);
pub const DECODE_ERROR: Answer = Answer::Alert(50);
pub const PROTOCOL_VERSION: Answer = Answer::Alert(70);
pub const NO_APPLICATION_PROTOCOL: Answer = Answer::Alert(120);

impl Answer {
    /// The certificate that was shown.
    pub fn certificate(&self) -> Option<&[u8]> {
        let Self::Flight(messages) = self else {
            return None;
        };
        let (_, body) = messages.iter().find(|(kind, _)| *kind == 11)?;
        let length = usize::from(body[4]) << 8 | usize::from(body[5]);
        Some(&body[6..6 + length])
    }
}

/// Sends these octets and nothing more, and reads what comes of it. An end must be one: a reset is a failure.
#[track_caller]
pub fn answer(mut socket: &TcpStream, octets: &[u8]) -> Answer {
    socket.write_all(octets).expect("sent");
    let mut said = Vec::new();
    loop {
        if let Some(messages) = flight(&said) {
            return Answer::Flight(messages);
        }
        let mut more = [0; 4096];
        match socket
            .read(&mut more)
            .expect("an answer or an end, no reset")
        {
            0 => break,
            count => said.extend_from_slice(&more[..count]),
        }
    }
    match said[..] {
        [21, 3, _, 0, 2, 2, description] => Answer::Alert(description),
        _ => Answer::Other(said),
    }
}

/// The messages down to ServerHelloDone, once all are there.
fn flight(said: &[u8]) -> Option<Vec<(u8, Vec<u8>)>> {
    let (mut text, mut at) = (Vec::new(), 0);
    while let Some(&[22, _, _, high, low]) = said.get(at..at + 5) {
        let length = usize::from(high) << 8 | usize::from(low);
        text.extend_from_slice(said.get(at + 5..at + 5 + length)?);
        at += 5 + length;
    }
    let mut messages = Vec::new();
    let mut rest = &text[..];
    while let [kind, a, b, c, body @ ..] = rest {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        messages.push((*kind, body.get(..length)?.to_vec()));
        rest = &body[length..];
    }
    messages
        .iter()
        .any(|(kind, _)| *kind == 14)
        .then_some(messages)
}
