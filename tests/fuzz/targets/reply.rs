//! A peer's replies are the same at every split, and what is kept of them is bounded and printable.

#![no_main]

use facteur::limits;
use facteur::smtp::reply_reader::{Line, Reply, ReplyError, ReplyReader};
use facteur_fuzz::Input;
use libfuzzer_sys::fuzz_target;

#[derive(Debug, PartialEq)]
enum Seen {
    Line(String),
    Reply(Reply),
    Error(ReplyError),
}

fn read_all(pieces: &[&[u8]], forget_lines: bool) -> Vec<Seen> {
    let (mut reader, mut seen) = (ReplyReader::new(), Vec::new());
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let (used, read) = reader.read(rest);
            assert!(used > 0);
            rest = &rest[used..];
            match read {
                Ok(None) => assert!(rest.is_empty() && !reader.is_between()),
                Ok(Some(line)) => {
                    check(reader.reply(), reader.lines());
                    seen.push(Seen::Line(reader.line().to_owned()));
                    if line == Line::Last {
                        assert!(reader.is_between());
                        seen.push(Seen::Reply(reader.reply().clone()));
                    } else if forget_lines {
                        reader.forget_line();
                    }
                }
                Err(why) => {
                    seen.push(Seen::Error(why));
                    return seen;
                }
            }
        }
    }
    seen
}

fn check(reply: &Reply, lines: usize) {
    assert!((200..=599).contains(&reply.code()));
    assert!(lines <= limits::PEER_REPLY_LINES);
    let text = reply.text();
    assert!(text.len() <= limits::PEER_REPLY_TEXT);
    assert!(text.bytes().all(|octet| matches!(octet, b' '..=b'~')));
    assert_eq!(u16::from(reply.enhanced().class), reply.code() / 100);
    assert!(!reply.to_string().contains(['\r', '\n']));
}

fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::new(data) else {
        return;
    };
    let forget_lines = input.chooses(0);
    assert_eq!(
        read_all(&input.pieces(), forget_lines),
        read_all(&[input.octets], forget_lines)
    );
});
