//! Configuration text: YAML and JSON as Kubernetes reads them, as trees whose values have
//! positions; lines of Fluent Bit's classic format; "did you mean".

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
