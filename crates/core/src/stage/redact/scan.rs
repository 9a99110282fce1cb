//! Small steps through a text.

/// The text from a place on; empty after its end.
pub(super) fn from(text: &[u8], at: usize) -> &[u8] {
    text.get(at..).unwrap_or_default()
}

/// The place after a `word` that the text has at a place.
pub(super) fn after(text: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    let is_there = from(text, at).starts_with(word);
    at.checked_add(word.len()).filter(|_| is_there)
}

/// The end of the run of bytes of a class that begins at a place.
pub(super) fn run(text: &[u8], at: usize, class: impl Fn(u8) -> bool) -> usize {
    let rest = from(text, at);
    let length = rest.iter().position(|byte| !class(*byte));
    at.saturating_add(length.unwrap_or(rest.len()))
}

/// The place after a byte of a class; the same place if the byte is not of the class.
pub(super) fn skip(text: &[u8], at: usize, class: impl Fn(u8) -> bool) -> usize {
    let is_there = text.get(at).is_some_and(|byte| class(*byte));
    at.saturating_add(usize::from(is_there))
}

/// True if a place is the beginning of a text or follows a byte of a class.
pub(super) fn follows(text: &[u8], at: usize, class: impl Fn(u8) -> bool) -> bool {
    match at.checked_sub(1) {
        Some(before) => text.get(before).is_some_and(|byte| class(*byte)),
        None => true,
    }
}

/// True for white space.
pub(super) fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// True for white space between the values of JSON.
pub(super) fn is_json_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// True for letters, digits and `_`.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The places at which a text holds another.
pub(super) fn find_all<'a>(text: &'a [u8], needle: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let mut next = 0;
    std::iter::from_fn(move || {
        let at = find(text, next, needle)?;
        next = at.saturating_add(1);
        Some(at)
    })
}

/// The first place at or after `at` at which a text holds another.
#[inline(never)]
pub(super) fn find(text: &[u8], at: usize, needle: &[u8]) -> Option<usize> {
    // Texts are short and searched once: preparing a search would cost more than it saves.
    let is_rare = |byte: &u8| !byte.is_ascii_lowercase() && *byte != b' ';
    let rare = needle.iter().position(is_rare).unwrap_or(0);
    let byte = needle.get(rare).copied().unwrap_or_default();
    let mut next = at.saturating_add(rare);
    loop {
        let found = next.saturating_add(memchr::memchr(byte, from(text, next))?);
        let begin = found.saturating_sub(rare);
        if from(text, begin).starts_with(needle) {
            return Some(begin);
        }
        next = found.saturating_add(1);
    }
}

/// True if a text holds another.
pub(super) fn holds(text: &[u8], needle: &[u8]) -> bool {
    find(text, 0, needle).is_some()
}

/// The length of the JSON value that a text begins with, white space before it included;
/// `None` if it is not valid JSON, or nested more than [`DEEPEST_JSON`] deep.
pub(super) fn json_value(text: &[u8]) -> Option<usize> {
    let space = |at: usize| run(text, at, is_json_space);
    let mut open = Open::default();
    let mut at = space(0);
    loop {
        // A value, or the end of an empty container.
        match *text.get(at)? {
            bracket @ (b'{' | b'[') => {
                at = space(at.saturating_add(1));
                if text.get(at) == Some(&closing(bracket)) {
                    at = at.saturating_add(1);
                } else {
                    open.push(bracket)?;
                    if bracket == b'{' {
                        at = member_name(text, at, space)?;
                    }
                    continue;
                }
            }
            b'"' => at = string(text, at)?,
            _ => at = scalar(text, at)?,
        }
        // The text after a value.
        loop {
            let Some(close) = open.closing() else {
                return Some(at);
            };
            at = space(at);
            match *text.get(at)? {
                b',' => {
                    at = space(at.saturating_add(1));
                    if close == b'}' {
                        at = member_name(text, at, space)?;
                    }
                    break;
                }
                byte if byte == close => {
                    open.pop();
                    at = at.saturating_add(1);
                }
                _ => return None,
            }
        }
    }
}

/// Containers of JSON that may be open at once.
pub(super) const DEEPEST_JSON: usize = 1024;

/// The containers that are open: a bit for each, set for objects.
#[derive(Default)]
struct Open {
    objects: [u64; DEEPEST_JSON / 64],
    depth: usize,
}

impl Open {
    fn push(&mut self, bracket: u8) -> Option<()> {
        let word = self.objects.get_mut(self.depth / 64)?;
        let bit = 1 << (self.depth % 64);
        if bracket == b'{' {
            *word |= bit;
        } else {
            *word &= !bit;
        }
        self.depth = self.depth.saturating_add(1);
        Some(())
    }

    fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// The bracket that closes the innermost.
    fn closing(&self) -> Option<u8> {
        let innermost = self.depth.checked_sub(1)?;
        let word = self.objects.get(innermost / 64)?;
        let is_object = word >> (innermost % 64) & 1 == 1;
        Some(if is_object { b'}' } else { b']' })
    }
}

/// True if a text is one JSON value and nothing else.
pub(super) fn is_json(text: &[u8]) -> bool {
    json_value(text).is_some_and(|end| from(text, end).iter().all(|byte| is_space(*byte)))
}

fn closing(bracket: u8) -> u8 {
    if bracket == b'{' { b'}' } else { b']' }
}

/// The place of the value of the member whose name is at a place.
fn member_name(text: &[u8], at: usize, space: impl Fn(usize) -> usize) -> Option<usize> {
    let colon = space(string(text, at)?);
    (text.get(colon) == Some(&b':')).then(|| space(colon.saturating_add(1)))
}

fn string(text: &[u8], at: usize) -> Option<usize> {
    if text.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at.saturating_add(1);
    loop {
        at = run(text, at, |byte| !matches!(byte, b'"' | b'\\' | 0..0x20));
        let length = match from(text, at) {
            [b'"', ..] => return at.checked_add(1),
            [
                b'\\',
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't',
                ..,
            ] => 2,
            [b'\\', b'u', digits @ ..] if has_four_digits(digits) => 6,
            _ => return None,
        };
        at = at.saturating_add(length);
    }
}

/// True if a text begins with the digits of an escape `\u`.
fn has_four_digits(text: &[u8]) -> bool {
    let digits = text.first_chunk::<4>();
    digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

fn scalar(text: &[u8], at: usize) -> Option<usize> {
    let end = run(text, at, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
    });
    let word = text.get(at..end)?;
    let is_number = || {
        let digits = word.strip_prefix(b"-").unwrap_or(word);
        let exact = |byte: u8| byte.is_ascii_digit();
        let mut at = run(digits, 0, exact);
        let is_integer = at == 1 || at > 1 && digits.first() != Some(&b'0');
        if digits.get(at) == Some(&b'.') {
            let begin = at.saturating_add(1);
            let end = run(digits, begin, exact);
            if end == begin {
                return false;
            }
            at = end;
        }
        if matches!(digits.get(at), Some(b'e' | b'E')) {
            let sign = at.saturating_add(1);
            let begin = skip(digits, sign, |byte| matches!(byte, b'+' | b'-'));
            let end = run(digits, begin, exact);
            if end == begin {
                return false;
            }
            at = end;
        }
        is_integer && at == digits.len()
    };
    (matches!(word, b"true" | b"false" | b"null") || is_number()).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_strictly() {
        for text in [
            "{}",
            "[]",
            "1",
            "-0.5e+3",
            "true",
            r#""a\u0026\n""#,
            r#"{"a":[1,{"b":null}],"c":""}"#,
            " [ 1 , 2 ] ",
            "0",
        ] {
            assert!(is_json(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\"}",
            "{\"a\":1,}",
            "01",
            "1.",
            "tru",
            "[1}",
            "\"a",
            "\"\\x\"",
            "{} {}",
            "{a:1}",
            "\"\n\"",
            "-",
            "1e",
            "nul",
            "NaN",
        ] {
            assert!(!is_json(text.as_bytes()), "{text}");
        }
        assert_eq!(json_value(br#"{"a":1}: is wrong"#), Some(7));
        assert_eq!(json_value(b"[]byte{0x2d}"), Some(2));
    }

    #[test]
    fn deep_json_is_read_without_recursion() {
        let nested = |depth| "[{\"a\":".repeat(depth) + "1" + &"}]".repeat(depth);
        assert!(is_json(nested(DEEPEST_JSON / 2).as_bytes()));
        assert!(!is_json(nested(1_000_000).as_bytes()));
    }
}
