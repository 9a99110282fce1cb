//! Edits against the same edits made on a tree.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::doc::json::Json;
use crate::doc::msgpack::{HeadKind, Msgpack, write_array_head, write_map_head};
use crate::doc::{Kind, Text};

/// A document as a tree.
#[derive(Clone, Debug, PartialEq)]
enum Tree {
    Number(u8),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

use Tree::{List, Map, Number};

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        any::<u8>().prop_map(Number),
        // Also texts whose heads take two and three bytes.
        prop_oneof!["[a-z]{0,6}", "[a-z]{28,40}", "[a-z]{250,260}"].prop_map(Tree::Text),
    ];
    let tree = leaf.prop_recursive(4, 60, 18, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..18).prop_map(List),
            vec(("[a-z]{0,3}", inner), 0..18).prop_map(Map),
        ]
    });
    vec(("[a-z]{0,3}", tree), 0..18).prop_map(Map)
}

/// How a document is written where there is a choice.
#[derive(Clone, Copy, Debug)]
enum Style {
    /// As short as can be.
    Compact,
    /// JSON with white space, msgpack with wide heads.
    Wide,
}

fn json(tree: &Tree, style: Style, out: &mut String) {
    let blank = match style {
        Style::Compact => "",
        Style::Wide => " \n",
    };
    let between = |out: &mut String, number: usize| {
        if number > 0 {
            *out += &format!("{blank},{blank}");
        }
    };
    match tree {
        Number(number) => *out += &number.to_string(),
        Tree::Text(text) => *out += &format!("\"{text}\""),
        List(items) => {
            *out += &format!("[{blank}");
            for (number, item) in items.iter().enumerate() {
                between(out, number);
                json(item, style, out);
            }
            *out += &format!("{blank}]");
        }
        Map(members) => {
            *out += &format!("{{{blank}");
            for (number, (key, value)) in members.iter().enumerate() {
                between(out, number);
                *out += &format!("\"{key}\"{blank}:{blank}");
                json(value, style, out);
            }
            *out += &format!("{blank}}}");
        }
    }
}

fn msgpack(tree: &Tree, style: Style, out: &mut Vec<u8>) {
    let wide = |out: &mut Vec<u8>, kind: u8, size: usize| {
        out.push(kind);
        out.extend((size as u32).to_be_bytes());
    };
    let head =
        |out: &mut Vec<u8>, size: usize, kind: u8, write: fn(&mut Vec<u8>, usize)| match style {
            Style::Compact => write(out, size),
            Style::Wide => wide(out, kind, size),
        };
    match tree {
        Number(number) => out.extend([0xcc, *number]),
        Tree::Text(text) => {
            head(out, text.len(), 0xdb, crate::doc::msgpack::write_str_head);
            out.extend(text.as_bytes());
        }
        List(items) => {
            head(out, items.len(), 0xdd, write_array_head);
            items.iter().for_each(|item| msgpack(item, style, out));
        }
        Map(members) => {
            head(out, members.len(), 0xdf, write_map_head);
            for (key, value) in members {
                Msgpack::write_text(out, key.as_bytes());
                msgpack(value, style, out);
            }
        }
    }
}

/// Reads a document back; fails where it is not well-formed.
fn read<'a, D: Doc<'a>>(doc: D, at: usize) -> (Tree, usize) {
    let string = |text: Text<'_>| String::from_utf8(text.value().into_owned()).unwrap();
    match doc.kind(at).unwrap() {
        Kind::Text => {
            let (text, end) = doc.text(at).unwrap();
            (Tree::Text(string(text)), end)
        }
        Kind::List => {
            let (mut list, mut items) = (doc.open_list(at).unwrap(), Vec::new());
            while let Some(item) = doc.next_item(&mut list).unwrap() {
                let (item, end) = read(doc, item);
                items.push(item);
                list.next = end;
            }
            (List(items), list.next)
        }
        Kind::Map => {
            let (mut map, mut members) = (doc.open_map(at).unwrap(), Vec::new());
            while let Some(member) = doc.next_member(&mut map).unwrap() {
                let (value, end) = read(doc, member.value);
                members.push((string(member.key), value));
                map.next = end;
            }
            (Map(members), map.next)
        }
        _ => {
            let end = doc.end(at).unwrap();
            let bytes = &doc.bytes()[at..end];
            let number = match Msgpack(bytes).head(0).unwrap().kind {
                HeadKind::Unsigned(number) if D::HAS_SIZES => number as u8,
                _ => std::str::from_utf8(bytes).unwrap().parse().unwrap(),
            };
            (Number(number), end)
        }
    }
}

/// An edit of a node of a tree; nodes are numbered as they are met.
#[derive(Clone, Debug)]
enum Ask {
    /// The member or item goes that the node is the value of.
    Remove(Index),
    Replace(Index, u8),
    Part(Index, Index, Index, String),
    Append(Index, String, u8),
}

fn asks() -> impl Strategy<Value = Vec<Ask>> {
    let any_index = any::<Index>;
    let ask = prop_oneof![
        3 => any_index().prop_map(Ask::Remove),
        1 => (any_index(), any::<u8>()).prop_map(|(node, with)| Ask::Replace(node, with)),
        2 => (any_index(), any_index(), any_index(), "[A-Z]{0,40}")
            .prop_map(|(node, from, to, with)| Ask::Part(node, from, to, with)),
        2 => (any_index(), "[A-Z]{1,3}", any::<u8>())
            .prop_map(|(node, key, value)| Ask::Append(node, key, value)),
    ];
    vec(ask, 0..24)
}

/// Where the nodes of a document are.
#[derive(Clone, Debug)]
struct Node {
    /// The map or list it stands in, and its member or item there.
    place: Option<(usize, Range<usize>, bool)>,
    value: Range<usize>,
    kind: Kind,
    text: Range<usize>,
}

fn nodes<'a, D: Doc<'a>>(
    doc: D,
    at: usize,
    place: Option<(usize, usize, bool)>,
    found: &mut Vec<Node>,
) -> usize {
    let (kind, end) = (doc.kind(at).unwrap(), doc.end(at).unwrap());
    let text = match doc.value(at).unwrap().0 {
        Some(text) => text.at..text.at + text.raw.len(),
        None => at..at,
    };
    found.push(Node {
        place: place.map(|(owner, start, is_member)| (owner, start..end, is_member)),
        value: at..end,
        kind,
        text,
    });
    if kind == Kind::List {
        let mut list = doc.open_list(at).unwrap();
        while let Some(item) = doc.next_item(&mut list).unwrap() {
            list.next = nodes(doc, item, Some((at, item, false)), found);
        }
    } else if kind == Kind::Map {
        let mut map = doc.open_map(at).unwrap();
        while let Some(member) = doc.next_member(&mut map).unwrap() {
            map.next = nodes(doc, member.value, Some((at, member.start, true)), found);
        }
    }
    end
}

/// A node of the kind that an edit needs, if there is one.
fn pick<'n>(
    nodes: &'n [Node],
    index: &Index,
    fits: impl Fn(&Node) -> bool,
) -> Option<(usize, &'n Node)> {
    let fitting: Vec<_> = nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| fits(node))
        .collect();
    (!fitting.is_empty()).then(|| *index.get(&fitting))
}

fn part(length: usize, from: &Index, to: &Index) -> Range<usize> {
    let (from, to) = (from.index(length + 1), to.index(length + 1));
    from.min(to)..from.max(to)
}

/// Asks for the edits of a document.
fn ask<'a, D: Doc<'a>>(doc: D, asks: &[Ask], edits: &mut Edits) {
    let mut found = Vec::new();
    nodes(doc, 0, None, &mut found);
    let number = |value: u8| {
        move |out: &mut Vec<u8>| match D::HAS_SIZES {
            true => out.extend([0xcc, value]),
            false => out.extend(value.to_string().bytes()),
        }
    };
    for ask in asks {
        match ask {
            Ask::Remove(node) => {
                if let Some((_, node)) = pick(&found, node, |node| node.place.is_some()) {
                    let (owner, range, is_member) = node.place.clone().unwrap();
                    match is_member {
                        true => edits.remove_member(owner, range, Cause::Level),
                        false => edits.remove_item(owner, range, Cause::Shrink),
                    }
                }
            }
            Ask::Replace(node, with) => {
                if let Some((_, node)) = pick(&found, node, |node| node.place.is_some()) {
                    edits.replace_value(node.value.clone(), Cause::Redact, number(*with));
                }
            }
            Ask::Part(node, from, to, with) => {
                if let Some((_, node)) = pick(&found, node, |node| node.kind == Kind::Text) {
                    let part = part(node.text.len(), from, to);
                    let part = node.text.start + part.start..node.text.start + part.end;
                    edits.replace_part(node.value.start, part, Cause::Redact, |out| {
                        D::write_text_part(out, with.as_bytes());
                    });
                }
            }
            Ask::Append(node, key, value) => {
                if let Some((_, node)) = pick(&found, node, |node| node.kind == Kind::Map) {
                    let map = node.value.clone();
                    edits.append_member(doc, map, key.as_bytes(), Cause::Enrich, number(*value));
                }
            }
        }
    }
}

/// The same on a tree, one node at a time. `nodes` tells the nodes' kinds.
fn edited(tree: &Tree, asks: &[Ask], nodes: &[Node]) -> Tree {
    let mut number = 0;
    edit_node(tree, &mut number, asks, nodes).expect("the whole cannot be removed")
}

fn edit_node(tree: &Tree, number: &mut usize, asks: &[Ask], nodes: &[Node]) -> Option<Tree> {
    let this = *number;
    *number += 1;
    let is_this = |index: &Index, fits: fn(&Node) -> bool| {
        pick(nodes, index, fits).is_some_and(|(number, _)| number == this)
    };
    let inner = match tree {
        Number(_) => tree.clone(),
        Tree::Text(text) => {
            let is_text: fn(&Node) -> bool = |node| node.kind == Kind::Text;
            let parts = asks.iter().filter_map(|ask| match ask {
                Ask::Part(node, from, to, with) if is_this(node, is_text) => {
                    Some((part(text.len(), from, to), with.as_str()))
                }
                _ => None,
            });
            Tree::Text(edit_text(text, parts.collect()))
        }
        List(items) => {
            let items = items
                .iter()
                .filter_map(|item| edit_node(item, number, asks, nodes));
            List(items.collect())
        }
        Map(members) => {
            let mut left = Vec::new();
            for (key, value) in members {
                if let Some(value) = edit_node(value, number, asks, nodes) {
                    left.push((key.clone(), value));
                }
            }
            for ask in asks {
                match ask {
                    Ask::Append(node, key, value)
                        if is_this(node, |node| node.kind == Kind::Map) =>
                    {
                        left.push((key.clone(), Number(*value)));
                    }
                    _ => {}
                }
            }
            Map(left)
        }
    };
    let has_place: fn(&Node) -> bool = |node| node.place.is_some();
    let is_removed = |ask: &Ask| matches!(ask, Ask::Remove(node) if is_this(node, has_place));
    if asks.iter().any(is_removed) {
        return None;
    }
    let replaced = asks.iter().find_map(|ask| match ask {
        Ask::Replace(node, with) if is_this(node, has_place) => Some(Number(*with)),
        _ => None,
    });
    Some(replaced.unwrap_or(inner))
}

/// Replaces parts of a text: those that overlap are one, with the text of the first.
fn edit_text(text: &str, parts: Vec<(Range<usize>, &str)>) -> String {
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|&number| {
        let part = &parts[number].0;
        (part.start, !part.is_empty(), Reverse(part.end), number)
    });
    let mut out = String::new();
    let mut done = 0;
    for number in order {
        let (part, with) = &parts[number];
        if part.start >= done {
            out += &text[done..part.start];
            out += with;
        }
        done = done.max(part.end);
    }
    out + &text[done..]
}

/// The document with the edits, after its plan was checked.
fn settled<'a, D: Doc<'a>>(doc: D, edits: &mut Edits) -> Vec<u8> {
    let length = doc.bytes().len();
    let plan = edits.settle(doc);
    let mut out = Vec::new();
    plan.apply(doc.bytes(), 0..length, &mut out);
    assert_eq!(out.len(), plan.length_of(length));
    let changes = Cause::ALL.map(|cause| plan.bytes(cause));
    let removed: usize = changes.iter().map(|change| change.removed).sum();
    let added: usize = changes.iter().map(|change| change.added).sum();
    assert_eq!(length - removed + added, out.len(), "bytes by cause add up");
    out
}

fn styles() -> impl Strategy<Value = Style> {
    prop_oneof![Just(Style::Compact), Just(Style::Wide)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn json_is_edited_like_a_tree(tree in trees(), style in styles(), asks in asks()) {
        let mut text = String::new();
        json(&tree, style, &mut text);
        let doc = Json(text.as_bytes());
        let mut edits = Edits::default();
        ask(doc, &asks, &mut edits);
        let out = settled(doc, &mut edits);
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
        let mut found = Vec::new();
        nodes(doc, 0, None, &mut found);
        prop_assert_eq!(read(Json(&out), 0), (edited(&tree, &asks, &found), out.len()));
    }

    #[test]
    fn msgpack_is_edited_like_a_tree(tree in trees(), style in styles(), asks in asks()) {
        let mut bytes = Vec::new();
        msgpack(&tree, style, &mut bytes);
        let doc = Msgpack(&bytes);
        let mut edits = Edits::default();
        ask(doc, &asks, &mut edits);
        let out = settled(doc, &mut edits);
        let mut found = Vec::new();
        nodes(doc, 0, None, &mut found);
        prop_assert_eq!(read(Msgpack(&out), 0), (edited(&tree, &asks, &found), out.len()));
    }

    #[test]
    fn more_edits_can_be_asked_for_after_settling(
        tree in trees(),
        asks in asks(),
        split in any::<Index>(),
    ) {
        // Parts that were merged are one, however they were asked for.
        let mut asks = asks;
        asks.retain(|ask| !matches!(ask, Ask::Part(..)));
        let (before, after) = asks.split_at(split.index(asks.len() + 1));
        let mut bytes = Vec::new();
        msgpack(&tree, Style::Compact, &mut bytes);
        let doc = Msgpack(&bytes);
        let (mut once, mut twice) = (Edits::default(), Edits::default());
        ask(doc, &asks, &mut once);
        ask(doc, before, &mut twice);
        settled(doc, &mut twice);
        ask(doc, after, &mut twice);
        prop_assert_eq!(settled(doc, &mut once), settled(doc, &mut twice));
    }

    #[test]
    fn a_plan_for_a_text_applies_inside_the_record(
        tree in trees(),
        style in styles(),
        asks in asks(),
        around in (any::<bool>(), any::<bool>(), any::<bool>()),
    ) {
        let mut text = String::new();
        json(&tree, style, &mut text);
        let mut inner = Edits::default();
        ask(Json(text.as_bytes()), &asks, &mut inner);
        let expected = settled(Json(text.as_bytes()), &mut inner);

        let (removes_before, removes_text, appends) = around;
        let log = Tree::Text(text.clone());
        let record = Map(vec![("a".into(), Number(1)), ("log".into(), log), ("b".into(), Number(2))]);
        let mut bytes = Vec::new();
        msgpack(&record, style, &mut bytes);
        let doc = Msgpack(&bytes);
        let mut found = Vec::new();
        nodes(doc, 0, None, &mut found);
        let mut edits = Edits::default();
        if appends {
            edits.append_member(doc, 0..bytes.len(), b"c", Cause::Enrich, |out| out.push(3));
        }
        edits.embed(found[2].value.start, found[2].text.start, inner.plan());
        if removes_before {
            edits.remove_member(0, found[1].place.clone().unwrap().1, Cause::Enrich);
        }
        if removes_text {
            edits.remove_member(0, found[2].place.clone().unwrap().1, Cause::Enrich);
        }
        let mut want = vec![("b".to_owned(), Number(2))];
        if !removes_text {
            let text = Tree::Text(String::from_utf8(expected).unwrap());
            want.insert(0, ("log".to_owned(), text));
        }
        if !removes_before {
            want.insert(0, ("a".to_owned(), Number(1)));
        }
        if appends {
            want.push(("c".to_owned(), Number(3)));
        }
        let out = settled(doc, &mut edits);
        prop_assert_eq!(read(Msgpack(&out), 0), (Map(want), out.len()));
    }

    #[test]
    fn ranges_that_are_no_edits_of_the_document_do_no_harm(
        ranges in vec((0usize..40, 0usize..40, 0usize..40, 0u8..4), 0..12),
    ) {
        let text = br#"{"a":[1,"two",{}],"b":"c"}"#;
        let bytes = b"\x82\xa1a\x93\x01\xa3two\x80\xa1b\xa1c";
        let mut edits = Edits::default();
        for (start, end, owner, kind) in ranges {
            match kind {
                0 => edits.remove_member(owner, start..end, Cause::Level),
                1 => edits.replace_value(start..end, Cause::Redact, |out| out.push(b'x')),
                2 => edits.replace_part(owner, start..end, Cause::Redact, |out| out.push(b'y')),
                _ => edits.append_member(Json(text), start..end, b"k", Cause::Enrich, |out| out.push(b'1')),
            }
        }
        settled(Json(text), &mut edits);
        settled(Msgpack(bytes), &mut edits);
    }
}

/// Removes and appends top-level members of JSON text.
fn cut(text: &str, unwanted: &[&str], append: &[(&str, &str)]) -> String {
    let doc = Json(text.as_bytes());
    let mut edits = Edits::default();
    let mut map = doc.open_map(0).unwrap();
    while let Some(member) = doc.next_member(&mut map).unwrap() {
        map.next = doc.end(member.value).unwrap();
        if unwanted.iter().any(|name| member.key.is(name.as_bytes())) {
            edits.remove_member(0, member.start..map.next, Cause::Level);
        }
    }
    for (key, value) in append {
        edits.append_member(doc, 0..map.next, key.as_bytes(), Cause::Enrich, |out| {
            Json::write_text(out, value.as_bytes());
        });
    }
    String::from_utf8(settled(doc, &mut edits)).unwrap()
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
        assert_eq!(cut(text, unwanted, &[]), want, "{unwanted:?}");
    }
}

#[test]
fn json_members_are_appended() {
    for (text, unwanted, want) in [
        ("{}", &[][..], r#"{"k":"v\"","l":""}"#),
        (r#"{"a":1}"#, &[], r#"{"a":1,"k":"v\"","l":""}"#),
        (r#"{"a":1}"#, &["a"], r#"{"k":"v\"","l":""}"#),
        (r#"{"a":1,"b":2}"#, &["b"], r#"{"a":1,"k":"v\"","l":""}"#),
        (r#"{"a":1,"b":2}"#, &["a"], r#"{"b":2,"k":"v\"","l":""}"#),
    ] {
        assert_eq!(
            cut(text, unwanted, &[("k", "v\""), ("l", "")]),
            want,
            "{text}"
        );
    }
}

#[test]
fn msgpack_heads_change_their_width() {
    let members = |count: u8| (0..count).flat_map(|number| [0xa1, b'a' + number, number]);
    for (count, removed, appended, head) in [
        (3, 1, 0, &[0x82][..]),
        (3, 3, 0, &[0x80]),
        (15, 0, 1, &[0xde, 0, 16]),
        (16, 1, 0, &[0x8f]),
        (0, 0, 1, &[0x81]),
        (16, 1, 1, &[0xde, 0, 16]),
    ] {
        let mut bytes = Vec::new();
        write_map_head(&mut bytes, count.into());
        let first = bytes.len();
        bytes.extend(members(count));
        let mut edits = Edits::default();
        for number in 0..removed {
            let start = first + 3 * number;
            edits.remove_member(0, start..start + 3, Cause::Level);
        }
        for _ in 0..appended {
            let all = 0..bytes.len();
            edits.append_member(Msgpack(&bytes), all, b"k", Cause::Enrich, |out| out.push(7));
        }
        let out = settled(Msgpack(&bytes), &mut edits);
        let left = members(count).skip(3 * removed);
        let came = b"\xa1k\x07".repeat(appended);
        assert_eq!(out, [head, &left.collect::<Vec<_>>(), &came].concat());
    }
}

#[test]
fn a_plan_tells_causes_and_removals() {
    let text = br#"{"a":1,"b":{"c":2},"d":3}"#;
    let mut edits = Edits::default();
    edits.remove_member(11, 12..17, Cause::ManagedFields);
    edits.remove_member(0, 7..18, Cause::Level);
    edits.remove_member(0, 7..18, Cause::Enrich);
    let plan = edits.settle(Json(text));
    let goes = ByteChange {
        removed: 12,
        added: 0,
    };
    assert_eq!(plan.bytes(Cause::Level), goes);
    assert!(plan.has(Cause::Level) && !plan.has(Cause::ManagedFields) && !plan.has(Cause::Enrich));
    assert_eq!(plan.removal_of(7), Some(Cause::Level));
    assert_eq!(plan.removal_of(12), Some(Cause::Level));
    assert_eq!(plan.removal_of(1), None);
    assert_eq!(plan.members_gained(0), -1);
}
