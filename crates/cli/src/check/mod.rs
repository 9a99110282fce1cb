//! `kube-audit check`: finds what is wrong with manifests, configurations and policies.

mod classic;
mod kkp;
mod machine;
mod ours;
mod pipeline;
mod policy;
mod rules;
mod section;
mod yaml;

use serde_json::{Value, json};

use kube_audit_core::policy::Syntax;
use kube_audit_text::{Node, Place, Source};

use super::args::{Check, Format, Out};
use super::document::{TextFile, documents};
use super::finding::{Code, Finding, Findings, Severity};
use super::kkp::Release;
use super::output::Output;
use super::{Exit, Failure};

pub(crate) fn run(arguments: &Check) -> Result<Exit, Failure> {
    if arguments.codes {
        return write(&arguments.out, |_| codes()).map(|()| Exit::Done);
    }
    let files = arguments.files.iter().map(|file| TextFile::read(file));
    let files: Vec<TextFile> = files.collect::<Result<_, _>>()?;
    let detect = arguments.detect.load(None)?;
    let mut findings: Vec<Finding> = Vec::new();
    for TextFile { name, text } in &files {
        findings.extend(check(name, text, arguments.kkp));
        if let Some(detect) = &detect {
            findings.extend(policy::blind(name, text, &detect.detector));
        }
    }
    write(&arguments.out, |colours| match arguments.format {
        Format::Text => as_text(&findings, colours),
        Format::Json => format!("{:#}\n", as_json(&findings)),
    })?;
    Ok(match count(&findings, Severity::Error) {
        0 => Exit::Done,
        _ => Exit::Failed,
    })
}

/// Writes a text, which may have colours.
fn write(out: &Out, text: impl FnOnce(bool) -> String) -> Result<(), Failure> {
    let mut out = Output::open(out)?;
    let text = text(out.has_colours());
    out.write(text.as_bytes())?;
    out.finish()
}

fn codes() -> String {
    let codes = Code::ALL.iter();
    codes
        .map(|code| {
            format!(
                "{:24} {:8} {}\n",
                code.name(),
                code.severity().name(),
                code.meaning()
            )
        })
        .collect()
}

/// Checks a text; its content decides on its kind.
fn check(name: &str, content: &str, release: Release) -> Vec<Finding> {
    let source = Source::new(name, content.as_bytes());
    let mut findings = Findings::new(&source);
    if classic::looks_like(content) {
        let lines = Lines::new(content);
        let pipeline = classic::read(content, &lines, &mut findings);
        rules::check(&pipeline, &mut findings);
        return findings.into_sorted();
    }
    let mut faults = Findings::new(&source);
    let documents = documents(content, &mut faults);
    let faults = faults.into_sorted();
    // The policy's own reader has better messages for a broken policy.
    let stars = faults.iter().any(|fault| fault.code == Code::UnquotedStar);
    let policy = documents.first().is_some_and(policy::looks_like)
        || !faults.is_empty() && !stars && content.contains("audit.k8s.io/");
    if policy {
        policy::check(name, content, Syntax::File, &documents, &mut findings);
        return findings.into_sorted();
    }
    if !faults.is_empty() {
        return faults;
    }
    let known = documents
        .iter()
        .filter(|document| document_of_its_own(document, release, &mut findings))
        .count();
    if known == 0 {
        let message = "neither a Cluster with `auditLogging`, nor a configuration of Fluent Bit, nor an \
                       audit policy";
        findings.push(0, Code::UnknownKind, "", message);
    }
    findings.into_sorted()
}

/// Checks a document; false if it is of a kind that is not checked.
fn document_of_its_own(document: &Node, release: Release, findings: &mut Findings<'_>) -> bool {
    if yaml::looks_like(document) {
        let pipeline = yaml::read(document, findings);
        rules::check(&pipeline, findings);
        return true;
    }
    let found = super::kkp::find(document, findings);
    let any = !found.is_empty();
    for logging in found {
        let pipeline = kkp::check(logging, release, findings);
        rules::check(&pipeline, findings);
    }
    if !any && super::kkp::may_have_audit_logging(document) {
        let message = "there is no `auditLogging` in it: the cluster logs no requests, unless its \
                       seed says so";
        findings.push(document.at, Code::NoAuditLogging, "", message);
        return true;
    }
    any
}

/// Byte offsets at which the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Lines {
        let breaks = text.match_indices('\n').map(|(at, _)| at.saturating_add(1));
        Lines(std::iter::once(0).chain(breaks).collect())
    }
}

impl classic::Places for Lines {
    fn key(&self, line: usize, column: usize) -> usize {
        self.0
            .get(line.wrapping_sub(1))
            .map_or(0, |start| start.saturating_add(column))
    }

    fn value(&self, line: usize, column: usize) -> usize {
        self.key(line, column)
    }
}

fn count(findings: &[Finding], severity: Severity) -> usize {
    let of_it = |finding: &&Finding| finding.code.severity() == severity;
    findings.iter().filter(of_it).count()
}

fn as_text(findings: &[Finding], colours: bool) -> String {
    let line = |finding: &Finding| match colours {
        true => format!("{finding:#}\n"),
        false => format!("{finding}\n"),
    };
    findings.iter().map(line).collect()
}

/// `{"findings": [{"severity", "code", "file", "line", "column", "path", "message"}],
/// "errors", "warnings", "notes"}`
fn as_json(findings: &[Finding]) -> Value {
    let list = findings.iter().map(|finding| {
        let Place { name, line, column } = &finding.place;
        json!({
            "severity": finding.code.severity().name(),
            "code": finding.code.name(),
            "file": &**name,
            "line": line,
            "column": column,
            "path": finding.path,
            "message": finding.message,
        })
    });
    json!({
        "findings": list.collect::<Vec<_>>(),
        "errors": count(findings, Severity::Error),
        "warnings": count(findings, Severity::Warning),
        "notes": count(findings, Severity::Note),
    })
}
