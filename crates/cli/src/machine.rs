//! `kube-audit explain --machine-audit`: what a Linux audit record says, and which event it
//! belongs to.

use serde_json::{Map, Value, json};

use kube_audit_machine::{Content, Form, Part, Role, Slim, Source, write_event};

use super::args::Format;
use super::input::Place;

/// Explains a line, or a record of Fluent Bit in JSON, if it is an audit record.
pub(crate) fn explain(place: &Place<'_>, line: &[u8], format: Format) -> Option<String> {
    let record = serde_json::from_slice::<Map<String, Value>>(line);
    let mut source = Source::new(None);
    match &record {
        Ok(record) => {
            for (number, (name, value)) in record.iter().enumerate() {
                source.see(number, name.as_bytes(), value.as_str().map(str::as_bytes));
            }
        }
        Err(_) => source.see(0, b"log", Some(line)),
    }
    let found = source.find()?;
    let part = Part {
        header: found.header,
        text: &found.text,
    };
    let mut event = Vec::new();
    let content = write_event(&[part], Slim::Off, &mut event);
    let event: Value = match content {
        Content::Event => serde_json::from_slice(&event).ok()?,
        Content::Nothing => Value::Null,
    };
    let kind = part.header.name(part.text);
    let kind = String::from_utf8_lossy(&kind);
    let form = match part.header.form {
        Form::Auditd => "auditd",
        Form::Kernel => "kernel",
        Form::Journal => "journald",
    };
    let id = (part.header.millis, part.header.serial);
    let role = match part.header.role() {
        Role::Single => "is an event of its own",
        Role::Waits => "waits for the other records of its system call",
        Role::Joins => "may be joined by other records of its event, up to the end of the chunk",
        Role::Last => "ends its event",
    };
    let place = format!("{}:{}", place.file, place.line);
    Some(match format {
        Format::Text => format!(
            "{place}: {kind} of event {}.{:03}:{}, in the form of {form}\n  {role}\n  {event}\n",
            id.0.checked_div(1000)?,
            id.0.checked_rem(1000)?,
            id.1
        ),
        Format::Json => {
            let answer = json!({ "place": place, "form": form, "role": role, "event": event });
            format!("{answer}\n")
        }
    })
}
