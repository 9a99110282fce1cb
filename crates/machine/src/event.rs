//! The records of one event as one JSON object: auditd's names, one place for each field.

use std::collections::BinaryHeap;

use crate::body::{Body, Field, Quotes, Value};
use crate::header::{Header, kind};
use crate::saddr;
use crate::tables::{is_encoded, is_integer};
use crate::text::{decimal, is_hex, number, padded, string, unhex};

/// A record of an event.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// Its header.
    pub header: Header,
    /// Its text.
    pub text: &'a [u8],
}

/// What records have to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// An event.
    Event,
    /// That an event has ended, and no more.
    Nothing,
}

/// Appends the records of an event, in the order in which they came, as JSON.
pub fn write_event(parts: &[Part<'_>], out: &mut Vec<u8>) -> Content {
    let bodies = parts.iter().enumerate();
    let bodies: Vec<Body<'_>> = bodies.map(|(at, part)| Body::read(part, at)).collect();
    let mut arguments = Arguments::default();
    for (part, body) in parts.iter().zip(&bodies) {
        if part.header.number == kind::EXECVE {
            arguments.add(body);
        }
    }
    arguments.sort();
    let Some(fields) = top(parts, &bodies, &arguments) else {
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
    add(b"types", Value::Types);
    if let Some(own) = own {
        fields.extend_from_slice(&bodies.get(own)?.fields);
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
    for (part, body) in parts.iter().zip(bodies) {
        if matches!(part.header.number, kind::CWD | kind::PROCTITLE) {
            fields.extend_from_slice(&body.fields);
        }
    }
    for (at, (part, body)) in parts.iter().zip(bodies).enumerate() {
        if own != Some(at) && !part.header.is_merged() {
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
