//! Views of an event: its fields, and where they stand in the document.

pub(crate) mod kube;
mod uri;
