//! Lines are the same at every split, and what waits for its end is bounded.

#![no_main]

use facteur::limits;
use facteur::smtp::line::{Cut, Lines};
use facteur_fuzz::Input;
use libfuzzer_sys::fuzz_target;

#[derive(Debug, PartialEq)]
enum Seen {
    Line(Vec<u8>),
    TooLong,
    Bare(Vec<u8>),
}

fn cut_all(pieces: &[&[u8]]) -> Vec<Seen> {
    let (mut lines, mut kept, mut seen) = (Lines::default(), Vec::new(), Vec::new());
    for piece in pieces {
        kept.extend_from_slice(piece);
        loop {
            let (what, used) = match lines.cut(&kept) {
                Cut::Line { text, used } => (Seen::Line(text.to_vec()), used),
                Cut::TooLong { used, .. } => (Seen::TooLong, used),
                Cut::Bare { text } => {
                    seen.push(Seen::Bare(text.to_vec()));
                    return seen;
                }
                Cut::Partial { used } => {
                    kept.drain(..used);
                    break;
                }
            };
            seen.push(what);
            kept.drain(..used);
        }
        assert!(kept.len() < limits::COMMAND_LINE);
    }
    seen
}

fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::new(data) else {
        return;
    };
    assert_eq!(cut_all(&input.pieces()), cut_all(&[input.octets]));
});
