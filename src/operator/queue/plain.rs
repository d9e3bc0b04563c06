//! Figures and texts for people: short, aligned, and harmless to a terminal.

use super::Try;
use std::borrow::Cow;

/// Instead of a reply that went with the segment that held it.
pub const FORGOTTEN: &str = "what was said is not kept any more; the log has it";

/// Instead of a time that nobody knows.
pub const UNSET: &str = "before the clock was set";

/// A span of time in two units: `2h13m`, `3d4h`, `45s`.
pub fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, 0) => format!("{hours}h"),
        (0, hours, minutes) => format!("{hours}h{minutes}m"),
        (days, 0, _) => format!("{days}d"),
        (days, hours, _) => format!("{days}d{hours}h"),
    }
}

/// When a try is: `trying`, due `now`, `in 12m`.
pub fn next(next: Try, now: u64) -> String {
    let Try::At(next) = next else {
        return "trying".to_owned();
    };
    match next.checked_sub(now) {
        None | Some(0) => "now".to_owned(),
        Some(seconds) => format!("in {}", span(seconds)),
    }
}

/// Octets: `812`, `4.2K`, `25M`.
pub fn size(octets: u64) -> String {
    let mut unit = 1;
    for letter in ["", "K", "M", "G"] {
        // Rounded to tenths, below ten; 1023.9K is 1.0M.
        let tenths = (octets.saturating_mul(10).saturating_add(unit / 2)) / unit;
        match tenths {
            _ if unit == 1 && octets < 1024 => return octets.to_string(),
            _ if unit == 1 => {}
            0..100 => return format!("{}.{}{letter}", tenths / 10, tenths % 10),
            _ if tenths < 10_240 || letter == "G" => {
                return format!("{}{letter}", (tenths + 5) / 10);
            }
            _ => {}
        }
        unit *= 1024;
    }
    octets.to_string()
}

/// `1 message`, `2 messages`.
pub fn count(number: usize, thing: &str) -> String {
    match number {
        1 => format!("1 {thing}"),
        _ => format!("{number} {thing}s"),
    }
}

/// An address in angle brackets, unless it is one: `<>` for the null sender.
pub fn sender(address: &str) -> Cow<'_, str> {
    match address {
        "" => Cow::Borrowed("<>"),
        _ => clean(address),
    }
}

/// A text without what a terminal would obey: controls, and marks that turn the direction of writing.
pub fn clean(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match obeyed(c) {
            true => cleaned.extend(c.escape_default()),
            false => cleaned.push(c),
        }
    }
    Cow::Owned(cleaned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (7_999, "2h13m"),
            (7_200, "2h"),
            (86_400, "1d"),
            (100_000, "1d3h"),
        ] {
            assert_eq!(span(seconds), text);
        }
        for (octets, text) in [
            (0, "0"),
            (1_023, "1023"),
            (1_024, "1.0K"),
            (4_312, "4.2K"),
            (10_200, "10K"),
            (1_048_575, "1.0M"),
            (25 << 20, "25M"),
            (3 << 30, "3.0G"),
        ] {
            assert_eq!(size(octets), text, "{octets}");
        }
        let tries = [Try::Now, Try::At(0), Try::At(5), Try::At(725)];
        assert_eq!(
            tries.map(|at| next(at, 5)),
            ["trying", "now", "now", "in 12m"]
        );
    }

    #[test]
    fn a_terminal_obeys_nothing_of_a_message() {
        assert_eq!(clean("ren\u{e9} \"x\"@a"), "ren\u{e9} \"x\"@a");
        assert_eq!(
            clean("\u{1b}[2J\u{9b}\u{202e}\n"),
            "\\u{1b}[2J\\u{9b}\\u{202e}\\n"
        );
        assert_eq!(sender(""), "<>");
    }
}
