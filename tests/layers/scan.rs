//! Just enough of Rust's grammar to list the paths that a source file names: comments, strings and character literals
//! are dropped, `use` groups are written out, and `super` is resolved.

/// A path as written (`["crate", "spool", "Id"]`) and the inline modules it stands in (`["tests"]`).
#[derive(Debug, PartialEq)]
pub struct Path {
    pub segments: Vec<String>,
    pub inside: Vec<String>,
    pub line: usize,
}

/// The tokens that matter: a word, `::`, or one other character.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

impl Token {
    fn is_word(&self) -> bool {
        self.text.starts_with(is_word_character)
    }
}

fn is_word_character(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

pub fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = source;
    let mut line = 1;
    while let Some(c) = rest.chars().next() {
        let length = skipped(rest).unwrap_or_else(|| {
            let length = if is_word_character(c) {
                rest.find(|c| !is_word_character(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                c.len_utf8()
            };
            if !c.is_whitespace() {
                let text = rest[..length].to_owned();
                tokens.push(Token { text, line });
            }
            length
        });
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// The length of the comment or literal that `rest` begins with, if it begins with one.
fn skipped(rest: &str) -> Option<usize> {
    let end_after = |from: usize, end: &str| {
        let found = rest[from..].find(end).map(|at| from + at + end.len());
        Some(found.unwrap_or(rest.len()))
    };
    if rest.starts_with("//") {
        return end_after(2, "\n");
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    let letters = rest.find(|c: char| !c.is_ascii_lowercase())?;
    let prefix = letters + rest[letters..].find(|c| c != '#')?;
    if !["", "b", "c", "r", "br", "cr"].contains(&&rest[..letters]) {
        return None;
    }
    let hashes = rest[..prefix].matches('#').count();
    let raw = rest[..prefix].contains('r');
    match rest[prefix..].chars().next()? {
        '"' if raw => end_after(prefix + 1, &format!("\"{}", "#".repeat(hashes))),
        _ if hashes > 0 => None,
        '"' => Some(prefix + quoted(&rest[prefix..], '"')),
        '\'' if is_character(&rest[prefix..]) => Some(prefix + quoted(&rest[prefix..], '\'')),
        _ => None,
    }
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// `'a'` and `'\n'` are characters, `'a` is a lifetime.
fn is_character(rest: &str) -> bool {
    let mut characters = rest.chars().skip(1);
    match characters.next() {
        Some('\\') => true,
        Some(_) => characters.next() == Some('\''),
        None => false,
    }
}

/// The length of a literal between two `quote`s, with backslash escapes.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if !escaped && c == quote {
            return at + 1;
        }
        escaped = !escaped && c == '\\';
    }
    rest.len()
}

/// Drops every item under `#[cfg(test)]`; the names of files so included (`#[cfg(test)] mod name;`) are returned apart.
pub fn without_tests(tokens: &[Token]) -> (Vec<Token>, Vec<String>) {
    let marker = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut files = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let here = &tokens[at..];
        if here.len() < marker.len() || !marker.iter().zip(here).all(|(m, t)| *m == t.text) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let item = &here[marker.len()..];
        let length = item_length(item);
        if let Some(module) = item[..length].iter().position(|t| t.text == "mod")
            && item[length - 1].text == ";"
        {
            files.push(item[module + 1].text.clone());
        }
        at += marker.len() + length;
    }
    (kept, files)
}

/// Up to the first `;` outside brackets, or the end of the first block in braces.
fn item_length(item: &[Token]) -> usize {
    let mut depth = 0;
    for (at, token) in item.iter().enumerate() {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                // The braces of `use a::{b, c};` do not end it.
                let ended = item.get(at + 1).is_none_or(|next| next.text != ";");
                if depth == 0 && ended {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}

/// Every path of two segments or more, and the single words too (as paths of one), groups written out;
/// the name of a macro that is called ends in `!`.
pub fn paths(tokens: &[Token]) -> Vec<Path> {
    let mut paths = Vec::new();
    let mut modules: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        let follows = |offset: usize, text: &str| {
            tokens
                .get(at + offset)
                .is_some_and(|token| token.text == text)
        };
        if token.text == "mod" && follows(2, "{") {
            depth += 1;
            modules.push((tokens[at + 1].text.clone(), depth));
            at += 3;
        } else if token.is_word() {
            let inside: Vec<String> = modules.iter().map(|(name, _)| name.clone()).collect();
            let begin = paths.len();
            at += path(&tokens[at..], &[], &mut paths);
            for path in &mut paths[begin..] {
                path.inside.clone_from(&inside);
            }
        } else {
            match token.text.as_str() {
                "{" => depth += 1,
                "}" => {
                    modules.retain(|(_, opened)| *opened < depth);
                    depth -= 1;
                }
                _ => {}
            }
            at += 1;
        }
    }
    paths
}

/// Reads `a::b::{c, d::e}` behind `before`; returns the number of tokens read.
fn path(tokens: &[Token], before: &[String], paths: &mut Vec<Path>) -> usize {
    let mut segments = before.to_vec();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    let is_path = tokens[at].is_word() || tokens[at].text == "*";
                    at += if is_path {
                        path(&tokens[at..], &segments, paths)
                    } else {
                        1
                    };
                }
                return at + 1;
            }
            text if text == "*" || token.is_word() => segments.push(text.to_owned()),
            _ => break,
        }
        at += 1;
        if tokens.get(at).is_none_or(|token| token.text != "::") {
            break;
        }
        at += 1;
    }
    let follows = |offset: usize, any: &[&str]| {
        let token = tokens.get(at + offset);
        token.is_some_and(|token| any.contains(&token.text.as_str()))
    };
    if follows(0, &["!"])
        && follows(1, &["(", "[", "{"])
        && let Some(last) = segments.last_mut()
    {
        last.push('!');
    }
    let line = tokens.first().map_or(0, |token| token.line);
    paths.push(Path {
        segments,
        inside: Vec::new(),
        line,
    });
    at.max(1)
}
