//! Views of events, a file for each kind.

pub(crate) mod kube;
mod uri;
