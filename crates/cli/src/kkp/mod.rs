//! Kubermatic KKP: `auditLogging` of its manifests, and the fluent-bit.conf that it
//! makes of them.

mod manifest;
mod template;

pub(crate) use manifest::{AuditLogging, Pair, Release, Section, find, may_have_audit_logging};
pub(crate) use template::{Origin, escape, render};
