//! Audit policies as kube-apiserver reads and applies them. Pure.
//!
//! ```text
//! text ──crate::text──▶ tree ──decode, validate──▶ model (Policy) ──ruleset, index──▶ Ruleset ──▶ Decision
//! ```
//!
//! [`Policy::parse`] reads the text and says what is wrong with it,
//! [`Ruleset::compile`] turns the policy into an immutable index,
//! [`Ruleset::decide`] answers for one request. [`Preset`] has ready-made policies.

mod attributes;
mod cover;
mod decode;
mod error;
mod index;
mod level;
mod model;
mod parse;
mod preset;
mod ruleset;
mod schema;
mod selectors;
mod validate;

pub use attributes::{Attributes, Resource, Target, User};
pub use cover::Shadow;
pub use error::{PolicyError, Problem, ProblemKind, Warning, WarningKind};
pub use level::{Level, Stage, StageSet};
pub use model::{GroupResources, Policy, Rule, Selector};
pub use parse::{Parsed, Syntax};
pub use preset::{Preset, UnknownPreset};
pub use ruleset::{Decision, Ruleset};
pub(crate) use selectors::Selectors;
