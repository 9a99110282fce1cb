//! Request bodies: objects, and JSON patches as pieces of an object.
//!
//! Nothing is built: a [`Value`] is a position in the document. Of a JSON patch, each
//! operation that adds something becomes an object that holds nothing but what is added;
//! the way to it is the pointer of the operation. Few events are looked into so far, so
//! that this is compiled for both forms of documents at once.

use std::borrow::Cow;

use super::lexicon::Lexicon;
use super::uri::split_once;
use crate::doc::{AnyDoc, Container, Kind, Text};

/// A value of a body. What does not read is absent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'p, 'a> {
    doc: AnyDoc<'a>,
    /// Rest of a JSON pointer, without its first slash: segments that lead to the value,
    /// each of which means an object or a list with one member. `None` at the value itself.
    ahead: Option<&'p [u8]>,
    /// Position; `None` for null.
    at: Option<usize>,
}

impl<'p, 'a> Value<'p, 'a> {
    /// The value at a position of the document.
    pub(super) fn new(doc: AnyDoc<'a>, at: usize) -> Value<'p, 'a> {
        Value {
            doc,
            ahead: None,
            at: Some(at),
        }
    }

    /// Returns a member of an object; of a key that repeats, the last one.
    pub(super) fn get(self, key: &str) -> Option<Value<'p, 'a>> {
        let mut found = None;
        let read = self.members(&mut |name, value| {
            if name == key.as_bytes() {
                found = Some(value);
            }
        });
        found.filter(|_| read.is_some())
    }

    /// Returns the members of an object with these names; of a key that repeats, the last one.
    pub(super) fn fields<const N: usize>(
        self,
        keys: &'static Lexicon<N>,
    ) -> [Option<Value<'p, 'a>>; N] {
        let mut fields = [None; N];
        let read = self.members(&mut |name, value| {
            if let Some(field) = fields.get_mut(keys.find(name)) {
                *field = Some(value);
            }
        });
        match read {
            Some(()) => fields,
            None => [None; N],
        }
    }

    /// Visits the members of an object; `None` if there is no end to them.
    #[inline(never)]
    fn members(self, visit: &mut dyn FnMut(&[u8], Value<'p, 'a>)) -> Option<()> {
        if let Some(ahead) = self.ahead {
            let (segment, ahead) = split_once(ahead, b'/');
            if !is_index(segment) {
                visit(&unescaped(segment), Value { ahead, ..self });
            }
            return Some(());
        }
        let mut map = self.doc.open_map(self.at?).ok()?;
        while let Some(member) = self.doc.next_member(&mut map).ok()? {
            visit(&member.key.value(), Value::new(self.doc, member.value));
            map.next = self.doc.end(member.value).ok()?;
        }
        Some(())
    }

    /// Says whether it is an object with at least one member.
    pub(super) fn has_members(self) -> bool {
        let map = self.here().and_then(|at| self.doc.open_map(at).ok());
        map.is_some_and(|mut map| matches!(self.doc.next_member(&mut map), Ok(Some(_))))
    }

    /// Follows the keys of nested objects, with blanks between them.
    pub(super) fn dig(self, keys: &str) -> Option<Value<'p, 'a>> {
        keys.split(' ').try_fold(self, |value, key| value.get(key))
    }

    /// Returns the items of the list under a key; none of anything else.
    pub(super) fn list(self, key: &str) -> Items<'p, 'a> {
        self.get(key).map_or(Items::One(None), Value::items)
    }

    /// Returns the items of a list; none of anything else.
    pub(super) fn items(self) -> Items<'p, 'a> {
        if let Some(ahead) = self.ahead {
            let (segment, ahead) = split_once(ahead, b'/');
            return Items::One(is_index(segment).then_some(Value { ahead, ..self }));
        }
        let list = self.at.and_then(|at| self.doc.open_list(at).ok());
        list.map_or(Items::One(None), |list| Items::Of(self.doc, list))
    }

    fn here(self) -> Option<usize> {
        self.at.filter(|_| self.ahead.is_none())
    }

    /// Returns the string.
    pub(super) fn text(self) -> Option<Text<'a>> {
        self.doc.string(self.here()?).ok()?
    }

    /// Returns the string under a key; empty where there is none.
    pub(super) fn text_of(self, key: &str) -> Text<'a> {
        self.get(key).and_then(Value::text).unwrap_or_default()
    }

    /// Says whether the member is exactly this string.
    pub(super) fn has_text(self, key: &str, text: &str) -> bool {
        self.get(key).is_some_and(|value| value.is_text(text))
    }

    /// Says whether the value is `true`.
    pub(super) fn is_true(self) -> bool {
        let at = self.here();
        at.is_some_and(|at| self.doc.is_true(at))
    }

    /// Says whether the value is exactly this string.
    pub(super) fn is_text(self, text: &str) -> bool {
        let found = self.text();
        found.is_some_and(|found| found.is(text.as_bytes()))
    }

    fn kind(self) -> Option<Kind> {
        match (self.ahead, self.at) {
            (Some(ahead), _) if is_index(split_once(ahead, b'/').0) => Some(Kind::List),
            (Some(_), _) => Some(Kind::Map),
            (None, Some(at)) => self.doc.kind(at).ok(),
            (None, None) => Some(Kind::Null),
        }
    }

    /// Says whether the value is null.
    pub(super) fn is_null(self) -> bool {
        self.kind() == Some(Kind::Null)
    }

    /// Says whether the value is an object.
    pub(super) fn is_object(self) -> bool {
        self.kind() == Some(Kind::Map)
    }

    /// Says whether the value is a list.
    pub(super) fn is_list(self) -> bool {
        self.kind() == Some(Kind::List)
    }

    /// Returns the integer.
    pub(super) fn integer(self) -> Option<i64> {
        self.doc.integer(self.here()?)
    }
}

/// The items of a list.
pub(super) enum Items<'p, 'a> {
    /// At most one: what a JSON patch puts into a list.
    One(Option<Value<'p, 'a>>),
    /// Those of a list in the document.
    Of(AnyDoc<'a>, Container),
}

impl<'p, 'a> Iterator for Items<'p, 'a> {
    type Item = Value<'p, 'a>;

    #[inline(never)]
    fn next(&mut self) -> Option<Value<'p, 'a>> {
        match self {
            Items::One(item) => item.take(),
            Items::Of(doc, list) => {
                let at = doc.next_item(list).ok()??;
                list.next = doc.end(at).ok()?;
                Some(Value::new(*doc, at))
            }
        }
    }
}

/// Says whether a pointer's segment is a place in a list; an object's key may look the
/// same, but none that a detection asks for does.
fn is_index(segment: &[u8]) -> bool {
    segment == b"-" || !segment.is_empty() && segment.iter().all(u8::is_ascii_digit)
}

/// Undoes the escapes of a pointer's segment: `~1` is a slash, `~0` a tilde.
fn unescaped(segment: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(segment.len());
    let mut rest = segment;
    loop {
        let (byte, after) = match rest {
            [b'~', b'1', after @ ..] => (b'/', after),
            [b'~', b'0', after @ ..] => (b'~', after),
            [byte, after @ ..] => (*byte, after),
            [] => return plain,
        };
        plain.push(byte);
        rest = after;
    }
}

/// Members of an operation of a JSON patch.
const OPERATION: &Lexicon<3> = &Lexicon::new("|op|path|value");

/// The body of a request, which may be absent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body<'a>(Value<'a, 'a>);

impl<'a> Body<'a> {
    /// The body that is this value, if there is one.
    pub(super) fn new(doc: AnyDoc<'a>, value: Option<Value<'_, 'a>>) -> Body<'a> {
        Body(Value {
            doc,
            ahead: None,
            at: value.and_then(|value| value.at),
        })
    }

    /// Says whether there is none, or null.
    pub(super) fn is_absent(self) -> bool {
        self.0.is_null()
    }

    /// Returns the object, if it is one.
    pub(super) fn object(self) -> Option<Value<'a, 'a>> {
        Some(self.0).filter(|value| value.is_object())
    }

    /// Says whether it is a list of operations.
    pub(super) fn is_json_patch(self) -> bool {
        self.0.is_list()
    }

    /// Says whether any piece of the object fits.
    #[inline(never)]
    pub(super) fn any(self, fits: &mut dyn FnMut(Value<'_, 'a>) -> bool) -> bool {
        if self.0.is_object() {
            return fits(self.0);
        }
        self.0.items().any(|operation| {
            let [op, path, value] = operation.fields(OPERATION);
            let adds = op.is_some_and(|op| op.is_text("add") || op.is_text("replace"));
            let Some(pointer) = path.and_then(Value::text).filter(|_| adds) else {
                return false;
            };
            let pointer: Cow<'_, [u8]> = pointer.value();
            let ahead = match pointer.split_first() {
                None => None,
                Some((b'/', ahead)) => Some(ahead),
                Some(_) => return false,
            };
            let at = value.and_then(Value::here);
            let piece = Value {
                doc: operation.doc,
                ahead,
                at,
            };
            piece.is_object() && fits(piece)
        })
    }

    /// Says whether an operation removes what is at a pointer.
    pub(super) fn removes(self, pointer: &str) -> bool {
        self.0.items().any(|operation| {
            operation.has_text("op", "remove") && operation.has_text("path", pointer)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doc::convert;
    use crate::doc::json::Json;
    use crate::doc::msgpack::Msgpack;

    fn body_of(doc: AnyDoc<'_>) -> Body<'_> {
        Body::new(doc, Some(Value::new(doc, 0)))
    }

    /// Runs a check on the body in both forms.
    fn any(json: &str, fits: impl Fn(&dyn Probe) -> bool) -> bool {
        let mut msgpack = Vec::new();
        convert::json_to_msgpack(Json(json.as_bytes()), 0, &mut msgpack).unwrap();
        let text = body_of(Json(json.as_bytes()).into()).any(&mut |value| fits(&value));
        let map = body_of(Msgpack(&msgpack).into()).any(&mut |value| fits(&value));
        assert_eq!(text, map, "{json}");
        text
    }

    /// A value in either form.
    trait Probe {
        fn text_at(&self, keys: &[&str]) -> Option<String>;
        fn first_text(&self, keys: &[&str]) -> Option<String>;
        fn integer_at(&self, keys: &[&str]) -> Option<i64>;
        fn null_at(&self, keys: &[&str]) -> bool;
        fn true_at(&self, key: &str) -> bool;
    }

    impl Probe for Value<'_, '_> {
        fn text_at(&self, keys: &[&str]) -> Option<String> {
            let text = self.dig(&keys.join(" "))?.text()?;
            String::from_utf8(text.value().into_owned()).ok()
        }

        fn first_text(&self, keys: &[&str]) -> Option<String> {
            let text = self.dig(&keys.join(" "))?.items().next()?.text()?;
            String::from_utf8(text.value().into_owned()).ok()
        }

        fn integer_at(&self, keys: &[&str]) -> Option<i64> {
            self.dig(&keys.join(" "))?.integer()
        }

        fn null_at(&self, keys: &[&str]) -> bool {
            self.dig(&keys.join(" ")).is_some_and(Value::is_null)
        }

        fn true_at(&self, key: &str) -> bool {
            self.get(key).is_some_and(Value::is_true)
        }
    }

    fn text_is(json: &str, keys: &[&str], text: &str) -> bool {
        any(json, |value| value.text_at(keys).as_deref() == Some(text))
    }

    #[test]
    fn members_of_objects() {
        let json = r#"{"a":{"b":"1"},"a":{"b":"\u0032"},"n":null,"t":true,"i":-7,"l":["x"]}"#;
        assert!(text_is(json, &["a", "b"], "2"), "the last of two counts");
        assert!(any(json, |value| value.null_at(&["n"])));
        assert!(!any(json, |value| value.null_at(&["a"]) || value.null_at(&["o"])));
        assert!(any(json, |value| value.true_at("t")));
        assert!(!any(json, |value| value.true_at("n") || value.true_at("i")));
        assert!(any(json, |value| value.integer_at(&["i"]) == Some(-7)));
        assert!(any(json, |value| value.first_text(&["l"]).as_deref()
            == Some("x")));
        assert!(!any(json, |value| value.first_text(&["a"]).is_some()));
    }

    #[test]
    fn operations_of_a_json_patch_are_pieces() {
        let add = |pointer: &str, value: &str| {
            format!(r#"[{{"op":"add","path":"{pointer}","value":{value}}}]"#)
        };
        assert!(text_is(&add("/a/b", r#""x""#), &["a", "b"], "x"));
        assert!(text_is(&add("/a", r#"{"b":"x"}"#), &["a", "b"], "x"));
        assert!(text_is(&add("", r#"{"a":"x"}"#), &["a"], "x"));
        assert!(text_is(&add("/a~1b~0c", r#""x""#), &["a/b~c"], "x"));
        assert!(text_is(&add(r"\u002fa", r#""x""#), &["a"], "x"));
        assert!(text_is(&add("/", r#""x""#), &[""], "x"));
        let first = |json: &str| any(json, |value| value.first_text(&["l"]).is_some());
        assert!(first(&add("/l/-", r#""x""#)));
        assert!(first(&add("/l/12", r#""x""#)));
        assert!(first(&add("/l", r#"["x"]"#)));
        assert!(!first(&add("/l/x", r#""x""#)));
        assert!(any(&add("/a", "null"), |value| value.null_at(&["a"])));
        assert!(any(r#"[{"op":"add","path":"/a"}]"#, |value| value
            .null_at(&["a"])));
        assert!(!any(&add("/a/b", "null"), |value| value.null_at(&["a"])));
    }

    #[test]
    fn other_operations_add_nothing() {
        for json in [
            r#"[{"op":"remove","path":"/a"}]"#,
            r#"[{"op":"test","path":"/a","value":1}]"#,
            r#"[{"op":"copy","path":"/a","from":"/b"}]"#,
            r#"[{"op":"add","path":"a","value":1}]"#,
            r#"[{"op":"add","path":7,"value":1}]"#,
            r#"[{"op":"add","path":"","value":1}]"#,
            r#"[{"op":"add","path":"/-","value":1}]"#,
            r#"[{"path":"/a","value":1}]"#,
            r#"["add",null,7,[]]"#,
            "[]",
            "7",
            "null",
            "\"a\"",
        ] {
            assert!(!any(json, |_| true), "{json}");
        }
        assert!(any(r#"[{"op":"replace","path":"/a","value":1}]"#, |_| true));
    }

    #[test]
    fn removals() {
        let body = |json: &'static str| body_of(Json(json.as_bytes()).into());
        assert!(body(r#"[{"op":"test"},{"op":"remove","path":"/a~1b"}]"#).removes("/a~1b"));
        assert!(!body(r#"[{"op":"remove","path":"/a"}]"#).removes("/a~1b"));
        assert!(!body(r#"[{"op":"add","path":"/a~1b"}]"#).removes("/a~1b"));
        assert!(!body(r#"{"op":"remove","path":"/a~1b"}"#).removes("/a~1b"));
    }

    #[test]
    fn what_does_not_read_is_absent() {
        for json in ["{\"a\":{\"b\":\"x\"", "[{\"op\":\"add\",", "{\"a\" 1}", ""] {
            let body = body_of(Json(json.as_bytes()).into());
            assert!(!body.any(&mut |value| value.dig("a b").is_some()), "{json}");
        }
    }
}
