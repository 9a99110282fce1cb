//! The fields of a record: `NAME=VALUE` parted by blanks, and all that writers of records
//! made of it.

use std::borrow::Cow;

use crate::header::{Part, kind};
use crate::tables::Arch;
use crate::text::{decimal, is_hex};

/// A field of a record, or of an event.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) value: Value<'a>,
}

/// The value of a field.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    /// Without quotes: null, a number, in hex, or a text.
    Plain(&'a [u8]),
    /// A text.
    Text(&'a [u8]),
    /// A text, and AppArmor's mode behind it.
    Label(&'a [u8], &'a [u8]),
    /// Keys of rules, in quotes or not.
    Keys(&'a [u8], Quotes),
    /// Words, as a list.
    List(&'a [u8]),
    /// `{…}` of an interpretation.
    Braces(&'a [u8]),
    /// A text, or a number if it is one.
    Interpreted(&'a [u8]),
    /// `saddr` in hex.
    Address(&'a [u8]),
    /// The fields in the `msg` of the record with this number.
    Inner(usize),
    /// The words without `=` of the record with this number, or of its `msg`.
    Words(usize, Depth),
    /// The record with this number, in the list of its type.
    Record(usize),
    /// The names of the types.
    Types,
    /// The arguments.
    Arguments,
    /// Milliseconds since 1970.
    Time(u64),
    Number(u64),
    True,
}

/// Whether a value was in quotes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quotes {
    Double,
    None,
}

/// The place of fields in a record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    Record,
    /// In the `msg` of user space.
    Message,
    /// In auditd's interpretation.
    Interpretation,
}

/// What a record says.
pub(crate) struct Body<'a> {
    /// The type's name.
    pub(crate) kind: Cow<'a, [u8]>,
    /// The fields, the words, and what they mean.
    pub(crate) fields: Vec<Field<'a>>,
    /// The number of fields that the record has of its own.
    pub(crate) own: usize,
    /// The fields in `msg`.
    pub(crate) inner: Vec<Field<'a>>,
    words: Vec<u8>,
    inner_words: Vec<u8>,
    /// Something was cut off.
    pub(crate) is_truncated: bool,
}

/// Fields of one map that are told apart. No record has so many; what is behind them counts
/// as words.
pub(crate) const MOST: usize = 512;

impl<'a> Body<'a> {
    /// Reads the record with this number.
    pub(crate) fn read(part: &Part<'a>, number: usize) -> Body<'a> {
        let text = part.header.body(part.text);
        let mut body = Body {
            kind: part.header.name(part.text),
            fields: Vec::with_capacity(16),
            own: 0,
            inner: Vec::new(),
            words: Vec::new(),
            inner_words: Vec::new(),
            is_truncated: part.header.is_cut,
        };
        let mut reader = Reader {
            body: &mut body,
            kind: part.header.number,
            number,
        };
        let (main, interpretation) = reader.parted(text);
        let rest = reader.scan(main, Depth::Record);
        body.own = body.fields.len();
        if !body.words.is_empty() {
            body.fields.push(words(number, Depth::Record));
        }
        body.interpret(part.header.number, number, [rest, interpretation]);
        body
    }

    /// The words of the record, or of its `msg`.
    pub(crate) fn words(&self, depth: Depth) -> &[u8] {
        match depth {
            Depth::Record => &self.words,
            _ => &self.inner_words,
        }
    }

    /// Adds auditd's interpretation, and what it would have had of names.
    fn interpret(&mut self, kind: u32, number: usize, texts: [&'a [u8]; 2]) {
        let first = self.fields.len();
        let own = self.own;
        for text in texts {
            let mut reader = Reader {
                body: self,
                kind,
                number,
            };
            reader.scan(text, Depth::Interpretation);
        }
        let raw = |body: &Body<'a>, name: &[u8]| {
            let fields = body.fields.get(..own).unwrap_or_default();
            let field = fields.iter().rfind(|field| field.name == name)?;
            match field.value {
                Value::Plain(value) | Value::Text(value) => Some(value),
                _ => None,
            }
        };
        let arch = raw(self, b"arch").and_then(|code| {
            let code = std::str::from_utf8(code).ok()?;
            Arch::of(u32::from_str_radix(code, 16).ok()?)
        });
        if let Some(arch) = arch {
            self.add(first, b"ARCH", Value::Text(arch.name()));
            let call = raw(self, b"syscall").and_then(decimal);
            if let Some(name) = call.and_then(|call| arch.call(u16::try_from(call).ok()?)) {
                self.add(first, b"SYSCALL", Value::Text(name));
            }
        }
        if kind == kind::SOCKADDR {
            let address = raw(self, b"saddr").filter(|hex| is_hex(hex) && hex.len() > 2);
            if let Some(address) = address {
                self.add(first, b"SADDR", Value::Address(address));
            }
        }
    }

    /// Adds a field that the interpretation, which begins with field `first`, has not.
    fn add(&mut self, first: usize, name: &'static [u8], value: Value<'a>) {
        let fields = self.fields.get(first..).unwrap_or_default();
        if !fields.iter().any(|field| field.name == name) {
            self.fields.push(Field { name, value });
        }
    }
}

fn words<'a>(number: usize, depth: Depth) -> Field<'a> {
    Field {
        name: b"text",
        value: Value::Words(number, depth),
    }
}

/// Reads fields into a body.
struct Reader<'b, 'a> {
    body: &'b mut Body<'a>,
    kind: u32,
    number: usize,
}

impl<'a> Reader<'_, 'a> {
    /// Parts a text where auditd's interpretation begins: at a byte 0x1d, or `#035`, which
    /// rsyslog makes of it.
    fn parted(&self, text: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let mut from = 0usize;
        loop {
            let rest = text.get(from..).unwrap_or_default();
            let Some(at) = rest.iter().position(|&byte| matches!(byte, 0x1d | b'#')) else {
                return (text, &[]);
            };
            let (_, mark) = rest.split_at_checked(at).unwrap_or_default();
            let behind = match mark {
                [0x1d, behind @ ..] => Some(behind),
                [b'#', b'0', b'3', b'5', behind @ ..] if is_capital(behind) => Some(behind),
                _ => None,
            };
            let at = from.saturating_add(at);
            if let Some(behind) = behind {
                return (text.get(..at).unwrap_or_default(), behind);
            }
            from = at.saturating_add(1);
        }
    }

    fn fields(&mut self, depth: Depth) -> &mut Vec<Field<'a>> {
        match depth {
            Depth::Message => &mut self.body.inner,
            _ => &mut self.body.fields,
        }
    }

    fn push(&mut self, depth: Depth, name: &'a [u8], value: Value<'a>) {
        self.fields(depth).push(Field { name, value });
    }

    fn word(&mut self, depth: Depth, word: &[u8]) {
        let words = match depth {
            Depth::Record => &mut self.body.words,
            Depth::Message => &mut self.body.inner_words,
            Depth::Interpretation => return,
        };
        if !words.is_empty() {
            words.push(b' ');
        }
        words.extend_from_slice(word);
    }

    /// Reads fields. What is given back is where an interpretation begins without a mark.
    fn scan(&mut self, text: &'a [u8], depth: Depth) -> &'a [u8] {
        let mut rest = self.permissions(text, depth).unwrap_or(text);
        // The words `old` and `new` of LOGIN.
        let mut is_old = false;
        loop {
            rest = trimmed(rest);
            if rest.is_empty() || (depth == Depth::Record && is_capital(rest)) {
                return rest;
            }
            if self.kind != kind::EXECVE && self.fields(depth).len() >= MOST {
                self.body.is_truncated = true;
                self.word(depth, rest);
                return &[];
            }
            let end = rest.iter().position(|&byte| matches!(byte, b' ' | b'='));
            let (name, behind) = rest
                .split_at_checked(end.unwrap_or(rest.len()))
                .unwrap_or((rest, &[]));
            let Some(value) = behind.strip_prefix(b"=") else {
                rest = behind;
                match name {
                    b"old" | b"new" if self.kind == kind::LOGIN => is_old = name == b"old",
                    _ if self.label(depth, name) => {}
                    _ if name.iter().all(|byte| b":,.()'{}".contains(byte)) => {}
                    _ => self.word(depth, name),
                }
                continue;
            };
            let name = match name.strip_prefix(b"(").unwrap_or(name) {
                b"auid" if is_old => &b"old-auid"[..],
                b"ses" if is_old => b"old-ses",
                name => name,
            };
            is_old = false;
            rest = self.value(depth, name, value);
        }
    }

    /// `avc:  denied  { a b } for`, which records of SELinux begin with; gives back the rest.
    fn permissions(&mut self, text: &'a [u8], depth: Depth) -> Option<&'a [u8]> {
        let is_first = self.fields(depth).is_empty() && depth != Depth::Interpretation;
        if !is_first || (depth == Depth::Record && self.kind != kind::AVC) {
            return None;
        }
        let text = text.trim_ascii_start().strip_prefix(b"avc:")?;
        let text = spaced(text)?;
        let end = text
            .iter()
            .position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')?;
        let (result, text) = text.split_at_checked(end).filter(|_| end > 0)?;
        let text = spaced(text)?.strip_prefix(b"{")?;
        let end = text.iter().position(|&byte| byte == b'}')?;
        let (list, text) = text.split_at_checked(end)?;
        let text = spaced(text.strip_prefix(b"}")?)?;
        self.push(depth, b"seresult", Value::Plain(result));
        self.push(depth, b"seperms", Value::List(list));
        Some(text.strip_prefix(b"for").and_then(spaced).unwrap_or(text))
    }

    /// Adds AppArmor's mode, `(enforce)`, to the label that it stands behind.
    fn label(&mut self, depth: Depth, word: &'a [u8]) -> bool {
        let mode = word
            .strip_prefix(b"(")
            .and_then(|word| word.strip_suffix(b")"));
        let is_mode = |byte: &u8| matches!(byte, b'a'..=b'z' | b'-');
        if !mode.is_some_and(|mode| !mode.is_empty() && mode.iter().all(is_mode)) {
            return false;
        }
        let Some(field) = self.fields(depth).last_mut() else {
            return false;
        };
        match (field.name, field.value) {
            (b"subj" | b"obj" | b"subj_trust", Value::Plain(label) | Value::Text(label)) => {
                field.value = Value::Label(label, word);
                true
            }
            _ => false,
        }
    }

    /// Reads the value that a text begins with; gives back the rest.
    fn value(&mut self, depth: Depth, name: &'a [u8], text: &'a [u8]) -> &'a [u8] {
        let (value, rest) = match text {
            [b'\'', text @ ..] if name == b"msg" && depth == Depth::Record => {
                let end = text.iter().rposition(|&byte| byte == b'\'');
                let (text, rest) = self.upto(text, end);
                self.scan(text, Depth::Message);
                if !self.body.inner_words.is_empty() {
                    self.body.inner.push(words(self.number, Depth::Message));
                }
                (Value::Inner(self.number), rest)
            }
            [b'"', text @ ..] => {
                let end = text.iter().position(|&byte| byte == b'"');
                let (value, rest) = self.upto(text, end);
                let value = match name {
                    b"key" if depth != Depth::Interpretation => Value::Keys(value, Quotes::Double),
                    _ => Value::Text(value),
                };
                (value, rest)
            }
            [b'{', text @ ..] => {
                let end = text.iter().position(|&byte| byte == b'}');
                let (value, rest) = text
                    .split_at_checked(end.unwrap_or(text.len()))
                    .unwrap_or((text, &[]));
                let value = match depth {
                    Depth::Interpretation => Value::Braces(value),
                    _ => Value::Plain(value),
                };
                (value, rest.get(1..).unwrap_or_default())
            }
            _ => {
                let end = text
                    .iter()
                    .position(|&byte| byte == b' ')
                    .unwrap_or(text.len());
                let (value, _) = text.split_at_checked(end).unwrap_or((text, &[]));
                let end = match depth {
                    Depth::Record => without_interpretation(value),
                    _ => end,
                };
                let (mut value, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
                if depth == Depth::Message {
                    value = value.strip_suffix(b",").unwrap_or(value);
                    if !value.contains(&b'(') {
                        value = value.strip_suffix(b")").unwrap_or(value);
                    }
                }
                let value = match (depth, name) {
                    (Depth::Interpretation, _) => Value::Text(value),
                    (_, b"key") => Value::Keys(value, Quotes::None),
                    _ => Value::Plain(value),
                };
                (value, rest)
            }
        };
        if depth == Depth::Interpretation {
            // What is interpreted twice counts as it is the last time.
            let first = self.body.own;
            let fields = self.body.fields.get_mut(first..).unwrap_or_default();
            let same = |field: &&mut Field<'a>| field.name == name && name != b"text";
            if let Some(field) = fields.iter_mut().find(same) {
                field.value = value;
                return rest;
            }
        }
        self.push(depth, name, value);
        rest
    }

    /// Parts a text at a closing quote; without one, it was cut.
    fn upto(&mut self, text: &'a [u8], end: Option<usize>) -> (&'a [u8], &'a [u8]) {
        let parts = end.and_then(|end| text.split_at_checked(end));
        let Some((value, rest)) = parts else {
            self.body.is_truncated = true;
            return (text, &[]);
        };
        (value, rest.get(1..).unwrap_or_default())
    }
}

/// The text without blanks in front.
fn trimmed(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    text
}

/// The text without the space that must be in front.
fn spaced(text: &[u8]) -> Option<&[u8]> {
    let rest = text.trim_ascii_start();
    (rest.len() < text.len()).then_some(rest)
}

/// Returns whether a text begins with a name in capitals and `=`.
fn is_capital(text: &[u8]) -> bool {
    let is_inside = |byte: &u8| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-');
    text.first().is_some_and(u8::is_ascii_uppercase)
        && text.iter().find(|byte| !is_inside(byte)) == Some(&b'=')
}

/// The length of a value up to an interpretation whose mark got lost: behind `(null)`, or
/// where a name in capitals has a value in quotes or braces.
fn without_interpretation(value: &[u8]) -> usize {
    for null in [b"(null)", b"(none)"] {
        if value.strip_prefix(null).is_some_and(is_capital) {
            return null.len();
        }
    }
    // Behind a quote no name begins.
    let quote = value.iter().position(|&byte| byte == b'"');
    let length = quote.map_or(value.len(), |at| at.saturating_add(1));
    let mut from = 0usize;
    loop {
        let rest = value.get(from..length).unwrap_or_default();
        let is_mark = |pair: &[u8]| matches!(pair, b"=\"" | b"={");
        let Some(at) = rest.windows(2).position(is_mark) else {
            return value.len();
        };
        let end = from.saturating_add(at);
        let before = value.get(..end).unwrap_or_default();
        let is_inside = |byte: &&u8| matches!(byte, b'A'..=b'Z' | b'_' | b'-');
        let name = before.iter().rev().take_while(is_inside).count();
        let name = before.get(end.saturating_sub(name)..).unwrap_or_default();
        let capital = name.iter().position(u8::is_ascii_uppercase);
        match capital.and_then(|at| name.get(at..)) {
            Some(name) if name.len() > 1 => return end.saturating_sub(name.len()),
            _ => from = end.saturating_add(1),
        }
    }
}
