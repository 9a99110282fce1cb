//! From YAML text to a tree, as kube-apiserver converts YAML to JSON: plain scalars by
//! YAML 1.1 as go-yaml v2 understands it, merge keys, the last of repeated keys.
//!
//! The parser knows YAML 1.2. Where it accepts more than YAML 1.1 and people are likely to
//! write it, this module refuses it: tabs at the beginning of lines, `?` in flow style, line
//! breaks like U+2028. Where it accepts less, the text stays refused, notably tabs that
//! indent flow style inside block style.

use std::ops::Range;

use base64::Engine as _;
use granit_parser::{Event, Parser, ScalarStyle, ScanError, StrInput, StructureStyle, Tag};

use super::json::lossy;
use super::tree::{Entry, Fault, MAX_DEPTH, MAX_NODES, Node, Value, mark_repeats, shown};

/// Reads the first document of a text; an empty one is null.
pub fn read(text: &str) -> Result<Node, Fault> {
    let first = documents(text).next().transpose()?;
    Ok(first.unwrap_or(Node {
        value: Value::Null,
        at: 0,
    }))
}

/// Reads all documents of a text; empty ones are null.
pub fn read_all(text: &str) -> Result<Vec<Node>, Fault> {
    documents(text).collect()
}

fn documents(text: &str) -> impl Iterator<Item = Result<Node, Fault>> {
    let mut parser = Parser::new_from_str(text);
    let mut done = false;
    let mut start = 0;
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let checked = match start {
            0 => refuse_special_characters(text),
            _ => Ok(()),
        };
        let document = checked.and_then(|()| document(text, &mut start, &mut parser));
        done = !matches!(document, Ok(Some(_)));
        document.transpose()
    })
}

/// Reads the next document, which begins at or after `start`; `None` after the last one.
fn document<'t>(
    text: &'t str,
    start: &mut usize,
    parser: &mut Parser<'t, StrInput<'t>>,
) -> Result<Option<Node>, Fault> {
    let mut builder = Builder {
        open: Vec::new(),
        anchors: Vec::new(),
        root: None,
        nodes: 0,
    };
    let mut spans = Vec::new();
    for event in parser {
        let (event, span) = event.map_err(|error| syntax_fault(&error))?;
        let at = offset(span.start.byte_offset());
        match event {
            Event::DocumentStart(_, Some(version)) if (version.major, version.minor) != (1, 1) => {
                let message = "kube-apiserver reads YAML 1.1: remove the `%YAML` line";
                return Err(Fault::syntax(at, message));
            }
            Event::Scalar(value, style, anchor, tag) => {
                let flow = builder.is_in_flow();
                if !flow {
                    spans.push(at..offset(span.end.byte_offset()));
                }
                if flow && style == ScalarStyle::Plain && value.contains('?') {
                    let message = "`?` inside `[]` or `{}` must be in quotes";
                    return Err(Fault::syntax(at, message));
                }
                builder.scalar(at, &value, style, anchor, tag.as_deref())?;
            }
            Event::SequenceStart(style, anchor, _) => {
                builder.open(at, Collection::List(Vec::new()), style, anchor)?;
            }
            Event::MappingStart(style, anchor, _) => {
                builder.open(
                    at,
                    Collection::Map(Vec::new(), Key::Expected),
                    style,
                    anchor,
                )?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(frame) = builder.open.pop() {
                    if frame.flow && !builder.is_in_flow() {
                        spans.push(frame.at..at);
                    }
                    builder.close(frame)?;
                }
            }
            Event::Alias(anchor) => builder.alias(at, anchor)?,
            Event::DocumentEnd => {
                let end = at.min(text.len());
                refuse_tabs(text, *start..end, spans)?;
                *start = end;
                let nothing = Node {
                    value: Value::Null,
                    at: end,
                };
                return Ok(Some(builder.root.unwrap_or(nothing)));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// Returns the offset, which the parser knows for every event of a `str`.
fn offset(known: Option<usize>) -> usize {
    known.unwrap_or_default()
}

fn syntax_fault(error: &ScanError) -> Fault {
    let at = offset(error.marker().byte_offset());
    Fault::syntax(at, format!("not YAML: {}", error.info()))
}

/// Refuses line breaks of YAML 1.1 that YAML 1.2 takes for letters, and characters that no
/// YAML may have.
fn refuse_special_characters(text: &str) -> Result<(), Fault> {
    let special = |c: char| match c {
        '\t' | '\n' | '\r' => false,
        '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}' => true,
        c => c.is_control(),
    };
    match text.find(special) {
        None => Ok(()),
        Some(at) => {
            let code = text.get(at..).and_then(|rest| rest.chars().next());
            let code = code.map_or(0, u32::from);
            let message =
                format!("character U+{code:04X} is not allowed: escape it in double quotes");
            Err(Fault::syntax(at, message))
        }
    }
}

/// Refuses tabs at the beginning of lines, outside of scalars and flow collections, as
/// YAML 1.1 does. `spans` are those of the outermost ones, in their order.
fn refuse_tabs(text: &str, range: Range<usize>, spans: Vec<Range<usize>>) -> Result<(), Fault> {
    let mut spans = spans.into_iter();
    let mut covered = 0;
    let mut start = range.start;
    let document = text.get(range).unwrap_or_default();
    for line in document.split_inclusive(['\n', '\r']) {
        let indent = line.bytes().take_while(|&byte| byte == b' ').count();
        let first = start.saturating_add(indent);
        while let Some(span) = spans.as_slice().first().filter(|span| span.start <= first) {
            covered = covered.max(span.end);
            spans.next();
        }
        if first >= covered && text.as_bytes().get(first) == Some(&b'\t') {
            let message = "tab at the beginning of a line: indent with spaces";
            return Err(Fault::syntax(first, message));
        }
        start = start.saturating_add(line.len());
    }
    Ok(())
}

/// Builds a tree from events, with a stack of its own instead of recursion.
struct Builder {
    open: Vec<Frame>,
    /// Values of anchors by the parser's ids; `None` while a value is still open.
    anchors: Vec<Option<Built>>,
    root: Option<Node>,
    /// Number of values so far, those of aliases included.
    nodes: usize,
}

/// Finished value with its size, which keeps aliases from blowing up the tree.
#[derive(Clone)]
struct Built {
    node: Node,
    nodes: usize,
    depth: usize,
}

/// List or mapping that is still open.
struct Frame {
    at: usize,
    anchor: usize,
    flow: bool,
    content: Collection,
    nodes: usize,
    depth: usize,
}

enum Collection {
    List(Vec<Node>),
    Map(Vec<Entry>, Key),
}

/// State of an open mapping.
enum Key {
    Expected,
    ValueOf(String, usize),
    /// The value of `<<`.
    Merged(usize),
}

/// Scalar by its role: `<<` is special as a key only.
enum Scalar {
    Value(Value),
    Merge,
}

impl Builder {
    /// True inside `[]` or `{}`.
    fn is_in_flow(&self) -> bool {
        self.open.last().is_some_and(|frame| frame.flow)
    }

    fn open(
        &mut self,
        at: usize,
        content: Collection,
        style: StructureStyle,
        anchor: usize,
    ) -> Result<(), Fault> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Fault::too_deep(at));
        }
        self.reserve(anchor);
        let flow = style == StructureStyle::Flow;
        self.open.push(Frame {
            at,
            anchor,
            flow,
            content,
            nodes: 1,
            depth: 1,
        });
        self.count(at, 1)
    }

    fn close(&mut self, frame: Frame) -> Result<(), Fault> {
        let value = match frame.content {
            Collection::List(items) => Value::List(items),
            Collection::Map(mut entries, _) => {
                mark_repeats(&mut entries);
                keep_last(&mut entries);
                Value::Map(entries)
            }
        };
        let node = Node {
            value,
            at: frame.at,
        };
        let built = Built {
            node,
            nodes: frame.nodes,
            depth: frame.depth,
        };
        self.finish(built, frame.anchor, Origin::Here)
    }

    fn scalar(
        &mut self,
        at: usize,
        value: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
    ) -> Result<(), Fault> {
        self.reserve(anchor);
        let nodes = (value.len() / 64).saturating_add(1);
        self.count(at, nodes)?;
        let expects_key = matches!(
            self.open.last(),
            Some(Frame {
                content: Collection::Map(_, Key::Expected),
                ..
            })
        );
        let plain = style == ScalarStyle::Plain;
        let value = match resolve(at, value, plain, tag)? {
            Scalar::Merge if expects_key => {
                if let Some(Frame {
                    content: Collection::Map(_, key),
                    ..
                }) = self.open.last_mut()
                {
                    *key = Key::Merged(at);
                }
                return Ok(());
            }
            Scalar::Merge => Value::Text("<<".into()),
            Scalar::Value(value) => value,
        };
        let built = Built {
            node: Node { value, at },
            nodes,
            depth: 0,
        };
        self.finish(built, anchor, Origin::Here)
    }

    fn alias(&mut self, at: usize, anchor: usize) -> Result<(), Fault> {
        let built = self.anchors.get(anchor).cloned().flatten();
        let built = built.ok_or_else(|| Fault::syntax(at, "an alias stands for itself"))?;
        self.count(at, built.nodes)?;
        self.finish(built, 0, Origin::Alias)
    }

    /// Makes room for an anchor; id 0 means none.
    fn reserve(&mut self, anchor: usize) {
        if anchor >= self.anchors.len() {
            self.anchors.resize_with(anchor.saturating_add(1), || None);
        }
    }

    fn count(&mut self, at: usize, nodes: usize) -> Result<(), Fault> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            Err(Fault::too_many(at))
        } else {
            Ok(())
        }
    }

    /// Adds a finished value to the collection that is open.
    fn finish(&mut self, built: Built, anchor: usize, origin: Origin) -> Result<(), Fault> {
        if anchor > 0 {
            // The copy counts: many anchored values inside each other are many copies.
            self.count(built.node.at, built.nodes)?;
            if let Some(known) = self.anchors.get_mut(anchor) {
                *known = Some(built.clone());
            }
        }
        let Some(frame) = self.open.last_mut() else {
            self.root = Some(built.node);
            return Ok(());
        };
        frame.nodes = frame.nodes.saturating_add(built.nodes);
        frame.depth = frame.depth.max(built.depth.saturating_add(1));
        if frame.depth > MAX_DEPTH {
            return Err(Fault::too_deep(built.node.at));
        }
        match &mut frame.content {
            Collection::List(items) => items.push(built.node),
            Collection::Map(entries, key) => match std::mem::replace(key, Key::Expected) {
                Key::Expected => *key = Key::ValueOf(key_text(&built.node)?, built.node.at),
                Key::ValueOf(key, at) => {
                    entries.push(Entry {
                        key,
                        at,
                        value: built.node,
                        repeats: None,
                    });
                }
                Key::Merged(at) => merge(entries, built.node, at, origin)?,
            },
        }
        Ok(())
    }
}

/// Origin of a value: written out, or an alias.
#[derive(Clone, Copy, PartialEq)]
enum Origin {
    Here,
    Alias,
}

/// Adds what `<<` stands for: a mapping, or a list of mappings of which the first wins.
/// As in go-yaml v2 it overrides the keys above it and is overridden by the keys below it.
fn merge(entries: &mut Vec<Entry>, node: Node, at: usize, origin: Origin) -> Result<(), Fault> {
    let maps = match node.value {
        Value::List(items) if origin == Origin::Here => items,
        _ => vec![node],
    };
    for map in maps.into_iter().rev() {
        let Value::Map(merged) = map.value else {
            let message = "`<<` takes a mapping or a list of mappings";
            return Err(Fault::syntax(at, message));
        };
        entries.extend(merged.into_iter().map(|entry| Entry {
            repeats: None,
            ..entry
        }));
    }
    Ok(())
}

/// Drops entries whose key is set again later.
fn keep_last(entries: &mut Vec<Entry>) {
    let mut seen = std::collections::BTreeSet::new();
    let mut keep: Vec<bool> = entries
        .iter()
        .rev()
        .map(|entry| seen.insert(entry.key.as_str()))
        .collect();
    keep.reverse();
    let mut keep = keep.into_iter();
    entries.retain(|_| keep.next().unwrap_or(true));
}

/// Converts a key to a string, as JSON needs it.
fn key_text(key: &Node) -> Result<String, Fault> {
    match &key.value {
        Value::Text(text) => Ok(text.clone()),
        Value::Bool { value, .. } => Ok(value.to_string()),
        Value::Number { spelling, .. } => {
            Ok(integer(spelling).map_or_else(|| spelling.clone(), |value| value.to_string()))
        }
        Value::Null | Value::List(_) | Value::Map(_) => Err(Fault::syntax(
            key.at,
            format!("{} can't be a key", key.value),
        )),
    }
}

const STANDARD_TAGS: &str = "tag:yaml.org,2002:";

/// Finds the value of a scalar.
fn resolve(at: usize, text: &str, plain: bool, tag: Option<&Tag>) -> Result<Scalar, Fault> {
    let string = || Value::Text(text.to_owned());
    let Some(tag) = tag else {
        return match text {
            "<<" if plain => Ok(Scalar::Merge),
            // Includes a missing value, which the parser gives as `~`.
            text if plain => implicit(at, text).map(Scalar::Value),
            _ => Ok(Scalar::Value(string())),
        };
    };
    let name = format!("{}{}", tag.handle(), tag.suffix());
    let Some(name) = name.strip_prefix(STANDARD_TAGS) else {
        return Ok(Scalar::Value(string()));
    };
    if text == "<<" && name == "merge" {
        return Ok(Scalar::Merge);
    }
    let found = || implicit(at, text);
    let value = match name {
        "null" => Some(found()?).filter(|value| *value == Value::Null),
        "bool" => Some(found()?).filter(|value| matches!(value, Value::Bool { .. })),
        "int" => Some(found()?).filter(|_| integer(text).is_some()),
        "float" => Some(found()?).filter(|value| matches!(value, Value::Number { .. })),
        "binary" => {
            let encoded: String = text.split(['\r', '\n']).collect();
            let bytes = base64::engine::general_purpose::STANDARD.decode(encoded);
            bytes.ok().map(|bytes| Value::Text(lossy(&bytes)))
        }
        _ => Some(string()),
    };
    value.map(Scalar::Value).ok_or_else(|| {
        Fault::syntax(
            at,
            format!("`{}` does not fit its tag `!!{name}`", shown(text)),
        )
    })
}

/// Reads a plain scalar by YAML 1.1, as far as go-yaml v2 goes: `yes` and `on` are booleans,
/// `0o17` and `1_000` numbers, dates and `12:30:45` strings.
fn implicit(at: usize, text: &str) -> Result<Value, Fault> {
    let spelling = || text.to_owned();
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Value::Bool {
                value: true,
                spelling: spelling(),
            }
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Value::Bool {
                value: false,
                spelling: spelling(),
            }
        }
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF"
        | "-.inf" | "-.Inf" | "-.INF" => {
            let message = format!("`{text}` is not a number in JSON: put it in quotes");
            return Err(Fault::syntax(at, message));
        }
        _ => match integer(text) {
            Some(value) => Value::Number {
                integer: i64::try_from(value).is_ok(),
                spelling: spelling(),
            },
            None => match float(text) {
                // JSON writes whole floats as integers.
                Some(value) => {
                    let integer = value.fract() == 0.0 && value.abs() < TWO_TO_63;
                    Value::Number {
                        integer,
                        spelling: spelling(),
                    }
                }
                None => Value::Text(spelling()),
            },
        },
    })
}

/// First whole number beyond the range of an `i64`.
const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

/// Reads an integer as Go writes them, with `_` anywhere; `None` beyond 64 bits.
fn integer(text: &str) -> Option<i128> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '+' || c == '-') {
        return None;
    }
    let plain = text.replace('_', "");
    let unsigned = plain.strip_prefix(['+', '-']);
    let digits = unsigned.unwrap_or(&plain);
    let (radix, digits) = match digits.strip_prefix('0') {
        None | Some("") => (10, digits),
        Some(rest) => [('x', 16), ('X', 16), ('o', 8), ('O', 8), ('b', 2), ('B', 2)]
            .into_iter()
            .find_map(|(prefix, radix)| Some((radix, rest.strip_prefix(prefix)?)))
            .unwrap_or((8, rest)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let value = i128::from(u64::from_str_radix(digits, radix).ok()?);
    let value = match plain.starts_with('-') {
        true => value.wrapping_neg(),
        false => value,
    };
    // Only numbers without a sign use the 64th bit.
    (unsigned.is_none() || i64::try_from(value).is_ok()).then_some(value)
}

/// Reads a decimal fraction; `None` beyond the range of a double.
fn float(text: &str) -> Option<f64> {
    let plain = if text.starts_with('.') {
        text.to_owned()
    } else {
        text.replace('_', "")
    };
    let unsigned = plain.strip_prefix(['+', '-']).unwrap_or(&plain);
    let mantissa = unsigned.split(['e', 'E']).next().unwrap_or_default();
    let decimal = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
        && mantissa.bytes().any(|byte| byte.is_ascii_digit())
        && mantissa
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
    if !decimal {
        return None;
    }
    plain.parse::<f64>().ok().filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(yaml: &str) -> String {
        match read(yaml) {
            Ok(node) => match node.value {
                Value::Null => "null".into(),
                Value::Bool { value, .. } => value.to_string(),
                Value::Number { integer: true, .. } => "integer".into(),
                Value::Number { integer: false, .. } => "number".into(),
                Value::Text(text) => format!("\"{text}\""),
                Value::List(_) => "list".into(),
                Value::Map(_) => "map".into(),
            },
            Err(fault) => fault.message,
        }
    }

    #[test]
    fn scalars_of_yaml_1_1() {
        for (kinds, spellings) in [
            (
                "true",
                &["y", "Yes", "ON", "True", "!!bool yes", "!!bool 'on'"][..],
            ),
            ("false", &["n", "NO", "off", "FALSE"]),
            (
                "null",
                &[
                    "",
                    "~",
                    "null",
                    "NULL",
                    "!!null ''",
                    "# nothing",
                    "---",
                    "--- ~",
                ],
            ),
            (
                "integer",
                &[
                    "0",
                    "-0",
                    "+12",
                    "017",
                    "0o17",
                    "0x1F",
                    "-0b101",
                    "1_000",
                    "1__0_",
                    "1e3",
                    "1.0",
                    ".5e1",
                    "9223372036854775807",
                    "08",
                    "!!int '5'",
                    "!!float 5",
                ],
            ),
            (
                "number",
                &[
                    "1.5",
                    ".5",
                    "-.5e-3",
                    "9223372036854775808",
                    "99999999999999999999",
                ],
            ),
        ] {
            for spelling in spellings {
                assert_eq!(kind(spelling), kinds, "{spelling}");
            }
        }
        for string in [
            "yEs",
            "oN",
            "nul",
            "2021-01-01",
            "12:30:45",
            "1.2.3",
            "0x",
            "0xG",
            "0o8",
            "1e",
            "_1",
            "+",
            ".",
            "..",
            "0b2",
            "1e999",
            "0xFFFFFFFFFFFFFFFFF",
            "._5",
            ".1_0",
            "tRue",
            "=",
            "10m",
            "+-1",
            "e3",
        ] {
            assert_eq!(kind(string), format!("\"{string}\""));
        }
        for (yaml, text) in [
            ("'5'", "5"),
            ("\"yes\"", "yes"),
            ("!!str 5", "5"),
            ("! 5", "5"),
            ("!custom yes", "yes"),
            ("!!binary aGk=", "hi"),
            ("|\n a\n b\n", "a\nb\n"),
            (">-\n a\n b\n", "a b"),
            ("\"\\x41\\u00fc\\U0001F600\"", "Aü😀"),
            ("'<<'", "<<"),
            ("'~'", "~"),
        ] {
            assert_eq!(kind(yaml), format!("\"{text}\""), "{yaml}");
        }
        for bad in [
            ".inf",
            "-.INF",
            ".nan",
            "!!int x",
            "!!bool 5",
            "!!null x",
            "!!binary '*'",
            "!!int 5.5",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    fn keys(yaml: &str) -> Vec<(String, String, bool)> {
        match read(yaml).unwrap().value {
            Value::Map(entries) => entries
                .into_iter()
                .map(|entry| {
                    let value = match entry.value.value {
                        Value::Text(text) => text,
                        other => other.to_string(),
                    };
                    (entry.key, value, entry.repeats.is_some())
                })
                .collect(),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn keys_merges_and_repetition() {
        let found = |list: &[(&str, &str, bool)]| -> Vec<(String, String, bool)> {
            list.iter()
                .map(|&(k, v, r)| (k.to_owned(), v.to_owned(), r))
                .collect()
        };
        for (yaml, expected) in [
            (
                "a: x\nb: w\na: z\n",
                &[("b", "w", false), ("a", "z", true)][..],
            ),
            (
                "0x10: x\ntrue: y\nyes: z\n",
                &[("16", "x", false), ("true", "z", true)],
            ),
            (
                "<<: {a: x, b: w}\na: z\n",
                &[("b", "w", false), ("a", "z", true)],
            ),
            (
                "a: z\n<<: {a: x, b: w}\n",
                &[("a", "x", true), ("b", "w", false)],
            ),
            (
                "<<: [{a: x}, {a: y, b: z}]\n",
                &[("b", "z", false), ("a", "x", true)],
            ),
            ("'<<': {a: x}\n", &[("<<", "a mapping", false)]),
            ("{a: x}", &[("a", "x", false)]),
        ] {
            assert_eq!(keys(yaml), found(expected), "{yaml}");
        }
        for bad in [
            "<<: x\n",
            "<<: [x]\n",
            "<<: ~\n",
            "~: x\n",
            "[a]: x\n",
            "a: &l [{b: c}]\n<<: *l\n",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_yaml_1_1_refuses() {
        for bad in [
            "%YAML 1.2\n---\na: b\n",
            "a:\n\tb: c\n",
            "a: b\n\t\nc: d\n",
            "\ta: b\n",
            "[a?b]",
            "a: b\u{85}c: d\n",
            "a: \u{7}\n",
            "a: *b\n",
            "&a [*a]",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        for good in [
            "%YAML 1.1\n---\na: b\n",
            "a: |\n  \tb\n",
            "a: [\n  b,\t\n  c]\n",
            "a:\tb\n",
            "a: b?c\n",
        ] {
            assert!(read(good).is_ok(), "{good:?} {:?}", read(good));
        }
    }

    #[test]
    fn documents_one_by_one() {
        let texts = |yaml: &str| -> Result<Vec<String>, usize> {
            let documents = read_all(yaml).map_err(|fault| fault.at)?;
            Ok(documents
                .iter()
                .map(|document| format!("{}@{}", document.value, document.at))
                .collect())
        };
        for (yaml, expected) in [
            ("", &[][..]),
            ("# nothing\n", &[]),
            ("a\n", &["string `a`@0"]),
            ("a\n---\nb\n", &["string `a`@0", "string `b`@6"]),
            ("---\n---\nb\n", &["null@3", "string `b`@8"]),
            ("a\n...\n--- b", &["string `a`@0", "string `b`@10"]),
        ] {
            assert_eq!(texts(yaml).unwrap(), expected, "{yaml}");
        }
        // An anchor belongs to its document.
        assert!(texts("&x a\n---\n[*x]").is_err());
        // Where a document is broken is told in the whole text.
        assert_eq!(texts("a: b\n---\nc: d\n\t\ne: f\n"), Err(14));
        assert_eq!(read("a\n---\n[").map(|node| node.at), Ok(0));
    }

    #[test]
    fn hostile_texts_are_errors() {
        let bomb = |list: &str| {
            let mut yaml = format!("a0: &a0 {list}\n");
            for i in 1..30 {
                let alias = format!("*a{},", i - 1);
                yaml += &format!("a{i}: &a{i} [{}]\n", alias.repeat(10));
            }
            yaml
        };
        let long = format!(
            "a: &a {}\nb: [{}]\n",
            "x".repeat(1 << 20),
            "*a,".repeat(1000)
        );
        let chain: String = (0..1000)
            .map(|i| {
                format!(
                    "- &a{} {}{}{}\n",
                    i + 1,
                    "[".repeat(60),
                    if i > 0 {
                        format!("*a{i}")
                    } else {
                        String::new()
                    },
                    "]".repeat(60)
                )
            })
            .collect();
        for hostile in [
            "[".repeat(100_000),
            "- ".repeat(100_000),
            bomb("[x]"),
            long,
            chain,
            "{a: ".repeat(1000),
        ] {
            assert!(read(&hostile).is_err(), "{}", &hostile[..40]);
        }
    }
}
