//! Message data comes out the same at every split, and its end is CR LF `.` CR LF alone.

#![no_main]

use facteur::smtp::data::{LineEnds, Piece, Scanner};
use facteur::smtp::intake::{Intake, Summary, Taken};
use facteur::smtp::reply::Reply;
use facteur_fuzz::Input;
use libfuzzer_sys::fuzz_target;

#[derive(Debug, PartialEq)]
enum End {
    Open,
    Refused(Reply),
    FarTooBig,
    /// The message, and how many octets of input it took.
    Whole(Vec<u8>, Summary, usize),
}

#[derive(Clone, Copy, PartialEq)]
enum Framing {
    Dot,
    Chunks,
}

fn intake(pieces: &[&[u8]], framing: Framing, line_ends: LineEnds, largest: u64) -> End {
    let mut intake = match framing {
        Framing::Dot => Intake::new(line_ends, largest),
        Framing::Chunks => Intake::of_chunks(line_ends, largest),
    };
    let (mut kept, mut doomed, mut total) = (Vec::new(), false, 0);
    let mut take = |taken: Taken<'_>, total: usize| match taken {
        Taken::Nothing => None,
        Taken::Text(text) => {
            assert!(!doomed, "nothing is kept of a condemned message");
            kept.extend_from_slice(text);
            None
        }
        Taken::Doomed => {
            assert!(!std::mem::replace(&mut doomed, true), "told once");
            None
        }
        Taken::FarTooBig => Some(End::FarTooBig),
        Taken::End(Err(why)) => {
            assert!(why.code() >= 550);
            Some(End::Refused(why))
        }
        Taken::End(Ok(summary)) => {
            assert!(!doomed);
            assert_eq!(summary.size, kept.len() as u64);
            Some(End::Whole(std::mem::take(&mut kept), summary, total))
        }
    };
    for piece in pieces {
        let mut at = 0;
        loop {
            let (used, taken) = intake.take(&piece[at..]);
            (at, total) = (at + used, total + used);
            let nothing = taken == Taken::Nothing;
            if let Some(end) = take(taken, total) {
                return end;
            }
            if nothing {
                assert_eq!(at, piece.len(), "all is used");
                break;
            }
        }
    }
    while framing == Framing::Chunks {
        if let Some(end) = take(intake.finish(), total) {
            return end;
        }
    }
    End::Open
}

/// The text and the octets used up to the end of data, if it comes; whether a CR or LF stood alone.
fn scan(pieces: &[&[u8]], mut scanner: Scanner) -> (Vec<u8>, Option<usize>, bool) {
    let (mut text, mut total) = (Vec::new(), 0);
    for piece in pieces {
        let mut rest = *piece;
        loop {
            let (used, found) = scanner.next(rest);
            (rest, total) = (&rest[used..], total + used);
            match found {
                Some(Piece::Text(more)) => text.extend_from_slice(more),
                Some(Piece::End) => return (text, Some(total), scanner.bare()),
                None => break,
            }
        }
    }
    (text, None, scanner.bare())
}

/// What RFC 5321 4.5.2 says in so many words: the end, and the text in front of it.
fn by_the_book(input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let whole = [b"\r\n", input].concat();
    let end = whole.windows(5).position(|five| five == b"\r\n.\r\n")?;
    let mut text = Vec::new();
    for (at, &octet) in whole[..end + 2].iter().enumerate() {
        if octet != b'.' || at < 2 || &whole[at - 2..at] != b"\r\n" {
            text.push(octet);
        }
    }
    Some((text[2..].to_vec(), end + 3))
}

fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::new(data) else {
        return;
    };
    let line_ends = [LineEnds::Strict, LineEnds::Mended][usize::from(input.chooses(0))];
    let framing = [Framing::Dot, Framing::Chunks][usize::from(input.chooses(1))];
    let largest = [1 << 20, 100][usize::from(input.chooses(2))];
    let pieces = input.pieces();
    assert_eq!(
        intake(&pieces, framing, line_ends, largest),
        intake(&[input.octets], framing, line_ends, largest)
    );
    let scanned = scan(&[input.octets], Scanner::new(line_ends));
    assert_eq!(scan(&pieces, Scanner::new(line_ends)), scanned);
    let (text, end, bare) = scanned;
    let book = by_the_book(input.octets);
    assert_eq!(end, book.as_ref().map(|(_, end)| *end), "where it ends");
    if let (false, Some((expected, _))) = (bare, book) {
        assert_eq!(text, expected);
    }
});
