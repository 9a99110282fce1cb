//! `kube-audit check`: what is wrong with manifests, configurations and policies.

mod classic;
mod kkp;
mod ours;
mod pipeline;
mod policy;
mod rules;
mod section;
mod yaml;

use std::io::{self, Write};
use std::process::ExitCode;

use lexopt::{Arg, Parser, ValueExt};
use serde_json::{Value, json};

use kube_audit_core::policy::Syntax;
use kube_audit_core::text::{self, Node, Source};

use super::document::{TextFile, documents};
use super::finding::{Code, Finding, Findings, Severity};
use super::kkp::Release;
use super::{Failure, Format, print};

pub fn run(mut parser: Parser) -> Result<ExitCode, Failure> {
    let mut format = Format::Text;
    let mut release = Release::NEWEST;
    let mut files = Vec::new();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("format") => format = Format::read(&parser.value()?.string()?)?,
            Arg::Long("kkp") => release = super::kkp_release(&mut parser)?,
            Arg::Long("codes") => return print(&codes()),
            Arg::Value(file) => files.push(file),
            _ => return Err(arg.unexpected().into()),
        }
    }
    if files.is_empty() {
        return Err(Failure::Usage("check needs a FILE".to_owned()));
    }
    let files = files.iter().map(|file| TextFile::read(file));
    let files: Vec<TextFile> = files.collect::<Result<_, _>>()?;
    let findings: Vec<Finding> = files
        .iter()
        .flat_map(|file| check(&file.name, &file.text, release))
        .collect();
    let report = match format {
        Format::Text => as_text(&findings),
        Format::Json => format!("{:#}\n", as_json(&findings)),
    };
    io::stdout()
        .write_all(report.as_bytes())
        .map_err(Failure::output)?;
    let wrong = count(&findings, Severity::Error) > 0;
    Ok(ExitCode::from(u8::from(wrong)))
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

/// Everything that can be said of a text; its kind is told by its content.
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
    // The API server's own reader has more to say of its file.
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
        let message = "this is no Cluster with `auditLogging`, no configuration of Fluent Bit and no \
                       audit policy";
        findings.push(0, Code::UnknownKind, "", message);
    }
    findings.into_sorted()
}

/// Checks a document; false where it is of no kind that is checked.
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

/// Lines of the text itself.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Lines {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Lines(std::iter::once(0).chain(breaks).collect())
    }
}

impl classic::Places for Lines {
    fn key(&self, line: usize, column: usize) -> usize {
        self.0.get(line - 1).map_or(0, |start| start + column)
    }

    fn value(&self, line: usize, column: usize) -> usize {
        self.key(line, column)
    }
}

fn count(findings: &[Finding], severity: Severity) -> usize {
    let of_it = |finding: &&Finding| finding.code.severity() == severity;
    findings.iter().filter(of_it).count()
}

fn as_text(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(|finding| format!("{finding}\n"))
        .collect()
}

/// `{"findings": [{"severity", "code", "file", "line", "column", "path", "message"}],
/// "errors", "warnings", "notes"}`
fn as_json(findings: &[Finding]) -> Value {
    let list = findings.iter().map(|finding| {
        let text::Place { name, line, column } = &finding.place;
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
