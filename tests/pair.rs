//! The two machines against each other, over a network with a virtual clock.
//!
//! Octets take [`Pair::latency`] to cross and arrive in pieces of any size; a side that waits longer than its machine's
//! patience gives up. Time only moves when nothing else can happen, so hours of silence cost nothing.

mod mail;

use facteur::limits;
use facteur::smtp::client::{Client, Event, Phase, StartTls};
use facteur::smtp::data::LineEnds;
use facteur::smtp::reply;
use facteur::smtp::reply_reader::Class;
use facteur::smtp::server::{Server, Settings, Step, Verdict};
use facteur::smtp::stuffing::Stuffer;
use mail::{Mail, mail};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::time::Duration;

const SETTINGS: Settings<'static> = Settings {
    hostname: "mx.example",
    message_size: 1 << 20,
    starttls: true,
    require_tls: false,
    line_ends: LineEnds::Strict,
};

/// One direction of the network: what is under way, and when it arrives.
#[derive(Default)]
struct Pipe {
    under_way: VecDeque<(Duration, Vec<u8>)>,
    /// Octets that arrived and were not used.
    arrived: Vec<u8>,
    /// Octets that may still cross before the line goes dead.
    budget: Option<usize>,
}

impl Pipe {
    fn send(&mut self, at: Duration, octets: &[u8], piece: usize) {
        let whole = octets.len();
        let passes = self.budget.map_or(whole, |budget| budget.min(whole));
        self.budget = self.budget.map(|budget| budget - passes);
        self.under_way.extend(
            octets[..passes]
                .chunks(piece)
                .map(|octets| (at, octets.to_vec())),
        );
    }

    fn arrive(&mut self, now: Duration) -> bool {
        match self.under_way.front() {
            Some((at, _)) if *at <= now => {
                self.arrived
                    .extend(self.under_way.pop_front().expect("the front").1);
                true
            }
            _ => false,
        }
    }
}

/// How a conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client has its verdicts and has quit.
    Done,
    ClientTimedOut,
    ServerTimedOut,
}

struct Pair {
    client: Client,
    server: Server<&'static str, ()>,
    to_server: Pipe,
    to_client: Pipe,
    latency: Duration,
    piece: usize,
    now: Duration,
    /// When each side last made progress.
    client_moved: Duration,
    server_moved: Duration,
    events: Vec<Event>,
    message: Vec<u8>,
    kept: Vec<u8>,
    handshakes: usize,
    begun: bool,
    quit: bool,
}

impl Pair {
    fn new(starttls: StartTls, message: &[u8], piece: usize) -> Self {
        let mut pair = Self {
            client: Client::new(starttls),
            server: Server::new(),
            to_server: Pipe::default(),
            to_client: Pipe::default(),
            latency: Duration::from_millis(50),
            piece,
            now: Duration::ZERO,
            client_moved: Duration::ZERO,
            server_moved: Duration::ZERO,
            events: Vec::new(),
            message: message.to_vec(),
            kept: Vec::new(),
            handshakes: 0,
            begun: false,
            quit: false,
        };
        pair.server_says(|server, out| server.greet(&SETTINGS, out));
        pair
    }

    fn server_says<R>(
        &mut self,
        speak: impl FnOnce(&mut Server<&'static str, ()>, &mut heapless::VecView<u8>) -> R,
    ) -> R {
        let mut out: heapless::Vec<u8, 4096> = heapless::Vec::new();
        let result = speak(&mut self.server, &mut out);
        self.to_client
            .send(self.now + self.latency, &out, self.piece);
        result
    }

    fn run(&mut self, mail: &Mail) -> End {
        loop {
            self.client_writes(mail);
            let moved = self.client_reads() | self.server_reads();
            if self.client.phase() == Phase::Closed {
                return End::Done;
            }
            if !moved && let Some(end) = self.time_passes() {
                return end;
            }
        }
    }

    /// The clock goes on to the next arrival, or to the end of someone's patience.
    fn time_passes(&mut self) -> Option<End> {
        let arrivals = [&self.to_server, &self.to_client];
        let arrival = arrivals
            .iter()
            .filter_map(|pipe| pipe.under_way.front())
            .map(|(at, _)| *at)
            .min();
        let client = self.client_moved + self.client.patience();
        let server = self.server_moved + self.server.patience();
        let next = arrival.unwrap_or(Duration::MAX).min(client).min(server);
        self.now = next;
        if arrival == Some(next) {
            None
        } else if next == client {
            Some(End::ClientTimedOut)
        } else {
            Some(End::ServerTimedOut)
        }
    }

    fn client_writes(&mut self, mail: &Mail) {
        let mut out: heapless::Vec<u8, 4096> = heapless::Vec::new();
        match self.client.phase() {
            Phase::Ready if self.begun && !self.quit => {
                self.client.write_quit(&mut out);
                self.quit = true;
            }
            Phase::Ready if !self.begun => {
                self.client
                    .begin(mail)
                    .expect("the server has all it needs");
                self.begun = true;
            }
            Phase::Upgrade if self.handshakes == 0 => {
                self.handshakes = 1;
                self.server.tls_is_up(());
                self.client.tls_established();
            }
            Phase::Body if self.client.chunk().is_none() => {
                let mut stuffer = Stuffer::new();
                let mut octets: Vec<u8> = stuffer.stuff(&self.message).flatten().copied().collect();
                octets.extend(stuffer.finish());
                self.to_server
                    .send(self.now + self.latency, &octets, self.piece);
                self.client.body_sent();
            }
            _ => {}
        }
        self.client
            .write_opening("client.example", &mut out)
            .expect("in step");
        self.client.write_envelope(mail, &mut out).expect("in step");
        if !out.is_empty() {
            self.to_server
                .send(self.now + self.latency, &out, self.piece);
        }
        if self.client.phase() == Phase::Body && self.client.chunk().is_some() {
            self.to_server
                .send(self.now + self.latency, &self.message, self.piece);
            self.client.body_sent();
        }
    }

    fn client_reads(&mut self) -> bool {
        if !self.to_client.arrive(self.now) {
            return false;
        }
        self.client_moved = self.now;
        let arrived = std::mem::take(&mut self.to_client.arrived);
        let mut rest = arrived.as_slice();
        while !rest.is_empty() {
            let (read, event) = self.client.handle_input(rest);
            rest = &rest[read..];
            self.events
                .extend(event.filter(|event| *event != Event::Step));
        }
        true
    }

    fn server_reads(&mut self) -> bool {
        if !self.to_server.arrive(self.now) {
            return false;
        }
        self.server_moved = self.now;
        let input = std::mem::take(&mut self.to_server.arrived);
        let mut at = 0;
        loop {
            let (used, step) =
                self.server_says(|server, out| server.handle_input(&SETTINGS, &input[at..], out));
            at += used;
            match step {
                Step::Input | Step::StartTls | Step::Close(_) => break,
                Step::Mail { .. } | Step::Data | Step::Rcpt { .. } => self.verdict(&step),
                Step::Body(text) => self.kept.extend_from_slice(text),
                Step::EndOfData(_) => self.server_says(|server, out| server.accepted("Q1", out)),
                Step::Next | Step::Hello { .. } | Step::Reset | Step::Doomed | Step::Refused(_) => {
                }
                Step::Output | Step::Vanish => panic!("{step:?}"),
            }
        }
        self.to_server.arrived = input[at..].to_vec();
        true
    }

    fn verdict(&mut self, step: &Step<'_>) {
        let refused = matches!(step, Step::Rcpt { recipient, .. } if recipient.to_string().contains("refused"));
        let verdict = if refused {
            Verdict::Refuse(reply::RELAY_DENIED)
        } else {
            Verdict::Accept
        };
        self.server_says(|server, out| server.verdict(&SETTINGS, verdict, out));
    }
}

const MESSAGE: &[u8] = b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n\r\nend\r\n";

#[test]
fn a_message_crosses_whole_in_pieces_of_any_size() {
    for piece in (1..60).chain([4096]) {
        let mut pair = Pair::new(StartTls::Never, MESSAGE, piece);
        assert_eq!(pair.run(&mail(&["a@y"])), End::Done, "pieces of {piece}");
        assert_eq!(pair.kept, MESSAGE, "pieces of {piece}");
    }
}

/// The same mail, which may go by BDAT.
fn chunked(recipients: &[&str], message: &[u8]) -> Mail {
    let chunk = Some(message.len() as u64);
    Mail {
        chunk,
        ..mail(recipients)
    }
}

#[test]
fn a_chunk_crosses_whole_in_pieces_of_any_size() {
    for message in [MESSAGE, b"\r\n.\r\nno last line end"] {
        for piece in (1..60).chain([4096]) {
            let mut pair = Pair::new(StartTls::Required, message, piece);
            assert_eq!(
                pair.run(&chunked(&["a@y", "refused@y"], message)),
                End::Done
            );
            assert_eq!(pair.kept, message, "pieces of {piece}");
            let last = pair.events.last();
            assert!(matches!(last, Some(Event::EndOfData(Class::Done))));
        }
    }
}

#[test]
fn a_chunk_for_nobody_is_kept_by_nobody() {
    let mut pair = Pair::new(StartTls::Never, MESSAGE, 3);
    assert_eq!(pair.run(&chunked(&["refused@y"], MESSAGE)), End::Done);
    assert!(pair.kept.is_empty());
    let events = pair.events.len();
    assert_eq!(events, 1, "the refused recipient alone: {:?}", pair.events);
}

#[test]
fn starttls_comes_up_on_both_sides() {
    for piece in [1, 7, 4096] {
        let mut pair = Pair::new(StartTls::Required, MESSAGE, piece);
        assert_eq!(pair.run(&mail(&["a@y"])), End::Done);
        assert!(pair.server.tls().is_some() && pair.handshakes == 1);
        assert_eq!(pair.kept, MESSAGE);
    }
}

#[test]
fn pipelining_saves_round_trips() {
    let mut pair = Pair::new(StartTls::Never, MESSAGE, 4096);
    pair.run(&mail(&["a@y", "b@y", "c@y"]));
    // Half a trip for the greeting, then EHLO, the group to DATA, the message, QUIT.
    assert_eq!(pair.now, pair.latency + 4 * 2 * pair.latency);
    let mut pair = Pair::new(StartTls::Never, MESSAGE, 4096);
    pair.run(&chunked(&["a@y", "b@y", "c@y"], MESSAGE));
    // The group goes to the message's end.
    assert_eq!(pair.now, pair.latency + 3 * 2 * pair.latency);
}

#[test]
fn a_refused_recipient_keeps_the_others() {
    let mut pair = Pair::new(StartTls::Never, MESSAGE, 3);
    assert_eq!(pair.run(&mail(&["a@y", "refused@y", "c@y"])), End::Done);
    assert_eq!(pair.kept, MESSAGE);
    let verdicts = pair
        .events
        .iter()
        .filter(|event| matches!(event, Event::Recipient { .. }))
        .count();
    assert_eq!(verdicts, 3);
}

#[test]
fn all_refused_sends_no_message() {
    let mut pair = Pair::new(StartTls::Never, MESSAGE, 3);
    assert_eq!(pair.run(&mail(&["refused@y"])), End::Done);
    assert!(pair.kept.is_empty());
}

#[test]
fn a_line_that_goes_dead_is_given_up_after_the_patience_of_that_phase() {
    let whole = {
        let mut pair = Pair::new(StartTls::Never, MESSAGE, 1);
        pair.to_client.budget = Some(usize::MAX);
        pair.run(&mail(&["a@y"]));
        usize::MAX - pair.to_client.budget.expect("counted")
    };
    for crosses in 0..whole {
        let mut pair = Pair::new(StartTls::Never, MESSAGE, 1);
        // The greeting is under way already: cut the line behind `crosses` octets of all.
        pair.to_client.under_way.truncate(crosses);
        pair.to_client.budget = Some(crosses.saturating_sub(pair.to_client.under_way.len()));
        let end = pair.run(&mail(&["a@y"]));
        assert!(
            matches!(end, End::ClientTimedOut | End::ServerTimedOut),
            "{crosses}: {end:?}"
        );
        assert!(
            pair.now >= limits::PEER_QUIT && pair.now <= Duration::from_secs(1_000),
            "{crosses}: {:?}",
            pair.now
        );
    }
}

#[test]
fn a_server_gives_up_a_client_that_falls_silent_in_its_message() {
    let mut pair = Pair::new(StartTls::Never, MESSAGE, 1);
    // EHLO, MAIL, RCPT, DATA and a little of the message.
    pair.to_server.budget = Some("EHLO client.example\r\n".len() + 58);
    assert_eq!(pair.run(&mail(&["a@y"])), End::ServerTimedOut);
    assert!(pair.server.in_data() && !pair.kept.is_empty());
    assert!(pair.now >= limits::DATA_READ && pair.now < limits::DATA_READ + Duration::from_secs(1));
}

proptest! {
    #[test]
    fn any_lines_cross_whole(lines in prop::collection::vec("[.a\\x00\u{e9}]{0,5}", 0..12), piece in 1usize..9) {
        let message = lines.iter().map(|line| format!("{line}\r\n")).collect::<String>();
        let mut pair = Pair::new(StartTls::Never, message.as_bytes(), piece);
        prop_assert_eq!(pair.run(&mail(&["a@y"])), End::Done);
        prop_assert_eq!(String::from_utf8_lossy(&pair.kept), message);
    }
}
