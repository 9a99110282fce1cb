//! Audit policies as kube-apiserver reads and applies them.
//!
//! ```text
//! text ──kube_audit_text──▶ tree ──version, schema, decode, validate──▶ Policy ──ruleset──▶ Ruleset ──▶ Decision
//! ```
//!
//! [`Policy::parse`] reads a text and lists everything that is wrong with it,
//! [`Ruleset::compile`] turns the policy into tables, [`Ruleset::decide`] answers for one
//! request. [`Preset`] has ready-made policies.

mod attributes;
mod decode;
mod error;
mod level;
mod model;
mod parse;
mod preset;
mod ruleset;
mod schema;
mod selectors;
mod shadow;
mod validate;
mod version;

pub use attributes::{Attributes, Resource, Target, User};
pub use error::{PolicyError, Problem, ProblemKind, Warning, WarningKind};
pub use level::{Level, Stage, StageSet};
pub use model::{GroupResources, Policy, Rule, Selector};
pub use parse::{Parsed, Syntax};
pub use preset::{Preset, UnknownPreset};
pub use ruleset::{Decision, Ruleset};
pub(crate) use selectors::Selectors;
pub use shadow::Shadow;
