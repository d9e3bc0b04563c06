//! The whole sending machine: no replies panic it or make it spin, what it writes is whole commands, a recipient has one
//! verdict at most, and nothing is a success before the message was sent for somebody.

#![no_main]

use facteur::smtp::client::{Client, Envelope, Event, Phase, Protocol, StartTls};
use facteur::smtp::reply_reader::Class;
use facteur_fuzz::Input;
use libfuzzer_sys::fuzz_target;

const RECIPIENTS: usize = 3;

struct Mail {
    chunk: Option<u64>,
}

impl Envelope for Mail {
    fn sender(&self) -> &str {
        "s@x"
    }
    fn recipients(&self) -> usize {
        RECIPIENTS
    }
    fn recipient(&self, _: usize) -> &str {
        "r@y"
    }
    fn size(&self) -> u64 {
        1234
    }
    fn chunk(&self) -> Option<u64> {
        self.chunk
    }
    fn has_8bit_body(&self) -> bool {
        false
    }
    fn has_utf8_headers(&self) -> bool {
        false
    }
    fn requires_tls(&self) -> bool {
        false
    }
}

/// The machine, and what became of the transaction under way.
struct Relay {
    client: Client,
    mail: Mail,
    probes: bool,
    verdicts: usize,
    accepted: usize,
    is_sent: bool,
    out: heapless::Vec<u8, 1024>,
}

impl Relay {
    /// Writes what is due. The message itself goes out at once, or after the next piece of replies.
    fn write(&mut self, sends_body: bool) {
        match self.client.phase() {
            Phase::Ready => {
                (self.verdicts, self.accepted, self.is_sent) = (0, 0, false);
                let begun = match self.probes {
                    true => self.client.begin_probe(&self.mail),
                    false => self.client.begin(&self.mail),
                };
                if begun.is_err() {
                    self.client.write_quit(&mut self.out);
                }
            }
            Phase::Upgrade => self.client.tls_established(),
            _ => {}
        }
        let written = self.client.write_opening("me", &mut self.out).is_ok()
            && self.client.write_envelope(&self.mail, &mut self.out).is_ok();
        assert!(written || self.client.phase() == Phase::Closed);
        assert!(self.out.is_empty() || self.out.ends_with(b"\r\n"));
        self.out.clear();
        if self.client.phase() == Phase::Body && sends_body {
            assert!(!self.is_sent && !self.probes);
            assert!(self.client.chunk().is_some() || self.accepted > 0);
            self.client.body_sent();
            self.is_sent = true;
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Recipient { index, class } => {
                assert_eq!(index, self.verdicts);
                self.verdicts += 1;
                self.accepted += usize::from(class == Class::Done);
            }
            Event::EndOfData(class) | Event::EndOfDataForOne(class) => {
                assert!(class != Class::GoOn && self.accepted > 0);
                assert!(class != Class::Done || self.is_sent);
            }
            Event::Failed(_) => assert_eq!(self.client.phase(), Phase::Closed),
            Event::Step | Event::SenderRefused | Event::DataRefused => {}
        }
        assert!(self.verdicts <= RECIPIENTS);
    }
}

fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::new(data) else {
        return;
    };
    let protocol = [Protocol::Smtp, Protocol::Lmtp][usize::from(input.chooses(0))];
    let starttls = [StartTls::Never, StartTls::IfOffered][usize::from(input.chooses(1))];
    let mut relay = Relay {
        client: Client::speaking(protocol, starttls),
        mail: Mail {
            chunk: input.chooses(2).then_some(1234),
        },
        probes: input.chooses(3),
        verdicts: 0,
        accepted: 0,
        is_sent: false,
        out: heapless::Vec::new(),
    };
    for piece in input.pieces() {
        relay.write(true);
        let mut rest = piece;
        while !rest.is_empty() {
            let (used, event) = relay.client.handle_input(rest);
            rest = &rest[used..];
            if let Some(event) = event {
                relay.take(event);
            }
            assert!(used > 0 || event.is_some());
            // The message may also wait until more replies have come.
            relay.write(input.chooses(4));
        }
    }
});
