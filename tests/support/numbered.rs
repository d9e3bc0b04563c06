//! Messages that carry a number, and whose every byte follows from it: a loss, a double or a torn body shows.

use std::fmt::Write;

pub fn message(number: u64) -> Vec<u8> {
    let mut text =
        format!("From: <load@client.test>\r\nSubject: numbered\r\nX-Number: {number}\r\n\r\n");
    // From half a KiB to 40 KiB, so that small ones share blocks and large ones have several parts.
    let lines = 8 + number * 7919 % 37 * if number.is_multiple_of(10) { 17 } else { 1 };
    for line in 0..lines {
        let mixed = (number * 1_000 + line).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let _ = write!(text, "{number} {line} {mixed:016x} {mixed:064b}\r\n");
    }
    text.into_bytes()
}

/// The number of a message that arrived, if all behind its trace lines is as it was sent.
pub fn verify(arrived: &[u8]) -> Result<u64, String> {
    let text = std::str::from_utf8(arrived).map_err(|e| e.to_string())?;
    let (_, behind) = text
        .split_once("\r\nX-Number: ")
        .ok_or_else(|| format!("no number: {text:.300}"))?;
    let number = behind
        .split_once("\r\n")
        .map_or(behind, |(number, _)| number);
    let number = number
        .parse()
        .map_err(|e| format!("number {number:?}: {e}"))?;
    let sent = message(number);
    // In front stand the lines of trace that relays add.
    if arrived.ends_with(&sent) {
        return Ok(number);
    }
    Err(format!(
        "message {number}: {} bytes that are not those sent",
        arrived.len()
    ))
}
