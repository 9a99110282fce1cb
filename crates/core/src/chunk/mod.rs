//! The host's framing: records with their times, tags, and where rewritten records go.

pub(crate) mod record;
pub(crate) mod sink;
pub(crate) mod tag;

pub use record::{EventTime, Record};
pub use sink::{
    ChunkSink, EntryForm, EntryMetadata, EntrySink, EntryTime, LineForm, LineSink, Origin,
    Original, Sink, write_line_record, write_record,
};
pub use tag::{TagError, TagTemplate};
