//! Values that an option names by one of a few words.

use crate::pipeline::{EventTimeSource, Format, MachineAudit, OnOther, OutputShape};

/// A value that an option names by a word.
pub trait Choice: Copy + Default + 'static {
    /// Words and values.
    const CHOICES: &'static [(&'static str, Self)];
}

/// The words for a type's values.
pub(super) fn words<T: Choice>() -> Vec<&'static str> {
    T::CHOICES.iter().map(|&(word, _)| word).collect()
}

impl Choice for Format {
    const CHOICES: &'static [(&'static str, Format)] = &[
        ("auto", Format::Auto),
        ("map", Format::Map),
        ("json", Format::Json),
        ("cri", Format::Cri),
    ];
}

impl Choice for OutputShape {
    const CHOICES: &'static [(&'static str, OutputShape)] = &[
        ("keep", OutputShape::Keep),
        ("map", OutputShape::Map),
        ("json", OutputShape::Json),
    ];
}

impl Choice for EventTimeSource {
    const CHOICES: &'static [(&'static str, EventTimeSource)] = &[
        ("keep", EventTimeSource::Keep),
        ("stage", EventTimeSource::Stage),
        ("received", EventTimeSource::Received),
    ];
}

impl Choice for MachineAudit {
    const CHOICES: &'static [(&'static str, MachineAudit)] = &[
        ("keep", MachineAudit::Keep),
        ("records", MachineAudit::Records),
        ("events", MachineAudit::Events),
    ];
}

impl Choice for OnOther {
    const CHOICES: &'static [(&'static str, OnOther)] =
        &[("keep", OnOther::Keep), ("drop", OnOther::Drop)];
}
