//! From records to events: prefixes of container runtimes, assembly of split lines, and
//! what a text holds.

pub(crate) mod assemble;
pub(crate) mod cri;
mod identify;
pub(crate) mod recognise;

pub use identify::audit_id;
