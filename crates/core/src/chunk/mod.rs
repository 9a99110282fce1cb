//! The host's framing: records with their times, tags, and where rewritten records go.

pub(crate) mod record;
pub(crate) mod sink;
pub(crate) mod tag;

pub use record::EventTime;
pub use sink::{ChunkSink, EntryForm, EntryMetadata, EntrySink, EntryTime, Sink};
pub use tag::{TagError, TagTemplate};
