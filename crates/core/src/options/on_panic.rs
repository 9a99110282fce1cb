//! `On_Panic`: the fate of a chunk after an internal error.

use super::choice::Choice;

/// Fate of a chunk whose filtering ended in an internal error.
///
/// The chunk was not, or not wholly, judged. An output needs no such choice: it asks the
/// host to hand the chunk over again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnPanic {
    /// Passes the chunk on unchanged, with everything that should have been taken out.
    Keep,
    /// Drops the chunk.
    Drop,
}

impl Choice for Option<OnPanic> {
    const CHOICES: &'static [(&'static str, Option<OnPanic>)] =
        &[("keep", Some(OnPanic::Keep)), ("drop", Some(OnPanic::Drop))];
}
