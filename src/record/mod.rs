//! Records of a chunk: framing, views of an event, rewriting by splicing. Pure.
//!
//! | file | duty |
//! |---|---|
//! | `rewrite` | what becomes of each record or line: the way through all the others |
//! | `chunk` | the framing of records |
//! | `cri`, `partial` | lines of container runtimes, and putting their pieces together |
//! | `document`, `event`, `uri` | what a text holds, the fields of an audit event, and the request they speak of |
//! | `evaluate` | what a policy says of an event, without rewriting it |
//! | `condition` | which events and records stay because of their text |
//! | `identify` | which event an entry holds, for a word about it |
//! | `strip`, `enrich` | what policy and options take out and put in |
//! | `splice` | edits of a document: everything else is copied |
//! | `convert` | JSON to msgpack and back |
//! | `tree`, `json`, `msgpack` | walking a document in place, in either form |
//! | `keys` | members by their names, in the order in which they are expected |
//! | `escape` | escapes of JSON strings |
//! | `scan` | ends of JSON strings and containers, many bytes at a time |
//! | `sink` | where rewritten records go |
//! | `tag` | tags put together from records |
//! | `tally` | counts |

mod chunk;
mod condition;
mod convert;
mod cri;
mod document;
mod enrich;
mod escape;
mod evaluate;
mod event;
mod identify;
mod json;
mod keys;
mod msgpack;
mod partial;
mod rewrite;
mod scan;
mod sink;
mod splice;
mod strip;
mod tag;
mod tally;
mod tree;
mod uri;

#[cfg(test)]
mod tests;

pub use chunk::EventTime;
pub use condition::{Condition, Effect, FieldPath, Pattern, Place};
pub use enrich::{Enrichment, KeyPattern, KeyRule};
pub use evaluate::{Cuts, Evaluation, NotEvaluated, evaluate, examine};
pub use identify::audit_id;
pub use rewrite::{EventTimeSource, Fate, Format, OutputShape, PARTIALS_LIMIT, Rewriter, Settings};
pub use sink::{ChunkSink, EntryForm, EntryMetadata, EntrySink, EntryTime, Sink};
pub use tag::{TagError, TagTemplate};
pub use tally::{RuleTally, Tally};
