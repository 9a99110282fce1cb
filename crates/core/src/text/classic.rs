//! Lines of Fluent Bit's classic configuration format.

/// A line that says something, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'t> {
    /// Its number, counted from 1.
    pub number: usize,
    /// The blanks in front of it.
    pub indent: &'t str,
    /// What it says.
    pub content: Content<'t>,
}

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'t> {
    /// `@SET a=b`, `@INCLUDE file`: the whole line.
    Directive(&'t str),
    /// `[NAME]`: what stands behind the bracket, with the closing one if it is there.
    Header(&'t str),
    /// `key value`, without blanks around the value; it may be empty.
    Entry(&'t str, &'t str),
}

/// Reads a text, passing over blank lines and comments.
pub fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let content = line.trim();
        let indent = &line[..line.len() - line.trim_start().len()];
        let content = match content.chars().next()? {
            '#' => return None,
            '@' => Content::Directive(content),
            '[' => Content::Header(&content[1..]),
            _ => {
                let (key, value) = content
                    .split_once(char::is_whitespace)
                    .unwrap_or((content, ""));
                Content::Entry(key, value.trim())
            }
        };
        Some(Line {
            number: index + 1,
            indent,
            content,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_say_something() {
        let text = "# x\n\n[A]\n  key  two words \r\n\talone\n@SET a=b\n[ B\n";
        let found: Vec<_> = lines(text)
            .map(|line| (line.number, line.indent, line.content))
            .collect();
        assert_eq!(
            found,
            [
                (3, "", Content::Header("A]")),
                (4, "  ", Content::Entry("key", "two words")),
                (5, "\t", Content::Entry("alone", "")),
                (6, "", Content::Directive("@SET a=b")),
                (7, "", Content::Header(" B")),
            ]
        );
    }
}
