//! JSON patches (RFC 6902): the value of an operation is judged as if it were where
//! the operation puts it.

use std::borrow::Cow;

use crate::doc::{Kind, Malformed};
use crate::stage::redact::hide::Content;
use crate::stage::redact::roles::{Body, Class, Members, Role};
use crate::stage::redact::walk::{Node, Stop, Walk, is_index};
use crate::stage::redact::words::{is_harmless, is_harmless_command};
use crate::stage::redact::{Mode, Redactor};

/// Pairs of path and value that one operation may have: those that count in Go are the
/// last ones, but all are in the log.
const MOST_PAIRS: usize = 64;

impl Walk<'_, '_> {
    /// Goes through one operation.
    pub(super) fn operation(&mut self, node: Node, class: Class) -> Result<(), Stop> {
        let Node::Real(at) = node else {
            return self.run(node, Role::Generic, class);
        };
        let unknown = match class.whole().filter(|it| self.settings.is_on(*it)) {
            Some(redactor) => Role::leaves(redactor),
            None => Role::Generic,
        };
        if self.kind(node)? != Kind::Map {
            return self.run(node, unknown, class);
        }
        let doc = self.doc;
        let (paths, values) = self.count_pairs(at)?;
        if paths == 0 {
            let role = match unknown {
                // It is not an operation.
                Role::Generic => Role::Object(Body::Patch),
                leaves => leaves,
            };
            return self.run(node, role, class);
        }
        if paths.saturating_mul(values) > MOST_PAIRS {
            return self.run(node, Role::leaves(Redactor::Deep), class);
        }
        let mut map = doc.open_map(at)?;
        while let Some(member) = doc.next_member(&mut map)? {
            map.next = doc.end(member.value)?;
            let value = Node::Real(member.value);
            match (&*member.key.value(), doc.kind(member.value)?) {
                (b"op" | b"path" | b"from", Kind::Text) => {}
                (b"value", _) => self.values(at, member.value, unknown, class)?,
                (key, kind) => {
                    let role = match unknown {
                        Role::Generic => self.role_by_name(Members::default(), key, kind, value)?,
                        leaves => leaves,
                    };
                    self.run(value, role, class)?;
                }
            }
        }
        Ok(())
    }

    /// The numbers of paths and values of an operation.
    fn count_pairs(&self, operation: usize) -> Result<(usize, usize), Malformed> {
        let doc = self.doc;
        let (mut paths, mut values) = (0_usize, 0_usize);
        let mut map = doc.open_map(operation)?;
        while let Some(member) = doc.next_member(&mut map)? {
            map.next = doc.end(member.value)?;
            let is_path = member.key.is(b"path") && doc.kind(member.value)? == Kind::Text;
            paths = paths.saturating_add(usize::from(is_path));
            values = values.saturating_add(usize::from(member.key.is(b"value")));
        }
        Ok((paths, values))
    }

    /// Goes through a value once for each path of its operation.
    fn values(
        &mut self,
        operation: usize,
        value: usize,
        unknown: Role,
        class: Class,
    ) -> Result<(), Stop> {
        let doc = self.doc;
        let mut map = doc.open_map(operation)?;
        while let Some(member) = doc.next_member(&mut map)? {
            let (path, end) = doc.value(member.value)?;
            map.next = end;
            let Some(path) = path.filter(|_| member.key.is(b"path")) else {
                continue;
            };
            let path = path.value();
            // The part before the first `/` is empty.
            let steps = path.split(|byte| *byte == b'/').skip(1).map(unescape);
            self.set_path(steps, value);
            self.value_at_path(value, unknown, class)?;
        }
        Ok(())
    }

    fn value_at_path(&mut self, value: usize, unknown: Role, class: Class) -> Result<(), Stop> {
        let is_map = self.doc.kind(value)? == Kind::Map;
        let first_is_index = self.steps().next().map(is_index);
        match first_is_index {
            None if is_map => self.run(Node::Real(value), Role::Object(Body::Patch), class),
            // No object is a list.
            None => self.run(Node::Real(value), unknown, class),
            Some(true) if unknown != Role::Generic => self.run(Node::Real(value), unknown, class),
            Some(true) => self.run(Node::Step(0), Role::Generic, class),
            Some(false) => {
                self.run(Node::Step(0), Role::Object(Body::Patch), class)?;
                self.text_without_name(value)
            }
        }
    }

    /// Hides a string whose name is in the object that is patched, not in the patch: the
    /// value of a variable or header, or a word of a command.
    fn text_without_name(&mut self, at: usize) -> Result<(), Stop> {
        let (Some(text), end) = self.doc.value(at)? else {
            return Ok(());
        };
        let last = self.steps().next_back();
        let before = self.steps().rev().nth(1);
        let is_in = |list: &[u8]| self.steps().rev().skip(1).any(|step| step == list);
        let is_nameless_value = last == Some(b"value")
            && (is_in(b"httpHeaders") || is_in(b"headers") || is_in(b"env"))
            && self.settings.is_on(Redactor::Named)
            && (!is_in(b"env") || self.settings.mode(Redactor::Env) == Mode::All);
        let is_word =
            matches!(before, Some(b"args" | b"command")) && self.settings.is_on(Redactor::Args);
        let value = text.value();
        let redactor = if is_nameless_value {
            Redactor::Named
        } else if is_word && !value.starts_with(b"-") && !is_plain_word(&value, last) {
            Redactor::Args
        } else {
            return Ok(());
        };
        if !value.is_empty() && !crate::stage::redact::mark::is_mark(&value) {
            self.hide(at..end, redactor, Content::Text);
        }
        Ok(())
    }
}

/// True if the word of a command at this index cannot be a secret. The words before it are
/// not known, unless it is the first.
fn is_plain_word(text: &[u8], index: Option<&[u8]>) -> bool {
    let mut words = text
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    index == Some(b"0") && is_harmless_command(text) || words.all(is_harmless)
}

/// The name that a step of a JSON pointer spells.
pub(super) fn unescape(step: &[u8]) -> Cow<'_, [u8]> {
    if !step.contains(&b'~') {
        return Cow::Borrowed(step);
    }
    let mut name = Vec::with_capacity(step.len());
    let mut bytes = step.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'~' => match bytes.clone().next() {
                Some(b'0') => {
                    bytes.next();
                    name.push(b'~');
                }
                Some(b'1') => {
                    bytes.next();
                    name.push(b'/');
                }
                _ => name.push(b'~'),
            },
            byte => name.push(*byte),
        }
    }
    Cow::Owned(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_unescaped() {
        for (step, name) in [
            ("a", "a"),
            ("a~1b~0~01", "a/b~~1"),
            ("~", "~"),
            ("~2", "~2"),
        ] {
            assert_eq!(*unescape(step.as_bytes()), *name.as_bytes(), "{step}");
        }
    }
}
