//! The records of one event as one JSON object: auditd's names, one place for each field.

use std::collections::BinaryHeap;

use crate::body::{Body, Field, MOST, Quotes, Value};
use crate::header::{Header, Part, kind};
use crate::saddr;
use crate::slim::{self, Slim};
use crate::tables::{is_encoded, is_integer};
use crate::text::{decimal, is_hex, number, padded, string, unhex};

/// What records have to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// An event.
    Event,
    /// That an event has ended, and no more.
    Nothing,
}

/// Appends the records of an event, in the order in which they came, as JSON.
pub fn write_event(parts: &[Part<'_>], slim: Slim, out: &mut Vec<u8>) -> Content {
    let mut bodies = Vec::with_capacity(parts.len());
    for part in parts {
        let mut body = Body::read(part, bodies.len());
        if slim == Slim::On {
            slim::record(&part.header, &mut body);
        }
        bodies.push(body);
    }
    let mut arguments = Arguments::default();
    for (part, body) in parts.iter().zip(&bodies) {
        if part.header.number == kind::EXECVE {
            arguments.add(body);
        }
    }
    arguments.sort();
    let Some(fields) = top(parts, &bodies, &arguments, slim) else {
        return Content::Nothing;
    };
    let mut writer = Writer {
        parts,
        bodies: &bodies,
        arguments: &arguments,
        decoded: Vec::new(),
        out,
    };
    writer.object(&fields);
    Content::Event
}

/// The fields at the top of an event; `None` if there are none.
fn top<'b>(
    parts: &'b [Part<'b>],
    bodies: &'b [Body<'b>],
    arguments: &Arguments<'b>,
    slim: Slim,
) -> Option<Vec<Field<'b>>> {
    let position = |is: fn(&Header) -> bool| parts.iter().position(|part| is(&part.header));
    let own = position(Header::is_at_top);
    let main = own
        .or_else(|| position(|header| !header.is_merged()))
        .or_else(|| position(|header| header.number != kind::EOE))?;
    let first = parts.first()?;
    let mut fields = Vec::with_capacity(64);
    let mut add = |name: &'static [u8], value| fields.push(Field { name, value });
    add(b"timestamp", Value::Time(first.header.millis));
    add(b"serial", Value::Number(first.header.serial));
    let node = first.header.node(first.text);
    if !node.is_empty() {
        add(b"node", Value::Text(node));
    }
    add(b"type", Value::Text(&bodies.get(main)?.kind));
    if slim == Slim::Off {
        add(b"types", Value::Types);
    }
    let starts_program = slim == Slim::On && arguments.are_there;
    if let Some(own) = own {
        let own = bodies.get(own)?.fields.iter();
        fields.extend(own.filter(|field| !(starts_program && slim::is_address(field))));
    }
    if arguments.are_there {
        if let Some(count) = arguments.count {
            fields.push(Field {
                name: b"argc",
                value: Value::Number(count),
            });
        }
        fields.push(Field {
            name: b"argv",
            value: Value::Arguments,
        });
    }
    for (at, (part, body)) in parts.iter().zip(bodies).enumerate() {
        if part.header.number == kind::CWD || part.header.number == kind::PROCTITLE {
            // There is one of each. Many are no event, but nothing gets lost.
            match fields.len() < MOST {
                true => fields.extend_from_slice(&body.fields),
                false => fields.push(Field {
                    name: &body.kind,
                    value: Value::Record(at),
                }),
            }
        }
    }
    for (at, (part, body)) in parts.iter().zip(bodies).enumerate() {
        let is_loader = || starts_program && slim::is_loader(&part.header, body);
        if own != Some(at) && !part.header.is_merged() && !is_loader() {
            fields.push(Field {
                name: &body.kind,
                value: Value::Record(at),
            });
        }
    }
    if arguments.is_truncated || bodies.iter().any(|body| body.is_truncated) {
        fields.push(Field {
            name: b"truncated",
            value: Value::True,
        });
    }
    Some(fields)
}

/// The arguments of a program, in pieces.
#[derive(Default)]
struct Arguments<'a> {
    are_there: bool,
    count: Option<u64>,
    pieces: Vec<Piece<'a>>,
    /// Missing arguments that may be told: what is written stays in proportion to what came.
    most_missing: usize,
    is_truncated: bool,
}

/// A piece of an argument, in the order of arguments, pieces, and records.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Piece<'a> {
    argument: u32,
    piece: u32,
    order: usize,
    is_quoted: bool,
    value: &'a [u8],
}

impl<'a> Arguments<'a> {
    /// Takes the arguments of an EXECVE record.
    fn add(&mut self, body: &Body<'a>) {
        self.are_there = true;
        let own = body.fields.get(..body.own).unwrap_or_default();
        self.most_missing = self
            .most_missing
            .saturating_add(512)
            .saturating_add(own.len());
        for (at, field) in own.iter().enumerate() {
            let (is_quoted, mut value) = match field.value {
                Value::Plain(value) => (false, value),
                Value::Text(value) => (true, value),
                _ => continue,
            };
            if field.name == b"argc" {
                self.count = self.count.or_else(|| decimal(value));
            }
            let Some((argument, piece)) = place(field.name) else {
                continue;
            };
            let is_last = at.saturating_add(1) == own.len();
            if let [front @ .., _] = value
                && !is_quoted
                && is_last
                && !value.len().is_multiple_of(2)
            {
                value = front;
                self.is_truncated = true;
            }
            self.pieces.push(Piece {
                argument,
                piece,
                order: self.pieces.len(),
                is_quoted,
                value,
            });
        }
    }

    fn sort(&mut self) {
        if !self.pieces.is_sorted() {
            let pieces = std::mem::take(&mut self.pieces);
            self.pieces = BinaryHeap::from(pieces).into_sorted_vec();
        }
    }
}

/// The argument and piece that a field has: `a2`, or `a2[1]`.
fn place(name: &[u8]) -> Option<(u32, u32)> {
    let name = name.strip_prefix(b"a")?;
    let (argument, piece) = match name.strip_suffix(b"]") {
        Some(name) => {
            let at = name.iter().position(|&byte| byte == b'[')?;
            let (argument, piece) = name.split_at_checked(at)?;
            (argument, decimal(piece.get(1..)?)?)
        }
        None => (name, 0),
    };
    let argument = u32::try_from(decimal(argument)?).ok()?;
    Some((argument, u32::try_from(piece).ok()?))
}

/// Writes the fields of an event.
struct Writer<'w, 'b> {
    parts: &'w [Part<'b>],
    bodies: &'w [Body<'b>],
    arguments: &'w Arguments<'b>,
    /// A value that was in hex.
    decoded: Vec<u8>,
    out: &'w mut Vec<u8>,
}

impl Writer<'_, '_> {
    /// Writes fields as an object. Values of one name become a list.
    fn object(&mut self, fields: &[Field<'_>]) {
        self.out.push(b'{');
        let (mut seen, mut repeated) = (0u128, 0u128);
        for field in fields {
            repeated |= seen & bit(field.name);
            seen |= bit(field.name);
        }
        for (at, field) in fields.iter().enumerate() {
            let (before, from) = fields.split_at_checked(at).unwrap_or_default();
            let same = |other: &&Field<'_>| other.name == field.name;
            let mut several = false;
            if bit(field.name) & repeated != 0 {
                if before.iter().any(|other| same(&other)) {
                    continue;
                }
                several = from.iter().filter(same).nth(1).is_some();
            }
            self.separate();
            string(field.name, self.out);
            self.out.push(b':');
            let is_list = several || field.value.is_list();
            if is_list {
                self.out.push(b'[');
            }
            if several {
                for other in from.iter().filter(same) {
                    self.value(other, true);
                }
            } else {
                self.value(field, is_list);
            }
            if is_list {
                self.out.push(b']');
            }
        }
        self.out.push(b'}');
    }

    /// Writes what parts a member or item from the one before it.
    fn separate(&mut self) {
        if !matches!(self.out.last(), Some(b'{' | b'[')) {
            self.out.push(b',');
        }
    }

    /// Writes an item of a list.
    fn item(&mut self, text: &[u8]) {
        self.separate();
        string(text, self.out);
    }

    /// Writes a value, or the items of one that is a list.
    fn value(&mut self, field: &Field<'_>, is_item: bool) {
        if is_item && !field.value.is_list() {
            self.separate();
        }
        match field.value {
            Value::Plain(value) => self.plain(field.name, value),
            Value::Text(text) => string(text, self.out),
            Value::Label(label, mode) => string(&[label, b" ", mode].concat(), self.out),
            Value::Keys(keys, quotes) => self.keys(keys, quotes),
            Value::List(words) => {
                for word in words.split(u8::is_ascii_whitespace) {
                    if !word.is_empty() {
                        self.item(word);
                    }
                }
            }
            Value::Braces(text) => self.braces(text),
            Value::Interpreted(value) => match decimal(value) {
                Some(value) if is_integer(field.name) => number(value, self.out),
                _ => string(value, self.out),
            },
            Value::Address(hex) => {
                self.decode(hex);
                saddr::write(&self.decoded, self.out);
            }
            Value::Inner(at) => {
                let bodies = self.bodies;
                self.object(bodies.get(at).map_or(&[], |body| &body.inner));
            }
            Value::Words(at, depth) => {
                let words = self
                    .bodies
                    .get(at)
                    .map_or(&[][..], |body| body.words(depth));
                string(words, self.out);
            }
            Value::Record(at) => {
                let bodies = self.bodies;
                self.separate();
                self.object(bodies.get(at).map_or(&[], |body| &body.fields));
            }
            Value::Types => self.types(),
            Value::Arguments => self.arguments(),
            Value::Time(millis) => self.time(millis),
            Value::Number(value) => number(value, self.out),
            Value::True => self.out.extend_from_slice(b"true"),
        }
    }

    fn decode(&mut self, hex: &[u8]) {
        self.decoded.clear();
        unhex(hex, &mut self.decoded);
    }

    /// Writes a value that had no quotes.
    fn plain(&mut self, name: &[u8], value: &[u8]) {
        if matches!(value, b"?" | b"(null)") {
            self.out.extend_from_slice(b"null");
        } else if is_hex(value) && is_encoded(name) {
            self.decode(value);
            if name == b"proctitle" {
                let ends = self.decoded.iter_mut().filter(|byte| **byte == 0);
                ends.for_each(|byte| *byte = b' ');
            }
            string(&self.decoded, self.out);
        } else if is_plain_integer(value) && is_integer(name) {
            let value = if value == b"-0" { b"0" } else { value };
            self.out.extend_from_slice(value);
        } else {
            string(value, self.out);
        }
    }

    /// Writes the keys of rules as items: one, or several parted by a byte 0x01.
    fn keys(&mut self, keys: &[u8], quotes: Quotes) {
        self.decoded.clear();
        let mut hex = keys;
        if quotes == Quotes::None {
            if matches!(keys, b"(null)" | b"?") {
                return;
            }
            // A stray quote was seen behind it.
            while let [front @ .., b'"'] = hex {
                hex = front;
            }
        }
        if quotes == Quotes::None && is_hex(hex) {
            unhex(hex, &mut self.decoded);
        } else {
            self.decoded.extend_from_slice(keys);
        }
        let decoded = std::mem::take(&mut self.decoded);
        for key in decoded.split(|&byte| byte == 1) {
            if !key.is_empty() {
                self.item(key);
            }
        }
        self.decoded = decoded;
    }

    /// Writes the fields in the braces of an interpretation as an object.
    fn braces(&mut self, text: &[u8]) {
        let mut fields = Vec::new();
        let mut words = Vec::new();
        for part in text.split(u8::is_ascii_whitespace) {
            let at = part.iter().position(|&byte| byte == b'=');
            let Some((name, value)) = at.and_then(|at| part.split_at_checked(at)) else {
                if !words.is_empty() && !part.is_empty() {
                    words.push(b' ');
                }
                words.extend_from_slice(part);
                continue;
            };
            fields.push(Field {
                name,
                value: Value::Interpreted(value.get(1..).unwrap_or_default()),
            });
        }
        if !words.is_empty() {
            fields.push(Field {
                name: b"text",
                value: Value::Text(&words),
            });
        }
        self.object(&fields);
    }

    /// Writes the names of the types as items, each once.
    fn types(&mut self) {
        let bodies = self.bodies;
        for (at, (part, body)) in self.parts.iter().zip(bodies).enumerate() {
            let before = bodies.get(..at).unwrap_or_default();
            let is_new = !before.iter().any(|other| other.kind == body.kind);
            if part.header.number != kind::EOE && is_new {
                self.item(&body.kind);
            }
        }
    }

    /// Writes the arguments as items: null for one that did not come.
    fn arguments(&mut self) {
        let arguments = self.arguments;
        let mut next = 0;
        let mut missing = 0usize;
        for pieces in arguments.pieces.chunk_by(|a, b| a.argument == b.argument) {
            let Some(first) = pieces.first() else {
                continue;
            };
            while next < first.argument && missing < arguments.most_missing {
                self.null();
                next = next.saturating_add(1);
                missing = missing.saturating_add(1);
            }
            next = first.argument.saturating_add(1);
            self.argument(pieces);
        }
    }

    fn null(&mut self) {
        self.separate();
        self.out.extend_from_slice(b"null");
    }

    /// Writes an argument. Pieces may be cut inside a character.
    fn argument(&mut self, pieces: &[Piece<'_>]) {
        self.decoded.clear();
        for (at, piece) in pieces.iter().enumerate() {
            // The same piece once more: the last one counts.
            let next = pieces.get(at.saturating_add(1));
            if next.is_some_and(|next| next.piece == piece.piece) {
                continue;
            }
            if !piece.is_quoted && piece.value == b"(null)" {
                return self.null();
            }
            if !piece.is_quoted && is_hex(piece.value) {
                unhex(piece.value, &mut self.decoded);
            } else {
                self.decoded.extend_from_slice(piece.value);
            }
        }
        self.separate();
        string(&self.decoded, self.out);
    }

    /// Writes a time as RFC 3339.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "the year has four digits, so that no term comes near the limits of its type"
    )]
    fn time(&mut self, millis: u64) {
        let (seconds, millis) = (millis / 1000, millis % 1000);
        // Years that begin in March have the leap day last; those that 400 years have 146,097
        // days.
        let days = seconds / 86_400 + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = era * 400 + year + u64::from(month <= 2);
        self.out.push(b'"');
        for (value, width, end) in [
            (year, 4, b'-'),
            (month, 2, b'-'),
            (day, 2, b'T'),
            (seconds % 86_400 / 3600, 2, b':'),
            (seconds % 3600 / 60, 2, b':'),
            (seconds % 60, 2, b'.'),
            (millis, 3, b'Z'),
        ] {
            padded(value, width, self.out);
            self.out.push(end);
        }
        self.out.push(b'"');
    }
}

impl Value<'_> {
    /// Returns whether the value is items of a list.
    fn is_list(&self) -> bool {
        matches!(
            self,
            Value::Keys(..) | Value::List(_) | Value::Record(_) | Value::Types | Value::Arguments
        )
    }
}

/// A bit for a name, to see at one look that it is new.
fn bit(name: &[u8]) -> u128 {
    let byte = |byte: Option<&u8>| byte.map_or(0, |&byte| u32::from(byte));
    let ends = byte(name.first()).wrapping_mul(5) ^ byte(name.last()).wrapping_mul(11);
    let length = u32::try_from(name.len()).unwrap_or(0);
    1u128.rotate_left(ends ^ length.wrapping_mul(37))
}

/// Returns whether a value is an integer of at most 18 digits, as it would be written.
fn is_plain_integer(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    match digits {
        [b'0'] => true,
        [b'1'..=b'9', ..] => digits.len() <= 18 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value as Json, json};

    /// The event of these records, `TYPE BODY`, all of one serial number.
    fn event(records: &[&str]) -> Json {
        at(1_700_000_000_123, records, Slim::Off)
    }

    fn at(millis: u64, records: &[&str], slim: Slim) -> Json {
        let lines: Vec<String> = records
            .iter()
            .map(|record| {
                let (kind, body) = record.split_once(' ').unwrap_or((record, ""));
                let (seconds, millis) = (millis / 1000, millis % 1000);
                format!("type={kind} msg=audit({seconds}.{millis:03}:1): {body}")
            })
            .collect();
        let parts: Vec<Part<'_>> = lines
            .iter()
            .map(|line| Part {
                header: Header::find(line.as_bytes()).unwrap(),
                text: line.as_bytes(),
            })
            .collect();
        let mut out = Vec::new();
        match write_event(&parts, slim, &mut out) {
            Content::Nothing => {
                assert!(out.is_empty());
                Json::Null
            }
            Content::Event => serde_json::from_slice(&out).unwrap(),
        }
    }

    /// The fields of a record in the list of its type.
    fn fields(body: &str) -> Json {
        event(&[&format!("PATH {body}")])["PATH"][0].take()
    }

    #[test]
    fn times() {
        for (millis, want) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_735_689_599_000, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(at(millis, &["CWD"], Slim::Off)["timestamp"], want);
        }
    }

    #[test]
    fn the_end_alone_says_nothing() {
        assert_eq!(event(&["EOE"]), Json::Null);
        assert_eq!(event(&["EOE", "CWD cwd=\"/\""])["types"], json!(["CWD"]));
    }

    #[test]
    fn values() {
        for (body, want) in [
            ("name=\"a b\" x=1", json!({"name": "a b", "x": "1"})),
            (
                "name=? item=(null) x=\"?\"",
                json!({"name": null, "item": null, "x": "?"}),
            ),
            (
                "item=12 ino=-3 fd=-0 pid=007",
                json!({"item": 12, "ino": -3, "fd": 0, "pid": "007"}),
            ),
            (
                "pid=1234567890123456789",
                json!({"pid": "1234567890123456789"}),
            ),
            (
                "name=612062 other=612062",
                json!({"name": "a b", "other": "612062"}),
            ),
            ("name=beef name=ADA", json!({"name": ["beef", "ADA"]})),
            ("a=1 b=2 a=3 a=4", json!({"a": ["1", "3", "4"], "b": "2"})),
            (
                "one two=2 , three",
                json!({"two": "2", "text": "one three"}),
            ),
            ("x= y=\"\"", json!({"x": "", "y": ""})),
            ("obj=a (b-c) x", json!({"obj": "a (b-c)", "text": "x"})),
            (
                "name=(null)OUID=\"root\"",
                json!({"name": null, "OUID": "root"}),
            ),
            (
                "x=1OUID=\"root\" A={ b=1 item=2 c }",
                json!({"x": "1", "OUID": "root", "A": {"b": "1", "item": 2, "text": "c"}}),
            ),
            ("x=1\u{1d}A=\"1\" A=\"2\"", json!({"x": "1", "A": "2"})),
            ("key=(null)", json!({"key": []})),
            ("key=\"a\" key=620163", json!({"key": ["a", "b", "c"]})),
        ] {
            assert_eq!(fields(body), want, "{body}");
        }
    }

    #[test]
    fn what_is_cut_is_said() {
        let cut = event(&["PATH name=\"a b"]);
        assert_eq!(
            (&cut["PATH"][0]["name"], &cut["truncated"]),
            (&json!("a b"), &json!(true))
        );
        assert_eq!(event(&["EXECVE argc=1 a0=4"])["truncated"], true);
        assert_eq!(event(&["EXECVE argc=1 a0=41"]).get("truncated"), None);
    }

    #[test]
    fn arguments() {
        for (records, want) in [
            (&["EXECVE a1=\"b\" a0=\"a\""][..], json!(["a", "b"])),
            (
                &["EXECVE a3=\"d\"", "EXECVE a0=\"a\""],
                json!(["a", null, null, "d"]),
            ),
            (&["EXECVE a0[1]=BC a0_len=4 a0[0]=C5"], json!(["ż"])),
            (&["EXECVE a0=\"x\" a0=\"y\" a1=(null)"], json!(["y", null])),
            (&["EXECVE argc=0"], json!([])),
        ] {
            assert_eq!(event(records)["argv"], want, "{records:?}");
        }
    }

    #[test]
    fn ten_thousand_arguments_in_any_order() {
        let arguments: Vec<String> = (0..10_000)
            .rev()
            .map(|at| format!("a{at}=\"{at}\""))
            .collect();
        let event = event(&[&format!("EXECVE argc=10000 {}", arguments.join(" "))]);
        let argv = event["argv"].as_array().unwrap();
        assert_eq!(argv.len(), 10_000);
        assert!(
            argv.iter()
                .enumerate()
                .all(|(at, argument)| argument.as_str() == Some(&at.to_string()))
        );
    }

    #[test]
    fn what_is_written_is_in_proportion_to_what_came() {
        let event = event(&["EXECVE a4294967295=\"x\" a99999999999=\"y\""]);
        let argv = event["argv"].as_array().unwrap();
        assert!(argv.len() < 1000 && argv.last().unwrap() == "x");
        let many: Vec<String> = (0..5000).map(|at| format!("f{at}=1")).collect();
        let fields = fields(&many.join(" "));
        assert_eq!(fields.as_object().unwrap().len(), 513);
        assert!(
            fields["text"]
                .as_str()
                .unwrap()
                .starts_with("f512=1 f513=1 ")
        );
    }

    #[test]
    fn many_records_that_should_be_one_are_a_list() {
        let record = |number: usize| {
            let fields: Vec<String> = (0..100).map(|at| format!("f{number}_{at}=1")).collect();
            format!("CWD {}", fields.join(" "))
        };
        let records: Vec<String> = (0..300).map(record).collect();
        let records: Vec<&str> = records.iter().map(String::as_str).collect();
        let event = event(&records);
        assert!(event.as_object().unwrap().len() < 700);
        assert_eq!(event["CWD"].as_array().unwrap().len(), 294);
    }

    #[test]
    fn a_name_of_the_event_itself_may_repeat() {
        let event = event(&["USER_CMD type=x serial=y msg='a=1 a=2'"]);
        assert_eq!(event["type"], json!(["USER_CMD", "x"]));
        assert_eq!(event["serial"], json!([1, "y"]));
        assert_eq!(event["msg"], json!({"a": ["1", "2"]}));
    }

    #[test]
    fn slim_events_say_nothing_twice() {
        let slim = |records: &[&str]| at(1_700_000_000_123, records, Slim::On);
        let path = |name: &str| {
            format!(
                "PATH item=1 name=\"{name}\" cap_fp=0 cap_fi=1 cap_fe=0 cap_fver=0 cap_frootid=0"
            )
        };
        let paths = [
            "/lib64/ld-linux-x86-64.so.2",
            "/lib/ld-musl-x86_64.so.1",
            "/usr/lib/ld64.so.2",
        ];
        let paths = [&paths[..], &["/etc/ld.so.preload", "/tmp/ld-x.so"]]
            .concat()
            .into_iter()
            .map(path);
        let paths: Vec<String> = paths.collect();
        let mut records = vec![
            "SYSCALL a0=1 a1=2 a2=3 a3=4 items=2",
            "EXECVE argc=1 a0=\"id\"",
        ];
        records.extend(paths.iter().map(String::as_str));
        records.push("PROCTITLE proctitle=\"id\"");
        let short = json!({
            "timestamp": "2023-11-14T22:13:20.123Z", "serial": 1, "type": "SYSCALL", "items": 2,
            "argc": 1, "argv": ["id"], "proctitle": "id",
            "PATH": [
                {"item": 1, "name": "/etc/ld.so.preload", "cap_fi": "1"},
                {"item": 1, "name": "/tmp/ld-x.so", "cap_fi": "1"},
            ],
        });
        assert_eq!(slim(&records), short);
        let call = slim(&["SYSCALL a0=26 a1=2", &paths[0]]);
        assert_eq!(
            (&call["a0"], call["PATH"].as_array().unwrap().len()),
            (&json!("26"), 1)
        );
    }
}
