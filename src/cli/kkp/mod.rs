//! Kubermatic KKP: `auditLogging` of its manifests, and the fluent-bit.conf that it
//! makes of them.

mod manifest;
mod template;

pub use manifest::{AuditLogging, Pair, Release, Section, find};
pub use template::{SPECIAL, render};
