//! The fluent-bit.conf of the audit sidecar, byte for byte: a template of Go's
//! `html/template`, the same from KKP 2.21 on (`pkg/resources/apiserver/audit.go`).

use super::manifest::{Config, Section};

/// What Go's `html/template` makes of characters in text.
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

/// The file, and where its lines come from.
pub struct Rendered {
    /// The text.
    pub text: String,
    /// For each line, the key and value that it comes from; `None` for what the
    /// template has itself.
    pub origins: Vec<Option<Origin>>,
}

/// Where a line of the file comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Where the key stands in the manifest.
    pub key_at: usize,
    /// Where the value stands.
    pub value_at: usize,
    /// Whether the line stands behind a line break of key or value.
    pub injected: bool,
}

/// Writes the file.
pub fn render(config: &Config) -> Rendered {
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

/// Text as it stands in the file.
pub fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match SPECIAL.iter().find(|(special, _)| *special == c) {
            Some((_, entity)) => out.push_str(entity),
            None => out.push(c),
        }
    }
    out
}
