//! Files as documents of YAML or JSON.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};

use kube_audit_text::{Node, begins_with_brace, read_json, read_yaml_documents, to_utf8};

use super::Failure;
use super::finding::{Code, Findings};

/// A file's name and its text as UTF-8.
pub(crate) struct TextFile {
    /// Name in messages.
    pub name: String,
    /// Text of the document.
    pub text: String,
}

impl TextFile {
    /// Reads a file; `-` is standard input.
    pub(crate) fn read(file: &OsStr) -> Result<TextFile, Failure> {
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
pub(crate) fn documents(text: &str, findings: &mut Findings<'_>) -> Vec<Node> {
    let bare = text.strip_prefix('\u{feff}').unwrap_or(text);
    let skipped = text.len().saturating_sub(bare.len());
    let json = begins_with_brace(bare.as_bytes()).then(|| read_json(bare.as_bytes()));
    let documents = match json {
        Some(Ok(document)) => Ok(vec![document]),
        _ => read_yaml_documents(bare),
    };
    documents.unwrap_or_else(|fault| {
        if !is_star(bare, fault.at) {
            let at = fault.at.saturating_add(skipped);
            findings.push(at, Code::Syntax, "", fault.message);
            return Vec::new();
        }
        for at in unquoted_stars(bare, fault.at) {
            let message = "an unquoted `*` begins a YAML alias: put it in quotes, `\"*\"`";
            let at = at.saturating_add(skipped);
            findings.push(at, Code::UnquotedStar, "", message);
        }
        Vec::new()
    })
}

/// Returns whether there is a star at a position.
fn is_star(text: &str, at: usize) -> bool {
    text.get(at..).is_some_and(|here| here.starts_with('*'))
}

/// Beyond this many nobody reads on.
const MAX_STARS: usize = 20;

/// The first star that the parser stumbles over, and those after it.
fn unquoted_stars(text: &str, first: usize) -> Vec<usize> {
    let mut stars = vec![first];
    let mut patched = text.to_owned();
    while let (Some(&star), true) = (stars.last(), stars.len() < MAX_STARS) {
        patched.replace_range(star..=star, "x");
        match read_yaml_documents(&patched) {
            Err(fault) if fault.at > star && is_star(&patched, fault.at) => stars.push(fault.at),
            _ => break,
        }
    }
    stars
}
