//! From records to events: prefixes of container runtimes, assembly of split lines, and
//! what a text holds.

pub(crate) mod assemble;
pub(crate) mod cri;
mod field_path;
mod identify;
pub(crate) mod recognise;

pub use field_path::FieldPath;
pub(crate) use field_path::Slot;
pub use identify::audit_id;
