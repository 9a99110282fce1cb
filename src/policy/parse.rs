//! Text → policy: format, tree, types, validation, and what to say about it.

use std::borrow::Cow;
use std::sync::Arc;

use super::decode::{KeyOrder, check_version, decode};
use super::error::{Finding, Findings};
use super::schema::check;
use super::tree::{Fault, Node};
use super::validate::validate;
use super::{Place, Policy, PolicyError, Problem, ProblemKind, Warning, WarningKind, json, yaml};

/// The largest text that is read, in bytes.
const MAX_TEXT: usize = 8 << 20;

/// Which syntax a policy text may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// As kube-apiserver reads its policy file: JSON if it begins with `{`, otherwise YAML.
    File,
    /// The same, and also YAML in braces: for values that can't have line breaks.
    Inline,
}

/// A policy, and what is odd about its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The policy.
    pub policy: Policy,
    /// What kube-apiserver would warn about.
    pub warnings: Vec<Warning>,
}

impl Policy {
    /// Reads a policy as kube-apiserver does; `name` is what messages call the text.
    ///
    /// `audit.k8s.io/v1`, `v1beta1` and `v1alpha1` are read alike, of several YAML
    /// documents the first. Unknown fields and repeated keys are warnings, everything
    /// else that is wrong is reported at once.
    ///
    /// ```
    /// use kube_audit::policy::{Policy, Syntax};
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
        let source = Source::new(name, decoded.as_deref().unwrap_or(text));
        let (tree, order) = decoded
            .as_deref()
            .map_err(Clone::clone)
            .and_then(|decoded| read(text, decoded, syntax))
            .map_err(|fault| source.refusal(fault))?;
        let problems = check_version(&tree, order);
        if !problems.is_empty() {
            return Err(source.error(problems, Vec::new()));
        }
        let line_of = |at| source.line(at);
        let report = check(&tree, &line_of);
        let warnings = source.warnings(report.warnings);
        if !report.problems.is_empty() {
            return Err(source.error(report.problems, warnings));
        }
        match validate(decode(&tree)) {
            Ok(policy) => Ok(Parsed { policy, warnings }),
            Err(problems) => Err(source.error(problems, warnings)),
        }
    }
}

/// The text as UTF-8, without a byte order mark; JSON text may have invalid bytes.
fn to_utf8(text: &[u8]) -> Result<Cow<'_, [u8]>, Fault> {
    if text.len() > MAX_TEXT {
        let message = format!("{} bytes are more than the {MAX_TEXT} allowed", text.len());
        return Err(Fault {
            at: 0,
            kind: ProblemKind::Limit,
            message,
        });
    }
    let word: fn([u8; 2]) -> u16 = match text {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return Ok(Cow::Borrowed(text)),
    };
    let (pairs, rest) = text.as_chunks::<2>();
    let words = pairs.iter().skip(1).map(|&pair| word(pair));
    let decoded: Result<String, _> = char::decode_utf16(words).collect();
    match decoded {
        Ok(text) if rest.is_empty() => Ok(Cow::Owned(text.into_bytes())),
        _ => Err(Fault::syntax(0, "not valid UTF-16")),
    }
}

/// Reads the decoded text; what the original begins with tells the syntax.
fn read(original: &[u8], text: &[u8], syntax: Syntax) -> Result<(Node, KeyOrder), Fault> {
    if !begins_with_brace(original) {
        return read_yaml(text);
    }
    let fault = match json::read(text) {
        Ok(tree) => return Ok((tree, KeyOrder::Written)),
        Err(fault) => fault,
    };
    match (syntax, read_yaml(text)) {
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

fn read_yaml(text: &[u8]) -> Result<(Node, KeyOrder), Fault> {
    let text = std::str::from_utf8(text)
        .map_err(|error| Fault::syntax(error.valid_up_to(), "not valid UTF-8"))?;
    let bare = text.strip_prefix('\u{feff}').unwrap_or(text);
    let skipped = text.len() - bare.len();
    match yaml::read(bare) {
        Ok(tree) => Ok((tree, KeyOrder::Sorted)),
        Err(fault) => Err(Fault {
            at: fault.at + skipped,
            ..fault
        }),
    }
}

/// The API server's test for JSON; it skips what Unicode calls white space.
fn begins_with_brace(text: &[u8]) -> bool {
    let valid = text.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    valid.trim_start().starts_with('{')
}

/// A text and its name, to turn byte offsets into places.
struct Source<'a> {
    name: Arc<str>,
    text: &'a [u8],
    /// Where lines begin.
    lines: Vec<usize>,
}

impl<'a> Source<'a> {
    fn new(name: &str, text: &'a [u8]) -> Source<'a> {
        let first = if text.starts_with("\u{feff}".as_bytes()) {
            3
        } else {
            0
        };
        let ends = text.iter().enumerate().filter(|&(i, &byte)| {
            byte == b'\n' || (byte == b'\r' && text.get(i + 1) != Some(&b'\n'))
        });
        let lines = std::iter::once(first)
            .chain(ends.map(|(i, _)| i + 1))
            .collect();
        Source {
            name: name.into(),
            text,
            lines,
        }
    }

    fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|&start| start <= at).max(1)
    }

    fn place(&self, at: usize) -> Place {
        let line = self.line(at);
        let before = self.text.get(self.lines[line - 1]..at.min(self.text.len()));
        // Continuation bytes of UTF-8 are no characters of their own.
        let characters = |text: &[u8]| text.iter().filter(|&&byte| byte & 0xc0 != 0x80).count();
        Place {
            name: self.name.clone(),
            line,
            column: 1 + before.map_or(0, characters),
        }
    }

    fn refusal(&self, fault: Fault) -> PolicyError {
        let mut problems = Findings::new();
        problems.push(fault.at, "", fault.kind, fault.message);
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
            // As the API server does it: what reads the same is said once.
            let known = |problem: &Problem| problem.field == field && problem.message == message;
            if !problems.iter().any(known) {
                problems.push(Problem {
                    place: self.place(at),
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
                    place: self.place(at),
                    path,
                    kind,
                    message,
                },
            )
            .collect()
    }
}

/// The path without the index after `resources`, which the API server leaves out.
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
    fn inline_texts() {
        for text in [
            "{apiVersion: audit.k8s.io/v1, rules: [{level: None, users: ['a', \"b\"]}]}",
            r#"{"apiVersion":"audit.k8s.io/v1","rules":[{"level":"None","users":["a","b"]}]}"#,
            "apiVersion: audit.k8s.io/v1\nrules:\n- level: None\n  users: [a, b]\n",
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
