//! YAML and JSON as Kubernetes reads them: texts as trees whose values know where
//! they stand. Pure; a leaf.

pub mod classic;
mod json;
mod source;
pub mod suggest;
mod tree;
mod yaml;

pub use json::read as read_json;
pub use source::{Place, Source, begins_with_brace, to_utf8};
pub use tree::{Entry, Fault, FaultKind, Node, Path, Value, shown};
pub use yaml::{read as read_yaml, read_all as read_yaml_documents};
