//! The policy that a command works with.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};

use kube_audit_core::policy::{Parsed, Policy, Preset, Syntax};

use super::Failure;

/// Policy named by `--policy FILE` or `--preset NAME`.
#[derive(Debug)]
pub(crate) enum Choice {
    /// A file; `-` is standard input.
    File(OsString),
    /// A policy that comes with the tool.
    Preset(Preset),
}

impl Choice {
    /// Reads the policy; warnings go to standard error.
    pub(crate) fn load(&self) -> Result<Parsed, Failure> {
        let (name, text) = match self {
            Choice::Preset(preset) => (preset.name().to_owned(), preset.text().as_bytes().to_vec()),
            Choice::File(file) => {
                let name = file.to_string_lossy().into_owned();
                let read = if file == "-" {
                    io::read_to_string(io::stdin()).map(String::into_bytes)
                } else {
                    fs::read(file)
                };
                let text = read.map_err(|error| Failure::Usage(format!("{name}: {error}")))?;
                (name, text)
            }
        };
        let parsed = Policy::parse(&name, &text, Syntax::File)
            .map_err(|error| Failure::Usage(error.to_string()))?;
        for warning in &parsed.warnings {
            // Without a standard error there is nobody to warn.
            let _ = writeln!(io::stderr(), "kube-audit: warning: {warning}");
        }
        Ok(parsed)
    }
}
