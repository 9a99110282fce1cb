//! `auditLogging` of a manifest.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use kube_audit_text::suggest::nearest;
use kube_audit_text::{Entry, Node, Path, Value, shown};

use super::super::finding::{Code, Findings};

/// Release of KKP: major and minor version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Release {
    major: u32,
    minor: u32,
}

impl Release {
    /// Newest release that this tool knows.
    pub(crate) const NEWEST: Release = Release::new(2, 31);

    /// Makes a release of its two numbers.
    pub(crate) const fn new(major: u32, minor: u32) -> Release {
        Release { major, minor }
    }

    /// True if the release has CLUSTER_ID and `extraEnvs`, and puts them into filters.
    pub(crate) fn has_variables(self) -> bool {
        self >= Release::new(2, 28)
    }

    /// Returns the version of Fluent Bit in the sidecar.
    pub(crate) fn fluent_bit(self) -> &'static str {
        match self < Release::new(2, 28) {
            true => "1.9.5",
            false => "4.0.0",
        }
    }
}

/// Shows `MAJOR.MINOR`.
impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Release {
    type Err = String;

    /// Reads `2.28`, `v2.28` and `2.28.3`.
    fn from_str(text: &str) -> Result<Release, String> {
        let mut parts = text.strip_prefix('v').unwrap_or(text).split('.');
        let mut number = || parts.next().and_then(|part| part.parse().ok());
        match (number(), number()) {
            (Some(major), Some(minor)) if (major, minor) >= (2, 21) => {
                Ok(Release::new(major, minor))
            }
            (Some(_), Some(_)) => Err(format!(
                "`{text}` has no `sidecar.config`: it came with KKP 2.21"
            )),
            _ => Err(format!(
                "`{text}` is not a release of KKP: use one like `2.28`"
            )),
        }
    }
}

/// `auditLogging` of a cluster, or of a seed for all its clusters.
#[derive(Debug)]
pub(crate) struct AuditLogging {
    /// Byte offset in the manifest.
    pub at: usize,
    /// Name of the cluster, if the manifest is that of a Cluster.
    pub cluster: Option<String>,
    /// `enabled`; `None` if only a part of `auditLogging` was given.
    pub enabled: Option<bool>,
    /// `sidecar.extraEnvs`.
    pub extra_envs: Vec<ExtraEnv>,
    /// `sidecar.config`.
    pub config: Config,
}

/// Item of `sidecar.extraEnvs`.
#[derive(Debug)]
pub(crate) struct ExtraEnv {
    /// Byte offset in the manifest.
    pub at: usize,
    /// Name of the variable.
    pub name: String,
    /// Value; KKP reads a missing one as an empty one.
    pub value: String,
    /// Byte offset of `valueFrom`, which KKP ignores in filters.
    pub value_from: Option<usize>,
}

/// `sidecar.config`.
#[derive(Debug, Default)]
pub(crate) struct Config {
    /// `service`
    pub service: Section,
    /// `filters`
    pub filters: Vec<Section>,
    /// `outputs`
    pub outputs: Vec<Section>,
}

/// Section of a configuration, its keys in the order in which KKP writes them.
#[derive(Debug, Default)]
pub(crate) struct Section {
    /// Byte offset in the manifest.
    pub at: usize,
    /// Pairs, sorted by key.
    pub entries: Vec<Pair>,
}

/// Key and value with their byte offsets.
#[derive(Debug)]
pub(crate) struct Pair {
    /// Key.
    pub key: String,
    /// Byte offset in the manifest.
    pub key_at: usize,
    /// Value.
    pub value: String,
    /// Byte offset in the manifest.
    pub value_at: usize,
}

impl AuditLogging {
    /// Collects the variables that KKP puts into filters: CLUSTER_ID and `extraEnvs`. Those
    /// in `given` override them.
    pub(crate) fn variables(&self, given: &[(String, String)]) -> BTreeMap<String, String> {
        let extra = self.extra_envs.iter();
        let extra = extra.map(|env| (env.name.clone(), env.value.clone()));
        // The cluster's own name overrides `extraEnvs`.
        let own = self.cluster.iter();
        let own = own.map(|name| ("CLUSTER_ID".to_owned(), name.clone()));
        extra.chain(own).chain(given.iter().cloned()).collect()
    }

    /// Puts variables into the values of filters as KKP does: only `${NAME}` in braces, and
    /// unknown names stay.
    pub(crate) fn substitute(&mut self, variables: &BTreeMap<String, String>) {
        let values = self.config.filters.iter_mut();
        for pair in values.flat_map(|filter| &mut filter.entries) {
            pair.value = substitute(&pair.value, variables);
        }
    }
}

fn substitute(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let reference = after.split_once('}').filter(|(name, _)| is_name(name));
        match reference.and_then(|(name, rest)| Some((variables.get(name)?, rest))) {
            Some((value, after)) => {
                out.push_str(value);
                rest = after;
            }
            None => {
                out.push_str("${");
                rest = after;
            }
        }
    }
    out + rest
}

/// True for the name of a variable.
fn is_name(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !text.is_empty() && text.bytes().all(word)
}

/// Finds each `auditLogging` of a document; adds what is wrong with it to the findings.
pub(crate) fn find(document: &Node, findings: &mut Findings<'_>) -> Vec<AuditLogging> {
    if let Some(part) = Part::of(document) {
        let names = match part {
            Part::Config => Names::Go,
            _ => Names::Json,
        };
        return vec![Reader { findings, names }.part(part, document)];
    }
    let mut reader = Reader {
        findings,
        names: Names::Json,
    };
    let mut found = Vec::new();
    // Nodes still to visit, each with the cluster around it; no recursion.
    let mut open = vec![(document, None)];
    while let Some((node, cluster)) = open.pop() {
        let cluster = cluster_name(node).or(cluster);
        match &node.value {
            Value::Map(entries) => {
                for Entry { key, value, .. } in entries.iter().rev() {
                    if key == "auditLogging" && matches!(value.value, Value::Map(_)) {
                        let mut logging = reader.part(Part::AuditLogging, value);
                        logging.cluster = cluster.map(str::to_owned);
                        found.push(logging);
                    } else {
                        open.push((value, cluster));
                    }
                }
            }
            Value::List(items) => open.extend(items.iter().rev().map(|item| (item, cluster))),
            _ => {}
        }
    }
    found.sort_by_key(|logging| logging.at);
    found
}

/// True if a document is of a kind of KKP that may have `auditLogging`.
pub(crate) fn may_have_audit_logging(document: &Node) -> bool {
    let kind = document.get("kind").and_then(Node::text);
    let group = document.get("apiVersion").and_then(Node::text);
    matches!(kind, Some("Cluster" | "ClusterTemplate" | "Seed"))
        && group.is_some_and(|group| group.starts_with("kubermatic.k8c.io/"))
}

/// Returns the name of a Cluster, if the node is one.
fn cluster_name(node: &Node) -> Option<&str> {
    if node.get("kind")?.text() != Some("Cluster") {
        return None;
    }
    node.get("metadata")?.get("name")?.text()
}

/// Part of a manifest that may be given alone.
#[derive(Clone, Copy)]
enum Part {
    AuditLogging,
    Sidecar,
    Config,
}

const AUDIT_LOGGING: [&str; 4] = ["enabled", "policyPreset", "sidecar", "webhookBackend"];
const SIDECAR: [&str; 3] = ["config", "extraEnvs", "resources"];
const CONFIG: [&str; 3] = ["filters", "outputs", "service"];

impl Part {
    /// Finds the part that a document is, by its keys.
    fn of(document: &Node) -> Option<Part> {
        let Value::Map(entries) = &document.value else {
            return None;
        };
        let all = |names: &[&str]| {
            let known = |entry: &Entry| names.iter().any(|name| Names::Go.fits(entry, name));
            !entries.is_empty() && entries.iter().all(known)
        };
        [
            (Part::AuditLogging, &AUDIT_LOGGING[..]),
            (Part::Sidecar, &SIDECAR),
            (Part::Config, &CONFIG),
        ]
        .into_iter()
        .find_map(|(part, names)| all(names).then_some(part))
    }
}

/// Spelling of fields.
#[derive(Clone, Copy)]
enum Names {
    /// As the API server reads them.
    Json,
    /// Also as in Go's structures: `Filters`.
    Go,
}

impl Names {
    fn fits(self, entry: &Entry, name: &str) -> bool {
        match self {
            Names::Json => entry.key == name,
            Names::Go => entry.key.eq_ignore_ascii_case(name),
        }
    }
}

struct Reader<'f, 's> {
    findings: &'f mut Findings<'s>,
    names: Names,
}

impl Reader<'_, '_> {
    fn part(&mut self, part: Part, node: &Node) -> AuditLogging {
        let mut logging = AuditLogging {
            at: node.at,
            cluster: None,
            enabled: None,
            extra_envs: Vec::new(),
            config: Config::default(),
        };
        match part {
            Part::AuditLogging => {
                self.audit_logging(&mut logging, node, Path::Root.field("auditLogging"));
            }
            Part::Sidecar => self.sidecar(&mut logging, node, Path::Root.field("sidecar")),
            Part::Config => logging.config = self.config(node, Path::Root.field("config")),
        }
        logging
    }

    fn audit_logging(&mut self, logging: &mut AuditLogging, node: &Node, path: Path<'_>) {
        logging.enabled = Some(false);
        for (name, value) in self.fields(node, path, &AUDIT_LOGGING) {
            let path = path.field(name);
            match (name, &value.value) {
                ("enabled", Value::Bool { value, .. }) => logging.enabled = Some(*value),
                ("enabled", found) => {
                    let message = format!("found {found}, expected `true` or `false`");
                    self.findings.push(value.at, Code::WrongType, path, message);
                }
                ("policyPreset", Value::Text(preset)) => self.preset(preset, value.at, path),
                ("policyPreset", _) => {
                    self.string(value, path);
                }
                ("sidecar", _) => self.sidecar(logging, value, path),
                _ => {}
            }
        }
    }

    fn preset(&mut self, preset: &str, at: usize, path: Path<'_>) {
        const PRESETS: [&str; 3] = ["metadata", "minimal", "recommended"];
        if preset.is_empty() || PRESETS.contains(&preset) {
            return;
        }
        let hint = match nearest(preset, PRESETS) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("KKP knows {}", PRESETS.join(", ")),
        };
        let message = format!("there is no preset `{}`: {hint}", shown(preset));
        self.findings.push(at, Code::UnknownPreset, path, message);
    }

    fn sidecar(&mut self, logging: &mut AuditLogging, node: &Node, path: Path<'_>) {
        for (name, value) in self.fields(node, path, &SIDECAR) {
            let path = path.field(name);
            match name {
                "config" => logging.config = self.config(value, path),
                "extraEnvs" => {
                    for (i, item) in self.items(value, path).iter().enumerate() {
                        logging.extra_envs.push(self.extra_env(item, path.item(i)));
                    }
                }
                _ => {}
            }
        }
    }

    fn extra_env(&mut self, node: &Node, path: Path<'_>) -> ExtraEnv {
        let mut env = ExtraEnv {
            at: node.at,
            name: String::new(),
            value: String::new(),
            value_from: None,
        };
        for (name, value) in self.fields(node, path, &["name", "value", "valueFrom"]) {
            let path = path.field(name);
            match name {
                "name" => env.name = self.string(value, path).unwrap_or_default(),
                "value" => env.value = self.string(value, path).unwrap_or_default(),
                _ => env.value_from = (value.value != Value::Null).then_some(value.at),
            }
        }
        env
    }

    fn config(&mut self, node: &Node, path: Path<'_>) -> Config {
        let mut config = Config::default();
        for (name, value) in self.fields(node, path, &CONFIG) {
            let path = path.field(name);
            match name {
                "service" => config.service = self.section(value, path),
                "filters" => config.filters = self.sections(value, path),
                _ => config.outputs = self.sections(value, path),
            }
        }
        config
    }

    fn sections(&mut self, node: &Node, path: Path<'_>) -> Vec<Section> {
        let items = self.items(node, path).iter().enumerate();
        items
            .map(|(i, item)| {
                let path = path.item(i);
                if item.value == Value::Null {
                    self.mismatch(item, path, "a mapping of strings");
                }
                self.section(item, path)
            })
            .collect()
    }

    fn section(&mut self, node: &Node, path: Path<'_>) -> Section {
        let mut entries = BTreeMap::new();
        for entry in self.entries(node, path) {
            let Some(value) = self.string(&entry.value, path.field(&entry.key)) else {
                continue;
            };
            let pair = Pair {
                key: entry.key.clone(),
                key_at: entry.at,
                value,
                value_at: entry.value.at,
            };
            entries.insert(entry.key.as_str(), pair);
        }
        Section {
            at: node.at,
            entries: entries.into_values().collect(),
        }
    }

    /// Returns the known fields of a mapping; adds the others to the findings.
    fn fields<'n>(
        &mut self,
        node: &'n Node,
        path: Path<'_>,
        known: &[&'static str],
    ) -> Vec<(&'static str, &'n Node)> {
        let mut fields = Vec::new();
        for entry in self.entries(node, path) {
            match known.iter().find(|name| self.names.fits(entry, name)) {
                Some(name) => fields.push((*name, &entry.value)),
                None => {
                    let hint = match nearest(&entry.key, known.iter().copied()) {
                        Some(name) => format!("did you mean `{name}`?"),
                        None => format!("KKP knows {}", known.join(", ")),
                    };
                    let message = format!("unknown field: {hint}");
                    let path = path.field(&entry.key);
                    self.findings
                        .push(entry.at, Code::UnknownField, path, message);
                }
            }
        }
        fields
    }

    /// Returns the entries of a mapping; null is an empty one.
    fn entries<'n>(&mut self, node: &'n Node, path: Path<'_>) -> &'n [Entry] {
        match &node.value {
            Value::Map(entries) => {
                for entry in entries {
                    // Keys of a merged mapping, `<<`, may be overridden.
                    let here = |at: usize| at >= node.at;
                    if let Some(earlier) = entry.repeats.filter(|&at| here(at) && here(entry.at)) {
                        let message = format!(
                            "already set on line {}: a mapping has each key once, the later one counts",
                            self.findings.line(earlier)
                        );
                        let path = path.field(&entry.key);
                        self.findings
                            .push(entry.at, Code::RepeatedKey, path, message);
                    }
                }
                entries
            }
            Value::Null => &[],
            _ => {
                self.mismatch(node, path, "a mapping");
                &[]
            }
        }
    }

    /// Returns the items of a list; null is an empty one.
    fn items<'n>(&mut self, node: &'n Node, path: Path<'_>) -> &'n [Node] {
        match &node.value {
            Value::List(items) => items,
            Value::Null => &[],
            _ => {
                self.mismatch(node, path, "a list: begin each section with `- `");
                &[]
            }
        }
    }

    /// Returns a string, or the spelling of another scalar, so that later checks go on.
    fn string(&mut self, node: &Node, path: Path<'_>) -> Option<String> {
        let (text, remedy) = match &node.value {
            Value::Text(text) => return Some(text.clone()),
            Value::Bool { spelling, .. } | Value::Number { spelling, .. } => (
                Some(spelling.clone()),
                format!("put it in quotes, `\"{}\"`", shown(spelling)),
            ),
            Value::Null => (None, "leave the key out".to_owned()),
            Value::List(_) | Value::Map(_) => {
                (None, "one section has one text for each key".to_owned())
            }
        };
        let message = format!("found {}, expected a string: {remedy}", node.value);
        self.findings.push(node.at, Code::NotAString, path, message);
        text
    }

    fn mismatch(&mut self, node: &Node, path: Path<'_>, expected: &str) {
        let message = format!("found {}, expected {expected}", node.value);
        self.findings.push(node.at, Code::WrongType, path, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_in_braces() {
        let variables = [("A", "1"), ("B_2", "${A}"), ("E", "")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let variables = BTreeMap::from(variables);
        for (text, expected) in [
            ("${A}${A}", "11"),
            ("x ${B_2} y", "x ${A} y"),
            ("[${E}]", "[]"),
            ("${C} $A $(A) ${} ${A", "${C} $A $(A) ${} ${A"),
            ("${${A}}", "${1}"),
            ("${A:-x} ${ A} ${A}", "${A:-x} ${ A} 1"),
            ("$${A}", "$1"),
            ("${Ä}", "${Ä}"),
        ] {
            assert_eq!(substitute(text, &variables), expected, "{text}");
        }
    }

    #[test]
    fn releases() {
        for (text, release) in [("2.28", (2, 28)), ("v2.31.4", (2, 31)), ("2.21.0", (2, 21))] {
            assert_eq!(
                text.parse(),
                Ok(Release::new(release.0, release.1)),
                "{text}"
            );
        }
        for bad in ["", "2", "2.20", "x.y", "2.x"] {
            assert!(bad.parse::<Release>().is_err(), "{bad}");
        }
    }
}
