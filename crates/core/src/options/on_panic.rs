//! `On_Panic`: the fate of a chunk after an internal error.

use super::{OptionError, Options};

/// Options that only a filter takes.
pub const FILTER_ONLY: [&str; 1] = ["on_panic"];

/// What a filter does with a chunk whose filtering ended in an internal error.
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

impl Options<'_> {
    /// The value of `On_Panic`, `keep` or `drop`; `None` if it is not set.
    pub fn on_panic(&self) -> Result<Option<OnPanic>, OptionError> {
        let values = [("keep", Some(OnPanic::Keep)), ("drop", Some(OnPanic::Drop))];
        self.choice("on_panic", &values)
    }
}
