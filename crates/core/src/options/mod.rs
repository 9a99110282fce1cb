//! Options of a section or node, read into types.
//!
//! | module | duty |
//! |---|---|
//! | [`table`] | every option, once |
//! | `read` | the options of one section or node, read by their rows |
//! | `error` | an option that is wrong, as data and as a sentence |
//! | `choice` | values that are one of a few words |
//! | `common`, `policy`, `conditions`, `detect` | the options that input, filter and output have in common |
//! | `redact` | the options of the redaction |
//! | `source` | texts from a file, an environment variable or the option itself |
//! | `acknowledge` | when an input's position moves |
//! | `on_panic` | the fate of a chunk after an internal error |
//! | `host` | options that the host keeps to itself |
//! | `input` | the options that an input alone has |
//! | `docs` | `docs/options.md`, written by a test |

mod acknowledge;
mod choice;
mod common;
mod conditions;
mod detect;
#[cfg(test)]
mod docs;
pub mod entities;
mod error;
mod host;
mod input;
mod on_panic;
mod policy;
mod read;
mod redact;
mod shrink;
mod source;
pub mod table;

pub use acknowledge::Acknowledge;
pub use choice::Choice;
pub use common::CommonOptions;
pub use conditions::{ConditionOption, Patterns};
pub use detect::DetectOptions;
pub use error::{FileLine, OptionError, Problem, may_hold_secret, printable, without_credentials};
pub use host::{HostSettings, HostTls};
pub use input::InputOptions;
pub use on_panic::OnPanic;
pub use policy::PolicySource;
pub use read::{Given, Options, Pair, Properties};
pub use source::{TextOptions, TextSource, variable_text};
pub use table::{OptionDef, SectionKind};
