//! Lines of Fluent Bit's classic configuration format.

/// A line that is neither blank nor a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'t> {
    /// The line number, counted from 1.
    pub number: usize,
    /// The blanks at its beginning.
    pub indent: &'t str,
    /// The rest of the line.
    pub content: Content<'t>,
}

/// The content of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'t> {
    /// A command to the parser, such as `@SET a=b` or `@INCLUDE file`: the whole line.
    Directive(&'t str),
    /// The head of a section, `[NAME]`: all after the opening bracket, the closing one
    /// included if there is one.
    Header(&'t str),
    /// A key and a value without blanks around it; the value may be empty.
    Entry(&'t str, &'t str),
}

/// Reads the lines of a text that are neither blank nor comments.
pub fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let content = line.trim();
        let blanks = line.find(|c: char| !c.is_whitespace());
        let (indent, _) = line.split_at(blanks.unwrap_or(line.len()));
        let content = match content.chars().next()? {
            '#' => return None,
            '@' => Content::Directive(content),
            '[' => Content::Header(content.strip_prefix('[').unwrap_or(content)),
            _ => {
                let (key, value) = content
                    .split_once(char::is_whitespace)
                    .unwrap_or((content, ""));
                Content::Entry(key, value.trim())
            }
        };
        Some(Line {
            number: index.saturating_add(1),
            indent,
            content,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_and_comments_are_passed_over() {
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
