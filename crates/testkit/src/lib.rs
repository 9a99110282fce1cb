//! What tests, benches, examples and fuzz targets share.
//!
//! | module | content |
//! |---|---|
//! | [`fluent_bit`] | real Fluent Bits: finds them, writes a pipeline, runs it |
//! | [`image`] | a root directory like that of the official image, for shipped files |
//! | [`c_host`] | a small host in C that plays any version through the real ABI |
//! | [`library`] | the shared object under test, under the names that hosts expect |
//! | [`judge`] | which judges a run requires, and what it skips for want of one |
//! | [`port`] | ports for programs that bind by themselves |
//! | [`http`] | an HTTP server that records requests, and a client |
//! | [`policy`] | recorded answers of the API server, and a slow and obvious evaluator |
//! | [`audit_log`] | a generated audit log, the same in every run |
//! | [`fuzz`] | the bodies of the fuzz targets |
//!
//! A failure is a panic: nothing here is part of the product.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

use std::path::Path;

pub mod audit_log;
pub mod c_host;
pub mod fluent_bit;
pub mod fuzz;
pub mod http;
pub mod image;
pub mod judge;
pub mod library;
pub mod policy;
pub mod port;

/// The root of the repository.
pub fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package
        .ancestors()
        .nth(2)
        .expect("the package is in crates/")
}
