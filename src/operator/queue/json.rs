//! JSON objects of one line, written piece by piece (RFC 8259).

use std::fmt::{Display, Write as _};

/// An object that is being written.
pub struct Object {
    text: String,
}

impl Object {
    pub fn new() -> Self {
        Self { text: "{".into() }
    }

    fn name(&mut self, name: &str) {
        if self.text.len() > 1 {
            self.text.push(',');
        }
        put_string(&mut self.text, name);
        self.text.push(':');
    }

    /// A text; null for none.
    pub fn text(&mut self, name: &str, value: Option<&str>) {
        self.name(name);
        match value {
            Some(value) => put_string(&mut self.text, value),
            None => self.text.push_str("null"),
        }
    }

    /// A number or a truth; null for none.
    pub fn value(&mut self, name: &str, value: Option<impl Display>) {
        self.name(name);
        match value {
            Some(value) => {
                let _ = write!(self.text, "{value}");
            }
            None => self.text.push_str("null"),
        }
    }

    /// A list of objects.
    pub fn objects(&mut self, name: &str, objects: impl Iterator<Item = Self>) {
        let all: Vec<String> = objects.map(Self::end).collect();
        self.name(name);
        let _ = write!(self.text, "[{}]", all.join(","));
    }

    /// A list of texts.
    pub fn texts<'a>(&mut self, name: &str, texts: impl Iterator<Item = &'a str>) {
        self.name(name);
        self.text.push('[');
        for (number, text) in texts.enumerate() {
            if number > 0 {
                self.text.push(',');
            }
            put_string(&mut self.text, text);
        }
        self.text.push(']');
    }

    /// The object, without an end of line.
    pub fn end(mut self) -> String {
        self.text.push('}');
        self.text
    }
}

fn put_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // DEL and the C1 controls need it for no parser, but for a terminal.
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_one_line_whatever_is_in_it() {
        let mut inner = Object::new();
        inner.value("n", Some(1));
        let mut object = Object::new();
        object.text("a\"b", Some("\\ \"x\"\r\n\t\u{1b}[31m\u{9b}ren\u{e9}"));
        object.text("none", None);
        object.value("yes", Some(true));
        object.value("number", None::<u8>);
        object.objects("all", [inner, Object::new()].into_iter());
        object.texts("words", ["x", "y"].into_iter());
        assert_eq!(
            object.end(),
            r#"{"a\"b":"\\ \"x\"\r\n\t\u001b[31m\u009bren"#.to_owned()
                + "\u{e9}"
                + r#"","none":null,"yes":true,"number":null,"all":[{"n":1},{}],"words":["x","y"]}"#
        );
    }
}
