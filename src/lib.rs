//! Kubernetes audit logs made small, safe and traceable inside Fluent Bit.
//!
//! One shared object with two doors into the same engine: an output (the
//! Go-plugin ABI) and a filter (the native ABI), both named `kube_audit`.
//!
//! | room | duty |
//! |---|---|
//! | [`suggest`] | "did you mean" for names of every kind; a leaf |
//! | [`text`] | YAML and JSON as Kubernetes reads them; a leaf |
//! | `bytes` | short strings of bytes; a leaf |
//! | [`policy`] | audit policy text → model → compiled rule set → decision |
//! | [`record`] | chunk framing, views of an event in msgpack or JSON, rewriting by splicing |
//! | [`forward`] | the Forward protocol as bytes and state machines, without I/O |
//! | [`net`] | the only sockets, threads and clocks |
//! | [`plugin`] | what filter and output do, in terms of no particular host |
//! | `ffi` | the only unsafe code: the host's ABI |
//! | [`cli`] | the `kube-audit` tool |
//!
//! Arrows point downwards only: `ffi → plugin → {policy, record, net → forward}`,
//! `record → policy → text ← plugin`, `cli → everything but ffi`. `text`, `policy`, `record`
//! and `forward` are pure: no I/O, no clock, no randomness, no unsafe code.

// Nothing here may take the host down with it.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::todo,
    clippy::unimplemented
)]

#[cfg(feature = "output")]
pub mod forward;
#[cfg(feature = "output")]
pub mod net;
pub mod plugin;
pub mod policy;
pub mod record;
pub mod suggest;
pub mod text;

mod bytes;
mod ffi;

#[cfg(feature = "cli")]
pub mod cli;
