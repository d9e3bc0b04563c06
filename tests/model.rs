//! The receiving machine against a small model of the RFC's states: random sequences of commands, right and wrong ones, at
//! random cuts. After anything, the next command gets the answer that the model gives, or the session has ended with 421.

use facteur::smtp::data::LineEnds;
use facteur::smtp::reply;
use facteur::smtp::server::{Server, Settings, Step, Verdict};
use proptest::prelude::*;

const SETTINGS: Settings<'static> = Settings {
    hostname: "mx.example",
    message_size: 1_000,
    starttls: true,
    require_tls: false,
    line_ends: LineEnds::Strict,
};

const BROKEN: &str = "disk";

#[derive(Clone, Debug)]
enum Say {
    Hello,
    Mail,
    Rcpt,
    RcptElsewhere,
    BadRcpt,
    /// So many in one go, some of them beyond the hundredth.
    Rcpts(usize),
    /// The spool has no room for it.
    MailRefused,
    StartTls,
    /// A text with [`BROKEN`] in it finds the disk broken at its end.
    Data(&'static str),
    Chunk(&'static str, bool),
    /// So many empty chunks in one go.
    NoChunks(usize),
    Rset,
    /// So many in one go.
    Noops(usize),
    Vrfy,
    Help,
    BadMail,
    Unknown,
    TooLong,
    EmptyLine,
}

/// What RFC 5321 4.1.4 and RFC 3030 keep between commands.
#[derive(Default)]
struct Model {
    greeted: bool,
    transaction: bool,
    recipients: usize,
    chunks: bool,
    chunk_failed: bool,
    bare: bool,
    broken: bool,
    tls: bool,
    /// Since the last accepted message.
    errors: usize,
    refused: usize,
    idle: usize,
}

impl Model {
    fn reset(&mut self) {
        let Self {
            greeted,
            tls,
            errors,
            refused,
            idle,
            ..
        } = *self;
        *self = Self {
            greeted,
            tls,
            errors,
            refused,
            idle,
            ..Self::default()
        };
    }

    /// The end of a message.
    fn end(&mut self) -> u16 {
        let code = match (self.bare, self.broken) {
            (true, _) => 550,
            (false, true) => 451,
            (false, false) => 250,
        };
        self.reset();
        if code == 250 {
            (self.errors, self.refused, self.idle) = (0, 0, 0);
        }
        code
    }

    fn text(&mut self, text: &str) {
        self.bare |= is_bare(text);
        self.broken |= text.contains(BROKEN);
    }

    /// The codes that this gets.
    fn expect(&mut self, say: &Say) -> Vec<u16> {
        match say {
            Say::Hello => {
                self.reset();
                self.greeted = true;
                vec![250]
            }
            Say::Mail | Say::MailRefused if !self.greeted || self.transaction => vec![503],
            Say::Mail => {
                self.transaction = true;
                vec![250]
            }
            Say::MailRefused => vec![452],
            Say::BadMail if !self.greeted || self.transaction => vec![503],
            Say::BadMail => vec![552],
            Say::BadRcpt => vec![501],
            Say::Rcpt | Say::RcptElsewhere
                if !self.transaction || self.chunks || self.chunk_failed =>
            {
                vec![503]
            }
            Say::RcptElsewhere if self.recipients == 100 => vec![452],
            Say::RcptElsewhere => vec![550],
            Say::Rcpt if self.recipients == 100 => vec![452],
            Say::Rcpt => {
                self.recipients += 1;
                vec![250]
            }
            Say::Rcpts(times) => (0..*times).flat_map(|_| self.expect(&Say::Rcpt)).collect(),
            Say::StartTls if self.tls => vec![503],
            Say::StartTls => {
                self.reset();
                (self.greeted, self.tls) = (false, true);
                vec![220]
            }
            Say::Data(_) if self.recipients == 0 || self.chunks || self.chunk_failed => vec![503],
            Say::Data(text) => {
                self.text(text);
                vec![354, self.end()]
            }
            Say::Chunk(..) if self.recipients == 0 || self.chunk_failed => {
                self.chunk_failed = self.transaction;
                vec![503]
            }
            Say::Chunk(text, last) => {
                self.chunks = true;
                self.text(text);
                vec![if *last { self.end() } else { 250 }]
            }
            Say::Rset => {
                self.reset();
                vec![250]
            }
            Say::Noops(times) => vec![250; *times],
            Say::NoChunks(times) => (0..*times)
                .flat_map(|_| self.expect(&Say::Chunk("", false)))
                .collect(),
            Say::Vrfy => vec![252],
            Say::Help => vec![214],
            Say::Unknown | Say::TooLong | Say::EmptyLine => vec![500],
        }
    }

    /// The codes up to the 421 when there was enough of them, and that.
    fn expect_all(&mut self, say: &Say) -> Vec<u16> {
        let mut codes = self.expect(say);
        for at in 0..codes.len() {
            match codes[at] {
                500..=504 | 555 => self.errors += 1,
                550 if matches!(say, Say::RcptElsewhere) => self.refused += 1,
                code if code >= 505 || say.leads_nowhere() => self.idle += 1,
                _ => {}
            }
            if self.errors + self.idle.saturating_sub(100) >= 20 || self.refused >= 100 {
                codes.truncate(at + 1);
                codes.push(421);
                break;
            }
        }
        codes
    }
}

impl Say {
    /// Whether a client that says nothing else has no business here, whatever good answer it gets.
    fn leads_nowhere(&self) -> bool {
        matches!(
            self,
            Self::Hello
                | Self::NoChunks(_)
                | Self::Chunk("", false)
                | Self::Rset
                | Self::Noops(_)
                | Self::Vrfy
                | Self::Help
        )
    }
}

fn is_bare(text: &str) -> bool {
    text.replace("\r\n", "").contains(['\r', '\n'])
}

/// The octets on the wire. Data is sent only where the model says that 354 came.
fn octets(say: &Say, data_accepted: bool) -> Vec<u8> {
    let line = |text: &str| format!("{text}\r\n").into_bytes();
    match say {
        Say::Hello => line("EHLO client.example"),
        Say::Mail => line("MAIL FROM:<ann@client.example>"),
        Say::Rcpt => line("RCPT TO:<bob@local.example>"),
        Say::RcptElsewhere => line("RCPT TO:<eve@elsewhere.example>"),
        Say::BadRcpt => line("RCPT TO:bob"),
        Say::Rcpts(times) => b"RCPT TO:<bob@local.example>\r\n".repeat(*times),
        Say::MailRefused => line("MAIL FROM:<full@client.example>"),
        Say::StartTls => line("STARTTLS"),
        Say::Data(text) if data_accepted => line(&format!("DATA\r\n{text}\r\n.")),
        Say::Data(_) => line("DATA"),
        Say::Chunk(text, last) => {
            let last = if *last { " LAST" } else { "" };
            format!("BDAT {}{last}\r\n{text}", text.len()).into_bytes()
        }
        Say::Rset => line("RSET"),
        Say::Noops(times) => b"NOOP x\r\n".repeat(*times),
        Say::NoChunks(times) => b"BDAT 0\r\n".repeat(*times),
        Say::Help => line("HELP"),
        Say::BadMail => line("MAIL FROM:<ann@client.example> SIZE=1001"),
        Say::Vrfy => line("VRFY bob"),
        Say::Unknown => line("FOO"),
        Say::TooLong => line(&"x".repeat(2_100)),
        Say::EmptyLine => line(""),
    }
}

/// The machine, and what it has not used yet.
#[derive(Default)]
struct Relay {
    server: Server<&'static str, ()>,
    kept: Vec<u8>,
    body: Vec<u8>,
    said: Vec<u8>,
    closed: bool,
}

impl Relay {
    /// Feeds octets at the given cuts; the codes of the replies' last lines.
    fn feed(&mut self, octets: &[u8], cut: usize) -> Vec<u16> {
        for piece in octets.chunks(cut) {
            self.kept.extend_from_slice(piece);
            let input = std::mem::take(&mut self.kept);
            let (mut at, mut more) = (0, true);
            while more && !self.closed {
                let mut out: heapless::Vec<u8, 2048> = heapless::Vec::new();
                let (used, step) = self.server.handle_input(&SETTINGS, &input[at..], &mut out);
                at += used;
                more = step != Step::Input;
                self.obey(step, &mut out);
                self.said.extend_from_slice(&out);
            }
            self.kept = input[at..].to_vec();
        }
        let text = String::from_utf8(std::mem::take(&mut self.said)).expect("ASCII");
        let last_lines = text
            .lines()
            .filter(|line| line.as_bytes().get(3) == Some(&b' '));
        last_lines
            .map(|line| line[..3].parse().expect("a code"))
            .collect()
    }

    fn obey(&mut self, step: Step<'_>, out: &mut heapless::Vec<u8, 2048>) {
        let verdict = match step {
            Step::Close(_) => return self.closed = true,
            Step::StartTls => return self.server.tls_is_up(()),
            Step::Body(text) => return self.body.extend_from_slice(text),
            Step::EndOfData(_) if !contains(&self.body, BROKEN) => {
                return self.server.accepted("Q1", out);
            }
            Step::EndOfData(_) => Verdict::Refuse(reply::DISK_ERROR),
            Step::Mail { sender, .. } if sender.to_string().contains("full") => {
                Verdict::Refuse(reply::SPOOL_FULL)
            }
            Step::Rcpt { recipient, .. } if recipient.to_string().contains("elsewhere") => {
                Verdict::Refuse(reply::RELAY_DENIED)
            }
            Step::Data => {
                self.body.clear();
                Verdict::Accept
            }
            Step::Mail { .. } | Step::Rcpt { .. } => Verdict::Accept,
            _ => return,
        };
        let next = self.server.verdict(&SETTINGS, verdict, out);
        self.closed = matches!(next, Step::Close(_));
    }
}

fn contains(octets: &[u8], word: &str) -> bool {
    octets
        .windows(word.len())
        .any(|window| window == word.as_bytes())
}

fn sayings() -> impl Strategy<Value = Say> {
    let text = prop_oneof![
        Just("a\r\nb"),
        Just(""),
        Just(".\r\n..x"),
        Just("QUIT\r\n"),
        Just("a\nb"),
        Just(BROKEN),
        Just("a\rb")
    ];
    prop_oneof![
        4 => Just(Say::Hello),
        8 => Just(Say::Mail),
        8 => Just(Say::Rcpt),
        1 => Just(Say::RcptElsewhere),
        1 => Just(Say::BadRcpt),
        1 => (80usize..120).prop_map(Say::Rcpts),
        1 => Just(Say::MailRefused),
        1 => Just(Say::StartTls),
        6 => text.clone().prop_map(|text| Say::Data(if text.starts_with('.') { "x" } else { text })),
        8 => (text, any::<bool>()).prop_map(|(text, last)| Say::Chunk(text, last)),
        1 => Just(Say::Rset),
        1 => (1usize..60).prop_map(Say::Noops),
        1 => (1usize..60).prop_map(Say::NoChunks),
        1 => Just(Say::Help),
        1 => Just(Say::BadMail),
        1 => Just(Say::Vrfy),
        1 => Just(Say::Unknown),
        1 => Just(Say::TooLong),
        1 => Just(Say::EmptyLine),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]
    #[test]
    fn the_machine_answers_as_the_model(says in prop::collection::vec(sayings(), 1..60), cut in 1usize..40) {
        let (mut relay, mut model) = (Relay::default(), Model::default());
        for say in says {
            let data_accepted = model.recipients > 0 && !model.chunks && !model.chunk_failed;
            let expected = model.expect_all(&say);
            let codes = relay.feed(&octets(&say, data_accepted), cut);
            prop_assert_eq!(&codes, &expected, "{:?}", say);
            prop_assert_eq!(relay.closed, expected.last() == Some(&421));
            if relay.closed {
                return Ok(());
            }
        }
    }
}
