//! What stands in front of a record: type, time, serial number.

use std::borrow::Cow;

use crate::tables;
use crate::text::decimal;

/// The form in which a record came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `type=NAME msg=audit(…): `, as auditd writes it.
    Auditd,
    /// `audit: type=NNNN audit(…): `, as the kernel prints it.
    Kernel,
    /// journald's audit transport: fields, and a text without a header.
    Journal,
}

/// A part of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    start: usize,
    end: usize,
}

impl Span {
    fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start..self.end).unwrap_or_default()
    }
}

/// The header of a record. Positions are those of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The form of the record.
    pub form: Form,
    /// The type's number; 0 if it is not known.
    pub(crate) number: u32,
    /// The time in milliseconds since 1970.
    pub millis: u64,
    /// The serial number of the event.
    pub serial: u64,
    /// The name of the type, where the text has one.
    name: Span,
    node: Span,
    /// Start of the fields.
    body: usize,
    /// The kernel may have cut the line.
    pub(crate) is_cut: bool,
}

/// A record of an event.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// Its header.
    pub header: Header,
    /// Its text.
    pub text: &'a [u8],
}

/// What a record is among those of its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The only one, as a rule.
    Single,
    /// One of a system call's, which come one after the other: more are to come.
    Waits,
    /// One that others may belong to.
    Joins,
    /// The last one.
    Last,
}

/// Types with a meaning of their own.
pub(crate) mod kind {
    pub(crate) const LOGIN: u32 = 1006;
    pub(crate) const SYSCALL: u32 = 1300;
    pub(crate) const PATH: u32 = 1302;
    pub(crate) const SOCKADDR: u32 = 1306;
    pub(crate) const CWD: u32 = 1307;
    pub(crate) const EXECVE: u32 = 1309;
    pub(crate) const EOE: u32 = 1320;
    pub(crate) const PROCTITLE: u32 = 1327;
    pub(crate) const URINGOP: u32 = 1336;
    pub(crate) const AVC: u32 = 1400;
}

/// A header counts at the start of a text, or behind a blank among so many bytes.
const PREFIX: usize = 200;
/// What printk leaves of a longer line: with caller ids, until 2022, since then.
const PRINTK: [usize; 3] = [975, 991, 1023];
/// The last second that has a year of four digits.
const LAST_SECOND: u64 = 253_402_300_799;

impl Header {
    /// Finds the header of a text: as auditd or the kernel writes it, with a syslog prefix
    /// or without. JSON is not looked into.
    pub fn find(text: &[u8]) -> Option<Header> {
        let mut at = 0;
        while at <= PREFIX {
            let rest = text.get(at..)?;
            if rest.starts_with(b"{") {
                return None;
            }
            if let Some(header) = Header::at(Cursor { text, at }) {
                return Some(header);
            }
            let blank = rest.iter().take(PREFIX).position(|&byte| byte == b' ')?;
            at = at.saturating_add(blank).saturating_add(1);
        }
        None
    }

    /// The header of a message of journald's audit transport, which stands in other fields.
    pub(crate) fn of_journal(text: &[u8], number: u32, micros: u64, serial: u64) -> Option<Header> {
        let seconds = micros.checked_div(1_000_000)?;
        let name = text.iter().position(|&byte| byte == b' ');
        (seconds <= LAST_SECOND).then_some(Header {
            form: Form::Journal,
            number,
            millis: micros.checked_div(1000)?,
            serial,
            name: Span::default(),
            node: Span::default(),
            body: name.map_or(text.len(), |length| length.saturating_add(1)),
            is_cut: false,
        })
    }

    /// Reads the header at a place.
    #[inline]
    fn at(mut cursor: Cursor<'_>) -> Option<Header> {
        let text = cursor.text;
        let start = cursor.at;
        let mut node = Span::default();
        let is_kernel = cursor.skip(b"audit: ").is_some();
        if cursor.skip(b"node=").is_some() {
            node = cursor.until(|byte| matches!(byte, b' ' | b'\t'..=b'\r'))?;
            cursor.skip(b" ")?;
        }
        cursor.skip(b"type=")?;
        let name = cursor.until(|byte| byte == b' ')?;
        let form = match cursor.skip(b" msg=audit(") {
            Some(()) if is_kernel => return None,
            Some(()) => Form::Auditd,
            None => cursor.skip(b" audit(").map(|()| Form::Kernel)?,
        };
        let number = match form {
            Form::Auditd => number_of(name.of(text))?,
            _ if name.end.checked_sub(name.start)? != 4 || node.end > 0 => return None,
            _ => u32::try_from(decimal(name.of(text))?).ok()?,
        };
        let (seconds, _) = cursor.number(12)?;
        cursor.skip(b".")?;
        let (millis, 3) = cursor.number(3)? else {
            return None;
        };
        cursor.skip(b":")?;
        let (serial, _) = cursor.number(20)?;
        cursor.skip(b"):")?;
        // In front of no fields the blank may have got lost.
        let _ = cursor.skip(b" ");
        let line = text.len().saturating_sub(start);
        (seconds <= LAST_SECOND).then_some(Header {
            form,
            number,
            millis: seconds.saturating_mul(1000).saturating_add(millis),
            serial,
            name: if form == Form::Auditd {
                name
            } else {
                Span::default()
            },
            node,
            body: cursor.at,
            is_cut: form == Form::Kernel && PRINTK.contains(&line),
        })
    }

    /// The name of the node that the record says it is from; empty if it says none.
    pub(crate) fn node<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        self.node.of(text)
    }

    /// The fields.
    pub(crate) fn body<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        text.get(self.body..).unwrap_or_default()
    }

    /// The name of the type. A number that an old auditd had no name for gets today's.
    pub fn name<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        let name = self.name.of(text);
        if !name.is_empty() && !name.starts_with(UNKNOWN) {
            return Cow::Borrowed(name);
        }
        match tables::type_name(self.number) {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(format!("UNKNOWN[{}]", self.number).into_bytes()),
        }
    }

    /// What the record is among those of its event.
    pub fn role(&self) -> Role {
        match self.number {
            kind::EOE | kind::PROCTITLE => Role::Last,
            kind::SYSCALL
            | kind::URINGOP
            | kind::EXECVE
            | kind::CWD
            | kind::PATH
            | kind::SOCKADDR => Role::Waits,
            1005 | 1007..=1299 | 1406..=1419 | 2000 | 2100.. => Role::Single,
            _ => Role::Joins,
        }
    }

    /// Returns whether the fields stand at the top of the event: those of a system call, and
    /// of what user space writes.
    pub(crate) fn is_at_top(&self) -> bool {
        matches!(self.number, kind::SYSCALL | kind::URINGOP | 1005 | 1100..=1299 | 2000..)
    }

    /// Returns whether the fields stand under names of their own at the top, or there are none.
    pub(crate) fn is_merged(&self) -> bool {
        matches!(
            self.number,
            kind::EXECVE | kind::CWD | kind::PROCTITLE | kind::EOE
        )
    }
}

/// auditd's name for a type that it does not know: `UNKNOWN[1333]`.
const UNKNOWN: &[u8] = b"UNKNOWN[";

/// The number of a type by auditd's name for it; 0 if it is not known, `None` if this is no
/// name.
fn number_of(name: &[u8]) -> Option<u32> {
    let (word, number) = match name.strip_suffix(b"]") {
        Some(front) => {
            let at = front.iter().position(|&byte| byte == b'[')?;
            let (word, number) = front.split_at_checked(at)?;
            (word, Some(decimal(number.strip_prefix(b"[")?)?))
        }
        None => (name, None),
    };
    let is_name = |byte: &u8| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_');
    if word.is_empty() || !word.iter().all(is_name) {
        return None;
    }
    let number = match (word, number) {
        (b"UNKNOWN", number) => number,
        (_, Some(_)) => None,
        // An old journald's.
        (word, None) => match tables::type_number(word) {
            Some(number) => return Some(number),
            None => word
                .strip_prefix(b"AUDIT")
                .filter(|number| number.len() == 4)
                .and_then(decimal),
        },
    };
    Some(number.map_or(0, |number| u32::try_from(number).unwrap_or(u32::MAX)))
}

/// A place in a text.
struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self, literal: &[u8]) -> Option<()> {
        self.rest().strip_prefix(literal)?;
        self.at = self.at.saturating_add(literal.len());
        Some(())
    }

    /// Takes what stands up to such a byte: something.
    fn until(&mut self, ends: impl Fn(u8) -> bool) -> Option<Span> {
        let length = self.rest().iter().position(|&byte| ends(byte))?;
        let start = self.at;
        self.at = start.saturating_add(length);
        (length > 0).then_some(Span {
            start,
            end: self.at,
        })
    }

    /// Takes a number of one digit to so many, and how many it had.
    fn number(&mut self, most: usize) -> Option<(u64, usize)> {
        let digits = self.rest().iter().take(most);
        let length = digits.take_while(|byte| byte.is_ascii_digit()).count();
        let value = decimal(self.rest().get(..length)?)?;
        self.at = self.at.saturating_add(length);
        Some((value, length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<(Form, u32, u64, u64, String, String)> {
        let header = Header::find(text.as_bytes())?;
        let text = text.as_bytes();
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let Header {
            form,
            number,
            millis,
            serial,
            ..
        } = header;
        Some((
            form,
            number,
            millis,
            serial,
            lossy(header.node(text)),
            lossy(header.body(text)),
        ))
    }

    #[test]
    fn headers() {
        use Form::{Auditd, Kernel};
        for (text, form, number, millis, node, body) in [
            (
                "type=SYSCALL msg=audit(1.002:3): a=1",
                Auditd,
                1300,
                1002,
                "",
                "a=1",
            ),
            (
                "node=n-1 type=EOE msg=audit(1.002:3):",
                Auditd,
                1320,
                1002,
                "n-1",
                "",
            ),
            (
                "Feb  6 09:57:37 h audispd: node=n type=CWD msg=audit(1.002:3): ",
                Auditd,
                1307,
                1002,
                "n",
                "",
            ),
            (
                "type=UNKNOWN[1333] msg=audit(1.002:3): x",
                Auditd,
                1333,
                1002,
                "",
                "x",
            ),
            (
                "type=AUDIT1423 msg=audit(1.002:3): x",
                Auditd,
                1423,
                1002,
                "",
                "x",
            ),
            (
                "type=WHATEVER msg=audit(1.002:3): x",
                Auditd,
                0,
                1002,
                "",
                "x",
            ),
            (
                "audit: type=1300 audit(251.699:3): x",
                Kernel,
                1300,
                251_699,
                "",
                "x",
            ),
            (
                "type=1300 audit(251.699:3): x",
                Kernel,
                1300,
                251_699,
                "",
                "x",
            ),
            (
                "Feb  6 h kernel: [ 12.3] audit: type=1899 audit(251.699:3): x",
                Kernel,
                1899,
                251_699,
                "",
                "x",
            ),
        ] {
            let want = (form, number, millis, 3, node.to_owned(), body.to_owned());
            assert_eq!(found(text), Some(want), "{text}");
        }
    }

    #[test]
    fn what_is_no_header() {
        for text in [
            "",
            "type=SYSCALL",
            "type= msg=audit(1.002:3): ",
            "type=syscall msg=audit(1.002:3): ",
            "type=SYSCALL msg=audit(1.02:3): ",
            "type=SYSCALL msg=audit(1.0020:3): ",
            "type=SYSCALL msg=audit(.002:3): ",
            "type=SYSCALL msg=audit(1.002:): ",
            "type=SYSCALL msg=audit(1.002:3) ",
            "type=SYSCALL msg=audit(1234567890123.002:3): ",
            "type=SYSCALL msg=audit(999999999999.002:3): ",
            "type=SYSCALL msg=audit(1.002:99999999999999999999): ",
            "type=SYSCALL msg=audit(02/06/2023 09:57:37.491:3) : ",
            "audit: type=SYSCALL audit(1.002:3): ",
            "audit: type=13000 audit(1.002:3): ",
            "node=ntype=1300 audit(1.002:3): ",
            "node= audit(1.002:3): ",
            "node= type=A[1 msg=audit(1.002:3): ",
            "\"type=SYSCALL msg=audit(1.002:3): ",
            "{\"log\": \"x type=SYSCALL msg=audit(1.002:3): \"}",
            "Feb  6 h app: {\"log\": \"x type=SYSCALL msg=audit(1.002:3): \"}",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
        let behind =
            |blanks: usize| format!("{}type=EOE msg=audit(1.002:3): ", "- ".repeat(blanks));
        assert!(found(&behind(100)).is_some());
        assert!(found(&behind(101)).is_none());
    }

    #[test]
    fn names_of_today() {
        for (text, name) in [
            ("type=UNKNOWN[1333] msg=audit(1.002:3): ", "TIME_ADJNTPVAL"),
            ("type=UNKNOWN[1899] msg=audit(1.002:3): ", "UNKNOWN[1899]"),
            ("type=1899 audit(1.002:3): ", "UNKNOWN[1899]"),
            ("type=1300 audit(1.002:3): ", "SYSCALL"),
            ("type=ANYTHING msg=audit(1.002:3): ", "ANYTHING"),
        ] {
            let header = Header::find(text.as_bytes()).unwrap();
            assert_eq!(header.name(text.as_bytes()), name.as_bytes(), "{text}");
        }
    }

    #[test]
    fn lengths_at_which_the_kernel_cuts() {
        for (prefix, length, is_cut) in [
            ("", 1023, true),
            ("", 1022, false),
            ("Feb 6 h kernel: ", 991, true),
        ] {
            let line = format!(
                "{:x<length$}",
                "audit: type=1309 audit(1.002:3): argc=1 a0=\""
            );
            let header = Header::find(format!("{prefix}{line}").as_bytes()).unwrap();
            assert_eq!(header.is_cut, is_cut);
        }
        let line = format!("{:x<1023}", "type=EXECVE msg=audit(1.002:3): argc=1 a0=\"");
        assert!(!Header::find(line.as_bytes()).unwrap().is_cut);
    }
}
