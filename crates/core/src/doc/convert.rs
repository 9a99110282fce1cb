//! Conversion from JSON text to msgpack and back, without recursion.

use crate::bytes::hex_digits;
use crate::doc::json::Json;
use crate::doc::msgpack::{self, HeadKind, Msgpack};
use crate::doc::{Doc, Kind, Malformed, Text};

/// Deepest nesting that is converted. The host walks its records recursively, so
/// that deeper ones must not be made for it.
const MAX_DEPTH: usize = 128;

/// One step through a JSON value.
enum Token<'a> {
    Open(Kind),
    Close,
    Key(Text<'a>),
    Text(Text<'a>),
    Scalar(&'a [u8]),
}

/// Steps through a JSON value and checks it on the way.
struct Tokens<'a> {
    json: Json<'a>,
    at: usize,
    /// The open containers, and whether each has had a member or item.
    open: Vec<(Kind, bool)>,
    /// A key has been read whose value comes next.
    keyed: bool,
    done: bool,
}

impl<'a> Tokens<'a> {
    fn new(json: Json<'a>, at: usize) -> Tokens<'a> {
        Tokens {
            json,
            at,
            open: Vec::new(),
            keyed: false,
            done: false,
        }
    }

    fn next(&mut self) -> Result<Option<Token<'a>>, Malformed> {
        if self.done {
            return Ok(None);
        }
        let bytes = self.json.0;
        self.at = self.json.solid(self.at);
        if let (Some((kind, any)), false) = (self.open.last_mut(), self.keyed) {
            let close = if *kind == Kind::Map { b'}' } else { b']' };
            if bytes.get(self.at) == Some(&close) {
                self.at = self.at.saturating_add(1);
                self.open.pop();
                self.done = self.open.is_empty();
                return Ok(Some(Token::Close));
            }
            if *any {
                if bytes.get(self.at) != Some(&b',') {
                    return Err(Malformed);
                }
                self.at = self.json.solid(self.at.saturating_add(1));
            }
            *any = true;
            if *kind == Kind::Map {
                let (key, end) = self.json.text(self.at)?;
                self.at = self.json.solid(end);
                if bytes.get(self.at) != Some(&b':') {
                    return Err(Malformed);
                }
                self.at = self.at.saturating_add(1);
                self.keyed = true;
                return Ok(Some(Token::Key(key)));
            }
        }
        self.keyed = false;
        let token = match self.json.kind(self.at)? {
            kind @ (Kind::Map | Kind::List) => {
                if self.open.len() == MAX_DEPTH {
                    return Err(Malformed);
                }
                self.open.push((kind, false));
                self.at = self.at.saturating_add(1);
                return Ok(Some(Token::Open(kind)));
            }
            Kind::Text => {
                let (text, end) = self.json.text(self.at)?;
                self.at = end;
                Token::Text(text)
            }
            Kind::Null | Kind::Other => {
                let end = self.json.end(self.at)?;
                let scalar = bytes.get(self.at..end).ok_or(Malformed)?;
                self.at = end;
                Token::Scalar(scalar)
            }
        };
        self.done = self.open.is_empty();
        Ok(Some(token))
    }
}

/// Appends the JSON value at a position as msgpack.
///
/// Numbers become what Fluent Bit's own JSON parser makes of them: integers where
/// they fit into 64 bits, floats otherwise.
pub(crate) fn json_to_msgpack(
    json: Json<'_>,
    at: usize,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    // In msgpack the number of members comes before them: count first.
    let mut counts: Vec<usize> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let mut tokens = Tokens::new(json, at);
    while let Some(token) = tokens.next()? {
        let item = !matches!(token, Token::Close | Token::Key(_));
        if let (Some(&container), true) = (open.last(), item)
            && let Some(count) = counts.get_mut(container)
        {
            *count = count.saturating_add(1);
        }
        match token {
            Token::Open(_) => {
                open.push(counts.len());
                counts.push(0);
            }
            Token::Close => {
                open.pop();
            }
            _ => {}
        }
    }
    let mut counts = counts.into_iter();
    let mut tokens = Tokens::new(json, at);
    while let Some(token) = tokens.next()? {
        match token {
            Token::Open(Kind::Map) => msgpack::write_map_head(out, counts.next().ok_or(Malformed)?),
            Token::Open(_) => msgpack::write_array_head(out, counts.next().ok_or(Malformed)?),
            Token::Close => {}
            Token::Key(text) | Token::Text(text) => Msgpack::write_text(out, &text.value()),
            Token::Scalar(b"null") => out.push(0xc0),
            Token::Scalar(b"false") => out.push(0xc2),
            Token::Scalar(b"true") => out.push(0xc3),
            Token::Scalar(number) => write_number(number, out)?,
        }
    }
    Ok(())
}

fn write_number(number: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let number = std::str::from_utf8(number).map_err(|_| Malformed)?;
    let digits = number.strip_prefix('-').unwrap_or(number);
    // JSON allows neither a leading zero nor a bare point.
    let leading_zero = matches!(digits.as_bytes(), [b'0', b'0'..=b'9', ..]);
    if leading_zero
        || !digits.starts_with(|c: char| c.is_ascii_digit())
        || digits.ends_with('.')
        || digits.contains(".e")
        || digits.contains(".E")
    {
        return Err(Malformed);
    }
    if let Ok(value) = number.parse::<u64>() {
        msgpack::write_unsigned(out, value);
    } else if let Ok(value) = number.parse::<i64>() {
        msgpack::write_signed(out, value);
    } else {
        msgpack::write_float(out, number.parse::<f64>().map_err(|_| Malformed)?);
    }
    Ok(())
}

/// Appends the msgpack value at a position as JSON text.
///
/// Binary data becomes a string, an extension a string of its bytes in
/// hexadecimal digits; a number that JSON cannot express becomes null.
pub(crate) fn msgpack_to_json(
    tree: Msgpack<'_>,
    at: usize,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    /// An open container: what closes it, what is still to come, whether a value comes next.
    struct Open {
        close: u8,
        left: usize,
        keyed: bool,
    }
    let mut open: Vec<Open> = Vec::new();
    let mut at = at;
    loop {
        let head = tree.head(at)?;
        let is_key = match open.last_mut() {
            Some(Open {
                close: b'}', keyed, ..
            }) => {
                *keyed = !*keyed;
                *keyed
            }
            _ => false,
        };
        at = head.content;
        match head.kind {
            HeadKind::Str(length) | HeadKind::Bin(length) => {
                Json::write_text(out, tree.content(head, length)?);
                at = at.saturating_add(length);
            }
            // Only strings are keys in JSON.
            _ if is_key => {
                let mut key = Vec::new();
                at = write_scalar_key(tree, head, &mut key)?;
                Json::write_text(out, &key);
            }
            HeadKind::Map(count) | HeadKind::Array(count) => {
                let (bracket, close) = if matches!(head.kind, HeadKind::Map(_)) {
                    (b'{', b'}')
                } else {
                    (b'[', b']')
                };
                if open.len() == MAX_DEPTH {
                    return Err(Malformed);
                }
                out.push(bracket);
                // A map's keys and values are told apart by turns.
                let left = match close {
                    b'}' => count.saturating_mul(2),
                    _ => count,
                };
                open.push(Open {
                    close,
                    // The container itself is counted off below.
                    left: left.saturating_add(1),
                    keyed: false,
                });
            }
            HeadKind::Nil => out.extend_from_slice(b"null"),
            HeadKind::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
            HeadKind::Unsigned(value) => out.extend_from_slice(value.to_string().as_bytes()),
            HeadKind::Signed(value) => out.extend_from_slice(value.to_string().as_bytes()),
            HeadKind::Float(value) => match serde_json::Number::from_f64(value) {
                Some(number) => out.extend_from_slice(number.to_string().as_bytes()),
                None => out.extend_from_slice(b"null"),
            },
            HeadKind::Ext(_, length) => {
                let mut digits = Vec::new();
                write_hex(tree.content(head, length)?, &mut digits);
                Json::write_text(out, &digits);
                at = at.saturating_add(length);
            }
        }
        if is_key {
            out.push(b':');
        }
        let opened = matches!(head.kind, HeadKind::Map(_) | HeadKind::Array(_)) && !is_key;
        // Close what is complete.
        loop {
            let Some(container) = open.last_mut() else {
                return Ok(());
            };
            container.left = container.left.saturating_sub(1);
            if container.left == 0 {
                out.push(container.close);
                open.pop();
                continue;
            }
            let just_opened = opened && out.last().is_some_and(|b| matches!(b, b'{' | b'['));
            if !(just_opened || container.keyed) {
                out.push(b',');
            }
            break;
        }
    }
}

/// Appends a key that is not a string as text; returns its end.
fn write_scalar_key(
    tree: Msgpack<'_>,
    head: msgpack::Head,
    key: &mut Vec<u8>,
) -> Result<usize, Malformed> {
    let text = match head.kind {
        HeadKind::Unsigned(value) => value.to_string(),
        HeadKind::Signed(value) => value.to_string(),
        HeadKind::Float(value) => value.to_string(),
        HeadKind::Bool(value) => value.to_string(),
        HeadKind::Nil => "null".to_owned(),
        HeadKind::Ext(_, length) => {
            write_hex(tree.content(head, length)?, key);
            return Ok(head.content.saturating_add(length));
        }
        _ => return Err(Malformed),
    };
    key.extend_from_slice(text.as_bytes());
    Ok(head.content)
}

fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        out.extend(hex_digits(byte));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to_msgpack(text: &str) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::new();
        json_to_msgpack(Json(text.as_bytes()), 0, &mut out).map(|()| out)
    }

    fn to_json(bytes: &[u8]) -> Result<String, Malformed> {
        let mut out = Vec::new();
        msgpack_to_json(Msgpack(bytes), 0, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn values_survive_the_way_there_and_back() {
        for text in [
            "{}",
            "[]",
            r#"{"a":[1,-2,{"b":null}],"c":{},"d":[[],[{}]],"e":"x\"y\n"}"#,
            "18446744073709551615",
            "-9223372036854775808",
            "1.5",
            "1.0",
            r#"[true,false,null,"",0]"#,
        ] {
            let bytes = to_msgpack(text).unwrap();
            assert_eq!(Msgpack(&bytes).end(0), Ok(bytes.len()), "{text}");
            assert_eq!(to_json(&bytes).unwrap(), text);
        }
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        for text in [
            "",
            "{",
            "[1,]",
            "{,}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            "[1 2]",
            "{]",
            "01",
            "1.",
            "-",
            "tru",
            "nul",
            ".5",
            "+1",
            "NaN",
            r#"{"a":1]"#,
        ] {
            assert_eq!(to_msgpack(text), Err(Malformed), "{text}");
        }
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert_eq!(to_msgpack(&deep), Err(Malformed));
        assert_eq!(to_json(&[0x91; 100_000]), Err(Malformed));
    }

    #[test]
    fn what_json_has_no_form_for() {
        assert_eq!(to_json(b"\x84\x01\xc4\x02a\xff\xc0\xcb\x7f\xf8\0\0\0\0\0\0\xa1k\xd6\x05\x00\x01\x02\xff\xc2\x90").unwrap(),
            "{\"1\":\"a\u{fffd}\",\"null\":null,\"k\":\"000102ff\",\"false\":[]}");
        for short in [&b"\x82\xa1a\x01"[..], b"\x91", b"\xa5ab", b""] {
            assert_eq!(to_json(short), Err(Malformed));
        }
    }
}
