//! `Acknowledge`: when the position of an input moves.

use super::choice::Choice;

/// The event at which a line counts as done with, so that it is not read again after a
/// restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acknowledge {
    /// All outputs are done with the records: they have delivered them, or given them up.
    #[default]
    Delivered,
    /// The host has them in its file system storage.
    Stored,
    /// The host has taken them.
    Read,
}

impl Choice for Acknowledge {
    const CHOICES: &'static [(&'static str, Acknowledge)] = &[
        ("delivered", Acknowledge::Delivered),
        ("stored", Acknowledge::Stored),
        ("read", Acknowledge::Read),
    ];
}
