//! Lines `KEY: VALUE` and `KEY=VALUE` of configuration files inside a text.

use std::ops::Range;

use crate::stage::redact::Redactor;
use crate::stage::redact::names::Names;
use crate::stage::redact::net;
use crate::stage::redact::scan::{from, is_word, run, skip};
use crate::stage::redact::spans::Spans;

/// A line that gives a value to a key.
struct Assignment {
    key: Range<usize>,
    /// The value without quotes around it.
    value: Range<usize>,
}

/// Collects the values of keys with a secret name, which follow the key or are the deeper
/// lines below it; and what the net catches.
pub(super) fn hide(text: &[u8], names: &Names, redactor: Redactor, spans: &mut Spans) {
    // The indentation of the key whose value is in deeper lines.
    let mut above = None;
    let mut at = 0_usize;
    for line in text.split(|byte| *byte == b'\n') {
        let begin = at;
        at = at.saturating_add(line.len()).saturating_add(1);
        let line = line.trim_ascii_end();
        let indent = run(line, 0, |byte| byte == b' ');
        if line.len() == indent {
            continue;
        }
        match above {
            Some(depth) if indent > depth => {
                spans.within(begin, |spans| spans.add_rest(line, indent, redactor));
                continue;
            }
            _ => above = None,
        }
        let Some(Assignment { key, value }) = assignment(line) else {
            continue;
        };
        if !names.is_secret_name(line.get(key).unwrap_or_default()) {
            continue;
        }
        match line.get(value.clone()).unwrap_or_default() {
            b"true" | b"false" | b"null" | b"{}" | b"[]" => {}
            b"" => {}
            block if is_block_header(block) => above = Some(indent),
            _ => spans.within(begin, |spans| spans.add(value, redactor)),
        }
    }
    net::catch(text, spans);
}

/// True for `|`, `>` and what may follow them in the head of a YAML block.
fn is_block_header(value: &[u8]) -> bool {
    let [b'|' | b'>', rest @ ..] = value else {
        return false;
    };
    rest.len() <= 2
        && rest
            .iter()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-'))
}

fn assignment(line: &[u8]) -> Option<Assignment> {
    let is_blank = |byte| matches!(byte, b' ' | b'\t');
    let is_quote = |byte| matches!(byte, b'"' | b'\'');
    let mut at = run(line, 0, is_blank);
    while let [b'-', blank, ..] = from(line, at)
        && is_blank(*blank)
    {
        at = run(line, at.saturating_add(1), is_blank);
    }
    if let Some(rest) = from(line, at).strip_prefix(b"export")
        && rest.first().copied().is_some_and(is_blank)
    {
        at = run(line, at.saturating_add(b"export".len()), is_blank);
    }
    let key = skip(line, at, is_quote);
    let key_end = run(line, key, |byte| {
        is_word(byte) || matches!(byte, b'.' | b'-')
    });
    let first = line.get(key)?;
    if !(first.is_ascii_alphabetic() || *first == b'_') {
        return None;
    }
    let separator = run(line, skip(line, key_end, is_quote), is_blank);
    if !matches!(line.get(separator), Some(b':' | b'=')) {
        return None;
    }
    let value = run(line, separator.saturating_add(1), is_blank);
    let (mut start, mut end) = (value, line.len());
    // Quotes stay, if they are a pair.
    if let [quote @ (b'"' | b'\''), inside @ .., last] = from(line, value)
        && quote == last
    {
        start = value.saturating_add(1);
        end = start.saturating_add(inside.len());
    }
    Some(Assignment {
        key: key..key_end,
        value: start..end,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(text: &str) -> String {
        let mut spans = Spans::default();
        hide(
            text.as_bytes(),
            &Names::default(),
            Redactor::Crd,
            &mut spans,
        );
        let mut out = String::new();
        let mut at = 0;
        for span in spans.settle(text.as_bytes(), 0) {
            out += &text[at..span.at.start];
            out += "*";
            at = span.at.end;
        }
        out + &text[at..]
    }

    #[test]
    fn values_of_secret_keys_are_hidden() {
        for (text, want) in [
            ("password: abc", "password: *"),
            (
                "a:\n  - token: 'x y'  \n    name: n",
                "a:\n  - token: '*'  \n    name: n",
            ),
            (
                "export DB_PASSWORD=\"x\"\r\nA=b",
                "export DB_PASSWORD=\"*\"\r\nA=b",
            ),
            ("\"apiKey\" : x", "\"apiKey\" : *"),
            ("password: \"a\" # why", "password: * "),
            (
                "k: |\n  a\npassword: |-\n  one\n\n    two\nb: c",
                "k: |\n  a\npassword: |-\n  *\n\n    *\nb: c",
            ),
            ("x.y.token = t", "x.y.token = *"),
        ] {
            assert_eq!(hidden(text), want.trim_end(), "{text}");
        }
    }

    #[test]
    fn other_lines_stay() {
        for text in [
            "",
            "\n\n",
            "user: x",
            "password:",
            "password: null",
            "existingSecret:\n  name: x",
            "# no key here",
            "tokens: [a]",
        ] {
            assert_eq!(hidden(text), text);
        }
    }
}
