//! From JSON text to a tree, by the rules of Go's `encoding/json`: strict syntax, but
//! invalid UTF-8 and halves of surrogate pairs become U+FFFD.
//!
//! `serde_json` is not used here because it has no byte offsets, refuses these bytes, and
//! silently drops repeated keys.

use super::tree::{Entry, Fault, MAX_DEPTH, MAX_NODES, Node, Value, mark_repeats};

/// Reads a text that is one JSON value.
pub fn read(text: &[u8]) -> Result<Node, Fault> {
    let mut reader = Reader {
        text,
        at: 0,
        nodes: 0,
    };
    let node = reader.value(0)?;
    reader.skip_blanks();
    match reader.peek() {
        None => Ok(node),
        Some(_) => Err(reader.unexpected("after the end of the value")),
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    nodes: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.skip(usize::from(found));
        found
    }

    fn skip(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    /// Returns the text from an offset up to here.
    fn since(&self, start: usize) -> String {
        lossy(self.text.get(start..self.at).unwrap_or_default())
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.skip(1);
        }
    }

    fn unexpected(&self, context: &str) -> Fault {
        let Some(rest) = self.text.get(self.at..).filter(|rest| !rest.is_empty()) else {
            return Fault::syntax(self.at, format!("unexpected end of JSON {context}"));
        };
        let start = rest.get(..4).unwrap_or(rest);
        let found = start
            .utf8_chunks()
            .next()
            .and_then(|chunk| chunk.valid().chars().next());
        let found = found.unwrap_or(char::REPLACEMENT_CHARACTER);
        Fault::syntax(
            self.at,
            format!("unexpected `{}` {context} in JSON", found.escape_debug()),
        )
    }

    /// Recursion ends at `MAX_DEPTH`.
    fn value(&mut self, depth: usize) -> Result<Node, Fault> {
        self.skip_blanks();
        let at = self.at;
        self.nodes = self.nodes.saturating_add(1);
        if depth > MAX_DEPTH {
            return Err(Fault::too_deep(at));
        }
        if self.nodes > MAX_NODES {
            return Err(Fault::too_many(at));
        }
        let value = match self.peek() {
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.array(depth)?,
            Some(b'"') => Value::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ if self.word("null") => Value::Null,
            _ if self.word("true") => Value::Bool {
                value: true,
                spelling: "true".into(),
            },
            _ if self.word("false") => Value::Bool {
                value: false,
                spelling: "false".into(),
            },
            _ => return Err(self.unexpected("where a value should begin")),
        };
        Ok(Node { value, at })
    }

    fn word(&mut self, word: &str) -> bool {
        let found = self
            .text
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(word.as_bytes()));
        self.skip(if found { word.len() } else { 0 });
        found
    }

    fn object(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut entries = Vec::new();
        self.skip(1);
        self.skip_blanks();
        if self.eat(b'}') {
            return Ok(Value::Map(entries));
        }
        loop {
            self.skip_blanks();
            let at = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("where a key in double quotes should begin"));
            }
            let key = self.string()?;
            self.skip_blanks();
            if !self.eat(b':') {
                return Err(self.unexpected("after a key, where `:` should be"));
            }
            let value = self.value(depth.saturating_add(1))?;
            entries.push(Entry {
                key,
                at,
                value,
                repeats: None,
            });
            self.skip_blanks();
            if self.eat(b'}') {
                break;
            }
            if !self.eat(b',') {
                return Err(self.unexpected("after a value, where `,` or `}` should be"));
            }
        }
        mark_repeats(&mut entries);
        Ok(Value::Map(entries))
    }

    fn array(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut items = Vec::new();
        self.skip(1);
        self.skip_blanks();
        if self.eat(b']') {
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value(depth.saturating_add(1))?);
            self.skip_blanks();
            if self.eat(b']') {
                return Ok(Value::List(items));
            }
            if !self.eat(b',') {
                return Err(self.unexpected("after a value, where `,` or `]` should be"));
            }
        }
    }

    fn number(&mut self) -> Result<Value, Fault> {
        let start = self.at;
        let mut whole = true;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            whole = false;
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            whole = false;
            if !self.eat(b'-') {
                self.eat(b'+');
            }
            self.digits()?;
        }
        let spelling = self.since(start);
        let integer = whole && spelling.parse::<i64>().is_ok();
        Ok(Value::Number { integer, spelling })
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.skip(1);
        }
        if self.at == start {
            Err(self.unexpected("where a digit should be"))
        } else {
            Ok(())
        }
    }

    fn string(&mut self) -> Result<String, Fault> {
        let mut out = String::new();
        self.skip(1);
        let mut plain = self.at;
        loop {
            let byte = self.peek();
            if !matches!(byte, Some(b'"' | b'\\' | 0..0x20) | None) {
                self.skip(1);
                continue;
            }
            out.push_str(&self.since(plain));
            match byte {
                Some(b'"') => {
                    self.skip(1);
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.skip(1);
                    out.push(self.escape()?);
                    plain = self.at;
                }
                _ => return Err(self.unexpected("inside a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let c = match self.peek() {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.skip(1);
                let first = self.hex()?;
                let after_first = self.at;
                // The second half of a pair; anything else after a first half is read on its own.
                if (0xD800..0xDC00).contains(&first) && self.word("\\u") {
                    let second = self.hex()?;
                    if let Some(Ok(c)) = char::decode_utf16([first, second]).next() {
                        return Ok(c);
                    }
                    self.at = after_first;
                }
                return Ok(char::from_u32(first.into()).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            _ => return Err(self.unexpected("after a backslash")),
        };
        self.skip(1);
        Ok(c)
    }

    fn hex(&mut self) -> Result<u16, Fault> {
        let mut value: u32 = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.unexpected("where a hexadecimal digit should be"));
            };
            value = value << 4 | digit;
            self.skip(1);
        }
        // Four digits have sixteen bits.
        Ok(u16::try_from(value).unwrap_or(u16::MAX))
    }
}

/// Decodes UTF-8; each invalid byte becomes one U+FFFD, as in Go.
pub(crate) fn lossy(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &[u8]) -> Result<String, Fault> {
        match read(json)?.value {
            Value::Text(text) => Ok(text),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn strings() {
        for (json, expected) in [
            (&br#""""#[..], ""),
            (br#""a\"\\\/\b\f\n\r\t""#, "a\"\\/\u{8}\u{c}\n\r\t"),
            (br#""\u0041\u00fc\ud83d\ude00""#, "Aü😀"),
            (br#""\ud83d""#, "\u{fffd}"),
            (br#""\ud83dx""#, "\u{fffd}x"),
            (br#""\ud83d\u0041""#, "\u{fffd}A"),
            (br#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
            (br#""\ude00""#, "\u{fffd}"),
            (b"\"\xff\xe2\x82\"", "\u{fffd}\u{fffd}\u{fffd}"),
            (b"\"\x7f\"", "\u{7f}"),
        ] {
            assert_eq!(
                text(json).as_deref(),
                Ok(expected),
                "{}",
                String::from_utf8_lossy(json)
            );
        }
        for bad in [
            &b"\""[..],
            b"\"\n\"",
            b"\"\\x41\"",
            b"\"\\u12\"",
            b"\"\\u12g4\"",
            b"\"\\",
        ] {
            assert!(text(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn numbers() {
        for (json, expected) in [
            ("0", Some(true)),
            ("-0", Some(true)),
            ("12", Some(true)),
            ("1.0", Some(false)),
            ("1e3", Some(false)),
            ("1E-3", Some(false)),
            ("9223372036854775807", Some(true)),
            ("9223372036854775808", Some(false)),
            ("01", None),
            ("-", None),
            ("+1", None),
            (".5", None),
            ("1.", None),
            ("1e", None),
            ("0x1", None),
            ("NaN", None),
        ] {
            let found = read(json.as_bytes()).ok().map(|node| match node.value {
                Value::Number { integer, .. } => integer,
                other => panic!("{other}"),
            });
            assert_eq!(found, expected, "{json}");
        }
    }

    #[test]
    fn structure() {
        for bad in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "{'a':1}",
            "[1 2]",
            "{} x",
            "nul",
            "\u{feff}{}",
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
        let Value::Map(entries) = read(br#" {"a": [1, {}], "a": null} "#).unwrap().value else {
            panic!("not a mapping");
        };
        assert_eq!(entries[1].repeats, Some(entries[0].at));
        assert_eq!(read(b"\n [] ").unwrap().at, 2);
    }

    #[test]
    fn hostile_nesting_is_an_error() {
        for open in ["[", "{\"a\":"] {
            let fault = read(open.repeat(1_000_000).as_bytes()).unwrap_err();
            assert_eq!(fault.kind, crate::FaultKind::Limit);
        }
    }
}
