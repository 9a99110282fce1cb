//! Edits of a document: what is cut out or put in; everything else is copied.

use std::ops::Range;

use crate::doc::Doc;

/// A list of edits of one document, and the bytes they put in. Reused from
/// record to record, so that it costs no allocation once it has grown.
#[derive(Debug, Default)]
pub struct Edits {
    list: Vec<Edit>,
    /// Bytes that edits put in, one after the other.
    text: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Edit {
    /// What goes away; empty for an insertion.
    at: Range<usize>,
    /// What comes in its place, as a range of `Edits::text`.
    with: Range<usize>,
}

/// A state of [`Edits`] to go back to.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    edits: usize,
    text: usize,
}

impl Edits {
    /// Forgets all edits.
    pub fn clear(&mut self) {
        self.list.clear();
        self.text.clear();
    }

    /// Whether the document stays as it is.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Cuts a range out, unless it is empty.
    pub fn cut(&mut self, at: Range<usize>) {
        if at.is_empty() {
            return;
        }
        let here = self.text.len();
        self.list.push(Edit {
            at,
            with: here..here,
        });
    }

    /// Puts what `write` appends in the place of a range.
    pub fn replace(&mut self, at: Range<usize>, write: impl FnOnce(&mut Vec<u8>)) {
        let from = self.text.len();
        write(&mut self.text);
        self.list.push(Edit {
            at,
            with: from..self.text.len(),
        });
    }

    /// Adds the edits of a document that stands in this one, from `offset` on.
    pub fn adopt(&mut self, inner: &Edits, offset: usize) {
        let texts = self.text.len();
        let moved = |range: &Range<usize>, by| range.start + by..range.end + by;
        self.text.extend_from_slice(&inner.text);
        self.list.extend(inner.list.iter().map(|edit| Edit {
            at: moved(&edit.at, offset),
            with: moved(&edit.with, texts),
        }));
    }

    /// The present state, for [`rewind`](Edits::rewind).
    pub fn mark(&self) -> Mark {
        Mark {
            edits: self.list.len(),
            text: self.text.len(),
        }
    }

    /// Takes back what was added since the mark.
    pub fn rewind(&mut self, mark: Mark) {
        self.list.truncate(mark.edits);
        self.text.truncate(mark.text);
    }

    /// Takes back the edits that lie in a range which is going to be cut out whole.
    pub fn forget_within(&mut self, range: &Range<usize>) {
        self.list
            .retain(|edit| edit.at.start < range.start || edit.at.end > range.end);
    }

    /// Puts the edits in the order of the document. Edits never overlap.
    pub fn settle(&mut self) {
        if !self.list.is_sorted_by_key(|edit| edit.at.start) {
            self.list.sort_unstable_by_key(|edit| edit.at.start);
        }
    }

    /// The length of a range of the document after the edits.
    pub fn length_of(&self, range: &Range<usize>) -> usize {
        self.list.iter().fold(range.len(), |length, edit| {
            length + edit.with.len() - edit.at.len()
        })
    }

    /// Appends a range of the document with the edits, which lie in it and are settled.
    pub fn apply(&self, document: &[u8], range: Range<usize>, out: &mut Vec<u8>) {
        let mut from = range.start;
        for edit in &self.list {
            out.extend_from_slice(&document[from..edit.at.start]);
            out.extend_from_slice(&self.text[edit.with.clone()]);
            from = edit.at.end;
        }
        out.extend_from_slice(&document[from..range.end]);
    }
}

/// Goes through the members of one map in order, cuts some out and appends others.
///
/// In JSON a member takes a comma with it: a run of cut members goes up to the
/// next kept one, or, at the end of the map, from the last kept one on.
#[derive(Debug)]
pub struct Cutter {
    map: usize,
    /// Where the map's members begin, then the end of the last kept one.
    kept_end: usize,
    /// Where the present run of cut members begins.
    run: Option<usize>,
    /// The end of the last member seen.
    end: usize,
    kept: usize,
    changed: bool,
}

impl Cutter {
    /// For the map whose header stands at `map` and whose members begin at `members`.
    pub fn new(map: usize, members: usize) -> Cutter {
        Cutter {
            map,
            kept_end: members,
            run: None,
            end: members,
            kept: 0,
            changed: false,
        }
    }

    /// The next member stays.
    pub fn keep(&mut self, member: Range<usize>, edits: &mut Edits) {
        self.keep_all(1, member, edits);
    }

    /// So many members stay, which take up this range.
    pub fn keep_all(&mut self, members: usize, range: Range<usize>, edits: &mut Edits) {
        if let Some(run) = self.run.take() {
            edits.cut(run..range.start);
        }
        self.kept += members;
        self.kept_end = range.end;
        self.end = range.end;
    }

    /// The next member goes.
    pub fn cut(&mut self, member: Range<usize>) {
        self.run.get_or_insert(member.start);
        self.end = member.end;
        self.changed = true;
    }

    /// How many members stay.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Ends the map, with further members at its end; says how many it then has.
    pub fn close<'a, 'm, T: Doc<'a>>(
        self,
        tree: T,
        append: impl IntoIterator<Item = (&'m [u8], &'m [u8])>,
        edits: &mut Edits,
    ) -> usize {
        let tail = match self.run {
            Some(run) if self.kept == 0 => run..self.end,
            Some(_) => self.kept_end..self.end,
            None => self.end..self.end,
        };
        let mut members = self.kept;
        let mark = edits.mark();
        edits.replace(tail.clone(), |out| {
            for (key, value) in append {
                T::write_member(out, members == 0, key, value);
                members += 1;
            }
        });
        if members == self.kept && tail.is_empty() {
            edits.rewind(mark);
        }
        if self.changed || members > self.kept {
            let mark = edits.mark();
            let mut header = None;
            edits.replace(self.map..self.map, |out| {
                header = tree.recount(self.map, members, out)
            });
            match (header, edits.list.last_mut()) {
                (Some(header), Some(edit)) => edit.at = header,
                _ => edits.rewind(mark),
            }
        }
        members
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doc::json::Json;
    use crate::doc::msgpack::Msgpack;

    fn cut_json(text: &str, unwanted: &[&str], append: &[(&str, &str)]) -> String {
        String::from_utf8(cut(Json(text.as_bytes()), unwanted, append)).unwrap()
    }

    fn cut<'a, T: Doc<'a>>(tree: T, unwanted: &[&str], append: &[(&str, &str)]) -> Vec<u8> {
        let mut edits = Edits::default();
        let mut map = tree.open_map(0).unwrap();
        let mut cutter = Cutter::new(0, map.next);
        while let Some(member) = tree.next_member(&mut map).unwrap() {
            map.next = tree.end(member.value).unwrap();
            if unwanted.iter().any(|name| member.key.is(name.as_bytes())) {
                cutter.cut(member.start..map.next);
            } else {
                cutter.keep(member.start..map.next, &mut edits);
            }
        }
        cutter.close(
            tree,
            append.iter().map(|(k, v)| (k.as_bytes(), v.as_bytes())),
            &mut edits,
        );
        edits.settle();
        let mut out = Vec::new();
        edits.apply(tree.bytes(), 0..tree.bytes().len(), &mut out);
        assert_eq!(out.len(), edits.length_of(&(0..tree.bytes().len())));
        out
    }

    #[test]
    fn json_members_take_their_comma_with_them() {
        let text = r#"{ "a":1 , "b" : [2], "c":{"d":3} }"#;
        for (unwanted, want) in [
            (&[][..], text),
            (&["a"], r#"{ "b" : [2], "c":{"d":3} }"#),
            (&["b"], r#"{ "a":1 , "c":{"d":3} }"#),
            (&["c"], r#"{ "a":1 , "b" : [2] }"#),
            (&["a", "b"], r#"{ "c":{"d":3} }"#),
            (&["b", "c"], r#"{ "a":1 }"#),
            (&["a", "c"], r#"{ "b" : [2] }"#),
            (&["a", "b", "c"], "{  }"),
        ] {
            assert_eq!(cut_json(text, unwanted, &[]), want, "{unwanted:?}");
        }
    }

    #[test]
    fn json_members_are_appended() {
        for (text, unwanted, want) in [
            ("{}", &[][..], r#"{"k":"v\""}"#),
            (r#"{"a":1}"#, &[], r#"{"a":1,"k":"v\""}"#),
            (r#"{"a":1}"#, &["a"], r#"{"k":"v\""}"#),
            (r#"{"a":1,"b":2}"#, &["b"], r#"{"a":1,"k":"v\""}"#),
            (r#"{"a":1,"b":2}"#, &["a"], r#"{"b":2,"k":"v\""}"#),
        ] {
            assert_eq!(cut_json(text, unwanted, &[("k", "v\"")]), want, "{text}");
        }
    }

    #[test]
    fn edits_of_a_part_are_edits_of_the_whole() {
        let (whole, offset) = (b"[abcdef]", 1);
        let mut inner = Edits::default();
        inner.replace(1..2, |out| out.extend_from_slice(b"BB"));
        inner.cut(4..6);
        let mut edits = Edits::default();
        edits.replace(0..1, |out| out.extend_from_slice(b"((("));
        edits.cut(1..1);
        edits.adopt(&inner, offset);
        let mut out = Vec::new();
        edits.apply(whole, 0..whole.len(), &mut out);
        assert_eq!(out, b"(((aBBcd]");
        assert_eq!(edits.length_of(&(0..whole.len())), out.len());
    }

    #[test]
    fn msgpack_maps_are_counted_anew() {
        let map = b"\x83\xa1a\x01\xa1b\x02\xa1c\x03";
        assert_eq!(cut(Msgpack(map), &["b"], &[]), b"\x82\xa1a\x01\xa1c\x03");
        assert_eq!(cut(Msgpack(map), &["a", "b", "c"], &[]), b"\x80");
        assert_eq!(
            cut(Msgpack(map), &["c"], &[("k", "v")]),
            b"\x83\xa1a\x01\xa1b\x02\xa1k\xa1v"
        );
        assert_eq!(
            cut(Msgpack(b"\xdf\0\0\0\0"), &[], &[("k", "v")]),
            b"\x81\xa1k\xa1v"
        );
        assert_eq!(cut(Msgpack(map), &[], &[]), map);
    }
}
