//! Runs the transcripts of `tests/dialogs/` against the server machine, each twice: as written, and one octet at a time.
//!
//! A transcript is what a person would see on the wire:
//!
//! ```text
//! # what it shows
//! with: stranger tls=may size=1000      who the client is, what is offered (these are the defaults)
//! with: names                           --recipients and --alias: see `names` below
//! C: NOOP                               the client's line; lines that follow one another arrive in one read
//! C| raw\n                              the client's octets, with \r \n \0 \t \xff \\ and no CR LF of their own
//! S: 250 2.0.0 Ok                       the whole next line from the server; a last * stands for any rest
//! S: (handshake)                        TLS comes up here
//! S: (closed)                           the server closes here
//! K: text                               the next line of the message that was kept
//! reads: together                       only as written: the transcript hangs on what arrives together
//! repeat: 20                            the lines down to `end` so many times; {n} is 1, 2, 3 …
//! end
//! ```
//!
//! In any line `{255*x}` stands for 255 times x.
//!
//! The relay's own policy decides: it has Maildirs for `@local.example` and a next hop for `@far.example`, and a trusted
//! client's mail goes anywhere. There is no spool; `full@local.example` gets what a full one says.

use facteur::policy::aliases::Aliases;
use facteur::policy::directory::Directory;
use facteur::policy::recipients::Recipients;
use facteur::policy::relay::{Recipient, Relay as Policy, Trust};
use facteur::policy::routes::Routes;
use facteur::smtp::address::Path;
use facteur::smtp::data::LineEnds;
use facteur::smtp::reply::{self, Reply};
use facteur::smtp::server::{Server, Settings, Step, Verdict};
use std::collections::VecDeque;
use std::fs;
use std::sync::Arc;

#[derive(Clone, Copy, PartialEq)]
enum Reads {
    Together,
    ByOctet,
}

/// The server machine, and around it just enough of a relay.
struct Relay {
    server: Server<&'static str, ()>,
    settings: Settings<'static>,
    trust: Trust,
    policy: Policy,
    routes: Routes,
    directory: Directory,
    out: heapless::Vec<u8, 4096>,
    input: Vec<u8>,
    kept: Vec<u8>,
    /// What happened, a line each, in order.
    seen: VecDeque<String>,
    over: bool,
}

impl Relay {
    fn new(with: &str) -> Self {
        let mut settings = Settings {
            hostname: "mx.example",
            message_size: 1_000,
            starttls: true,
            require_tls: false,
            line_ends: LineEnds::Strict,
        };
        let (mut server, mut trust) = (Server::new(), Trust::Stranger);
        for word in with.split_whitespace() {
            match word.split_once('=').unwrap_or((word, "")) {
                ("stranger" | "names", _) => {}
                ("trusted", _) => {
                    trust = Trust::Trusted;
                    settings.line_ends = LineEnds::Mended;
                }
                ("tls", "may") => {}
                ("tls", "none") => settings.starttls = false,
                ("tls", "encrypt") => settings.require_tls = true,
                ("tls", "implicit") => server = Server::in_tls(()),
                ("size", octets) => settings.message_size = octets.parse().expect("a number"),
                other => panic!("with: {other:?} is not known"),
            }
        }
        let (out, seen) = (heapless::Vec::new(), VecDeque::new());
        let (policy, routes) = policy();
        let mut directory = Directory::default();
        if with.split_whitespace().any(|word| word == "names") {
            directory = names(&policy, &routes);
        }
        let mut relay = Self {
            server,
            settings,
            trust,
            policy,
            routes,
            directory,
            out,
            input: vec![],
            kept: vec![],
            seen,
            over: false,
        };
        relay.server.greet(&relay.settings, &mut relay.out);
        relay.flush();
        relay
    }

    fn flush(&mut self) {
        let text = String::from_utf8(self.out.to_vec()).expect("replies are UTF-8");
        assert!(
            text.is_empty() || text.ends_with("\r\n"),
            "replies are whole lines: {text:?}"
        );
        self.seen
            .extend(text.split_terminator("\r\n").map(str::to_owned));
        self.out.clear();
    }

    fn receive(&mut self, bytes: &[u8]) {
        if self.over {
            return; // nobody reads any more
        }
        self.input.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.input);
        let mut at = 0;
        while !self.over {
            let (used, step) =
                self.server
                    .handle_input(&self.settings, &input[at..], &mut self.out);
            at += used;
            match step {
                Step::Input => break,
                step => self.obey(step),
            }
        }
        self.flush();
        if self.over {
            self.seen.push_back("(closed)".into());
        }
        self.input = input[at..].to_vec();
    }

    fn obey(&mut self, step: Step<'_>) {
        let verdict = match step {
            Step::Mail { sender, .. } => verdict(self.sender(sender)),
            Step::Data => {
                self.kept.clear();
                Verdict::Accept
            }
            Step::Rcpt { recipient, .. } => verdict(self.recipient(recipient)),
            Step::Body(text) => return self.kept.extend_from_slice(text),
            Step::EndOfData(_) => return self.server.accepted("Q1", &mut self.out),
            Step::StartTls => {
                self.flush();
                self.seen.push_back("(handshake)".into());
                return self.server.tls_is_up(());
            }
            Step::Close(_) | Step::Vanish => return self.over = true,
            Step::Output => return self.flush(),
            Step::Input
            | Step::Next
            | Step::Hello { .. }
            | Step::Reset
            | Step::Doomed
            | Step::Refused(_) => return,
        };
        match self.server.verdict(&self.settings, verdict, &mut self.out) {
            Step::Next => {}
            closed => self.obey(closed),
        }
    }

    fn sender(&self, sender: Path<'_>) -> Result<(), Reply> {
        match sender {
            Path::Bare(_) if self.trust == Trust::Stranger => Err(reply::BAD_SENDER),
            _ => Ok(()),
        }
    }

    fn recipient(&self, recipient: Path<'_>) -> Result<(), Reply> {
        let address = match recipient {
            Path::Bare(local) if local.is_postmaster() => {
                let known = self.policy.postmaster(&self.routes, &self.directory);
                return known.map(|_| ()).ok_or(reply::UNKNOWN_MAILBOX);
            }
            Path::Bare(_) if self.trust == Trust::Stranger => return Err(reply::BAD_RECIPIENT),
            Path::Null => return Ok(()),
            Path::Bare(local) => format!("{local}@{}", self.settings.hostname),
            Path::Mailbox(mailbox) => mailbox.to_string(),
        };
        if address == "full@local.example" {
            return Err(reply::SPOOL_FULL);
        }
        let decided = self
            .policy
            .recipient(self.trust, &address, &self.routes, &self.directory);
        match decided {
            Recipient::Accepted | Recipient::Expanded(_) => Ok(()),
            Recipient::RelayDenied => Err(reply::RELAY_DENIED),
            Recipient::Unknown => Err(reply::UNKNOWN_MAILBOX),
            Recipient::NoDomain => Err(reply::NO_DOMAIN),
        }
    }
}

fn policy() -> (Policy, Routes) {
    let mut routes = Routes::default();
    for (domain, target) in [
        ("local.example", "maildir:/mail/{user}"),
        ("far.example", "smtp:[inner.example]"),
    ] {
        let target = target.parse().expect("a target");
        routes.add(domain, target).expect("a domain");
    }
    let policy = Policy {
        domains: vec!["local.example".into(), "far.example".into()],
        hostname: "mx.example".into(),
        ..Policy::default()
    };
    (policy, routes)
}

fn names(policy: &Policy, routes: &Routes) -> Directory {
    let list = "ann@far.example\nbob@local.example\n";
    let aliases = "root: carl@anywhere.example\nstaff: root, bob@local.example\n";
    let list = Recipients::parse(list, |domain| policy.is_ours(domain));
    let home = |domain: &str| policy.home(domain, routes);
    let aliases = Aliases::parse(aliases, &policy.hostname, home);
    Directory {
        recipients: Some(Arc::new(list.expect("a list"))),
        aliases: Some(Arc::new(aliases.expect("aliases"))),
    }
}

fn verdict(answer: Result<(), Reply>) -> Verdict {
    answer.map_or_else(Verdict::Refuse, |()| Verdict::Accept)
}

fn octets(raw: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = raw;
    while let Some((before, escaped)) = rest.split_once('\\') {
        octets.extend_from_slice(before.as_bytes());
        let known = [
            ("r", b'\r'),
            ("n", b'\n'),
            ("0", 0),
            ("t", b'\t'),
            ("xff", 0xff),
            ("\\", b'\\'),
        ];
        let found = known.iter().find(|(word, _)| escaped.starts_with(word));
        let (word, octet) = found.expect("one of the escapes above");
        octets.push(*octet);
        rest = &escaped[word.len()..];
    }
    octets.extend_from_slice(rest.as_bytes());
    octets
}

fn matches(expected: &str, seen: &str) -> bool {
    expected
        .strip_suffix('*')
        .map_or(expected == seen, |start| seen.starts_with(start))
}

/// `{255*x}` written out.
fn stretched(line: &str) -> String {
    let mut whole = String::new();
    let mut rest = line;
    while let Some((before, stretch, after)) = stretch(rest) {
        whole += before;
        whole += &stretch;
        rest = after;
    }
    whole + rest
}

/// The first `{255*x}`: what stands before it, what it means, what stands behind it.
fn stretch(line: &str) -> Option<(&str, String, &str)> {
    let (before, inside) = line.split_once('{')?;
    let (inside, after) = inside.split_once('}')?;
    let (times, what) = inside.split_once('*')?;
    Some((before, what.repeat(times.parse().ok()?), after))
}

/// The lines with their numbers, repetitions written out.
fn lines(transcript: &str) -> Vec<(usize, String)> {
    let mut written = Vec::new();
    let mut lines = transcript.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(times) = line.strip_prefix("repeat: ") else {
            written.push((number + 1, stretched(line)));
            continue;
        };
        let block: Vec<_> = lines
            .by_ref()
            .take_while(|(_, line)| *line != "end")
            .collect();
        for n in 1..=times.parse().expect("a number") {
            let numbered = |line: &str| stretched(&line.replace("{n}", &n.to_string()));
            written.extend(
                block
                    .iter()
                    .map(|(number, line)| (number + 1, numbered(line))),
            );
        }
    }
    written
}

fn play(name: &str, transcript: &str, reads: Reads) {
    let with = transcript
        .lines()
        .find_map(|line| line.strip_prefix("with: "))
        .unwrap_or("");
    let mut relay = Relay::new(with);
    let (mut sent, mut kept_at) = (Vec::new(), 0);
    for (number, line) in lines(transcript) {
        let place = format!("{name}:{number}");
        let (mark, rest) = line.split_at(line.len().min(2));
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        match mark {
            "C:" => sent.extend_from_slice(format!("{rest}\r\n").as_bytes()),
            "C|" => sent.extend(octets(rest)),
            "S:" | "K:" => {
                deliver(&mut relay, &std::mem::take(&mut sent), reads);
                if mark == "K:" {
                    let kept = String::from_utf8_lossy(&relay.kept[kept_at..]).into_owned();
                    let line = kept.split_inclusive("\r\n").next().unwrap_or("(nothing)");
                    assert_eq!(line, format!("{rest}\r\n"), "{place}");
                    kept_at += line.len();
                } else {
                    let seen = relay.seen.pop_front().unwrap_or_else(|| "(nothing)".into());
                    assert!(
                        matches(rest, &seen),
                        "{place}: expected {rest:?}, saw {seen:?}"
                    );
                    kept_at = 0;
                }
            }
            _ => assert!(
                line.is_empty()
                    || ["#", "with: ", "reads: "]
                        .iter()
                        .any(|it| line.starts_with(it)),
                "{place}: {line:?}"
            ),
        }
    }
    deliver(&mut relay, &sent, reads);
    assert!(relay.seen.is_empty(), "{name}: more came: {:?}", relay.seen);
}

fn deliver(relay: &mut Relay, sent: &[u8], reads: Reads) {
    let step = if reads == Reads::ByOctet {
        1
    } else {
        sent.len().max(1)
    };
    sent.chunks(step).for_each(|piece| relay.receive(piece));
}

#[test]
fn every_transcript_holds() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dialogs");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("tests/dialogs")
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 10, "the transcripts are there");
    let mut failed = Vec::new();
    for file in files {
        let transcript = fs::read_to_string(&file).expect("a transcript is text");
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let played = std::panic::catch_unwind(|| {
            play(&name, &transcript, Reads::Together);
            if !transcript.contains("\nreads: together") {
                play(&name, &transcript, Reads::ByOctet);
            }
        });
        failed.extend(played.err().map(|_| name));
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
#[should_panic(expected = "wrong:2: \"X: NOOP\"")]
fn a_line_of_no_kind_fails() {
    play("wrong", "S: 220 *\nX: NOOP\n", Reads::Together);
}

#[test]
#[should_panic(expected = "saw \"250 2.0.0 Ok\"")]
fn a_wrong_transcript_fails() {
    play("wrong", "S: 220 *\nC: NOOP\nS: 500 *\n", Reads::Together);
}
