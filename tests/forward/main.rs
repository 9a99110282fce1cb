//! The forward client against receivers: a scripted faulty one, and real ones.
//!
//! A test named `case_35_…` covers that case of the forward test list: faults
//! on the way between a client and a receiver, and what must become of them.
//! Every record reaches the peer at least once, and nothing counts as delivered
//! that was not acknowledged.

mod cases;
mod chaos;
mod faults;
mod fluent_bit;
mod handshake;
mod host;
mod host_chaos;
#[path = "../common/library.rs"]
#[allow(clippy::expect_used, reason = "a failed test panics")]
mod library;
mod nodes;
mod npm;
mod outage;
mod output;
mod peer;
mod process;
#[cfg(feature = "tls")]
mod tls;
