//! Files as documents of YAML or JSON.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};

use crate::text::{Fault, Node, begins_with_brace, read_json, read_yaml_documents, to_utf8};

use super::Failure;
use super::finding::{Code, Findings};

/// A file's name and its text as UTF-8.
pub struct TextFile {
    /// What messages call it.
    pub name: String,
    /// Its text.
    pub text: String,
}

impl TextFile {
    /// Reads a file; `-` is standard input.
    pub fn read(file: &OsStr) -> Result<TextFile, Failure> {
        let name = file.to_string_lossy().into_owned();
        let failed = |problem: String| Failure::Usage(format!("{name}: {problem}"));
        let mut bytes = Vec::new();
        let read = match file == "-" {
            true => io::stdin().read_to_end(&mut bytes).map(|_| bytes),
            false => fs::read(file),
        };
        let bytes = read.map_err(|error| failed(error.to_string()))?;
        let bytes = to_utf8(&bytes).map_err(|fault| failed(fault.message))?;
        match String::from_utf8(bytes.into_owned()) {
            Ok(text) => Ok(TextFile { name, text }),
            Err(_) => Err(failed("not valid UTF-8".to_owned())),
        }
    }
}

/// The documents of a text: JSON, or YAML as Kubernetes reads it. What cannot be
/// read goes to the findings.
pub fn documents(text: &str, findings: &mut Findings<'_>) -> Vec<Node> {
    let bare = text.strip_prefix('\u{feff}').unwrap_or(text);
    let skipped = text.len() - bare.len();
    let json = begins_with_brace(bare.as_bytes()).then(|| read_json(bare.as_bytes()));
    let documents = match json {
        Some(Ok(document)) => Ok(vec![document]),
        _ => read_yaml_documents(bare),
    };
    documents.unwrap_or_else(|fault| {
        let (code, message) = explain(bare, &fault);
        findings.push(fault.at + skipped, code, "", message);
        Vec::new()
    })
}

/// What a fault of syntax comes from.
fn explain(text: &str, fault: &Fault) -> (Code, String) {
    let here = text.get(fault.at..).unwrap_or_default();
    if here.trim_start_matches([' ', ':']).starts_with('*') {
        let message = "an unquoted `*` begins a YAML alias: put it in quotes, `\"*\"`";
        return (Code::UnquotedStar, message.to_owned());
    }
    (Code::Syntax, fault.message.clone())
}
