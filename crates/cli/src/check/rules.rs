//! Checks of any pipeline.

use crate::finding::{Code, Findings};
use crate::kkp::Release;
use kube_audit_text::suggest::nearest;

use super::pipeline::{Kind, Pipeline, Property, Section};
use super::{machine, ours};

/// Checks a pipeline.
pub(super) fn check(pipeline: &Pipeline, findings: &mut Findings<'_>) {
    ours::all(pipeline, findings);
    machine::all(pipeline, findings);
    names_and_matches(pipeline, findings);
    unmatched(pipeline, findings);
    long_lines(pipeline, findings);
    hot_reload(pipeline, findings);
    grep_keys(pipeline, findings);
    inside_log(pipeline, findings);
    parsers(pipeline, findings);
    webhooks(pipeline, findings);
    retries(pipeline, findings);
    backlogs(pipeline, findings);
    service_keys(pipeline, findings);
}

fn is_set(section: &Section, key: &str) -> bool {
    section.get(key).is_some()
}

fn names_and_matches(pipeline: &Pipeline, findings: &mut Findings<'_>) {
    let count = |kind| pipeline.of(kind).count();
    let single = count(Kind::Input) == 1 && count(Kind::Output) == 1;
    for section in &pipeline.sections {
        let kind = section.kind;
        if matches!(kind, Kind::Service | Kind::Other) {
            continue;
        }
        if section.value("name").is_none_or(str::is_empty) {
            let message = format!(
                "this {} has no `Name`, so Fluent Bit does not start: name its plugin",
                kind.name()
            );
            findings.push(section.at, Code::NoName, "", message);
            continue;
        }
        if is_set(section, "match") || is_set(section, "match_regex") {
            continue;
        }
        match kind {
            Kind::Filter => {
                let message = "a filter without `Match` gets no records (Fluent Bit 1.9), or keeps \
                               Fluent Bit from starting (4.0): write `Match *`, or a tag";
                findings.push(section.at, Code::NoMatch, "", message);
            }
            Kind::Output if !single && !pipeline.includes && !pipeline.is_routed(section) => {
                let message =
                    "an output without `Match` gets no records: write `Match *`, or a tag";
                findings.push(section.at, Code::NoMatch, "", message);
            }
            _ => {}
        }
    }
}

/// The tags of all records, where they are known.
fn tags(pipeline: &Pipeline) -> Option<Vec<String>> {
    let mut tags = Vec::new();
    let emits = |section: &Section| {
        !matches!(
            section.plugin().as_str(),
            "grep"
                | "modify"
                | "record_modifier"
                | "parser"
                | "nest"
                | "stdout"
                | "throttle"
                | "kube_audit"
        )
    };
    if pipeline.includes || pipeline.of(Kind::Filter).any(emits) {
        return None;
    }
    for (index, input) in pipeline.of(Kind::Input).enumerate() {
        let plugin = input.plugin();
        match input.value("tag") {
            // Instances of a plugin are numbered each kind on its own.
            None if index == 0 && plugin == "tail" && !is_set(input, "tag_regex") => {
                tags.push("tail.0".to_owned());
            }
            Some(tag) if matches!(plugin.as_str(), "tail" | "dummy") => {
                if tag.contains(['*', '<', '$', '{']) {
                    return None;
                }
                tags.push(tag.to_owned());
            }
            _ => return None,
        }
    }
    (!tags.is_empty()).then_some(tags)
}

fn unmatched(pipeline: &Pipeline, findings: &mut Findings<'_>) {
    let Some(tags) = tags(pipeline) else { return };
    for section in &pipeline.sections {
        if !matches!(section.kind, Kind::Filter | Kind::Output) {
            continue;
        }
        let Some(pattern) = section.get("match") else {
            continue;
        };
        if is_set(section, "match_regex")
            || pattern.value.contains("${")
            || tags.iter().any(|tag| fits(&pattern.value, tag))
        {
            continue;
        }
        let message = format!(
            "`{}` matches no tag, so this {} gets no records: the tags are {}",
            pattern.value,
            section.kind.name(),
            tags.join(", ")
        );
        findings.push(pattern.value_at, Code::Unmatched, "", message);
    }
}

/// True if a pattern with `*` matches a tag.
pub(super) fn fits(pattern: &str, tag: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = tag.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}

/// True if an input is the one of KKP's template.
fn is_kkps_own(input: &Section) -> bool {
    input.properties.len() == 3
        && input.value("db") == Some("/var/log/kubernetes/audit/fluentbit.db")
}

fn long_lines(pipeline: &Pipeline, findings: &mut Findings<'_>) {
    let inputs: Vec<&Section> = pipeline.of(Kind::Input).collect();
    for &input in &inputs {
        if pipeline.kkp.is_some() && is_kkps_own(input) {
            // With another input it need not matter.
            if inputs.len() == 1 {
                let message = "KKP's own input loses lines over 32 KiB and stops there: before KKP \
                               2.28 until the file is rotated, since then for up to a minute; no \
                               setting of the manifest changes that";
                findings.push(input.at, Code::KkpLongLines, "", message);
            }
            continue;
        }
        let skips = input
            .value("skip_long_lines")
            .is_some_and(|value| value.contains("${"))
            || input.is_on("skip_long_lines")
            || input.is_on("truncate_long_lines");
        if !input.is("tail") {
            continue;
        }
        let at = input.get("name").map_or(input.at, |name| name.value_at);
        let limit = input.value("buffer_max_size").unwrap_or("32k");
        if !skips {
            let message = format!(
                "a line over {limit} is lost and stops the reading of its file, in Fluent Bit 1.9 \
                 until that is rotated: set `Skip_Long_Lines On` and `Buffer_Max_Size` (audit \
                 events reach more than 1 MB)"
            );
            findings.push(at, Code::LongLineStops, "", message);
        } else if let Some(truncate) = input.get("truncate_long_lines")
            && input.is_on("truncate_long_lines")
        {
            if size(limit).is_some_and(|limit| limit < LONG_LINE) {
                let message = format!(
                    "lines over {limit} are cut, and a cut audit event cannot be read: no policy \
                     applies to it; set `Buffer_Max_Size 4M` or more (audit events reach more than \
                     1 MB)"
                );
                findings.push(truncate.value_at, Code::LongLineCut, "", message);
            }
        } else if !is_set(input, "buffer_max_size") {
            let message = "lines over 32 KiB are skipped: set `Buffer_Max_Size` (audit events reach \
                           more than 1 MB)";
            findings.push(at, Code::LongLineSkipped, "", message);
        }
    }
}

/// The size of a line in bytes that audit events stay below.
const LONG_LINE: u64 = 2_000_000;

/// A size as Fluent Bit writes it: a number, with `K`, `M` or `G` and an optional `B`.
fn size(text: &str) -> Option<u64> {
    let upper = text.trim().to_ascii_uppercase();
    let text = upper.strip_suffix('B').unwrap_or(&upper);
    let (number, unit) = match text.strip_suffix(['K', 'M', 'G']) {
        Some(number) => (number, text.strip_prefix(number)?),
        None => (text, ""),
    };
    let unit = match unit {
        "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        _ => 1,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// Finds a list of plugins that a reload does not find: only at its first start, Fluent Bit looks
/// beside its configuration file for a relative path.
fn hot_reload(pipeline: &Pipeline, findings: &mut Findings<'_>) {
    if !pipeline
        .of(Kind::Service)
        .any(|service| service.is_on("hot_reload"))
    {
        return;
    }
    for service in pipeline.of(Kind::Service) {
        if let Some(file) = service.get("plugins_file")
            && !file.value.starts_with(['/', '$'])
        {
            let message = format!(
                "a hot reload looks for `{}` in the working directory alone, and fails where it is \
                 elsewhere: write an absolute path",
                file.value
            );
            findings.push(file.value_at, Code::RelativePluginsFile, "", message);
        }
    }
}

fn grep_keys(pipeline: &Pipeline, findings: &mut Findings<'_>) {
    let greps = pipeline
        .sections
        .iter()
        .filter(|section| section.is("grep"));
    for property in greps.flat_map(|section| &section.properties) {
        let key = property.key.to_ascii_lowercase();
        if !matches!(key.as_str(), "regex" | "exclude") || property.value.contains("${") {
            continue;
        }
        if property
            .value
            .split(' ')
            .filter(|word| !word.is_empty())
            .count()
            == 1
        {
            let message = format!(
                "grep wants `KEY REGEX`, and Fluent Bit does not start without: write `log {}` to \
                 look into the whole line, or use the filter kube_audit, whose `{}` takes a pattern \
                 alone",
                property.value, property.key
            );
            findings.push(property.value_at, Code::GrepWithoutKey, "", message);
        }
    }
}

/// Finds inputs for the audit webhook of an API server.
fn webhooks(pipeline: &Pipeline, findings: &mut Findings<'_>) {
    if !pipeline
        .sections
        .iter()
        .any(|section| section.is(ours::NAME))
    {
        return;
    }
    for input in pipeline.of(Kind::Input).filter(|input| input.is("http")) {
        let message = "if this takes the audit webhook of an API server: up to 1.36 it loses a whole \
                       batch of events with each patch that is no JSON (an apply as YAML or CBOR) \
                       and is logged at Request or above; let its policy log `patch` at Metadata, \
                       or read its log file instead";
        let at = input.get("name").map_or(input.at, |name| name.value_at);
        findings.push(at, Code::WebhookLosesBatches, "", message);
    }
}

/// The fields of an audit event.
const EVENT_FIELDS: [&str; 19] = [
    "annotations",
    "apiVersion",
    "auditID",
    "authenticationMetadata",
    "impersonatedUser",
    "kind",
    "level",
    "objectRef",
    "requestObject",
    "requestReceivedTimestamp",
    "requestURI",
    "responseObject",
    "responseStatus",
    "sourceIPs",
    "stage",
    "stageTimestamp",
    "user",
    "userAgent",
    "verb",
];

/// Finds filters that look for a field of the event in a record that holds the event as text.
fn inside_log(pipeline: &Pipeline, findings: &mut Findings<'_>) {
    let as_text = |input: &Section| {
        let parses = |property: &Property| {
            let key = property.key.to_ascii_lowercase();
            key.contains("parser") || key == "docker_mode" || key == "multiline"
        };
        input.is("tail") && !input.properties.iter().any(parses)
    };
    let mut inputs = pipeline.of(Kind::Input);
    if pipeline.includes
        || pipeline.of(Kind::Processor).next().is_some()
        || pipeline.of(Kind::Input).next().is_none()
        || !inputs.all(as_text)
    {
        return;
    }
    let mut added: Vec<String> = Vec::new();
    for filter in pipeline.of(Kind::Filter) {
        let plugin = filter.plugin();
        let reshapes = plugin == ours::NAME
            && filter
                .value("output_shape")
                .is_some_and(|shape| !shape.eq_ignore_ascii_case("keep"));
        if reshapes
            || !matches!(
                plugin.as_str(),
                "grep" | "modify" | "record_modifier" | "kube_audit" | "stdout" | "throttle"
            )
        {
            return;
        }
        for property in &filter.properties {
            let key = property.key.to_ascii_lowercase();
            let words: Vec<&str> = property.value.split_whitespace().collect();
            match (plugin.as_str(), key.as_str(), words.as_slice()) {
                ("record_modifier" | "kube_audit", "record", [name, ..])
                | ("modify", "add" | "set" | "add_if_not_present", [name, ..])
                | ("modify", "copy" | "hard_copy" | "rename" | "hard_rename", [_, name, ..]) => {
                    added.push((*name).to_owned());
                }
                ("kube_audit", "records" | "uuid_key", _) => {
                    // Names in it may be quoted.
                    added.extend(words.iter().map(|word| word.trim_matches('"').to_owned()));
                }
                _ => {}
            }
        }
        for property in &filter.properties {
            if let Some(field) = looked_up(&plugin, property)
                && EVENT_FIELDS.contains(&field)
                && !added.iter().any(|name| name == field)
            {
                let message = format!(
                    "`{field}` is inside the text under `log`, which nothing reads before this \
                     filter: {}",
                    match pipeline.kkp {
                        Some(_) =>
                            "put a filter `kube_audit` with `Output_Shape map` in front of it, \
                                    or `parser` with `Key_Name log`, `Parser json` and \
                                    `Parsers_File /fluent-bit/etc/parsers.conf` in `service`",
                        None =>
                            "put a filter `kube_audit` with `Output_Shape map` in front of it, or \
                                 set `Parser json` in the input",
                    }
                );
                findings.push(property.value_at, Code::InsideLog, "", message);
            }
        }
    }
}

/// The key of the record that a property of a filter names.
fn looked_up<'p>(plugin: &str, property: &'p Property) -> Option<&'p str> {
    let key = property.key.to_ascii_lowercase();
    let mut words = property.value.split_whitespace();
    let word = match (plugin, key.as_str()) {
        ("grep", "regex" | "exclude") => {
            let first = words.next()?;
            words.next()?;
            first
        }
        ("modify", "condition") => {
            let kind = words.next()?.to_ascii_lowercase();
            if !(kind.starts_with("key_")) {
                return None;
            }
            words.next()?
        }
        ("modify", "remove" | "rename" | "hard_rename" | "copy" | "hard_copy")
        | ("record_modifier" | "kube_audit", "remove_key" | "allowlist_key" | "whitelist_key") => {
            words.next()?
        }
        _ => return None,
    };
    let word = word.strip_prefix('$').unwrap_or(word);
    word.split('[').next()
}

/// Finds parsers that nothing defines, in KKP, where no command line can load them.
fn parsers(pipeline: &Pipeline, findings: &mut Findings<'_>) {
    let loads = |section: &Section| is_set(section, "parsers_file");
    if pipeline.kkp.is_none() || pipeline.includes || pipeline.of(Kind::Service).any(loads) {
        return;
    }
    let uses = pipeline
        .of(Kind::Filter)
        .filter(|filter| filter.is("parser"));
    for parser in uses.filter_map(|filter| filter.get("parser")) {
        let message = format!(
            "nothing defines the parser `{}`: set `Parsers_File: /fluent-bit/etc/parsers.conf` in \
             `service`",
            parser.value
        );
        findings.push(parser.value_at, Code::NoParser, "", message);
    }
}

/// Outputs that never retry.
const LOCAL: [&str; 9] = [
    "counter",
    "exit",
    "file",
    "flowcounter",
    "lib",
    "null",
    "plot",
    "prometheus_exporter",
    "stdout",
];

fn retries(pipeline: &Pipeline, findings: &mut Findings<'_>) {
    for output in pipeline.of(Kind::Output) {
        let plugin = output.plugin();
        if plugin.is_empty()
            || plugin == ours::NAME
            || LOCAL.contains(&plugin.as_str())
            || is_set(output, "retry_limit")
        {
            continue;
        }
        let at = output.get("name").map_or(output.at, |name| name.value_at);
        let message = format!(
            "`{plugin}` gives a chunk up after one retry, and its records are lost: set \
             `Retry_Limit no_limits`"
        );
        findings.push(at, Code::RetryOnce, "", message);
    }
}

/// True if chunks are kept in the one volume of KKP's sidecar.
fn survives_restart(pipeline: &Pipeline) -> bool {
    let paths = pipeline.of(Kind::Service);
    paths
        .filter_map(|service| service.value("storage.path"))
        .any(|path| path.starts_with("/var/log/kubernetes/audit"))
}

/// Finds storage on disk, with which Fluent Bit 4.0.0 crashes when it starts.
fn backlogs(pipeline: &Pipeline, findings: &mut Findings<'_>) {
    let code = match pipeline.kkp.map(Release::fluent_bit) {
        // Any other directory is lost with the container.
        Some("4.0.0") if survives_restart(pipeline) => Code::BacklogCrash,
        Some(_) => return,
        None => Code::BacklogOf400,
    };
    // As a setting of the service it came later.
    let sections = pipeline.sections.iter();
    let sections = sections.filter(|section| section.kind != Kind::Service);
    for property in sections.flat_map(|section| &section.properties) {
        let key = property.key.to_ascii_lowercase();
        let stores = key == "storage.type" || key == "emitter_storage.type";
        if stores && property.value.eq_ignore_ascii_case("filesystem") {
            let message = "Fluent Bit 4.0.0 crashes when it starts with chunks on disk that an \
                           earlier run left (4.0.1 does not): leave it out there";
            findings.push(property.value_at, code, "", message);
        }
    }
}

/// Keys that Fluent Bit 1.9 to 5.1 reads in its service section; it ignores others.
const SERVICE_KEYS: [&str; 53] = [
    "Coro_Stack_Size",
    "Daemon",
    "Enable_Chunk_Trace",
    "Flush",
    "Grace",
    "HC_Errors_Count",
    "HC_Period",
    "HC_Retry_Failure_Count",
    "HTTP_Listen",
    "HTTP_Port",
    "HTTP_Server",
    "Health_Check",
    "Hot_Reload",
    "Hot_Reload.Ensure_Thread_Safety",
    "Hot_Reload.Timeout",
    "Log_File",
    "Log_Level",
    "Parsers_File",
    "Plugins_File",
    "Streams_File",
    "dns.mode",
    "dns.prefer_ipv4",
    "dns.prefer_ipv6",
    "dns.resolver",
    "flush.adaptive",
    "flush.adaptive.down_steps",
    "flush.adaptive.high_pressure",
    "flush.adaptive.low_pressure",
    "flush.adaptive.max_interval",
    "flush.adaptive.medium_pressure",
    "flush.adaptive.min_interval",
    "flush.adaptive.up_steps",
    "json.convert_nan_to_null",
    "json.escape_unicode",
    "multiline_buffer_limit",
    "scheduler.base",
    "scheduler.cap",
    "security.fips_mode",
    "sp.convert_from_str_to_num",
    "storage.backlog.mem_limit",
    "storage.checksum",
    "storage.delete_irrecoverable_chunks",
    "storage.inherit",
    "storage.keep.rejected",
    "storage.max_chunks_up",
    "storage.metrics",
    "storage.path",
    "storage.rejected.limit",
    "storage.rejected.path",
    "storage.sync",
    "storage.trim_files",
    "storage.type",
    "windows.maxstdio",
];

/// Misspelt settings of the service, which Fluent Bit passes over without a word.
fn service_keys(pipeline: &Pipeline, findings: &mut Findings<'_>) {
    let services = pipeline.of(Kind::Service);
    for Property { key, key_at, .. } in services.flat_map(|service| &service.properties) {
        let known = SERVICE_KEYS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(key));
        if known {
            continue;
        }
        // A name that is close to no known setting may be one of another release.
        if let Some(meant) = nearest(key, SERVICE_KEYS) {
            let message =
                format!("Fluent Bit up to 5.1 does not read `{key}`: did you mean `{meant}`?");
            findings.push(*key_at, Code::ServiceKey, "", message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{fits, size};

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("32k", Some(32_000)),
            ("32KB", Some(32_000)),
            ("16M", Some(16_000_000)),
            ("1g", Some(1_000_000_000)),
            ("100", Some(100)),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
    }

    #[test]
    fn patterns_and_tags() {
        for (pattern, tag, expected) in [
            ("*", "tail.0", true),
            ("tail.*", "tail.0", true),
            ("tail.0", "tail.0", true),
            ("tail", "tail.0", false),
            ("t*l*0", "tail.0", true),
            ("*.1", "tail.0", false),
            ("*0*", "tail.0", true),
            ("tail.0*0", "tail.0", false),
            ("**", "x", true),
            ("", "x", false),
        ] {
            assert_eq!(fits(pattern, tag), expected, "{pattern} {tag}");
        }
    }
}
