//! Audit policies as kube-apiserver reads and applies them. Pure.
//!
//! [`Policy::parse`] reads the text, [`Ruleset::compile`] turns it into an
//! immutable index, [`Ruleset::decide`] answers for one request.

mod attributes;
mod level;

pub use attributes::{Attributes, Resource, Target, User};
pub use level::{Level, Stage, StageSet};
