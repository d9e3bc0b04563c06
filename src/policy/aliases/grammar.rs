//! What stands in a file of aliases, before anything is known of its names.

use crate::limits;
use crate::policy::recipients::BadLine;
use crate::policy::relay::plain_name;
use crate::smtp::address::{LocalPart, Mailbox};

/// `name: target, target …`
#[derive(Debug)]
pub(super) struct Entry {
    /// As [`plain_name`] gives it.
    pub name: String,
    /// Where it begins, from 1.
    pub line: usize,
    /// Never empty; each with its line.
    pub targets: Vec<(usize, Written)>,
}

/// A target: an address, or a local part alone.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    Address(String),
    /// `\name`: the mailbox itself, even if an alias has its name.
    Mailbox(String),
}

/// All entries, in the file's order.
pub(super) fn entries(text: &str) -> Result<Vec<Entry>, BadLine> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut items = 0;
    for (number, line) in text.lines().enumerate() {
        let line_number = number + 1;
        let bad = |why: String| BadLine {
            line: line_number,
            why,
        };
        let bare = line.trim_ascii();
        if bare.is_empty() || bare.starts_with('#') {
            continue;
        }
        // A line that begins with a blank goes on with the entry above (aliases(5)).
        let written = if line.starts_with([' ', '\t']) {
            bare
        } else {
            close(entries.last())?;
            let (name, rest) = name_and_rest(bare).map_err(bad)?;
            entries.push(Entry {
                name,
                line: line_number,
                targets: Vec::new(),
            });
            items += 1;
            rest
        };
        let Some(entry) = entries.last_mut() else {
            return Err(bad(format!(
                "{bare:?} goes on with no entry: a name stands at the line's beginning"
            )));
        };
        for word in split(written, ',').map_err(bad)? {
            if !word.is_empty() {
                entry
                    .targets
                    .push((line_number, target(word).map_err(bad)?));
                items += 1;
            }
        }
        if items > limits::ALIAS_ITEMS {
            let most = limits::ALIAS_ITEMS;
            return Err(bad(format!("more than {most} names and targets in all")));
        }
    }
    close(entries.last())?;
    Ok(entries)
}

/// An entry that is at its end has a target.
fn close(entry: Option<&Entry>) -> Result<(), BadLine> {
    match entry {
        Some(entry) if entry.targets.is_empty() => Err(BadLine {
            line: entry.line,
            why: format!("{:?} has no target", entry.name),
        }),
        _ => Ok(()),
    }
}

fn name_and_rest(line: &str) -> Result<(String, &str), String> {
    let wrong = || format!("{line:?} is no \"name: target, target\"");
    let name = split(line, ':')?.first().copied().ok_or_else(wrong)?;
    let rest = line[name.len()..].trim_ascii_start();
    // What stands before the colon was cut free of blanks at its end only: the line begins with it.
    let rest = rest.strip_prefix(':').ok_or_else(wrong)?;
    let local = LocalPart::parse(name).map_err(|_| {
        format!("{name:?} is no name of this machine: a local part without a domain, quoted where it has blanks")
    })?;
    Ok((plain_name(local.as_str()), rest))
}

/// The words between the separators that stand outside quotes, without blanks around them.
fn split(text: &str, separator: char) -> Result<Vec<&str>, String> {
    let (mut words, mut from) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if c == separator && !quoted => {
                words.push(text[from..at].trim_ascii());
                from = at + c.len_utf8();
            }
            _ => {}
        }
    }
    if quoted {
        return Err(format!("{text:?} has a quote without its end"));
    }
    words.push(text[from..].trim_ascii());
    Ok(words)
}

fn target(word: &str) -> Result<Written, String> {
    let inside = word.strip_prefix('"').unwrap_or(word).trim_ascii_start();
    let refused = [
        ("|", "a program"),
        ("/", "a file"),
        (":include:", "a list in a file"),
    ];
    let lower = inside.to_ascii_lowercase();
    if let Some((_, what)) = refused.iter().find(|(mark, _)| lower.starts_with(mark)) {
        return Err(format!(
            "{word:?} is {what}: an alias leads to addresses only, give ann or ann@example.org"
        ));
    }
    let wrong = || format!("{word:?} is no address, such as ann or ann@example.org");
    let (bare, mailbox) = match word.strip_prefix('\\') {
        Some(bare) => (bare, true),
        None => (word, false),
    };
    if LocalPart::parse(bare).is_err() && Mailbox::parse(bare).is_err() {
        return Err(wrong());
    }
    let bare = bare.to_owned();
    Ok(match mailbox {
        true => Written::Mailbox(bare),
        false => Written::Address(bare),
    })
}
