//! `kube-audit render`: the fluent-bit.conf that KKP writes for a cluster.

use std::io::{self, Write};

use kube_audit_text::Source;

use super::args::Render;
use super::document::{TextFile, documents};
use super::finding::{Findings, Severity};
use super::output::Output;
use super::{Exit, Failure, kkp};

pub(crate) fn run(arguments: &Render) -> Result<Exit, Failure> {
    let TextFile { name, text } = TextFile::read(&arguments.file)?;
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
                "{}: `auditLogging` is here and on line {}: render one at a time",
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
    if arguments.kkp.has_variables() {
        let variables = logging.variables(&arguments.variables);
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
                "kube-audit: {name}: `${{CLUSTER_ID}}` stays, because `auditLogging` is not in a \
                 Cluster: give its name with --env CLUSTER_ID=NAME"
            );
        }
    }
    let mut out = Output::open(&arguments.out)?;
    out.write(kkp::render(&logging.config).text.as_bytes())?;
    out.finish()?;
    Ok(Exit::Done)
}
