//! The whole receiving machine: no input panics it or makes it spin, its replies are whole lines, and at every split of
//! the input they are the same, and so are the messages that it keeps.

#![no_main]

use facteur::limits;
use facteur::smtp::data::LineEnds;
use facteur::smtp::reply;
use facteur::smtp::server::{Ended, Server, Settings, Step, Verdict};
use facteur_fuzz::Input;
use libfuzzer_sys::fuzz_target;

/// The machine, and around it just enough of a relay.
struct Relay {
    server: Server<&'static str, ()>,
    settings: Settings<'static>,
    kept: Vec<u8>,
    heard: Heard,
}

/// What a client, and who reads its mail, can notice.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    replies: String,
    messages: Vec<Vec<u8>>,
    ended: Option<Option<Ended>>,
}

impl Relay {
    fn new(input: &Input<'_>) -> Self {
        let settings = Settings {
            hostname: "mx.example",
            message_size: if input.chooses(0) { 1_000 } else { 1 << 20 },
            starttls: !input.chooses(1),
            require_tls: input.chooses(2),
            line_ends: if input.chooses(3) {
                LineEnds::Mended
            } else {
                LineEnds::Strict
            },
        };
        Self {
            server: if input.chooses(4) {
                Server::in_tls(())
            } else {
                Server::new()
            },
            settings,
            kept: Vec::new(),
            heard: Heard::default(),
        }
    }

    /// As a session does it: what was not used is shown again with more behind it.
    fn hear(mut self, pieces: &[&[u8]]) -> Heard {
        let mut waiting = Vec::new();
        let mut heard = 0;
        for piece in pieces {
            waiting.extend_from_slice(piece);
            heard += piece.len();
            let mut at = 0;
            // Of all that came: one octet may set free what many before it held back (a run of CRs).
            let mut patience = 4 * heard + 16;
            loop {
                patience = patience.checked_sub(1).expect("each step gets on");
                let (used, goes_on) = self.step(&waiting[at..]);
                at += used;
                if self.heard.ended.is_some() {
                    return self.heard;
                }
                if !goes_on {
                    break;
                }
            }
            waiting.drain(..at);
            assert!(
                waiting.len() < limits::COMMAND_LINE,
                "what waits is bounded"
            );
        }
        self.heard
    }

    /// One step: the octets used, and whether more can be done before more comes in.
    fn step(&mut self, input: &[u8]) -> (usize, bool) {
        let mut out = heapless::Vec::<u8, { 2 * limits::REPLY }>::new();
        let (used, step) = self.server.handle_input(&self.settings, input, &mut out);
        self.write(&out);
        out.clear();
        let verdict = match step {
            Step::Input => return (used, false),
            Step::Output => panic!("there was room"),
            Step::Mail { sender, .. } => refuse_if(sender.to_string().contains("deny")),
            Step::Rcpt { recipient, .. } => refuse_if(recipient.to_string().contains("deny")),
            Step::Data => {
                self.kept.clear();
                Verdict::Accept
            }
            Step::Body(text) => {
                self.kept.extend_from_slice(text);
                return (used, true);
            }
            Step::EndOfData(summary) => {
                assert_eq!(summary.size, self.kept.len() as u64);
                assert!(summary.size <= self.settings.message_size);
                if self.kept.starts_with(b"deny") {
                    Verdict::Refuse(reply::SPOOL_FULL)
                } else {
                    self.server.accepted("Q1", &mut out);
                    self.write(&out);
                    self.heard.messages.push(std::mem::take(&mut self.kept));
                    return (used, true);
                }
            }
            Step::StartTls => {
                assert_eq!(used, input.len(), "nothing waits behind STARTTLS");
                self.server.tls_is_up(());
                return (used, false);
            }
            Step::Close(why) => {
                self.heard.ended = Some(Some(why));
                return (used, false);
            }
            Step::Vanish => {
                self.heard.ended = Some(None);
                return (used, false);
            }
            Step::Next | Step::Hello { .. } | Step::Reset | Step::Doomed | Step::Refused(_) => return (used, true),
        };
        if let Step::Close(why) = self.server.verdict(&self.settings, verdict, &mut out) {
            self.heard.ended = Some(Some(why));
        }
        self.write(&out);
        (used, true)
    }

    fn write(&mut self, out: &[u8]) {
        let text = std::str::from_utf8(out).expect("replies are text");
        assert!(text.is_empty() || text.ends_with("\r\n"), "{text:?}");
        for line in text.split_terminator("\r\n") {
            let (code, rest) = line.split_at(3);
            assert!(
                code.parse()
                    .is_ok_and(|code: u16| (200..600).contains(&code)),
                "{line:?}"
            );
            assert!(rest.starts_with([' ', '-']), "{line:?}");
            assert!(
                !rest.contains(char::is_control) && line.len() <= 510,
                "{line:?}"
            );
        }
        self.heard.replies.push_str(text);
    }
}

fn refuse_if(refuse: bool) -> Verdict {
    if refuse {
        Verdict::Refuse(reply::RELAY_DENIED)
    } else {
        Verdict::Accept
    }
}

fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::new(data) else {
        return;
    };
    let whole = Relay::new(&input).hear(&[input.octets]);
    let split = Relay::new(&input).hear(&input.pieces());
    if whole.ended == Some(Some(Ended::Injection)) {
        // Whether octets behind STARTTLS came in clear depends on when they come; all before it does not.
        let (before, _) = whole.replies.trim_end().rsplit_once("421 ").expect("a 421");
        assert!(split.replies.starts_with(before), "{whole:?}\n{split:?}");
        assert!(split.messages.starts_with(&whole.messages));
        return;
    }
    assert_eq!(split, whole);
});
