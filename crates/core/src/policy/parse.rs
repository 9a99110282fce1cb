//! From text to policy: format, tree, types, validation, and messages with places.

use super::decode::decode;
use super::error::{Finding, Findings};
use super::schema::check;
use super::validate::validate;
use super::version::{KeyOrder, MissingVersion, read_version};
use super::{Policy, PolicyError, Problem, ProblemKind, Warning, WarningKind};
use kube_audit_text::{
    Fault, FaultKind, Node, Place, Source, begins_with_brace, read_json, read_yaml, to_utf8,
};

/// Syntax of a policy text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// As kube-apiserver reads its policy file: JSON if it begins with `{`, otherwise YAML.
    File,
    /// As [`Syntax::File`], and also YAML in braces, for values that can't have line breaks.
    /// `apiVersion` may be missing, because the option shows that it is a policy.
    Inline,
}

/// Policy that was read from a text, with what is known about the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The policy.
    pub policy: Policy,
    /// Warnings that kube-apiserver would log.
    pub warnings: Vec<Warning>,
    /// Place of each rule in the text.
    pub places: Vec<Place>,
}

impl Policy {
    /// Reads a policy as kube-apiserver does; messages call the text `name`.
    ///
    /// `audit.k8s.io/v1`, `v1beta1` and `v1alpha1` are read alike, except that only v1 has
    /// the group `*`; of several YAML documents the first counts. Unknown fields and repeated keys are warnings, everything
    /// else that is wrong is reported at once.
    ///
    /// ```
    /// use kube_audit_core::policy::{Policy, Syntax};
    ///
    /// let text = b"{apiVersion: audit.k8s.io/v1, rules: [{level: metadata}]}";
    /// let error = Policy::parse("Policy", text, Syntax::Inline).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "Policy:1:47: rules[0].level: unsupported value `metadata`: \
    ///      use `Metadata` (levels are None, Metadata, Request, RequestResponse)",
    /// );
    /// ```
    pub fn parse(name: &str, text: &[u8], syntax: Syntax) -> Result<Parsed, PolicyError> {
        let decoded = to_utf8(text);
        let located = Located::new(name, decoded.as_deref().unwrap_or(text));
        let (tree, order) = decoded
            .as_deref()
            .map_err(Clone::clone)
            .and_then(|decoded| read(text, decoded, syntax))
            .map_err(|fault| located.refusal(fault))?;
        let missing = match syntax {
            Syntax::File => MissingVersion::Refused,
            Syntax::Inline => MissingVersion::IsV1,
        };
        let version = read_version(&tree, order, missing)
            .map_err(|problems| located.error(problems, Vec::new()))?;
        let line_of = |at| located.source.line(at);
        let report = check(&tree, &line_of);
        let warnings = located.warnings(report.warnings);
        if !report.problems.is_empty() {
            return Err(located.error(report.problems, warnings));
        }
        let document = decode(&tree);
        let rules = document.rules.iter();
        let rules = rules.map(|rule| located.source.place(rule.at)).collect();
        match validate(document, version) {
            Ok(policy) => Ok(Parsed {
                policy,
                warnings,
                places: rules,
            }),
            Err(problems) => Err(located.error(problems, warnings)),
        }
    }
}

/// Reads the decoded text; the first byte of the original decides between JSON and YAML.
fn read(original: &[u8], text: &[u8], syntax: Syntax) -> Result<(Node, KeyOrder), Fault> {
    if !begins_with_brace(original) {
        return read_yaml_text(text);
    }
    let fault = match read_json(text) {
        Ok(tree) => return Ok((tree, KeyOrder::Written)),
        Err(fault) => fault,
    };
    match (syntax, read_yaml_text(text)) {
        (Syntax::Inline, result) => result,
        (Syntax::File, Ok(_)) => {
            let message = format!(
                "{}: kube-apiserver takes a file that begins with `{{` for JSON, but this is YAML; \
                 put a line `---` above it",
                fault.message
            );
            Err(Fault { message, ..fault })
        }
        (Syntax::File, Err(_)) => Err(fault),
    }
}

fn read_yaml_text(text: &[u8]) -> Result<(Node, KeyOrder), Fault> {
    let text = std::str::from_utf8(text)
        .map_err(|error| Fault::syntax(error.valid_up_to(), "not valid UTF-8"))?;
    let bare = text.strip_prefix('\u{feff}').unwrap_or(text);
    let skipped = text.len().saturating_sub(bare.len());
    match read_yaml(bare) {
        Ok(tree) => Ok((tree, KeyOrder::Sorted)),
        Err(fault) => Err(Fault {
            at: fault.at.saturating_add(skipped),
            ..fault
        }),
    }
}

/// Text whose findings get places instead of byte offsets.
struct Located<'a> {
    source: Source<'a>,
}

impl<'a> Located<'a> {
    fn new(name: &str, text: &'a [u8]) -> Located<'a> {
        Located {
            source: Source::new(name, text),
        }
    }

    fn refusal(&self, fault: Fault) -> PolicyError {
        let mut problems = Findings::new();
        let kind = match fault.kind {
            FaultKind::Syntax => ProblemKind::Syntax,
            FaultKind::Limit => ProblemKind::Limit,
        };
        problems.push(fault.at, "", kind, fault.message);
        self.error(problems, Vec::new())
    }

    fn error(&self, findings: Findings<ProblemKind>, warnings: Vec<Warning>) -> PolicyError {
        let mut problems: Vec<Problem> = Vec::new();
        for Finding {
            at,
            path,
            kind,
            message,
        } in findings
        {
            let field = api_field(&path);
            // kube-apiserver reports equal messages once.
            let known = |problem: &Problem| problem.field == field && problem.message == message;
            if !problems.iter().any(known) {
                problems.push(Problem {
                    place: self.source.place(at),
                    path,
                    field,
                    kind,
                    message,
                });
            }
        }
        PolicyError { problems, warnings }
    }

    fn warnings(&self, findings: Findings<WarningKind>) -> Vec<Warning> {
        findings
            .into_iter()
            .map(
                |Finding {
                     at,
                     path,
                     kind,
                     message,
                 }| Warning {
                    place: self.source.place(at),
                    path,
                    kind,
                    message,
                },
            )
            .collect()
    }
}

/// Returns the path as kube-apiserver has it: without the index after `resources`.
fn api_field(path: &str) -> String {
    const LIST: &str = ".resources[";
    match path
        .split_once(LIST)
        .and_then(|(rule, rest)| Some((rule, rest.split_once(']')?.1)))
    {
        Some((rule, rest)) => format!("{rule}.resources{rest}"),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<String> {
        match Policy::parse("p", text.as_bytes(), Syntax::File) {
            Ok(parsed) => parsed.warnings.iter().map(ToString::to_string).collect(),
            Err(error) => error.to_string().lines().map(str::to_owned).collect(),
        }
    }

    #[test]
    fn messages_say_where_what_and_what_instead() {
        for (text, expected) in [
            (
                "apiVersion: audit.k8s.io/v1\nrules:\n- Level: None\n",
                &[
                    "p:3:3: rules[0].level: missing: every rule needs a level \
                     (levels are None, Metadata, Request, RequestResponse)",
                    "p:3:3: rules[0].Level: unknown field; did you mean `level`? it is ignored",
                ][..],
            ),
            (
                "apiVersion: audit.k8s.io/v1\nrules:\n- level: None\n  nonResourceUrls: [/a]\n",
                &[
                    "p:4:3: rules[0].nonResourceUrls: unknown field; did you mean `nonResourceURLs`? \
                   it is ignored, so the rule matches more requests than intended",
                ],
            ),
            (
                "apiVersion: audit.k8s.io/v1\nrules:\n- level: None\n  resources:\n  - apiGroups: [apps]\n    resources: [deployments]\n",
                &[
                    "p:5:5: rules[0].resources[0].apiGroups: unknown field; did you mean `group`? \
                   it is ignored, so this entry means `deployments` of the core group",
                ],
            ),
            (
                "apiVersion: audit.k8s.io/v1\nrules:\n- level: None\n  resources:\n  - username: bob\n  - {verbs: [get], group: apps}\n",
                &[
                    "p:5:5: rules[0].resources[0].username: unknown field; did you mean `users` of the \
                   rule? it is ignored, so this entry means all of the core group",
                    "p:6:6: rules[0].resources[1].verbs: not a field of the entry of `resources`, but of \
                   the rule: it is ignored, so this entry means all of the group `apps`",
                ],
            ),
            (
                "apiVersion: audit.k8s.io/v1\nrules:\n- level: None\n  groups: [system:nodes]\n",
                &[
                    "p:4:3: rules[0].groups: unknown field; did you mean `userGroups`? \
                   it is ignored, so the rule matches more requests than intended",
                ],
            ),
            (
                "apiVersion: audit.k8s.io/v1\nrules:\n- level: None\n  resources:\n  - group: [a, b]\n  - group: [c]\n",
                &[
                    "p:5:12: rules[0].resources[0].group: found a list, expected a string: \
                   it takes one value, so repeat what it belongs to for each",
                    "p:6:12: rules[0].resources[1].group: found a list, expected a string: write `\"c\"`",
                ],
            ),
            (
                "apiVersion: audit.k8s.io/v1\nrules:\n- level: None\n  resources:\n  - group: apps/v1\n",
                &[
                    "p:5:12: rules[0].resources[0].group: invalid value `apps/v1`: \
                   use `apps`, the lower-case name without a version",
                ],
            ),
            (
                "apiVersion: audit.k8s.io/v1\nrules:\n- level: None\n  users: [ü, yes]\n",
                &[
                    "p:4:14: rules[0].users[1]: found boolean `yes`, expected a string: \
                   put it in quotes, `\"yes\"`",
                ],
            ),
            (
                "{apiVersion: audit.k8s.io/v1}",
                &[
                    "p:1:2: unexpected `a` where a key in double quotes should begin in JSON: \
                   kube-apiserver takes a file that begins with `{` for JSON, but this is YAML; \
                   put a line `---` above it",
                ],
            ),
            (
                "\u{feff}kind: Policy",
                &["p:1:1: apiVersion: missing: write `apiVersion: audit.k8s.io/v1`"],
            ),
            (
                "apiVersion: audit.k8s.io/v1\r\n\r\nkind: policy\r\n",
                &["p:3:7: kind: found `policy`, expected `Policy`"],
            ),
            (
                "apiVersion: audit.k8s.io/v1\n",
                &["p:1:1: rules: a policy needs at least one rule"],
            ),
        ] {
            assert_eq!(messages(text), expected, "{text}");
        }
    }

    #[test]
    fn the_group_star_is_refused_by_versions_whose_servers_refuse_it() {
        let policy = |version: &str, group: &str| {
            messages(&format!(
                "apiVersion: audit.k8s.io/{version}\nrules:\n- level: None\n  resources:\n  - group: \"{group}\"\n"
            ))
        };
        assert_eq!(policy("v1", "*"), [""; 0]);
        for version in ["v1beta1", "v1alpha1"] {
            assert_eq!(policy(version, "apps"), [""; 0]);
            assert_eq!(
                policy(version, "*"),
                [format!(
                    "p:5:12: rules[0].resources[0].group: invalid value `*`: every kube-apiserver \
                     that reads `audit.k8s.io/{version}` refuses it; name each group, or write \
                     `apiVersion: audit.k8s.io/v1` for kube-apiserver 1.36 and later"
                )]
            );
        }
    }

    #[test]
    fn inline_texts() {
        for text in [
            "{apiVersion: audit.k8s.io/v1, rules: [{level: None, users: ['a', \"b\"]}]}",
            r#"{"apiVersion":"audit.k8s.io/v1","rules":[{"level":"None","users":["a","b"]}]}"#,
            "apiVersion: audit.k8s.io/v1\nrules:\n- level: None\n  users: [a, b]\n",
            "{rules: [{level: None, users: [a, b]}]}",
        ] {
            let parsed = Policy::parse("p", text.as_bytes(), Syntax::Inline).unwrap();
            assert_eq!(parsed.policy.rules()[0].users, ["a", "b"], "{text}");
        }
    }

    #[test]
    fn encodings() {
        let text = "apiVersion: audit.k8s.io/v1\nrules:\n- level: None\n  users: [ü😀]\n";
        let words = || std::iter::once(0xfeff).chain(text.encode_utf16());
        for bytes in [
            text.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            words().flat_map(u16::to_le_bytes).collect(),
            words().flat_map(u16::to_be_bytes).collect(),
        ] {
            let parsed = Policy::parse("p", &bytes, Syntax::File).unwrap();
            assert_eq!(parsed.policy.rules()[0].users, ["ü😀"]);
        }
        for bad in [&b"\xff\xfea"[..], b"\xff\xfe\x00\xd8", b"a: \xff"] {
            assert!(Policy::parse("p", bad, Syntax::File).is_err());
        }
    }
}
