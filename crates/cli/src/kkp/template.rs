//! The fluent-bit.conf of the audit sidecar, byte for byte: a template of Go's
//! `html/template`, the same from KKP 2.21 on (`pkg/resources/apiserver/audit.go`).

use super::manifest::{Config, Section};

/// Characters that Go's `html/template` replaces in text.
const SPECIAL: [(char, &str); 7] = [
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

/// Rendered file, with the origin of each line.
pub(crate) struct Rendered {
    /// Text of the file.
    pub text: String,
    /// For each line, the key and value that it comes from; `None` for a line of the
    /// template.
    pub origins: Vec<Option<Origin>>,
}

/// Origin of a line: a key and value of the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Byte offset of the key in the manifest.
    pub key_at: usize,
    /// Byte offset of the value.
    pub value_at: usize,
    /// True if the line comes after a line break in the key or value.
    pub injected: bool,
}

/// Renders the file.
pub(crate) fn render(config: &Config) -> Rendered {
    let mut out = Rendered {
        text: String::new(),
        origins: Vec::new(),
    };
    // An empty map counts as none.
    if !config.service.entries.is_empty() {
        out.section("SERVICE", &config.service);
    }
    out.add(INPUT, None);
    for filter in &config.filters {
        out.section("FILTER", filter);
    }
    for output in &config.outputs {
        out.section("OUTPUT", output);
    }
    if config.outputs.is_empty() {
        out.add(DEFAULT_OUTPUT, None);
    }
    out.add("\n\n", None);
    out
}

impl Rendered {
    fn section(&mut self, name: &str, section: &Section) {
        let header = Origin {
            key_at: section.at,
            value_at: section.at,
            injected: false,
        };
        self.add(&format!("\n[{name}]"), Some(header));
        for pair in &section.entries {
            let origin = Origin {
                key_at: pair.key_at,
                value_at: pair.value_at,
                injected: false,
            };
            let text = format!("\n    {}      {}", escape(&pair.key), escape(&pair.value));
            self.add(&text, Some(origin));
        }
    }

    /// Adds text that begins with a line break.
    fn add(&mut self, text: &str, origin: Option<Origin>) {
        if self.origins.is_empty() {
            self.origins.push(None);
        }
        for (breaks, _) in text.match_indices('\n').enumerate() {
            let injected = breaks > 0;
            self.origins
                .push(origin.map(|origin| Origin { injected, ..origin }));
        }
        self.text.push_str(text);
    }
}

/// Escapes a text as the template does.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match SPECIAL.iter().find(|(special, _)| *special == c) {
            Some((_, entity)) => out.push_str(entity),
            None => out.push(c),
        }
    }
    out
}
