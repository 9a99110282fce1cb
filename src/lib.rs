//! Kubernetes audit logs made small, safe and traceable inside Fluent Bit.
//!
//! The shared object that Fluent Bit loads: an output (the Go-plugin ABI), a filter and an
//! input (the native ABI), all named `kube_audit`. This package holds the host's ABI and all
//! unsafe code, in `ffi`; the rest is in packages without unsafe code:
//!
//! | package | purpose |
//! |---|---|
//! | `kube_audit_core` | the engine: policies, events, rewriting; pure |
//! | `kube_audit_forward` | the Forward protocol and its client |
//! | `kube_audit_plugin` | filter, output and input, independent of the host's ABI |
//! | `kube_audit_cli` | the tool `kube-audit` |

// Nothing here may end the host with a panic, or go on with a number that wrapped. `as` is
// allowed, because the types are those of the ABI.
#![cfg_attr(
    not(test),
    deny(
        unreachable_pub,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::todo,
        clippy::unimplemented,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::arithmetic_side_effects
    )
)]
#![cfg_attr(
    not(feature = "output"),
    allow(dead_code, unused_imports, reason = "the filter alone uses a part")
)]
// On its way into the list above.
#![deny(clippy::multiple_unsafe_ops_per_block)]

mod ffi;
