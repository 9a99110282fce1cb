//! The HTML entities that KKP's templates make of characters in option values.

use std::borrow::Cow;

/// Names that Go's `html/template` writes after the `&` for characters that it escapes.
const ENTITIES: [(&str, char); 7] = [
    ("#34;", '"'),
    ("#39;", '\''),
    ("#43;", '+'),
    ("amp;", '&'),
    ("lt;", '<'),
    ("gt;", '>'),
    ("#96;", '`'),
];

/// Undoes the entities, once: `&amp;lt;` is `&lt;`.
pub fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        decoded.push_str(before);
        let (plain, after) = entity(after).unwrap_or(('&', after));
        decoded.push(plain);
        rest = after;
    }
    decoded.push_str(rest);
    Cow::Owned(decoded)
}

/// Undoes the entities of a text that a template has escaped as a whole: each `&` in
/// it begins an entity, and none of the characters that would be one stands for
/// itself. Any other text stays as it is, so that a secret which merely holds an `&`
/// arrives intact outside KKP, too.
pub fn decode_escaped(text: &str) -> Cow<'_, str> {
    let is_plain = !text.contains(['"', '\'', '+', '<', '>']);
    if is_plain && text.split('&').skip(1).all(|after| entity(after).is_some()) {
        decode(text)
    } else {
        Cow::Borrowed(text)
    }
}

/// The character that a text after an `&` begins with, and the rest of the text.
fn entity(after: &str) -> Option<(char, &str)> {
    ENTITIES
        .iter()
        .find_map(|&(entity, plain)| Some((plain, after.strip_prefix(entity)?)))
}

#[cfg(test)]
mod tests {
    use super::{decode, decode_escaped};

    #[test]
    fn entities_are_undone_once() {
        assert_eq!(
            decode("{&#34;a&#34;: &lt;b&gt;&amp;lt; &x &#43;&#39;"),
            "{\"a\": <b>&lt; &x +'"
        );
        assert_eq!(decode("plain"), "plain");
    }

    #[test]
    fn only_text_that_is_escaped_as_a_whole() {
        for (text, expected) in [
            ("a&#43;b&amp;c&lt;d&gt;&#34;e&#39;f", "a+b&c<d>\"e'f"),
            ("R&amp;amp;D", "R&amp;D"),
            ("a+b&c<d>\"e'f", "a+b&c<d>\"e'f"),
            ("R&D", "R&D"),
            ("a&amp;b+c", "a&amp;b+c"),
            ("plain==", "plain=="),
        ] {
            assert_eq!(decode_escaped(text), expected);
        }
    }
}
