//! Settings of a pipeline, as options give them.

use crate::input::FieldPath;
use crate::stage::Enrichment;

/// Forms in which records are read and written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The form of the input.
    pub format: Format,
    /// The place of the event in the record; by default `log`, then `message`.
    pub log_key: Option<FieldPath>,
    /// The form of the output.
    pub output_shape: OutputShape,
    /// Records that hold no audit event.
    pub non_audit: OnOther,
    /// Records that look like an audit event and cannot be read.
    pub on_error: OnOther,
    /// Text that looks like an audit event and cannot be read, where secrets are redacted.
    pub on_unreadable: OnUnreadable,
    /// The source of a record's time.
    pub event_time: EventTimeSource,
    /// Linux audit records.
    pub machine_audit: MachineAudit,
    /// Linux audit events without what they say twice.
    pub machine_audit_slim: bool,
    /// Keys that are added and removed.
    pub enrichment: Enrichment,
}

impl Settings {
    /// The key for an event that is written as JSON text.
    pub(super) fn text_key(&self) -> &[u8] {
        self.log_key.as_ref().map_or(b"log", FieldPath::last)
    }
}

/// The form of the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Found out for each record.
    #[default]
    Auto,
    /// The record is the event.
    Map,
    /// A key of the record holds the event as JSON text.
    Json,
    /// A key of the record holds a container runtime's line with JSON text.
    Cri,
}

/// The form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputShape {
    /// As the input.
    #[default]
    Keep,
    /// The event's fields are the record's.
    Map,
    /// The event is JSON text under one key.
    Json,
}

/// The outcome for records that are not, or cannot be read as, an audit event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnOther {
    /// The record stays, and is enriched.
    #[default]
    Keep,
    /// The record is dropped.
    Drop,
}

/// What becomes of text that looks like an audit event and cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnreadable {
    /// It ends before the first body.
    #[default]
    Cut,
    /// It stays, with all the secrets in it.
    Keep,
    /// It is dropped.
    Drop,
}

/// The source of a record's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventTimeSource {
    /// The record keeps the time that it came with.
    #[default]
    Keep,
    /// `stageTimestamp` of the event.
    Stage,
    /// `requestReceivedTimestamp` of the event.
    Received,
}

/// What becomes of Linux audit records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MachineAudit {
    /// They are records without an audit event, like any others.
    #[default]
    Keep,
    /// Each is an event.
    Records,
    /// Those with the same time and serial number are an event.
    Events,
}
