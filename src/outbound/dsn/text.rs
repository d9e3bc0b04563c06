//! Text as mail wants it: nothing from outside begins a line, and no line is too long.

use super::Form;

pub(super) const LONGEST_LINE: usize = 998;

/// Text from outside without what could begin a line, or is not allowed in this form.
pub(super) fn clean(text: &str, form: Form) -> String {
    text.chars()
        .map(|c| match c {
            c if c.is_control() => ' ',
            c if !c.is_ascii() && form == Form::Ascii => '?',
            c => c,
        })
        .collect()
}

/// Words in lines of up to 76 columns, each line indented; a longer word stands alone, cut at 900 octets.
pub(super) fn wrap(text: &mut String, indent: &str, words: &str) {
    let mut column = 0;
    for word in words.split_ascii_whitespace().flat_map(pieces) {
        let width = word.chars().count();
        if column > 0 && column + 1 + width <= 76 {
            text.push(' ');
            column += 1;
        } else {
            if column > 0 {
                *text += "\r\n";
            }
            *text += indent;
            column = indent.len();
        }
        *text += word;
        column += width;
    }
    *text += "\r\n";
}

/// A header field folded at spaces (RFC 5322 2.2.3).
pub(super) fn fold(text: &mut String, field: &str) {
    let mut lines = String::new();
    wrap(&mut lines, " ", field);
    *text += lines.trim_start();
}

fn pieces(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        let cut = (0..=rest.len().min(900))
            .rev()
            .find(|&at| rest.is_char_boundary(at))?;
        let (piece, after) = rest.split_at(cut);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

pub(super) fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() * 2);
    for line in text.lines() {
        quote_line(line.as_bytes(), &mut out);
        out.extend_from_slice(b"\r\n");
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// One line as quoted-printable (RFC 2045 6.7), in lines of at most 76 columns.
pub(super) fn quote_line(line: &[u8], out: &mut Vec<u8>) {
    let mut column = 0;
    for (at, &octet) in line.iter().enumerate() {
        let last = at + 1 == line.len();
        let plain =
            matches!(octet, b'!'..=b'<' | b'>'..=b'~') || (matches!(octet, b' ' | b'\t') && !last);
        let width = if plain { 1 } else { 3 };
        if column + width > 75 {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        if plain {
            out.push(octet);
        } else {
            out.extend_from_slice(format!("={octet:02X}").as_bytes());
        }
        column += width;
    }
}
