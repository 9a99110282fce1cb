//! The only unsafe code: the host's ABI.
//!
//! | file | duty |
//! |---|---|
//! | `bindings` | layouts and signatures, made from `include/` |
//! | `host` | which Fluent Bit this is, and its functions |
//! | `instance` | what the host knows of one section: name, options, settings |
//! | `filter`, `output` | the two doors: entry points called by the host |
//! | `engine` | the host's event loop, and flushes that wait in its coroutines |
//! | `regex` | the host's regular expressions |
//! | `metrics` | an instance's metrics among the host's own |
//! | `guard` | panics stop here |
//! | `handles` | instances behind the pointers that the host keeps for us |
//! | `log` | log lines, printed only where there is stack for it |
//! | `heap` | the global allocator |
//!
//! Invariants:
//! * Nothing of the host is linked; all of it is found by name at run time, so
//!   the library loads anywhere. A host that is not exactly known is refused.
//! * Every entry point runs inside [`guard::entry`] and checks every pointer for null.
//! * No pointer that the host keeps for us is followed: it is a key of [`handles`].
//! * Entry points run on stacks of 24 KiB without a guard page: nothing here
//!   recurses, and log lines are printed from the entry point itself.
#![allow(unsafe_code)]

#[cfg(feature = "output")]
mod engine;
mod filter;
mod guard;
#[cfg_attr(
    not(feature = "output"),
    allow(dead_code, reason = "what the output needs")
)]
mod handles;
mod heap;
#[cfg_attr(
    not(feature = "output"),
    allow(dead_code, reason = "what the output needs")
)]
mod host;
#[cfg_attr(
    not(feature = "output"),
    allow(dead_code, reason = "what the output needs")
)]
mod instance;
mod log;
mod metrics;
#[cfg(feature = "output")]
mod output;
mod regex;

/// Layouts and signatures of the host, made by `build.rs` from `include/`.
mod bindings {
    #![allow(
        dead_code,
        missing_docs,
        non_camel_case_types,
        non_upper_case_globals,
        clippy::all,
        clippy::indexing_slicing,
        reason = "generated"
    )]

    #[cfg(not(feature = "bindgen"))]
    include!("bindings.rs");
    #[cfg(feature = "bindgen")]
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

use std::ffi::{CStr, c_void};

/// Name of the filter and of the output.
const NAME: &CStr = c"kube_audit";

/// What `fluent-bit --help` says about both.
const DESCRIPTION: &CStr = c"Kubernetes audit logs by policy";

/// Bytes that the host lends for one call; null is nothing.
///
/// # Safety
/// `data` is null or has `size` bytes that nobody changes during `'a`.
unsafe fn lent<'a>(data: *const c_void, size: usize) -> &'a [u8] {
    if data.is_null() {
        return &[];
    }
    // SAFETY: not null, and the caller guarantees the rest.
    unsafe { std::slice::from_raw_parts(data.cast(), size) }
}
