//! A file of detections: text → own detections, changed built-in ones, exceptions.

use std::fmt;

use super::catalog::{BUILTINS, Builtin};
use super::severity::Severity;
use crate::policy::Selectors;
use kube_audit_text::suggest::nearest;
use kube_audit_text::{
    Fault, Node, Path, Place, Source, Value, begins_with_brace, read_json, read_yaml, shown,
    to_utf8,
};

/// What a file of detections says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detections {
    /// Requests that no detection is to see.
    pub(super) ignore: Vec<Selectors>,
    /// Changes of built-in detections.
    pub(super) changes: Vec<Change>,
    /// Own detections.
    pub(super) own: Vec<Own>,
}

/// What a file changes of a built-in detection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub id: &'static str,
    pub severity: Option<Severity>,
    pub except: Vec<Selectors>,
}

/// A detection that a file defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Own {
    pub id: String,
    pub severity: Severity,
    pub technique: String,
    pub selectors: Selectors,
    pub results: Vec<Outcome>,
    pub except: Vec<Selectors>,
}

/// How a request must have ended for an own detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Code 100 to 399.
    Ok,
    /// Code 403, unless the authorizer allowed it.
    Denied,
    /// Code 400 and above.
    Failed,
    /// Any way.
    Any,
}

impl Outcome {
    const ALL: [Outcome; 4] = [Outcome::Ok, Outcome::Denied, Outcome::Failed, Outcome::Any];

    /// Returns the name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Denied => "denied",
            Outcome::Failed => "failed",
            Outcome::Any => "any",
        }
    }
}

/// Why a file of detections was refused: everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectionsError {
    problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// The field, such as `detections[3].verbs[0]`; empty for the whole text.
    pub path: String,
    /// What was found and what would be right.
    pub message: String,
}

impl DetectionsError {
    /// Returns the problems; at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// One problem per line.
impl fmt::Display for DetectionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for DetectionsError {}

impl Detections {
    /// Reads JSON or YAML, in braces or not; `name` is what messages call the text.
    ///
    /// ```
    /// use kube_audit_core::stage::detect::Detections;
    ///
    /// let error = Detections::parse("Detect_Rules", b"{ignor: []}").unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "Detect_Rules:1:2: ignor: unknown field; did you mean `ignore`?",
    /// );
    /// ```
    pub fn parse(name: &str, text: &[u8]) -> Result<Detections, DetectionsError> {
        let decoded = to_utf8(text);
        let source = Source::new(name, decoded.as_deref().unwrap_or(text));
        let mut reader = Reader::default();
        let detections = match decoded.as_deref().map_err(Clone::clone).and_then(read) {
            Ok(tree) => reader.detections(&tree),
            Err(fault) => {
                reader.problem(fault.at, Path::Root, fault.message);
                Detections::default()
            }
        };
        if reader.problems.is_empty() {
            return Ok(detections);
        }
        let problems = reader
            .problems
            .into_iter()
            .map(|(at, path, message)| Problem {
                place: source.place(at),
                path,
                message,
            });
        Err(DetectionsError {
            problems: problems.collect(),
        })
    }
}

/// JSON is read by its own reader, whose messages know that it is JSON.
fn read(text: &[u8]) -> Result<Node, Fault> {
    if begins_with_brace(text)
        && let Ok(tree) = read_json(text)
    {
        return Ok(tree);
    }
    let text = std::str::from_utf8(text)
        .map_err(|error| Fault::syntax(error.valid_up_to(), "not valid UTF-8"))?;
    let bare = text.strip_prefix('\u{feff}').unwrap_or(text);
    let skipped = text.len().saturating_sub(bare.len());
    read_yaml(bare).map_err(|fault| Fault {
        at: fault.at.saturating_add(skipped),
        ..fault
    })
}

/// Problems beyond this number are not collected: nobody reads on.
const MAX_PROBLEMS: usize = 100;

/// The longest id; it is part of every label.
const MAX_ID: usize = 64;

/// Words of the option `Detect`, which ids must not be.
const RESERVED: [&str; 7] = ["on", "off", "all", "true", "false", "yes", "no"];

const ROOT_FIELDS: &[&str] = &["kind", "apiVersion", "ignore", "detections"];
const BUILTIN_FIELDS: &[&str] = &["id", "severity", "except"];
const OWN_FIELDS: [&str; 5] = ["id", "severity", "technique", "results", "except"];
const RESOURCE_FIELDS: &[&str] = &["group", "resources", "resourceNames"];

/// Collects what is wrong while it reads.
#[derive(Default)]
struct Reader {
    problems: Vec<(usize, String, String)>,
}

impl Reader {
    fn problem(&mut self, at: usize, path: Path<'_>, message: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push((at, path.to_string(), message));
        }
    }

    fn detections(&mut self, root: &Node) -> Detections {
        let mut detections = Detections::default();
        if !self.object(root, Path::Root, ROOT_FIELDS, "of a file of detections") {
            return detections;
        }
        let path = Path::Root.field("kind");
        if let Some(node) = root.get("kind")
            && let Some(kind) = self.text(node, path)
            && kind != "Detections"
        {
            let message = format!("found `{}`, expected `Detections`", shown(kind));
            self.problem(node.at, path, message);
        }
        if let Some(node) = root.get("apiVersion") {
            self.text(node, Path::Root.field("apiVersion"));
        }
        if let Some(node) = root.get("ignore") {
            detections.ignore = self.exceptions(node, Path::Root.field("ignore"));
        }
        if let Some(node) = root.get("detections") {
            let path = Path::Root.field("detections");
            self.expect_list(node, path);
            for (number, node) in node.items().iter().enumerate() {
                self.detection(node, path.item(number), &mut detections);
            }
        }
        detections
    }

    fn detection(&mut self, node: &Node, path: Path<'_>, into: &mut Detections) {
        let Some((id, at)) = self.id(node, path) else {
            return;
        };
        let seen = into.changes.iter().any(|change| change.id == id)
            || into.own.iter().any(|own| own.id == id);
        if seen {
            let message = format!("`{id}` is defined twice: put both into one entry");
            return self.problem(at, path.field("id"), message);
        }
        match BUILTINS.iter().find(|builtin| builtin.id == id) {
            Some(builtin) => self.change(node, path, builtin, into),
            None => self.own(node, path, id, into),
        }
    }

    fn id<'n>(&mut self, node: &'n Node, path: Path<'_>) -> Option<(&'n str, usize)> {
        let Some(found) = node.get("id") else {
            let message = match node.value {
                Value::Map(_) => "missing: every detection needs an id".to_owned(),
                _ => format!("found {}, expected a mapping with `id`", node.value),
            };
            self.problem(node.at, path.field("id"), message);
            return None;
        };
        let path = path.field("id");
        let id = self.text(found, path)?;
        let legal = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let message = if id.is_empty() || id.len() > MAX_ID || !id.bytes().all(legal) {
            format!(
                "invalid id `{}`: use up to {MAX_ID} lower-case letters, digits and `-`",
                shown(id)
            )
        } else if id.starts_with('-') {
            format!("invalid id `{id}`: it must not begin with `-`")
        } else if RESERVED.contains(&id) || Severity::from_name(id).is_some() {
            format!("invalid id `{id}`: the option `Detect` has this word for something else")
        } else {
            return Some((id, found.at));
        };
        self.problem(found.at, path, message);
        None
    }

    fn change(&mut self, node: &Node, path: Path<'_>, builtin: &Builtin, into: &mut Detections) {
        for entry in node.entries() {
            let known = Selectors::FIELDS.iter().chain(&OWN_FIELDS);
            let known = known.copied().any(|field| field == entry.key);
            if known && !BUILTIN_FIELDS.contains(&&*entry.key) {
                let message = format!(
                    "`{}` is built in: only `severity` and `except` may be given, \
                     take another id for a detection of your own",
                    builtin.id
                );
                self.problem(entry.at, path.field(&entry.key), message);
                return;
            }
        }
        self.object(node, path, BUILTIN_FIELDS, "of a built-in detection");
        into.changes.push(Change {
            id: builtin.id,
            severity: self.severity(node, path),
            except: self.except(node, path),
        });
    }

    fn own(&mut self, node: &Node, path: Path<'_>, id: &str, into: &mut Detections) {
        let fields: Vec<&str> = OWN_FIELDS.into_iter().chain(Selectors::FIELDS).collect();
        self.object(node, path, &fields, "of a detection");
        let selectors = self.selectors(node, path);
        if selectors.is_empty() {
            let builtins = BUILTINS.iter().map(|builtin| builtin.id);
            let message = match nearest(id, builtins) {
                Some(meant) => {
                    format!("no built-in detection is called `{id}`; did you mean `{meant}`?")
                }
                None => format!(
                    "`{id}` would match every request: give at least one of {}",
                    Selectors::FIELDS.join(", ")
                ),
            };
            self.problem(node.at, path, message);
        }
        let technique = node.get("technique").and_then(|node| {
            let path = path.field("technique");
            let technique = self.text(node, path)?;
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            if technique.is_empty() || technique.len() > MAX_ID || !technique.bytes().all(legal) {
                let message = format!(
                    "invalid technique `{}`: write one such as `T1609` or `T1552.007`",
                    shown(technique)
                );
                self.problem(node.at, path, message);
            }
            Some(technique.to_owned())
        });
        into.own.push(Own {
            id: id.to_owned(),
            severity: self.severity(node, path).unwrap_or(Severity::Medium),
            technique: technique.unwrap_or_default(),
            selectors,
            results: self.results(node, path),
            except: self.except(node, path),
        });
    }

    fn severity(&mut self, node: &Node, path: Path<'_>) -> Option<Severity> {
        let node = node.get("severity")?;
        let path = path.field("severity");
        let name = self.text(node, path)?;
        let severity = Severity::from_name(name);
        if severity.is_none() {
            let names = Severity::ALL.map(Severity::name);
            self.unknown(node.at, path, name, &names, "severity");
        }
        severity
    }

    fn results(&mut self, node: &Node, path: Path<'_>) -> Vec<Outcome> {
        let Some(node) = node.get("results") else {
            return vec![Outcome::Ok];
        };
        let path = path.field("results");
        let mut results = Vec::new();
        self.expect_list(node, path);
        for (number, node) in node.items().iter().enumerate() {
            let path = path.item(number);
            let Some(name) = self.text(node, path) else {
                continue;
            };
            match Outcome::ALL
                .into_iter()
                .find(|outcome| outcome.name() == name)
            {
                Some(outcome) => results.push(outcome),
                None => {
                    let names = Outcome::ALL.map(Outcome::name);
                    self.unknown(node.at, path, name, &names, "result");
                }
            }
        }
        if node.items().is_empty() {
            let message = "an empty list matches nothing: leave it out for `ok`".to_owned();
            self.problem(node.at, path, message);
        }
        results
    }

    fn except(&mut self, node: &Node, path: Path<'_>) -> Vec<Selectors> {
        let node = node.get("except");
        node.map_or(Vec::new(), |node| {
            self.exceptions(node, path.field("except"))
        })
    }

    fn exceptions(&mut self, node: &Node, path: Path<'_>) -> Vec<Selectors> {
        self.expect_list(node, path);
        let items = node.items().iter().enumerate();
        items
            .filter_map(|(number, node)| {
                let path = path.item(number);
                if !self.object(node, path, &Selectors::FIELDS, "of an exception") {
                    return None;
                }
                let selectors = self.selectors(node, path);
                if selectors.is_empty() {
                    let fields = Selectors::FIELDS.join(", ");
                    let message =
                        format!("it would match every request: give at least one of {fields}");
                    self.problem(node.at, path, message);
                }
                Some(selectors)
            })
            .collect()
    }

    /// Reads selectors, after their types have been checked: an exception that is read
    /// half would match more than was meant.
    fn selectors(&mut self, node: &Node, path: Path<'_>) -> Selectors {
        for entry in node.entries() {
            let path = path.field(&entry.key);
            match &*entry.key {
                "resources" => {
                    self.expect_list(&entry.value, path);
                    for (number, node) in entry.value.items().iter().enumerate() {
                        self.resources(node, path.item(number));
                    }
                }
                field if Selectors::FIELDS.contains(&field) => self.texts(&entry.value, path),
                _ => {}
            }
        }
        let (selectors, problems) = Selectors::read(node, path);
        for problem in problems {
            if self.problems.len() < MAX_PROBLEMS {
                self.problems.push(problem);
            }
        }
        selectors
    }

    fn resources(&mut self, node: &Node, path: Path<'_>) {
        self.object(node, path, RESOURCE_FIELDS, "of an entry of `resources`");
        for entry in node.entries() {
            let path = path.field(&entry.key);
            match &*entry.key {
                "group" => {
                    self.text(&entry.value, path);
                }
                "resources" | "resourceNames" => self.texts(&entry.value, path),
                _ => {}
            }
        }
    }

    /// Checks that a node is a mapping that has each of these fields at most once, and no other.
    fn object(&mut self, node: &Node, path: Path<'_>, fields: &[&str], of: &str) -> bool {
        let Value::Map(entries) = &node.value else {
            let message = format!("found {}, expected a mapping", node.value);
            self.problem(node.at, path, message);
            return false;
        };
        for entry in entries {
            let path = path.field(&entry.key);
            if entry.repeats.is_some() {
                let message = "set twice: remove one of the two".to_owned();
                self.problem(entry.at, path, message);
            }
            if fields.contains(&&*entry.key) {
                continue;
            }
            let message = match nearest(&entry.key, fields.iter().copied()) {
                Some(meant) => format!("unknown field; did you mean `{meant}`?"),
                None => format!("unknown field {of}, which has {}", fields.join(", ")),
            };
            self.problem(entry.at, path, message);
        }
        true
    }

    fn expect_list(&mut self, node: &Node, path: Path<'_>) {
        if !matches!(node.value, Value::List(_)) {
            let remedy = match &node.value {
                Value::Text(text) => format!(": write `[\"{}\"]`", shown(text)),
                Value::Map(_) => ": begin it with `- `".to_owned(),
                _ => String::new(),
            };
            let message = format!("found {}, expected a list{remedy}", node.value);
            self.problem(node.at, path, message);
        }
    }

    fn texts(&mut self, node: &Node, path: Path<'_>) {
        self.expect_list(node, path);
        for (number, node) in node.items().iter().enumerate() {
            self.text(node, path.item(number));
        }
    }

    fn text<'n>(&mut self, node: &'n Node, path: Path<'_>) -> Option<&'n str> {
        let text = node.text();
        if text.is_none() {
            let remedy = match &node.value {
                Value::Bool { spelling, .. } | Value::Number { spelling, .. } => {
                    format!(": put it in quotes, `\"{}\"`", shown(spelling))
                }
                _ => String::new(),
            };
            let message = format!("found {}, expected a string{remedy}", node.value);
            self.problem(node.at, path, message);
        }
        text
    }

    fn unknown(&mut self, at: usize, path: Path<'_>, found: &str, names: &[&str], what: &str) {
        let all = names.join(", ");
        let message = match nearest(found, names.iter().copied()) {
            Some(meant) => format!(
                "unknown {what} `{}`: use `{meant}` (one of {all})",
                shown(found)
            ),
            None => format!("unknown {what} `{}`: use one of {all}", shown(found)),
        };
        self.problem(at, path, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        match Detections::parse("d", text.as_bytes()) {
            Ok(_) => Vec::new(),
            Err(error) => error.to_string().lines().map(str::to_owned).collect(),
        }
    }

    #[test]
    fn texts_in_any_form() {
        for text in [
            "{}",
            "kind: Detections\n",
            "\u{feff}apiVersion: kube-audit/v1\nignore: []\n",
            "{detections: [{id: a, verbs: ['get'], severity: low}]}",
            r#"{"detections":[{"id":"a","verbs":["get"],"severity":"low"}]}"#,
            "detections:\n- id: a\n  userGroups: [x]\n  results: [any, ok]\n  except:\n  - users: [z]\n",
            "detections:\n- id: secret-read\n  severity: medium\n  except: [{namespaces: [demo]}]\n",
        ] {
            assert_eq!(problems(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn everything_wrong_has_its_place_and_what_would_be_right() {
        for (text, want) in [
            (
                "{ignor: []}",
                "d:1:2: ignor: unknown field; did you mean `ignore`?",
            ),
            (
                "kind: Policy",
                "d:1:7: kind: found `Policy`, expected `Detections`",
            ),
            ("- a", "d:1:1: found a list, expected a mapping"),
            // A file that is just being written.
            ("", "d:1:1: found null, expected a mapping"),
            (
                "detections: a",
                "d:1:13: detections: found string `a`, expected a list: write `[\"a\"]`",
            ),
            (
                "detections: [a]",
                "d:1:14: detections[0].id: found string `a`, expected a mapping with `id`",
            ),
            (
                "detections: [{verbs: [get]}]",
                "d:1:14: detections[0].id: missing: every detection needs an id",
            ),
            (
                "detections: [{id: Mine, verbs: [get]}]",
                "d:1:19: detections[0].id: invalid id `Mine`: use up to 64 lower-case letters, digits and `-`",
            ),
            (
                "detections: [{id: -a, verbs: [get]}]",
                "d:1:19: detections[0].id: invalid id `-a`: it must not begin with `-`",
            ),
            (
                "detections: [{id: high, verbs: [get]}]",
                "d:1:19: detections[0].id: invalid id `high`: the option `Detect` has this word for something else",
            ),
            (
                "detections: [{id: a, verbs: [get]}, {id: a, verbs: [get]}]",
                "d:1:42: detections[1].id: `a` is defined twice: put both into one entry",
            ),
            (
                "detections: [{id: secret-read, verbs: [get]}]",
                "d:1:32: detections[0].verbs: `secret-read` is built in: only `severity` and `except` may be given, take another id for a detection of your own",
            ),
            (
                "detections: [{id: secret-raed, severity: low}]",
                "d:1:14: detections[0]: no built-in detection is called `secret-raed`; did you mean `secret-read`?",
            ),
            (
                "detections: [{id: mine}]",
                "d:1:14: detections[0]: `mine` would match every request: give at least one of users, userGroups, verbs, namespaces, resources, nonResourceURLs",
            ),
            (
                "detections: [{id: a, verb: [get], users: [x]}]",
                "d:1:22: detections[0].verb: unknown field; did you mean `verbs`?",
            ),
            (
                "detections: [{id: a, users: [x], users: [y]}]",
                "d:1:34: detections[0].users: set twice: remove one of the two",
            ),
            (
                "detections: [{id: a, users: x}]",
                "d:1:29: detections[0].users: found string `x`, expected a list: write `[\"x\"]`",
            ),
            (
                "detections: [{id: a, users: [on]}]",
                "d:1:30: detections[0].users[0]: found boolean `on`, expected a string: put it in quotes, `\"on\"`",
            ),
            (
                "detections: [{id: a, users: [x], severity: hihg}]",
                "d:1:44: detections[0].severity: unknown severity `hihg`: use `high` (one of low, medium, high, critical)",
            ),
            (
                "detections: [{id: a, users: [x], results: [denid]}]",
                "d:1:44: detections[0].results[0]: unknown result `denid`: use `denied` (one of ok, denied, failed, any)",
            ),
            (
                "detections: [{id: a, users: [x], results: []}]",
                "d:1:43: detections[0].results: an empty list matches nothing: leave it out for `ok`",
            ),
            (
                "detections: [{id: a, users: [x], technique: ''}]",
                "d:1:45: detections[0].technique: invalid technique ``: write one such as `T1609` or `T1552.007`",
            ),
            (
                "detections: [{id: a, nonResourceURLs: [x]}]",
                "d:1:40: detections[0].nonResourceURLs[0]: invalid value `x`: it must begin with `/`, or be `*` alone",
            ),
            (
                "detections: [{id: a, resources: [{group: apps/v1}]}]",
                "d:1:42: detections[0].resources[0].group: invalid value `apps/v1`: use `apps`, the lower-case name without a version",
            ),
            (
                "detections: [{id: a, resources: [{groups: apps}]}]",
                "d:1:35: detections[0].resources[0].groups: unknown field; did you mean `group`?",
            ),
            (
                "ignore: [{}]",
                "d:1:10: ignore[0]: it would match every request: give at least one of users, userGroups, verbs, namespaces, resources, nonResourceURLs",
            ),
            (
                "ignore: [{severity: low, users: [x]}]",
                "d:1:11: ignore[0].severity: unknown field of an exception, which has users, userGroups, verbs, namespaces, resources, nonResourceURLs",
            ),
            (
                "ignore:\n- users:\n",
                "d:2:8: ignore[0].users: found null, expected a list",
            ),
        ] {
            let found = problems(text);
            assert!(
                found.iter().any(|problem| problem == want),
                "{text}: {found:#?}\nlacks {want}"
            );
        }
    }

    #[test]
    fn broken_texts_have_a_place() {
        for text in ["{a", "a: [", "{\"a\":", "\u{1}", "a: &x [*x]"] {
            let found = problems(text);
            assert!(
                found.len() == 1 && found[0].starts_with("d:1:"),
                "{text}: {found:?}"
            );
        }
        let error = Detections::parse("d", b"a: \xff").unwrap_err();
        assert_eq!(error.to_string(), "d:1:4: not valid UTF-8");
    }
}
