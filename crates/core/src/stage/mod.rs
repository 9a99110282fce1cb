//! What is done to an event, a file for each stage.

pub(crate) mod cut;
pub mod detect;
pub(crate) mod enrich;
pub(crate) mod explain;
pub(crate) mod select;

pub use enrich::{Enrichment, KeyPattern, KeyRule};
pub use explain::{Cuts, Evaluation, NotEvaluated, evaluate, examine};
pub use select::{Condition, Effect, FieldPath, Pattern, Place};
