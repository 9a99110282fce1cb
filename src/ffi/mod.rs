//! The host's ABI: the only unsafe code.
//!
//! | file | duty |
//! |---|---|
//! | `bindings` | types and signatures, made from `include/` |
//! | `host` | the version of this Fluent Bit, and its functions |
//! | `instance` | offsets in the host's instances; reading a section out of them |
//! | `filter`, `output`, `input` | the three plugins: entry points called by the host |
//! | `engine` | the host's event loop, and flushes that wait in its coroutines |
//! | `regex` | the host's regular expressions |
//! | `metrics` | an instance's metrics among the host's own |
//! | `signals` | threads of the plugin take no signals |
//! | `guard` | entry points catch panics |
//! | `handles`, `names` | live instances: by the pointers that the host keeps, by name |
//! | `log` | log lines, printed only where there is stack for it |
//! | `heap` | the global allocator |
//!
//! Invariants:
//! * Nothing of the host is linked; all of it is found by name at run time, so
//!   the library loads anywhere. A host that is not exactly known is refused.
//! * Every entry point runs inside [`guard::entry`] and checks every pointer for null.
//! * A chunk whose filtering panicked does not pass unless `On_Panic keep` is set or no
//!   policy is in force.
//! * No pointer that the host keeps for the plugin is followed: it is a key of [`handles`].
//! * Entry points run on stacks of 24 KiB without a guard page: nothing here
//!   recurses, and log lines are printed from the entry point itself.
//! * An unsafe block holds one operation, so that each has its own reason.
#![allow(unsafe_code)]
#![deny(clippy::multiple_unsafe_ops_per_block)]

#[cfg(not(panic = "unwind"))]
compile_error!("panics must unwind: `guard` keeps them from ending Fluent Bit");

#[cfg(feature = "output")]
mod engine;
mod filter;
mod guard;
mod handles;
mod heap;
mod host;
#[cfg(feature = "input")]
mod input;
mod instance;
mod log;
mod metrics;
mod names;
#[cfg(feature = "output")]
mod output;
mod regex;
#[cfg(any(feature = "input", feature = "output"))]
mod signals;

/// Types and signatures of the host, made by `build.rs` from `include/`.
mod bindings {
    #![allow(
        dead_code,
        missing_docs,
        non_camel_case_types,
        non_upper_case_globals,
        unreachable_pub,
        clippy::all,
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        reason = "generated"
    )]

    #[cfg(not(feature = "bindgen"))]
    include!("bindings.rs");
    #[cfg(feature = "bindgen")]
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

use std::ffi::{CStr, c_void};
use std::fmt;

/// The name of each plugin.
const NAME: &CStr = c"kube_audit";

/// The description of each in `fluent-bit --help`.
const DESCRIPTION: &CStr = c"Kubernetes audit logs by policy";

/// One of the library's plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PluginKind {
    #[cfg(feature = "input")]
    Input,
    Filter,
    Output,
}

impl PluginKind {
    /// The host's word for it, in log lines and in names of metrics.
    const fn word(self) -> &'static CStr {
        match self {
            #[cfg(feature = "input")]
            PluginKind::Input => c"input",
            PluginKind::Filter => c"filter",
            PluginKind::Output => c"output",
        }
    }
}

impl fmt::Display for PluginKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.word().to_string_lossy())
    }
}

/// Bytes that the host lends for one call; none if the pointer is null.
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
