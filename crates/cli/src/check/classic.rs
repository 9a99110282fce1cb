//! Reads classic configuration files as pipelines.

use crate::finding::{Code, Findings};
use kube_audit_core::options::printable;
use kube_audit_text::classic::{Content, Line, lines};

use super::pipeline::{Kind, Pipeline, Property, Section};

/// True if a text looks like a classic file: its first line that is neither blank nor a
/// comment is a header or a directive.
pub(super) fn looks_like(text: &str) -> bool {
    match lines(text).next().map(|line| line.content) {
        Some(Content::Header(name)) => name.split_once(']').is_some_and(|(name, rest)| {
            let word = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ' ';
            !name.is_empty() && name.chars().all(word) && rest.trim().is_empty()
        }),
        Some(Content::Directive(_)) => true,
        _ => false,
    }
}

/// Maps lines of the text that is read to the file that is checked.
pub(super) trait Places {
    /// The offset in that file of a byte of a line; lines are counted from 1.
    fn key(&self, line: usize, column: usize) -> usize;
    /// The same for a byte that belongs to a value.
    fn value(&self, line: usize, column: usize) -> usize;
}

/// Reads a text as Fluent Bit's parser of the classic format does.
pub(super) fn read(text: &str, places: &impl Places, findings: &mut Findings<'_>) -> Pipeline {
    let mut reader = Reader {
        pipeline: Pipeline::default(),
        places,
        findings,
        indent: None,
        in_group: false,
    };
    for line in lines(text) {
        reader.line(&line);
    }
    reader.pipeline
}

struct Reader<'r, 's, P> {
    pipeline: Pipeline,
    places: &'r P,
    findings: &'r mut Findings<'s>,
    /// The blanks before the first key; all others must have the same.
    indent: Option<String>,
    in_group: bool,
}

impl<P: Places> Reader<'_, '_, P> {
    fn line(&mut self, line: &Line<'_>) {
        let at = self.places.key(line.number, line.indent.len());
        match line.content {
            Content::Directive(text) if line.indent.is_empty() => {
                let name = text.split_whitespace().next().unwrap_or_default();
                self.pipeline.includes |= name.eq_ignore_ascii_case("@include");
            }
            // Indented, it is a key.
            Content::Directive(text) => {
                let (key, value) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
                self.entry(line, key, value.trim());
            }
            Content::Header(name) => self.header(line, name, at),
            Content::Entry(key, value) => self.entry(line, key, value),
        }
    }

    fn header(&mut self, line: &Line<'_>, name: &str, at: usize) {
        let Some((name, _)) = name.split_once(']') else {
            let message = format!("`[{}` has no closing `]`", printable(name));
            self.findings.push(at, Code::Syntax, "", message);
            return;
        };
        self.in_group = !line.indent.is_empty();
        if self.in_group {
            return;
        }
        let kind = match name.trim().to_ascii_lowercase().as_str() {
            "service" => Kind::Service,
            "input" => Kind::Input,
            "filter" => Kind::Filter,
            "output" => Kind::Output,
            "plugins" => {
                self.pipeline.names_plugins = true;
                Kind::Other
            }
            _ => Kind::Other,
        };
        self.pipeline.sections.push(Section {
            kind,
            at,
            properties: Vec::new(),
        });
    }

    fn entry(&mut self, line: &Line<'_>, key: &str, value: &str) {
        let key_at = self.places.key(line.number, line.indent.len());
        // A value may be stuck to the key, and it may be secret.
        let shown = printable(key);
        let fault = match (&self.indent, self.pipeline.sections.last()) {
            (_, None) => Some(format!("`{shown}` precedes the first section")),
            _ if line.indent.is_empty() => {
                Some(format!("`{shown}` is not indented: put blanks before it"))
            }
            (Some(first), _) if first != line.indent && !self.in_group => Some(format!(
                "`{shown}` is not indented like the keys above it, as Fluent Bit requires"
            )),
            _ if value.is_empty() => Some(format!(
                "`{shown}` has no value: give it one, or leave it out"
            )),
            _ => None,
        };
        if let Some(fault) = fault {
            self.findings.push(key_at, Code::Syntax, "", fault);
            return;
        }
        if self.indent.is_none() {
            self.indent = Some(line.indent.to_owned());
        }
        if self.in_group {
            return;
        }
        if let Some(section) = self.pipeline.sections.last_mut() {
            section.properties.push(Property {
                key: key.to_owned(),
                value: value.to_owned(),
                key_at,
                value_at: self.places.value(
                    line.number,
                    line.indent
                        .len()
                        .saturating_add(key.len())
                        .saturating_add(1),
                ),
            });
        }
    }
}
