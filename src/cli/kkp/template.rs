//! The fluent-bit.conf of the audit sidecar, byte for byte: a template of Go's
//! `html/template`, the same from KKP 2.21 on (`pkg/resources/apiserver/audit.go`).

use super::manifest::{Config, Section};

/// What Go's `html/template` makes of characters in text.
pub const SPECIAL: [(char, &str); 7] = [
    ('\0', "\u{fffd}"),
    ('"', "&#34;"),
    ('&', "&amp;"),
    ('\'', "&#39;"),
    ('+', "&#43;"),
    ('<', "&lt;"),
    ('>', "&gt;"),
];

const INPUT: &str = "

[INPUT]
    Name    tail
    Path    /var/log/kubernetes/audit/audit.log
    DB      /var/log/kubernetes/audit/fluentbit.db";

const DEFAULT_OUTPUT: &str = "
[OUTPUT]
    Name    stdout
    Match   *";

/// Writes the file.
pub fn render(config: &Config) -> String {
    let mut out = String::new();
    // An empty map counts as none.
    if !config.service.entries.is_empty() {
        section(&mut out, "SERVICE", &config.service);
    }
    out.push_str(INPUT);
    for filter in &config.filters {
        section(&mut out, "FILTER", filter);
    }
    for output in &config.outputs {
        section(&mut out, "OUTPUT", output);
    }
    if config.outputs.is_empty() {
        out.push_str(DEFAULT_OUTPUT);
    }
    out.push_str("\n\n");
    out
}

fn section(out: &mut String, name: &str, section: &Section) {
    out.push_str(&format!("\n[{name}]"));
    for pair in &section.entries {
        out.push_str("\n    ");
        escape(out, &pair.key);
        out.push_str("      ");
        escape(out, &pair.value);
    }
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match SPECIAL.iter().find(|(special, _)| *special == c) {
            Some((_, entity)) => out.push_str(entity),
            None => out.push(c),
        }
    }
}
