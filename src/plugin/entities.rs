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

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn entities_are_undone_once() {
        assert_eq!(
            decode("{&#34;a&#34;: &lt;b&gt;&amp;lt; &x &#43;&#39;"),
            "{\"a\": <b>&lt; &x +'"
        );
        assert_eq!(decode("plain"), "plain");
    }
}
