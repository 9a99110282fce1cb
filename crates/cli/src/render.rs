//! `kube-audit render`: the fluent-bit.conf that KKP writes for a cluster.

use std::io::{self, Write};
use std::process::ExitCode;

use lexopt::{Arg, Parser, ValueExt};

use kube_audit_core::text::Source;

use super::document::{TextFile, documents};
use super::finding::{Findings, Severity};
use super::kkp::{self, Release};
use super::{Failure, print};

pub fn run(mut parser: Parser) -> Result<ExitCode, Failure> {
    let mut file = None;
    let mut given = Vec::new();
    let mut release = Release::NEWEST;
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("env") => given.push(variable(&parser.value()?.string()?)?),
            Arg::Long("kkp") => release = super::kkp_release(&mut parser)?,
            Arg::Value(value) if file.is_none() => file = Some(value),
            _ => return Err(arg.unexpected().into()),
        }
    }
    let file = file.ok_or_else(|| Failure::Usage("render needs a CLUSTER.yaml".to_owned()))?;
    let TextFile { name, text } = TextFile::read(&file)?;
    let source = Source::new(&name, text.as_bytes());
    let mut findings = Findings::new(&source);
    let documents = documents(&text, &mut findings);
    let mut found: Vec<_> = documents
        .iter()
        .flat_map(|document| kkp::find(document, &mut findings))
        .collect();
    let refusals: Vec<String> = findings
        .into_sorted()
        .iter()
        .filter(|finding| finding.code.severity() == Severity::Error)
        .map(ToString::to_string)
        .collect();
    if !refusals.is_empty() {
        return Err(Failure::Usage(refusals.join("\n")));
    }
    let mut logging = match (found.pop(), found.last()) {
        (Some(logging), None) => logging,
        (Some(last), Some(other)) => {
            return Err(Failure::Usage(format!(
                "{}: `auditLogging` stands here and on line {}: render one at a time",
                source.place(last.at),
                source.line(other.at),
            )));
        }
        (None, _) => {
            return Err(Failure::Usage(format!(
                "{name}: there is no `auditLogging` in it: give the manifest of a Cluster, or its \
                 `auditLogging` alone"
            )));
        }
    };
    if release.has_variables() {
        let variables = logging.variables(&given);
        logging.substitute(&variables);
        let cluster_id = |text: &str| text.contains("${CLUSTER_ID}");
        let filters = logging.config.filters.iter();
        if !variables.contains_key("CLUSTER_ID")
            && filters
                .flat_map(|filter| &filter.entries)
                .any(|pair| cluster_id(&pair.value))
        {
            // Without a standard error there is nobody to tell.
            let _ = writeln!(
                io::stderr(),
                "kube-audit: {name}: `${{CLUSTER_ID}}` stays, because no Cluster is around \
                 `auditLogging`: say its name with --env CLUSTER_ID=NAME"
            );
        }
    }
    print(&kkp::render(&logging.config).text)
}

fn variable(text: &str) -> Result<(String, String), Failure> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Failure::Usage(format!("--env is `{text}`: use NAME=VALUE"))),
    }
}
