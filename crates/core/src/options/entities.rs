//! The HTML entities that KKP's templates make of characters in option values.

use std::borrow::Cow;

/// What Go's `html/template` escapes in text.
const ENTITIES: [(&str, char); 7] = [
    ("&#34;", '"'),
    ("&#39;", '\''),
    ("&#43;", '+'),
    ("&amp;", '&'),
    ("&lt;", '<'),
    ("&gt;", '>'),
    ("&#96;", '`'),
];

/// Undoes the entities, once: `&amp;lt;` is `&lt;`.
pub fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        decoded.push_str(&rest[..at]);
        rest = &rest[at..];
        match ENTITIES.iter().find(|(entity, _)| rest.starts_with(entity)) {
            Some((entity, plain)) => {
                decoded.push(*plain);
                rest = &rest[entity.len()..];
            }
            None => {
                decoded.push('&');
                rest = &rest[1..];
            }
        }
    }
    decoded.push_str(rest);
    Cow::Owned(decoded)
}

/// Undoes the entities of a text that a template has escaped as a whole: each `&` in
/// it begins an entity, and none of the characters that would be one stands for
/// itself. Any other text stays as it is, so that a secret which merely holds an `&`
/// arrives intact outside KKP, too.
pub fn decode_escaped(text: &str) -> Cow<'_, str> {
    let escaped = text.char_indices().all(|(at, c)| match c {
        '&' => ENTITIES
            .iter()
            .any(|(entity, _)| text[at..].starts_with(entity)),
        '"' | '\'' | '+' | '<' | '>' => false,
        _ => true,
    });
    if escaped {
        decode(text)
    } else {
        Cow::Borrowed(text)
    }
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
