//! Messages of Status: the API server quotes refused values, and sometimes whole objects.

use crate::stage::redact::scan::{find, find_all, from, holds, is_space, is_word, json_value, run};
use crate::stage::redact::spans::Spans;
use crate::stage::redact::{Redactor, Settings, net};

/// Texts that precede a value that was refused.
const REFUSED: [&[u8]; 3] = [
    b"Invalid value: ",
    b"Unsupported value: ",
    b"Duplicate value: ",
];

/// A value longer than this may be an object.
const LONGEST_VALUE: usize = 256;

/// Values shorter than this are too common to be looked for further on.
const SHORTEST_REPEATED: usize = 4;

/// False if a `responseStatus` has nothing that a message hides, as a quick look at its
/// raw text tells: there is a colon before whatever is hidden, but for the piece of a body
/// that is not an object. The net and escaped letters are not part of it.
pub(super) fn may_hide(raw: &[u8], is_classed: bool) -> bool {
    let is_sign = |at| {
        let before = raw.get(..at).unwrap_or_default();
        match (before, from(raw, at)) {
            // `Invalid value: `, `valueUnstructured{Value:`
            ([.., b'a', b'l', b'u', b'e'], _) => true,
            ([.., b'b', b'i', b'd', b'd', b'e', b'n'], [_, b' ', ..]) => {
                before.ends_with(b"Forbidden")
            }
            (_, [_, b'[', ..]) => holds(raw, b"user-assertion"),
            ([.., b'q', b'u', b'e', b's', b't'], [_, b' ', ..]) => is_classed,
            _ => false,
        }
    };
    holds(raw, b"unrecognized (") || memchr::memchr_iter(b':', raw).any(is_sign)
}

/// Collects the secrets in a message about a request; `is_classed` if its resource holds
/// secrets as such.
pub(super) fn hide(text: &[u8], is_classed: bool, settings: &Settings, spans: &mut Spans) {
    if settings.is_on(Redactor::Message) && !hide_snippet(text, spans) {
        hide_difference(text, spans);
        hide_between(text, b"&value.valueUnstructured{Value:", b'}', spans);
        hide_assertion(text, spans);
        hide_refused_values(text, is_classed, settings, spans);
        if is_classed {
            hide_denial(text, spans);
        }
    }
    if settings.is_on(Redactor::Net) {
        net::catch(text, spans);
    }
}

/// Hides the piece of a body that is not an object, which is quoted at the end of the
/// message; true if the message is of this form.
fn hide_snippet(text: &[u8], spans: &mut Spans) -> bool {
    const FRONT: &[u8] = b"the object provided is unrecognized (must be of type ";
    if !text.starts_with(FRONT) {
        return false;
    }
    if let Some(before) = text.strip_suffix(b")")
        && let Some(open) = find_all(before, b" (").last()
        && open > FRONT.len()
    {
        spans.add_rest(before, open.saturating_add(2), Redactor::Message);
    }
    true
}

/// Hides the difference between an old and a new object.
fn hide_difference(text: &[u8], spans: &mut Spans) {
    let Some(line) = memchr::memchr(b'\n', text) else {
        return;
    };
    let refuses = find(text, 0, b"Forbidden: ").or_else(|| find(text, 0, b"Invalid value: "));
    let is_difference = find_all(text, b"\n").any(|at| {
        let rest = from(text, at.saturating_add(1));
        let typed = rest.strip_prefix(b"  ").is_some_and(|rest| {
            let end = run(rest, 0, |byte| is_word(byte) || matches!(byte, b'.' | b'*'));
            end > 0 && rest.get(end) == Some(&b'{')
        });
        let signed = matches!(rest, [b'-' | b'+' | b' ', blank, ..] if is_space(*blank));
        typed || signed || rest.starts_with(b"@@ ")
    });
    if refuses.is_some() && is_difference {
        spans.add_rest(text, line.saturating_add(1), Redactor::Message);
    }
}

/// Hides the text after `front`, up to the last `close` of the line.
fn hide_between(text: &[u8], front: &[u8], close: u8, spans: &mut Spans) {
    for at in find_all(text, front) {
        let at = at.saturating_add(front.len());
        let end = run(text, at, |byte| byte != b'\n');
        let line = text.get(at..end).unwrap_or_default();
        let end = memchr::memrchr(close, line).map_or(end, |length| at.saturating_add(length));
        spans.add(at..end, Redactor::Message);
    }
}

/// Hides the signed assertion of a user, as Go prints it: `user-assertion…:[X]`.
fn hide_assertion(text: &[u8], spans: &mut Spans) {
    for at in find_all(text, b"user-assertion") {
        let key = run(text, at, |byte| {
            is_word(byte) || matches!(byte, b'.' | b'-' | b'/')
        });
        if from(text, key).starts_with(b":[") {
            let value = key.saturating_add(2);
            let end = run(text, value, |byte| byte != b']');
            spans.add(value..end, Redactor::Message);
        }
    }
}

/// Hides the reason of a webhook or policy for refusing an object that holds secrets.
fn hide_denial(text: &[u8], spans: &mut Spans) {
    let reasons = [&b" denied the request: "[..], b" denied request: "];
    let ends = reasons.map(|reason| find(text, 0, reason)?.checked_add(reason.len()));
    if let Some(at) = ends.into_iter().flatten().min() {
        spans.add_rest(text, at, Redactor::Message);
    }
}

fn hide_refused_values(text: &[u8], is_classed: bool, settings: &Settings, spans: &mut Spans) {
    let mut at = 0;
    while let Some((field_end, value)) = next_refused(text, at) {
        at = hide_refused_value(text, field_end, value, is_classed, settings, spans);
    }
}

/// The next refusal: the end of the field before it, and the beginning of its value.
fn next_refused(text: &[u8], at: usize) -> Option<(usize, usize)> {
    let found = REFUSED.map(|front| Some((find(text, at, front)?, front.len())));
    let (start, length) = found.into_iter().flatten().min()?;
    Some((start, start.checked_add(length)?))
}

/// Hides one refused value; returns the place at which the search goes on.
fn hide_refused_value(
    text: &[u8],
    field_end: usize,
    value: usize,
    is_classed: bool,
    settings: &Settings,
    spans: &mut Spans,
) -> usize {
    let rest = from(text, value);
    match rest {
        [b'"', quoted @ ..] => {
            let length = quoted_length(quoted);
            let begin = value.saturating_add(1);
            let end = begin.saturating_add(length);
            let field = field_before(text, field_end);
            let quoted = quoted.get(..length).unwrap_or_default();
            if quoted_is_secret(quoted, field, is_classed, settings) {
                spans.add(begin..end, Redactor::Message);
                hide_repetitions(text, quoted, end, spans);
            }
            end.saturating_add(1).min(text.len())
        }
        _ if is_plain(rest) => value,
        _ if is_go(rest) => {
            spans.add_rest(text, value, Redactor::Message);
            text.len()
        }
        [b'{' | b'[', ..] => {
            let end = json_value(rest).map_or(text.len(), |length| value.saturating_add(length));
            spans.add(value..end, Redactor::Message);
            end
        }
        _ => value,
    }
}

/// The length of a text in Go's quotes, up to the closing one; the text begins after the
/// opening one.
fn quoted_length(quoted: &[u8]) -> usize {
    let mut at = 0;
    loop {
        at = run(quoted, at, |byte| !matches!(byte, b'"' | b'\\'));
        match quoted.get(at) {
            Some(b'\\') => at = at.saturating_add(2),
            _ => return at.min(quoted.len()),
        }
    }
}

/// The word before a refusal: `spec.containers[0].env[1].value`.
fn field_before(text: &[u8], end: usize) -> &[u8] {
    let before = text.get(..end).unwrap_or_default();
    let trimmed = before
        .iter()
        .rposition(|byte| !matches!(byte, b':' | b' '))
        .map_or(0, |last| last.saturating_add(1));
    let before = before.get(..trimmed).unwrap_or_default();
    let word = memchr::memrchr(b' ', before).map_or(0, |blank| blank.saturating_add(1));
    let word = from(before, word);
    from(word, run(word, 0, |byte| byte == b'['))
}

fn quoted_is_secret(quoted: &[u8], field: &[u8], is_classed: bool, settings: &Settings) -> bool {
    if quoted.is_empty() || quoted.starts_with(b"<secret contents") {
        return false;
    }
    matches!(quoted, [b'{' | b'[', ..])
        || quoted.starts_with(b"map[")
        || quoted.len() > LONGEST_VALUE
        || field_is_secret(field, is_classed, settings)
}

/// True if the value of a field is a secret.
fn field_is_secret(field: &[u8], is_classed: bool, settings: &Settings) -> bool {
    let mut parts = field.split(|byte| *byte == b'.').map(without_index);
    let first = parts.next().unwrap_or_default();
    let (before, last) = parts.fold((&[][..], first), |(_, last), part| (last, part));
    if matches!(first, b"metadata" | b"type" | b"kind" | b"apiVersion") {
        return false;
    }
    let is_part_of_class = matches!(
        first,
        b"data" | b"stringData" | b"binaryData" | b"spec" | b"status" | b""
    );
    field == b"patch"
        || settings.names.is_secret_member(last)
        || before == b"env" && last == b"value"
        || matches!(last, b"args" | b"command")
        // Brackets hold a key that was refused, not its value.
        || is_classed && is_part_of_class && !field.starts_with(b"data[")
}

/// A part of a field without the `[…]` after it.
fn without_index(part: &[u8]) -> &[u8] {
    part.get(..run(part, 0, |byte| byte != b'['))
        .unwrap_or_default()
}

/// Hides a value where it is repeated further on, as it was quoted or as it was meant.
fn hide_repetitions(text: &[u8], quoted: &[u8], at: usize, spans: &mut Spans) {
    if quoted.len() < SHORTEST_REPEATED {
        return;
    }
    let rest = from(text, at);
    let mut meant = Vec::new();
    if quoted.contains(&b'\\') {
        crate::doc::escape::unescape(quoted, &mut meant);
    }
    for value in [quoted, &meant] {
        if value.len() >= SHORTEST_REPEATED {
            spans.within(at, |spans| {
                for found in find_all(rest, value) {
                    let end = found.saturating_add(value.len());
                    spans.add(found..end, Redactor::Message);
                }
            });
        }
    }
}

/// True for a number or literal, which stays.
fn is_plain(rest: &[u8]) -> bool {
    let digits = rest.strip_prefix(b"-").unwrap_or(rest);
    digits.first().is_some_and(u8::is_ascii_digit)
        || [&b"true"[..], b"false", b"null"].iter().any(|word| {
            rest.starts_with(word) && !from(rest, word.len()).first().copied().is_some_and(is_word)
        })
        || rest.starts_with(b"<nil>")
}

/// True for a value in the syntax of Go: `map[`, `&`, `[]byte{`, `v1.Pod{`.
fn is_go(rest: &[u8]) -> bool {
    let list = rest.strip_prefix(b"[]").and_then(<[u8]>::first);
    let name = run(rest, 0, |byte| is_word(byte) || byte == b'.');
    rest.starts_with(b"map[")
        || rest.starts_with(b"&")
        || list.is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'*')
        || rest.first().is_some_and(u8::is_ascii_alphabetic) && rest.get(name) == Some(&b'{')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden_in(text: &str, is_classed: bool) -> String {
        let mut spans = Spans::default();
        hide(
            text.as_bytes(),
            is_classed,
            &Settings::default(),
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
    fn quoted_values() {
        let long = "x".repeat(300);
        for (text, want) in [
            (
                r#"patch: Invalid value: "{\"data\":{\"a\":\"b\"}}": cannot"#,
                r#"patch: Invalid value: "*": cannot"#,
            ),
            (
                r#"X is invalid: spec.env[0].value: Invalid value: "abcd": no [abcd]"#,
                r#"X is invalid: spec.env[0].value: Invalid value: "*": no [*]"#,
            ),
            (
                r#"[spec.password: Invalid value: "p", spec.b: Invalid value: "c"]"#,
                r#"[spec.password: Invalid value: "*", spec.b: Invalid value: "c"]"#,
            ),
            (
                r#"metadata.name: Invalid value: "A_b": x"#,
                r#"metadata.name: Invalid value: "A_b": x"#,
            ),
            (
                r#"a: Duplicate value: "map[x:y]""#,
                r#"a: Duplicate value: "*""#,
            ),
            (r#"a: Invalid value: """#, r#"a: Invalid value: """#),
            (r#"a: Invalid value: "open"#, r#"a: Invalid value: "open"#),
        ] {
            assert_eq!(hidden_in(text, false), want);
        }
        assert_eq!(
            hidden_in(&format!("a: Invalid value: \"{long}\""), false),
            "a: Invalid value: \"*\""
        );
    }

    #[test]
    fn values_without_quotes() {
        for (text, want) in [
            (
                "a: Invalid value: 5: too small",
                "a: Invalid value: 5: too small",
            ),
            ("a: Invalid value: null", "a: Invalid value: null"),
            (
                r#"a: Invalid value: {"Env":[{"Value":"x"}]}: field is immutable"#,
                "a: Invalid value: *: field is immutable",
            ),
            ("a: Invalid value: []byte{0x2d}: x", "a: Invalid value: *"),
            ("a: Invalid value: v1.Pod{A:b}", "a: Invalid value: *"),
            ("a: Invalid value: {no json", "a: Invalid value: *"),
        ] {
            assert_eq!(hidden_in(text, false), want);
        }
    }

    #[test]
    fn differences_snippets_and_assertions() {
        for (text, want) in [
            (
                "Pod is invalid: spec: Forbidden: may not\n  core.PodSpec{\n- a\n+ b",
                "Pod is invalid: spec: Forbidden: may not\n*",
            ),
            ("a\nb", "a\nb"),
            (
                "the object provided is unrecognized (must be of type Pod): json parse error: x (7b22)",
                "the object provided is unrecognized (must be of type Pod): json parse error: x (*)",
            ),
            (
                "user=&{x map[user-assertion.cloud.google.com:[abc]]} no",
                "user=&{x map[user-assertion.cloud.google.com:[*]]} no",
            ),
            (
                "x &value.valueUnstructured{Value:map[a:b]} y",
                "x &value.valueUnstructured{Value:*} y",
            ),
        ] {
            assert_eq!(hidden_in(text, false), want);
        }
    }

    #[test]
    fn classed_resources() {
        for (text, want) in [
            (
                r#"data[a]: Invalid value: "b c""#,
                r#"data[a]: Invalid value: "b c""#,
            ),
            (
                r#"data: Invalid value: "b c""#,
                r#"data: Invalid value: "*""#,
            ),
            (
                r#"type: Invalid value: "b": field is immutable"#,
                r#"type: Invalid value: "b": field is immutable"#,
            ),
            (
                r#"admission webhook "w" denied the request: value is b"#,
                r#"admission webhook "w" denied the request: *"#,
            ),
        ] {
            assert_eq!(hidden_in(text, true), want);
        }
        let denied = "admission webhook denied the request: why";
        assert_eq!(hidden_in(denied, false), denied);
    }
}
