//! Fields of a policy and their types: finds type errors, unknown fields and repeated keys.

use super::error::Findings;
use super::{ProblemKind, WarningKind};
use kube_audit_text::suggest::nearest;
use kube_audit_text::{Entry, Node, Path, Value, shown};

/// Type of a value. Null fits every type.
enum Shape {
    Anything,
    Text,
    Bool,
    Integer,
    Time,
    List(&'static Shape),
    /// A mapping with keys of the author's choice.
    Dict(&'static Shape),
    Object(&'static Object),
}

/// Type of a mapping with known fields.
struct Object {
    name: &'static str,
    fields: &'static [Field],
}

struct Field {
    name: &'static str,
    shape: Shape,
    /// Effect of a misspelling of the field, for messages.
    when_ignored: &'static str,
}

const fn field(name: &'static str, shape: Shape, when_ignored: &'static str) -> Field {
    Field {
        name,
        shape,
        when_ignored,
    }
}

const TEXTS: Shape = Shape::List(&Shape::Text);
const IGNORED: &str = "it is ignored";
const WIDENED: &str = "it is ignored, so the rule matches more requests than intended";

/// `Policy` of `audit.k8s.io`, the same in v1, v1beta1 and v1alpha1.
static POLICY: Object = Object {
    name: "policy",
    fields: &[
        field("apiVersion", Shape::Text, IGNORED),
        field("kind", Shape::Text, IGNORED),
        field("metadata", Shape::Object(&METADATA), IGNORED),
        field(
            "rules",
            Shape::List(&Shape::Object(&RULE)),
            "it is ignored with all its rules",
        ),
        field("omitStages", TEXTS, "it is ignored, so no stage is omitted"),
        field(
            "omitManagedFields",
            Shape::Bool,
            "it is ignored, so managed fields stay",
        ),
    ],
};

static RULE: Object = Object {
    name: "rule",
    fields: &[
        field("level", Shape::Text, IGNORED),
        field("users", TEXTS, WIDENED),
        field("userGroups", TEXTS, WIDENED),
        field("verbs", TEXTS, WIDENED),
        field(
            "resources",
            Shape::List(&Shape::Object(&GROUP_RESOURCES)),
            WIDENED,
        ),
        field("namespaces", TEXTS, WIDENED),
        field("nonResourceURLs", TEXTS, WIDENED),
        field(
            "omitStages",
            TEXTS,
            "it is ignored, so the rule omits no stage of its own",
        ),
        field(
            "omitManagedFields",
            Shape::Bool,
            "it is ignored, so the policy's setting counts",
        ),
    ],
};

static GROUP_RESOURCES: Object = Object {
    name: "entry of `resources`",
    fields: &[
        field("group", Shape::Text, IGNORED),
        field("resources", TEXTS, IGNORED),
        field("resourceNames", TEXTS, IGNORED),
    ],
};

/// Names that other APIs, RBAC above all, have for fields of a rule or of an entry of
/// `resources`; too far from ours for [`nearest`].
const SYNONYMS: &[(&str, &str)] = &[
    ("apiGroup", "group"),
    ("apiGroups", "group"),
    ("groups", "userGroups"),
    ("group", "userGroups"),
    ("userGroup", "userGroups"),
    ("username", "users"),
    ("usernames", "users"),
    ("userName", "users"),
    ("name", "resourceNames"),
    ("names", "resourceNames"),
    ("namespaceNames", "namespaces"),
    ("paths", "nonResourceURLs"),
    ("urls", "nonResourceURLs"),
];

/// `ObjectMeta` of `meta.k8s.io/v1`; kube-apiserver ignores it, but refuses a malformed one.
static METADATA: Object = Object {
    name: "metadata",
    fields: &[
        field("name", Shape::Text, IGNORED),
        field("generateName", Shape::Text, IGNORED),
        field("namespace", Shape::Text, IGNORED),
        field("selfLink", Shape::Text, IGNORED),
        field("uid", Shape::Text, IGNORED),
        field("resourceVersion", Shape::Text, IGNORED),
        field("generation", Shape::Integer, IGNORED),
        field("creationTimestamp", Shape::Time, IGNORED),
        field("deletionTimestamp", Shape::Time, IGNORED),
        field("deletionGracePeriodSeconds", Shape::Integer, IGNORED),
        field("labels", Shape::Dict(&Shape::Text), IGNORED),
        field("annotations", Shape::Dict(&Shape::Text), IGNORED),
        field(
            "ownerReferences",
            Shape::List(&Shape::Object(&OWNER_REFERENCE)),
            IGNORED,
        ),
        field("finalizers", TEXTS, IGNORED),
        field(
            "managedFields",
            Shape::List(&Shape::Object(&MANAGED_FIELDS)),
            IGNORED,
        ),
    ],
};

static OWNER_REFERENCE: Object = Object {
    name: "owner reference",
    fields: &[
        field("apiVersion", Shape::Text, IGNORED),
        field("kind", Shape::Text, IGNORED),
        field("name", Shape::Text, IGNORED),
        field("uid", Shape::Text, IGNORED),
        field("controller", Shape::Bool, IGNORED),
        field("blockOwnerDeletion", Shape::Bool, IGNORED),
    ],
};

static MANAGED_FIELDS: Object = Object {
    name: "entry of `managedFields`",
    fields: &[
        field("manager", Shape::Text, IGNORED),
        field("operation", Shape::Text, IGNORED),
        field("apiVersion", Shape::Text, IGNORED),
        field("time", Shape::Time, IGNORED),
        field("fieldsType", Shape::Text, IGNORED),
        field("fieldsV1", Shape::Anything, IGNORED),
        field("subresource", Shape::Text, IGNORED),
    ],
};

/// Findings about the fields of a policy.
pub(super) struct FieldReport<'a> {
    pub problems: Findings<ProblemKind>,
    pub warnings: Findings<WarningKind>,
    /// Returns the number of the line at an offset, for "first set on line 3".
    line_of: &'a dyn Fn(usize) -> usize,
}

/// Compares a document with the schema of a policy.
pub(super) fn check<'a>(policy: &Node, line_of: &'a dyn Fn(usize) -> usize) -> FieldReport<'a> {
    let mut report = FieldReport {
        problems: Findings::new(),
        warnings: Findings::new(),
        line_of,
    };
    report.check(policy, &Shape::Object(&POLICY), Path::Root);
    report
}

impl FieldReport<'_> {
    /// Recursion ends where the schema ends.
    fn check(&mut self, node: &Node, shape: &Shape, path: Path<'_>) {
        match (shape, &node.value) {
            (Shape::Anything, _)
            | (_, Value::Null)
            | (Shape::Text, Value::Text(_))
            | (Shape::Bool, Value::Bool { .. })
            | (Shape::Integer, Value::Number { integer: true, .. }) => {}
            (Shape::Time, Value::Text(time)) if is_rfc3339(time) => {}
            (Shape::List(shape), Value::List(items)) => {
                for (i, item) in items.iter().enumerate() {
                    self.check(item, shape, path.item(i));
                }
            }
            (Shape::Dict(shape), Value::Map(entries)) => {
                for entry in entries {
                    self.repetition(entry.at, entry.repeats, path.field(&entry.key));
                    self.check(&entry.value, shape, path.field(&entry.key));
                }
            }
            (Shape::Object(object), Value::Map(entries)) => {
                for entry in entries {
                    let path = path.field(&entry.key);
                    self.repetition(entry.at, entry.repeats, path);
                    match object.fields.iter().find(|field| field.name == entry.key) {
                        Some(field) => self.check(&entry.value, &field.shape, path),
                        None => self.unknown(entry, entries, object, path),
                    }
                }
            }
            (_, found) => {
                self.problems
                    .push(node.at, path, ProblemKind::Type, mismatch(shape, found));
            }
        }
    }

    fn repetition(&mut self, at: usize, repeats: Option<usize>, path: Path<'_>) {
        if let Some(earlier) = repeats {
            let line = (self.line_of)(earlier);
            let message =
                format!("already set on line {line}: the later one counts, remove the other");
            self.warnings
                .push(at, path, WarningKind::DuplicateKey, message);
        }
    }

    fn unknown(&mut self, entry: &Entry, siblings: &[Entry], object: &Object, path: Path<'_>) {
        let name = entry.key.as_str();
        let of_entries = std::ptr::eq(object, &GROUP_RESOURCES);
        let effect = |when_ignored: &str| match of_entries {
            true => format!("{IGNORED}, so this entry means {}", meaning(siblings)),
            false => when_ignored.to_owned(),
        };
        // A selector that got into an entry of `resources` by wrong indentation.
        let mut others = [&RULE, &POLICY].into_iter();
        let home = others.find_map(|other| Some((other, other.field(name)?)));
        let message = if let Some((home, field)) = home {
            format!(
                "not a field of the {}, but of the {}: {}",
                object.name,
                home.name,
                effect(field.when_ignored)
            )
        } else if let Some(meant) = object.meant_by(name) {
            format!(
                "unknown field; did you mean `{}`? {}",
                meant.name,
                effect(meant.when_ignored)
            )
        } else if let Some(meant) = of_entries.then(|| RULE.meant_by(name)).flatten() {
            format!(
                "unknown field; did you mean `{}` of the rule? {}",
                meant.name,
                effect(meant.when_ignored)
            )
        } else {
            format!("unknown field of the {}: {}", object.name, effect(IGNORED))
        };
        self.warnings
            .push(entry.at, path, WarningKind::UnknownField, message);
    }
}

impl Object {
    fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Finds the field that an unknown name probably means.
    fn meant_by(&self, name: &str) -> Option<&'static Field> {
        let synonyms = SYNONYMS.iter().filter(|(synonym, _)| *synonym == name);
        let by_synonym = synonyms.filter_map(|(_, meant)| self.field(meant)).next();
        by_synonym
            .or_else(|| self.field(nearest(name, self.fields.iter().map(|field| field.name))?))
    }
}

/// Describes what an entry of `resources` selects.
fn meaning(entry: &[Entry]) -> String {
    let value = |name: &str| entry.iter().rfind(|field| field.key == name);
    let group = value("group").and_then(|field| field.value.text());
    let group = match group.unwrap_or_default() {
        "" => "the core group".to_owned(),
        "*" => "all groups".to_owned(),
        group => format!("the group `{}`", shown(group)),
    };
    let resources = value("resources").map_or(&[][..], |field| field.value.items());
    let resources: Vec<&str> = resources.iter().filter_map(Node::text).collect();
    match resources.is_empty() {
        true => format!("all of {group}"),
        false => format!("`{}` of {group}", shown(&resources.join(", "))),
    }
}

fn mismatch(shape: &Shape, found: &Value) -> String {
    let (expected, remedy) = match (shape, found) {
        (Shape::Text, Value::Bool { spelling, .. } | Value::Number { spelling, .. }) => (
            "a string",
            format!(": put it in quotes, `\"{}\"`", shown(spelling)),
        ),
        (Shape::Text, Value::List(items)) => {
            let remedy = match items.as_slice() {
                [item] => item.text().map_or(String::new(), |text| {
                    format!(": write `\"{}\"`", shown(text))
                }),
                _ => ": it takes one value, so repeat what it belongs to for each".to_owned(),
            };
            ("a string", remedy)
        }
        (Shape::Text | Shape::Anything, _) => ("a string", String::new()),
        (Shape::Bool, _) => ("`true` or `false`", String::new()),
        (Shape::Integer, _) => ("a whole number", String::new()),
        (Shape::Time, _) => (
            "a time",
            ": write it like `2024-01-31T12:00:00Z`".to_owned(),
        ),
        (Shape::List(Shape::Text), Value::Text(text)) => {
            ("a list", format!(": write `[\"{}\"]`", shown(text)))
        }
        (Shape::List(Shape::Object(_)), Value::Map(_)) => {
            ("a list", ": begin it with `- `".to_owned())
        }
        (Shape::List(_), _) => ("a list", String::new()),
        (Shape::Dict(_) | Shape::Object(_), _) => ("a mapping", String::new()),
    };
    format!("found {found}, expected {expected}{remedy}")
}

/// True for a time that Go's `time.RFC3339` accepts.
fn is_rfc3339(text: &str) -> bool {
    let fits = || {
        let (date, rest) = text.split_at_checked("YYYY-MM-DD".len())?;
        let (clock, rest) = rest.strip_prefix('T')?.split_at_checked("hh:mm:ss".len())?;
        let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
        let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => 0,
        };
        let zone = match rest.strip_prefix(['.', ',']) {
            Some(fraction) => {
                let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
                (zone.len() < fraction.len()).then_some(zone)?
            }
            None => rest,
        };
        let offset = zone.strip_prefix(['+', '-']);
        let offset = offset.and_then(|offset| numbers(offset, ':', [2, 2]));
        let has_zone =
            zone == "Z" || offset.is_some_and(|[hours, minutes]| hours <= 24 && minutes <= 60);
        let is_clock = hour < 24 && minute < 60 && second < 60;
        Some((1..=days).contains(&day) && is_clock && has_zone)
    };
    fits().unwrap_or(false)
}

/// Reads numbers of fixed widths with a separator between them.
fn numbers<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[u32; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, width) in numbers.iter_mut().zip(widths) {
        let digits = parts.next()?;
        let fits = digits.len() == width && digits.bytes().all(|byte| byte.is_ascii_digit());
        *number = fits.then(|| digits.parse().ok())??;
    }
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for good in [
            "2024-02-29T23:59:59Z",
            "2024-01-01T00:00:00.123456Z",
            "0000-01-01T00:00:00,5+02:00",
            "2024-01-01T00:00:00-23:59",
        ] {
            assert!(is_rfc3339(good), "{good}");
        }
        for bad in [
            "",
            "nope",
            "2024-01-01",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:60Z",
            "2024-01-01t00:00:00Z",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00z",
            "2024-01-01T00:00:00+0200",
            "2024-01-01T00:00:00Zx",
            "2024-01-01T00:00:0ö",
        ] {
            assert!(!is_rfc3339(bad), "{bad}");
        }
    }
}
