//! Lines as container runtimes write them: `TIME stdout|stderr F|P TEXT`.

use crate::chunk::EventTime;
use crate::input::assemble::PiecePlace;

/// The front of a container runtime's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// Length in bytes, with the blank before the text.
    pub length: usize,
    /// The length of the time at its beginning.
    time: usize,
    /// The container's stream that the text came from.
    pub stream: Stream,
    /// The line's place in a text that was split.
    pub piece: PiecePlace,
}

/// A stream of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Prefix {
    /// The time at the front of the line that the prefix was read from.
    pub(crate) fn time(&self, line: &[u8]) -> Option<EventTime> {
        EventTime::parse(line.get(..self.time)?)
    }

    /// Reads the front of a line; `None` if the line has none.
    pub(crate) fn read(line: &[u8]) -> Option<Prefix> {
        let dates = |i: usize, b: u8| line.get(i) == Some(&b);
        if !line.first()?.is_ascii_digit() || !dates(4, b'-') || !dates(10, b'T') {
            return None;
        }
        let time = line.iter().take(40).position(|&b| b == b' ')?;
        if time < 20 {
            return None;
        }
        let rest = line.get(time.saturating_add(1)..)?;
        let (stream, tags) = if let Some(tags) = rest.strip_prefix(b"stdout ") {
            (Stream::Stdout, tags)
        } else {
            (Stream::Stderr, rest.strip_prefix(b"stderr ")?)
        };
        // The first of the tags between colons says whether the line is whole.
        let piece = match tags {
            [b'F', b' ' | b':', ..] => PiecePlace::Last,
            [b'P', b' ' | b':', ..] => PiecePlace::Inside,
            _ => return None,
        };
        let tags_end = tags.iter().take(64).position(|&b| b == b' ')?;
        let text = tags.get(tags_end.saturating_add(1)..)?;
        Some(Prefix {
            length: line.len().saturating_sub(text.len()),
            time,
            stream,
            piece,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let check = |line: &str, want: Option<(&str, Stream, PiecePlace)>| {
            let got = Prefix::read(line.as_bytes());
            assert_eq!(
                got.map(|p| (&line[p.length..], p.stream, p.piece)),
                want,
                "{line}"
            );
        };
        check(
            "2026-11-20T17:43:49.093264000Z stdout F {}",
            Some(("{}", Stream::Stdout, PiecePlace::Last)),
        );
        check(
            "2026-11-20T17:43:49.093264000+01:00 stderr P a b",
            Some(("a b", Stream::Stderr, PiecePlace::Inside)),
        );
        check(
            "2026-11-20T17:43:49Z stdout P:x ",
            Some(("", Stream::Stdout, PiecePlace::Inside)),
        );
        for line in [
            "",
            "{}",
            "2026-11-20T17:43:49Z stdin F x",
            "2026-11-20T17:43:49Z stdout F",
            "2026-11-20T17:43:49Z stdout Q x",
            "2026-11-20T17:43:49Z stdout Fx y",
        ] {
            check(line, None);
        }
    }
}
