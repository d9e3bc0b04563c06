//! CR LF `.` CR LF ends a message and nothing else does, in the machine that receives: every false ending, at every split
//! of the octets into reads, at sizes that put it across every limit, by DATA and by BDAT, from strangers and from trusted
//! clients. What is behind it is never a command, and the whole gets one reply.
//!
//! What has to come out is told by [`by_data`] and [`by_chunks`], which see the whole of it at once.

#[path = "support/endings.rs"]
mod endings;

use endings::{FALSE_ENDINGS, bare, smuggled};
use facteur::limits;
use facteur::smtp::data::LineEnds;
use facteur::smtp::server::{Server, Settings, Step, Verdict};
use facteur::smtp::stuffing::Stuffer;

const CLIENTS: [LineEnds; 2] = [LineEnds::Strict, LineEnds::Mended];
const ENVELOPE: &str = "EHLO a.test\r\nMAIL FROM:<ann@a.test>\r\nRCPT TO:<bob@b.test>\r\n";

/// The server machine, and what came of it.
struct Relay {
    server: Server<&'static str, ()>,
    settings: Settings<'static>,
    input: Vec<u8>,
    kept: Vec<u8>,
    /// The messages that were taken.
    messages: Vec<Vec<u8>>,
    /// MAIL and RCPT that were obeyed.
    commands: usize,
    out: heapless::Vec<u8, 4096>,
    said: Vec<u8>,
    closed: bool,
}

impl Relay {
    fn new(line_ends: LineEnds, message_size: u64) -> Self {
        Self {
            server: Server::new(),
            settings: Settings {
                hostname: "mx.example",
                message_size,
                starttls: false,
                require_tls: false,
                line_ends,
            },
            input: Vec::new(),
            kept: Vec::new(),
            messages: Vec::new(),
            commands: 0,
            out: heapless::Vec::new(),
            said: Vec::new(),
            closed: false,
        }
    }

    /// One read.
    fn read(&mut self, octets: &[u8]) {
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(octets);
        let mut at = 0;
        while !self.closed {
            let (used, step) =
                self.server
                    .handle_input(&self.settings, &input[at..], &mut self.out);
            at += used;
            match step {
                Step::Input => break,
                Step::Close(_) | Step::Vanish => self.closed = true,
                Step::Body(text) => self.kept.extend_from_slice(text),
                Step::EndOfData(_) => {
                    self.messages.push(std::mem::take(&mut self.kept));
                    self.server.accepted("Q1", &mut self.out);
                }
                Step::Mail { .. } | Step::Rcpt { .. } => {
                    self.commands += 1;
                    self.accept();
                }
                Step::Data => self.accept(),
                _ => {}
            }
            self.said.extend_from_slice(&self.out);
            self.out.clear();
        }
        self.input = input.split_off(at);
    }

    fn accept(&mut self) {
        self.server
            .verdict(&self.settings, Verdict::Accept, &mut self.out);
    }

    /// What it said since the last time, a word a reply: its code.
    fn codes(&mut self) -> String {
        let said = String::from_utf8(std::mem::take(&mut self.said)).expect("ASCII");
        let last_lines = said
            .lines()
            .filter(|line| line.as_bytes().get(3) == Some(&b' '));
        let codes: Vec<_> = last_lines.map(|line| &line[..3]).collect();
        codes.join(" ")
    }
}

/// What DATA has to make of this: the message as kept, its length with its end, and whether a CR or LF stood alone. Lines
/// are what CR LF ends; one that is a dot is the end. Any other loses its first dot and the CRs at its end, and what stands
/// alone in it is a line's end.
fn by_data(data: &[u8]) -> (Vec<u8>, usize, bool) {
    let (mut kept, mut at, mut bare) = (Vec::new(), 0, false);
    loop {
        let length = find(&data[at..], b"\r\n").expect("the data has an end");
        let line = &data[at..at + length];
        at += length + 2;
        if line == b"." {
            return (kept, at, bare);
        }
        bare |= line.contains(&b'\r') || line.contains(&b'\n');
        let line = line.strip_prefix(b".").unwrap_or(line);
        let crs = line.iter().rev().take_while(|&&octet| octet == b'\r');
        mend(&line[..line.len() - crs.count()], &mut kept);
        kept.extend_from_slice(b"\r\n");
    }
}

/// What BDAT has to make of it: dots mean nothing.
fn by_chunks(data: &[u8]) -> Vec<u8> {
    let (mut kept, mut rest) = (Vec::new(), data);
    while let Some(length) = find(rest, b"\r\n") {
        let line = &rest[..length];
        rest = &rest[length + 2..];
        let crs = line.iter().rev().take_while(|&&octet| octet == b'\r');
        mend(&line[..line.len() - crs.count()], &mut kept);
        kept.extend_from_slice(b"\r\n");
    }
    mend(rest, &mut kept);
    kept
}

fn mend(line: &[u8], kept: &mut Vec<u8>) {
    for &octet in line {
        match octet {
            b'\r' | b'\n' => kept.extend_from_slice(b"\r\n"),
            _ => kept.push(octet),
        }
    }
}

fn find(octets: &[u8], wanted: &[u8]) -> Option<usize> {
    octets
        .windows(wanted.len())
        .position(|window| window == wanted)
}

/// A message that goes out holds no CR or LF alone and one end, wherever it is cut.
#[track_caller]
fn assert_clean_on_its_way_out(message: &[u8]) {
    let mut stuffer = Stuffer::new();
    let mut out = b"\r\n".to_vec();
    for piece in message.chunks(3) {
        out.extend(stuffer.stuff(piece).flatten());
    }
    out.extend_from_slice(stuffer.finish());
    assert_eq!(bare(&out), None);
    let end = find(&out, b"\r\n.\r\n").expect("an end");
    assert_eq!(end + 5, out.len(), "{:?}", String::from_utf8_lossy(&out));
}

/// One message with a false ending, what an attacker hopes for behind it, and the true end.
struct Attack {
    data: Vec<u8>,
    /// Where in the data the false ending begins and ends.
    ending: (usize, usize),
    line_ends: LineEnds,
    message_size: u64,
    /// What has to come out, and whether something stood alone.
    message: Vec<u8>,
    bare: bool,
}

impl Attack {
    /// None where this is an end indeed.
    fn new(prefix: &[u8], ending: &str, smuggled: &str, line_ends: LineEnds) -> Option<Self> {
        let data = [prefix, ending.as_bytes(), smuggled.as_bytes(), b"\r\n.\r\n"].concat();
        let (message, length, bare) = by_data(&data);
        (length == data.len()).then(|| Self {
            ending: (prefix.len(), prefix.len() + ending.len()),
            line_ends,
            message_size: 4 << 20,
            message,
            bare,
            data,
        })
    }

    /// By DATA, with the octets behind the 354 read in pieces that end at `cuts`.
    #[track_caller]
    fn run(&self, cuts: &[usize]) {
        let mut relay = Relay::new(self.line_ends, self.message_size);
        relay.read(ENVELOPE.as_bytes());
        relay.read(b"DATA\r\n");
        assert_eq!(relay.codes(), "250 250 250 354");
        let stream = [&self.data[..], b"VRFY bob\r\n"].concat();
        let mut from = 0;
        for &to in cuts.iter().chain([&stream.len()]) {
            relay.read(&stream[from..to]);
            from = to;
        }
        let size = self.message.len() as u64;
        let what = || {
            let window =
                &self.data[self.ending.0.saturating_sub(3)..self.data.len().min(self.ending.1 + 9)];
            let window = String::from_utf8_lossy(window).into_owned();
            format!("{window:?}, {:?}, {size} octets, {cuts:?}", self.line_ends)
        };
        let codes = relay.codes();
        let right: &[&str] = match self.line_ends {
            // What a stranger's condemned message would measure is nobody's business.
            LineEnds::Strict if self.bare => &["550 252", "552 252", "421"],
            _ if size > 2 * self.message_size => &["421"],
            _ if size > self.message_size => &["552 252"],
            _ => &["250 252"],
        };
        assert!(right.contains(&codes.as_str()), "{codes}: {}", what());
        if self.message_size > 1 << 20 {
            assert_eq!(codes, right[0], "{}", what());
        }
        assert_eq!(relay.commands, 2, "a command was smuggled: {}", what());
        assert_eq!(relay.closed, codes == "421", "{}", what());
        let taken = usize::from(codes.starts_with("250"));
        assert_eq!(relay.messages.len(), taken, "{}", what());
        if let Some(message) = relay.messages.first() {
            assert!(*message == self.message, "{}", what());
            if self.data.len() < 1_000 {
                assert_clean_on_its_way_out(message);
            }
        }
    }

    /// In one piece, in two and in three with all the cuts around the false ending, and octet by octet.
    #[track_caller]
    fn run_at_every_split_around_the_ending(&self) {
        let (from, to) = (self.ending.0.saturating_sub(2), self.ending.1 + 3);
        self.run(&[]);
        for first in from..=to {
            for second in first..=to {
                self.run(&[first, second]);
            }
        }
    }

    #[track_caller]
    fn run_octet_by_octet(&self) {
        self.run(&(1..self.data.len()).collect::<Vec<_>>());
    }
}

#[test]
fn no_known_false_ending_ends_a_message_at_any_split() {
    for line_ends in CLIENTS {
        for ending in FALSE_ENDINGS {
            for line_end in ["\r\n", "\n"] {
                for prefix in ["", "a", "Subject: x\r\n\r\n", ".."] {
                    let smuggled = smuggled(line_end);
                    let attack = Attack::new(prefix.as_bytes(), ending, &smuggled, line_ends);
                    let attack =
                        attack.unwrap_or_else(|| panic!("{ending:?} behind {prefix:?} is an end"));
                    attack.run_at_every_split_around_the_ending();
                    attack.run_octet_by_octet();
                    // The true end is cut everywhere, too, and the next command.
                    for cut in 0..attack.data.len() {
                        attack.run(&[cut]);
                    }
                }
            }
        }
    }
}

/// All that can be made of these octets, up to five of them.
#[test]
fn no_mixture_of_cr_lf_dot_and_nul_ends_a_message_but_the_true_one() {
    const OCTETS: [&str; 4] = ["\r", "\n", ".", "\0"];
    let mut mixtures = vec![String::new()];
    let (mut from, mut tried, mut ends) = (0, 0, 0);
    for _ in 1..=5 {
        let longer: Vec<_> = mixtures[from..]
            .iter()
            .flat_map(|mixture| OCTETS.map(|octet| format!("{mixture}{octet}")))
            .collect();
        from = mixtures.len();
        mixtures.extend(longer);
    }
    for mixture in &mixtures {
        for line_ends in CLIENTS {
            match Attack::new(b"a", mixture, &smuggled("\r\n"), line_ends) {
                Some(attack) => attack.run_at_every_split_around_the_ending(),
                None => ends += 1,
            }
            tried += 1;
        }
    }
    // 1 + 4 + 16 + … + 1,024 of them, of which only the true one is an end.
    assert_eq!((tried, ends), (2 * 1_365, 2));
}

/// Text of exactly this length, in lines of up to 998 octets (RFC 5321 4.5.3.1.6), the last of them open.
fn text(length: usize) -> Vec<u8> {
    let line = ["x".repeat(996), "\r\n".into()].concat();
    let mut text = line.into_bytes().repeat(length / 998 + 1);
    text.truncate(length);
    if let [.., last] = &mut text[..] {
        *last = b'x';
    }
    text
}

/// The false ending lies across the end of a read of every usual size, at every place.
#[test]
fn no_false_ending_ends_a_message_across_the_reads_of_a_session() {
    for read in [4_096, limits::READ_CHUNK, limits::SPOOL_PART] {
        for at in read - 9..=read + 6 {
            let prefix = text(at);
            for line_ends in CLIENTS {
                for ending in FALSE_ENDINGS {
                    let attack = Attack::new(&prefix, ending, &smuggled("\r\n"), line_ends)
                        .expect("a false ending");
                    attack.run(&[read]);
                }
            }
        }
    }
}

/// Across the largest size of a message and twice that, and beyond both.
#[test]
fn no_false_ending_ends_a_message_that_is_too_big() {
    const LARGEST: usize = 500;
    // What is smuggled is about a hundred octets: the limit lies in the ending, or in the end.
    let around = |size: usize| (size - 125..size - 90).chain(size - 8..size + 3);
    let sizes = around(LARGEST)
        .chain(around(2 * LARGEST))
        .chain([LARGEST + 200, 3 * LARGEST]);
    for size in sizes {
        for line_ends in CLIENTS {
            for ending in FALSE_ENDINGS {
                let mut attack = Attack::new(&text(size), ending, &smuggled("\r\n"), line_ends)
                    .expect("a false ending");
                attack.message_size = LARGEST as u64;
                let (from, to) = attack.ending;
                attack.run(&[]);
                (from..=to).for_each(|cut| attack.run(&[cut]));
            }
        }
    }
}

#[test]
fn no_false_ending_ends_a_message_of_a_mebibyte() {
    let prefix = text(1 << 20);
    for line_ends in CLIENTS {
        for ending in FALSE_ENDINGS {
            let attack = Attack::new(&prefix, ending, &smuggled("\n"), line_ends).expect("false");
            let (from, to) = attack.ending;
            let reads: Vec<_> = (1..=from / limits::READ_CHUNK)
                .map(|read| read * limits::READ_CHUNK)
                .take_while(|&cut| cut < from)
                .collect();
            for cut in from..=to {
                attack.run(&[&reads[..], &[cut]].concat());
            }
        }
    }
}

/// In counted octets nothing is an end, the true one least of all: it goes on as text, its dot doubled.
#[test]
fn nothing_in_chunks_ends_a_message() {
    for line_ends in CLIENTS {
        for ending in FALSE_ENDINGS.into_iter().chain(["\r\n.\r\n"]) {
            for line_end in ["\r\n", "\n"] {
                let data = format!("a{ending}{}.{line_end}", smuggled(line_end)).into_bytes();
                let (from, to) = (0, 1 + ending.len() + 3);
                for chunk in from..=to {
                    for read in [chunk, chunk + 1, 1] {
                        chunks(&data, chunk, read, line_ends);
                    }
                }
            }
        }
    }
}

/// Sends it in two chunks and reads of this size.
#[track_caller]
fn chunks(data: &[u8], first: usize, read: usize, line_ends: LineEnds) {
    let mut relay = Relay::new(line_ends, 4 << 20);
    relay.read(ENVELOPE.as_bytes());
    relay.codes();
    let (one, two) = data.split_at(first);
    let head = |octets: &[u8], last| format!("BDAT {}{last}\r\n", octets.len()).into_bytes();
    let stream = [
        &head(one, ""),
        one,
        &head(two, " LAST"),
        two,
        b"VRFY bob\r\n",
    ]
    .concat();
    stream
        .chunks(read.max(1))
        .for_each(|octets| relay.read(octets));
    let what = String::from_utf8_lossy(&data[..20]).into_owned();
    let what = format!("{what:?} in chunks of {first}, reads of {read}, {line_ends:?}");
    if line_ends == LineEnds::Strict && bare(data).is_some() {
        assert_eq!(relay.codes(), "250 550 252", "{what}");
        assert!(relay.messages.is_empty(), "{what}");
    } else {
        assert_eq!(relay.codes(), "250 250 252", "{what}");
        assert!(relay.messages == [by_chunks(data)], "{what}");
        assert_clean_on_its_way_out(&relay.messages[0]);
    }
    assert_eq!(relay.commands, 2, "a command was smuggled: {what}");
}

/// The control: dots wherever the RFC lets them stand come out octet for octet, whoever sends them.
#[test]
fn legal_dots_come_out_as_they_were_meant() {
    const LINES: [&str; 8] = ["", ".", "..", "...", ".x", "x.", ". ", "MAIL FROM:<x@y>"];
    let mut messages = vec![Vec::new()];
    for first in LINES {
        messages.push(vec![first]);
        for second in LINES {
            messages.push(vec![first, second]);
            messages.extend(LINES.map(|third| vec![first, second, third]));
        }
    }
    messages.push(LINES.repeat(4_000));
    for message in messages {
        let sent: String = message
            .iter()
            .map(|line| match line.strip_prefix('.') {
                Some(rest) => format!("..{rest}\r\n"),
                None => format!("{line}\r\n"),
            })
            .collect();
        let meant: String = message.iter().map(|line| format!("{line}\r\n")).collect();
        let sent = format!("{sent}.\r\nVRFY bob\r\n");
        for line_ends in CLIENTS {
            let octets: Vec<_> = (1..sent.len()).collect();
            legal(&sent, &meant, &octets, line_ends);
            let cuts = if message.len() < 4 { sent.len() } else { 8 };
            for first in 0..cuts {
                // In three pieces where that is not too many.
                let seconds = if message.len() < 3 { cuts } else { first + 1 };
                for second in first..seconds {
                    legal(&sent, &meant, &[first, second], line_ends);
                }
            }
        }
    }
}

#[track_caller]
fn legal(sent: &str, meant: &str, cuts: &[usize], line_ends: LineEnds) {
    let mut relay = Relay::new(line_ends, 4 << 20);
    relay.read(ENVELOPE.as_bytes());
    relay.read(b"DATA\r\n");
    let mut from = 0;
    for &to in cuts.iter().chain([&sent.len()]) {
        relay.read(&sent.as_bytes()[from..to]);
        from = to;
    }
    let start = &sent[..sent.len().min(40)];
    assert_eq!(
        relay.codes(),
        "250 250 250 354 250 252",
        "{start:?} {cuts:?}"
    );
    assert!(
        relay.messages == [meant.as_bytes()],
        "{start:?} {cuts:?} {line_ends:?}"
    );
}
