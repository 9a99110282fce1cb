//! Lines as container runtimes write them: `TIME stdout|stderr F|P TEXT`.

/// The front of a container runtime's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// How many bytes it takes, with the blank before the text.
    pub length: usize,
    /// Which of the container's streams the text came from.
    pub stream: Stream,
    /// Whether the text goes on in the next line of the stream.
    pub partial: bool,
}

/// A stream of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Prefix {
    /// Reads the front of a line; `None` where it has none.
    pub fn read(line: &[u8]) -> Option<Prefix> {
        let dates = |i: usize, b: u8| line.get(i) == Some(&b);
        if !line.first()?.is_ascii_digit() || !dates(4, b'-') || !dates(10, b'T') {
            return None;
        }
        let time = line.iter().take(40).position(|&b| b == b' ')?;
        if time < 20 {
            return None;
        }
        let rest = &line[time + 1..];
        let stream = match rest {
            [b's', b't', b'd', b'o', b'u', b't', b' ', ..] => Stream::Stdout,
            [b's', b't', b'd', b'e', b'r', b'r', b' ', ..] => Stream::Stderr,
            _ => return None,
        };
        // The first of the tags between colons says whether the line is whole.
        let partial = match rest.get(7)? {
            b'F' => false,
            b'P' => true,
            _ => return None,
        };
        let tags = rest[7..].iter().take(64).position(|&b| b == b' ')?;
        if !matches!(rest.get(8), Some(b' ' | b':')) {
            return None;
        }
        Some(Prefix {
            length: time + 1 + 7 + tags + 1,
            stream,
            partial,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let check = |line: &str, want: Option<(&str, Stream, bool)>| {
            let got = Prefix::read(line.as_bytes());
            assert_eq!(
                got.map(|p| (&line[p.length..], p.stream, p.partial)),
                want,
                "{line}"
            );
        };
        check(
            "2026-11-20T17:43:49.093264000Z stdout F {}",
            Some(("{}", Stream::Stdout, false)),
        );
        check(
            "2026-11-20T17:43:49.093264000+01:00 stderr P a b",
            Some(("a b", Stream::Stderr, true)),
        );
        check(
            "2026-11-20T17:43:49Z stdout P:x ",
            Some(("", Stream::Stdout, true)),
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
