//! Linux audit records: pipelines that lose them, cannot read them, or believe anybody.

use crate::finding::{Code, Findings};
use kube_audit_core::options::table;

use super::ours::NAME;
use super::pipeline::{Kind, Pipeline, Section};
use super::rules::fits;

/// Checks the ways of Linux audit records through a pipeline.
pub(super) fn all(pipeline: &Pipeline, findings: &mut Findings<'_>) {
    let ours = |section: &&Section| section.is(NAME);
    let ours: Vec<&Section> = pipeline.sections.iter().filter(ours).collect();
    for input in pipeline.of(Kind::Input) {
        ausearch(input, findings);
        let reader = ours
            .iter()
            .find(|section| reads(section) && gets(section, input));
        if reader.is_some() {
            transport(input, findings);
        }
    }
    for section in ours {
        if reads(section) {
            any_source(section, findings);
        } else {
            dropped(section, pipeline, findings);
        }
    }
}

/// True if a section of ours reads audit records.
fn reads(section: &Section) -> bool {
    let value = section.value(table::MACHINE_AUDIT.name);
    value.is_some_and(|value| !value.eq_ignore_ascii_case("keep"))
}

/// True if a section may get the records of an input.
fn gets(section: &Section, input: &Section) -> bool {
    let first = format!("{}.0", input.plugin());
    let tag = input.value("tag").unwrap_or(&first);
    match section.value("match") {
        // Tags with parts of paths are not known here.
        Some(pattern) => fits(pattern, tag) || fits(tag, pattern),
        None => section.kind == Kind::Processor,
    }
}

/// The trap of `exec` with `ausearch`: text for people.
fn ausearch(input: &Section, findings: &mut Findings<'_>) {
    let command = input.get("command").filter(|_| input.is("exec"));
    if let Some(command) = command.filter(|command| command.value.contains("ausearch")) {
        let message = "`ausearch` writes text for people, keeps no position, and its records cannot \
                       be read: `tail` audit.log and set `Machine_Audit events`";
        findings.push(command.value_at, Code::MachineAusearch, "", message);
    }
}

/// The trap of a journal without a filter: `logger` can write what the kernel would.
fn transport(input: &Section, findings: &mut Findings<'_>) {
    if !input.is("systemd") {
        return;
    }
    let filters = input.properties.iter();
    let mut filters =
        filters.filter(|property| property.key.eq_ignore_ascii_case("systemd_filter"));
    if !filters.any(|filter| filter.value.trim().starts_with("_TRANSPORT=")) {
        let message = "without `Systemd_Filter _TRANSPORT=audit` (or `=kernel`) the whole journal is \
                       read, and what other processes write there";
        findings.push(input.at, Code::MachineTransport, "", message);
    }
}

/// The trap of `Match *`: a container that prints an audit record is believed.
fn any_source(section: &Section, findings: &mut Findings<'_>) {
    let any = section.get("match").filter(|pattern| pattern.value == "*");
    if let Some(any) = any {
        let message = "`Machine_Audit` with `Match *` takes what any container prints for the \
                       machine's audit log: write the tag of that log";
        findings.push(any.value_at, Code::MachineAnySource, "", message);
    }
}

/// The trap of `Non_Audit drop`: without the option these records are no audit events.
fn dropped(section: &Section, pipeline: &Pipeline, findings: &mut Findings<'_>) {
    let drops = section.get(table::NON_AUDIT.name);
    let Some(drops) = drops.filter(|drops| drops.value.eq_ignore_ascii_case("drop")) else {
        return;
    };
    let lost = pipeline
        .of(Kind::Input)
        .find(|input| is_machine_log(input) && gets(section, input));
    if let Some(input) = lost {
        let message = format!(
            "`Non_Audit drop` drops the Linux audit records of the input `{}` in line {}: set \
             `Machine_Audit` to records or events, or leave them out with `Match`",
            input.plugin(),
            findings.line(input.at)
        );
        findings.push(drops.value_at, Code::MachineLogsDropped, "", message);
    }
}

/// True if an input reads the audit log of a machine.
fn is_machine_log(input: &Section) -> bool {
    let has = |key: &str, words: &[&str]| {
        let of_key = |key: &str| {
            let named = input.properties.iter();
            let named = named.filter(move |property| property.key.eq_ignore_ascii_case(key));
            named
                .map(|property| property.value.clone())
                .collect::<Vec<_>>()
        };
        of_key(key)
            .iter()
            .any(|value| words.iter().any(|word| value.contains(word)))
    };
    match input.plugin().as_str() {
        "tail" => has("path", &["/audit/audit.log", "/var/log/audit/", "kern.log"]),
        "systemd" => has("systemd_filter", &["_TRANSPORT=audit", "_TRANSPORT=kernel"]),
        "kmsg" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::finding::Code;
    use crate::kkp::Release;

    /// The codes of findings about machine logs, and their lines.
    fn findings(text: &str) -> Vec<(usize, Code)> {
        let findings = super::super::check("file", text, Release::NEWEST);
        let codes = findings
            .into_iter()
            .map(|finding| (finding.place.line, finding.code));
        let ours = |code: &Code| code.name().starts_with("machine-");
        codes.filter(|(_, code)| ours(code)).collect()
    }

    const TAIL: &str = "[INPUT]\n  Name tail\n  Path /var/log/audit/audit.log\n  Tag machine\n";

    #[test]
    fn non_audit_drop_loses_them() {
        let filter =
            |lines: &str| format!("{TAIL}[FILTER]\n  Name kube_audit\n  Non_Audit drop\n{lines}");
        let lost = [(7, Code::MachineLogsDropped)];
        assert_eq!(findings(&filter("  Match *\n")), lost);
        assert_eq!(
            findings(&filter("  Match mach*\n  Machine_Audit keep\n")),
            lost
        );
        assert_eq!(findings(&filter("  Match kube.*\n")), []);
        assert_eq!(
            findings(&filter("  Match machine\n  Machine_Audit events\n")),
            []
        );
    }

    #[test]
    fn any_container_is_believed() {
        let text = "[FILTER]\n  Name kube_audit\n  Machine_Audit events\n  Match ";
        assert_eq!(
            findings(&format!("{TAIL}{text}*\n")),
            [(8, Code::MachineAnySource)]
        );
        assert_eq!(findings(&format!("{TAIL}{text}machine\n")), []);
    }

    #[test]
    fn any_process_writes_to_the_journal() {
        let text = |filter: &str| {
            format!(
                "[INPUT]\n  Name systemd\n  Tag m.*\n{filter}[FILTER]\n  Name kube_audit\n  Match m.*\n  Machine_Audit records\n"
            )
        };
        let found = [(1, Code::MachineTransport)];
        assert_eq!(findings(&text("")), found);
        assert_eq!(
            findings(&text("  Systemd_Filter SYSLOG_IDENTIFIER=kernel\n")),
            found
        );
        assert_eq!(findings(&text("  Systemd_Filter _TRANSPORT=audit\n")), []);
    }

    #[test]
    fn ausearch_writes_for_people() {
        let text = "[INPUT]\n  Name exec\n  Command tail -f /a | ausearch -i\n";
        assert_eq!(findings(text), [(3, Code::MachineAusearch)]);
    }
}
