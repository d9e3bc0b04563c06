//! What the protocol costs: octets of message data a second, nanoseconds a command. Prints one figure a line.

use facteur::smtp::data::LineEnds;
use facteur::smtp::intake::{Intake, Taken};
use facteur::smtp::server::{Server, Settings, Step, Verdict};
use std::hint::black_box;
use std::time::Instant;

const SETTINGS: Settings<'static> = Settings {
    hostname: "mx.example",
    message_size: u64::MAX,
    starttls: true,
    require_tls: false,
    line_ends: LineEnds::Strict,
};

/// Message data as it mostly is: lines of 76 octets in reads of 8 KiB.
fn octets_a_second() -> f64 {
    let line = [b'x'; 76];
    let text: Vec<u8> = [&line[..], b"\r\n"].concat().repeat(1 << 14);
    let mut intake = Intake::new(LineEnds::Strict, u64::MAX);
    let rounds = 400;
    let began = Instant::now();
    for read in (0..rounds).flat_map(|_| text.chunks(8192)) {
        let mut rest = read;
        loop {
            let (used, taken) = intake.take(rest);
            rest = &rest[used..];
            if matches!(black_box(taken), Taken::Nothing) {
                break;
            }
        }
    }
    (rounds * text.len()) as f64 / began.elapsed().as_secs_f64()
}

fn greeted() -> Server<&'static str, ()> {
    let mut server = Server::new();
    let mut out: heapless::Vec<u8, 4096> = heapless::Vec::new();
    let hello = server.handle_input(&SETTINGS, b"EHLO client.example\r\n", &mut out);
    assert!(matches!(hello.1, Step::Hello { .. }));
    server
}

/// MAIL, RCPT and RSET in turn, each with its verdict and its reply; a new session before so many RSETs end one.
fn nanoseconds_a_command() -> f64 {
    let mut server = greeted();
    let group =
        b"MAIL FROM:<ann@client.example> SIZE=1000\r\nRCPT TO:<bob@local.example>\r\nRSET\r\n";
    let mut out: heapless::Vec<u8, 4096> = heapless::Vec::new();
    let rounds = 500_000;
    let began = Instant::now();
    for round in 0..rounds {
        if round % 64 == 0 {
            server = greeted();
        }
        let (mut at, mut commands) = (0, 0);
        out.clear();
        while commands < 3 {
            let (used, step) = server.handle_input(&SETTINGS, black_box(&group[at..]), &mut out);
            at += used;
            commands += 1;
            if matches!(step, Step::Mail { .. } | Step::Rcpt { .. }) {
                server.verdict(&SETTINGS, Verdict::Accept, &mut out);
            }
        }
        black_box(&out);
    }
    began.elapsed().as_nanos() as f64 / f64::from(rounds * 3)
}

fn main() {
    println!("data_gigabytes_a_second {:.2}", octets_a_second() / 1e9);
    println!("command_nanoseconds {:.0}", nanoseconds_a_command());
}
