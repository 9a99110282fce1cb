//! Which of a record's fields hold an audit record, by what Fluent Bit's inputs write.

use std::borrow::Cow;

use crate::header::Header;
use crate::text::{decimal, unhex};

/// The fields of a map that matter, as they are seen one after the other.
#[derive(Clone, Copy, Default)]
pub struct Source<'k, 'a> {
    /// Where the text stands; by default under one of four names.
    key: Option<&'k [u8]>,
    seen: [Option<Seen<'a>>; 11],
}

/// A field: its number, and its value if that is a text.
#[derive(Clone, Copy)]
struct Seen<'a> {
    number: usize,
    text: Option<&'a [u8]>,
}

/// An audit record that was found.
pub struct Found<'a> {
    /// Its header.
    pub header: Header,
    /// Its text.
    pub text: Cow<'a, [u8]>,
    /// The number of the field that the text is the value of.
    pub field: usize,
}

/// The place of a field in [`Source::seen`]. The names of journald may have been made small
/// or have lost their underscore on the way.
fn place(name: &[u8]) -> Option<usize> {
    Some(match name {
        b"log" => 0,
        b"message" => 1,
        b"MESSAGE" => 2,
        b"msg" => 3,
        b"sequence" => 4,
        b"priority" => 5,
        _ => match name.strip_prefix(b"_").unwrap_or(name) {
            b"TRANSPORT" | b"transport" => 6,
            b"AUDIT_TYPE" | b"audit_type" => 7,
            b"AUDIT_ID" | b"audit_id" => 8,
            b"SOURCE_REALTIME_TIMESTAMP" | b"source_realtime_timestamp" => 9,
            _ => return None,
        },
    })
}

impl<'k, 'a> Source<'k, 'a> {
    /// For maps whose text is under `key`; by default under `log`, `message`, `MESSAGE` or
    /// `msg`.
    pub fn new(key: Option<&'k [u8]>) -> Source<'k, 'a> {
        Source {
            key,
            ..Source::default()
        }
    }

    /// Looks at the field with this number; `text` is its value if that is a text.
    #[inline]
    pub fn see(&mut self, number: usize, name: &[u8], text: Option<&'a [u8]>) {
        let seen = Some(Seen { number, text });
        if self.key == Some(name) {
            self.seen[10] = seen;
        }
        if let Some(slot) = place(name).and_then(|place| self.seen.get_mut(place)) {
            *slot = seen;
        }
    }

    /// The audit record, if the fields have one.
    pub fn find(&self) -> Option<Found<'a>> {
        let [
            log,
            small,
            capital,
            msg,
            sequence,
            priority,
            transport,
            ..,
            own,
        ] = &self.seen;
        let has_text = |seen: &&Option<Seen<'a>>| seen.is_some_and(|seen| seen.text.is_some());
        let among = |slots: &[&Option<Seen<'a>>]| {
            let seen = slots.iter().copied().find(has_text)?.as_ref()?;
            Some((seen.number, seen.text?))
        };
        if let Some(transport) = transport {
            let (field, text) = among(&[capital, small])?;
            return match transport.text? {
                b"audit" => self.of_journal(field, text),
                b"kernel" => found(field, Cow::Borrowed(text)),
                _ => None,
            };
        }
        let (field, text) = match self.key {
            Some(_) => among(&[own]),
            None => among(&[log, small, capital, msg]),
        }?;
        let is_kmsg = msg.is_some() && sequence.is_some() && priority.is_some();
        let text = if is_kmsg {
            of_kmsg(text)
        } else {
            Cow::Borrowed(text)
        };
        found(field, text)
    }

    /// A message of the audit transport: its first word is the type, and there is no header.
    fn of_journal(&self, field: usize, text: &'a [u8]) -> Option<Found<'a>> {
        let number = |seen: &Option<Seen<'a>>| decimal(seen.as_ref()?.text?);
        let [.., kind, serial, micros, _] = &self.seen;
        let kind = u32::try_from(number(kind)?).ok()?;
        let header = Header::of_journal(text, kind, number(micros)?, number(serial)?)?;
        Some(Found {
            header,
            text: Cow::Borrowed(text),
            field,
        })
    }
}

fn found(field: usize, text: Cow<'_, [u8]>) -> Option<Found<'_>> {
    let text = match text {
        Cow::Borrowed(text) => Cow::Borrowed(without_end(text)),
        Cow::Owned(text) => Cow::Owned(text),
    };
    let header = Header::find(&text)?;
    Some(Found {
        header,
        text,
        field,
    })
}

fn without_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b'\r' | b'\n'] = text {
        text = rest;
    }
    text
}

/// The text of /dev/kmsg, where bytes that do not print are `\xNN`; what follows a line
/// feed are fields of the kernel.
fn of_kmsg(text: &[u8]) -> Cow<'_, [u8]> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(2).position(|pair| pair == b"\\x") {
        let (before, escape) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        out.extend_from_slice(before);
        let is_small = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let digits = escape
            .get(2..4)
            .filter(|digits| digits.iter().all(is_small));
        let length = match digits {
            Some(digits) => {
                unhex(&digits.to_ascii_uppercase(), &mut out);
                4
            }
            None => {
                out.extend_from_slice(b"\\x");
                2
            }
        };
        rest = escape.get(length..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    let end = out.iter().position(|&byte| byte == b'\n');
    out.truncate(end.unwrap_or(out.len()));
    let end = without_end(&out).len();
    out.truncate(end);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "type=EOE msg=audit(1.002:3): ";

    fn find(key: Option<&str>, fields: &[(&str, &str)]) -> Option<(usize, String)> {
        let mut source = Source::new(key.map(str::as_bytes));
        for (number, (name, text)) in fields.iter().enumerate() {
            source.see(number, name.as_bytes(), Some(text.as_bytes()));
        }
        let found = source.find()?;
        Some((
            found.field,
            String::from_utf8_lossy(&found.text).into_owned(),
        ))
    }

    #[test]
    fn texts() {
        let line = Some((1, LINE.to_owned()));
        for name in ["log", "message", "MESSAGE", "msg"] {
            assert_eq!(find(None, &[("a", "b"), (name, LINE)]), line, "{name}");
        }
        assert_eq!(find(None, &[("message", LINE), ("log", LINE)]), line);
        assert_eq!(find(None, &[("a", LINE)]), None);
        assert_eq!(find(Some("a"), &[("log", "x"), ("a", LINE)]), line);
        assert_eq!(find(Some("a"), &[("log", LINE)]), None);
        let mut source = Source::new(None);
        source.see(0, b"log", None);
        source.see(1, b"msg", Some(LINE.as_bytes()));
        assert_eq!(source.find().unwrap().field, 1);
    }

    #[test]
    fn ends_of_lines_are_no_part_of_the_text() {
        let fields = [("log", "type=EOE msg=audit(1.002:3): x\r\n")];
        assert_eq!(
            find(None, &fields).unwrap().1,
            "type=EOE msg=audit(1.002:3): x"
        );
    }

    #[test]
    fn transports() {
        for (name, transport, is_read) in [
            ("_TRANSPORT", "kernel", true),
            ("transport", "kernel", true),
            ("_TRANSPORT", "syslog", false),
            ("TRANSPORT", "journal", false),
            ("_transport", "", false),
        ] {
            let fields = [(name, transport), ("MESSAGE", LINE)];
            assert_eq!(find(None, &fields).is_some(), is_read, "{name} {transport}");
        }
        assert_eq!(find(None, &[("_TRANSPORT", "kernel"), ("log", LINE)]), None);
    }

    #[test]
    fn audit_transport() {
        let fields = [
            ("_TRANSPORT", "audit"),
            ("_SOURCE_REALTIME_TIMESTAMP", "1700000000123456"),
            ("_AUDIT_TYPE", "1300"),
            ("_AUDIT_ID", "77"),
            ("MESSAGE", "SYSCALL arch=c000003e"),
        ];
        let lower = |name: &str| name.to_lowercase();
        let bare = |name: &str| name.trim_start_matches('_').to_owned();
        for spell in [&str::to_owned as &dyn Fn(&str) -> String, &lower, &bare] {
            let mut source = Source::new(None);
            let names: Vec<String> = fields.iter().map(|(name, _)| spell(name)).collect();
            for (number, (name, (_, text))) in names.iter().zip(fields).enumerate() {
                source.see(number, name.as_bytes(), Some(text.as_bytes()));
            }
            let found = source.find().unwrap();
            assert_eq!(found.header.millis, 1_700_000_000_123);
            assert_eq!((found.header.number, found.header.serial), (1300, 77));
            assert_eq!(found.header.body(&found.text), b"arch=c000003e");
            assert_eq!(found.field, 4);
        }
        for (missing, _) in &fields[1..] {
            let rest: Vec<_> = fields
                .into_iter()
                .filter(|(name, _)| name != missing)
                .collect();
            assert_eq!(find(None, &rest), None, "{missing}");
        }
    }

    #[test]
    fn kmsg_escapes() {
        let fields = [
            ("priority", "6"),
            ("sequence", "1"),
            (
                "msg",
                "audit: type=1300 audit(1.002:3): a=\"\\x5c\\xc5\\xbc\\x1d\\xZZ\"\\x0aTAIL",
            ),
        ];
        let text = "audit: type=1300 audit(1.002:3): a=\"\\ż\u{1d}\\xZZ\"";
        assert_eq!(find(None, &fields), Some((2, text.to_owned())));
        assert!(find(None, &fields[1..]).unwrap().1.contains("\\x5c"));
    }
}
