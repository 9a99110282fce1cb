//! What an event says twice, or says nothing with: left out where that is wanted.
//!
//! Rules for auditd's logs still find what they ask for. Those of Sigma ask for `a0` to `a3`
//! of `personality`, `socket` and `syslog`, never of a call that starts a program, where they
//! are addresses; those of Splunk read `proctitle`, which stays.

use crate::body::{Body, Field, Value};
use crate::header::{Header, kind};

/// Whether an event has all its fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Slim {
    /// All fields.
    #[default]
    Off,
    /// Without those that say nothing new.
    On,
}

/// Takes the fields out of a record that say nothing: a file's capabilities, where it has
/// none.
pub(crate) fn record(header: &Header, body: &mut Body<'_>) {
    if header.number == kind::PATH {
        let is_empty = |field: &Field<'_>| {
            field.name.starts_with(b"cap_f") && matches!(field.value, Value::Plain(b"0"))
        };
        body.fields.retain(|field| !is_empty(field));
    }
}

/// Returns whether a field of a call that starts a program is the address of an argument.
pub(crate) fn is_address(field: &Field<'_>) -> bool {
    matches!(field.name, [b'a', b'0'..=b'3'])
}

/// Returns whether a record is about the dynamic loader, which each program starts with.
pub(crate) fn is_loader(header: &Header, body: &Body<'_>) -> bool {
    let is_loader = |field: &Field<'_>| match field.value {
        Value::Text(path) if field.name == b"name" => {
            let mut parts = path.rsplit(|&byte| byte == b'/');
            let name = parts.next().unwrap_or_default();
            let is_loader = name.starts_with(b"ld-") || name.starts_with(b"ld64.");
            let is_library = name.windows(3).any(|part| part == b".so");
            is_loader && is_library && parts.next().is_some_and(|part| part.starts_with(b"lib"))
        }
        _ => false,
    };
    header.number == kind::PATH && body.fields.iter().any(is_loader)
}
