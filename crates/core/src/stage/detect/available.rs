//! Whether this build has detections: the feature `detections`.

/// A proof that it has. Without the feature there is no value of this type, so that the
/// compiler leaves out whatever needs one.
#[cfg(feature = "detections")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Available(());

/// Nothing: this build has no detections.
#[cfg(not(feature = "detections"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Available {}

impl Available {
    /// Returns the proof, if this build has detections.
    #[cfg(feature = "detections")]
    pub(crate) const fn proof() -> Option<Available> {
        Some(Available(()))
    }

    /// Returns nothing: this build has no detections.
    #[cfg(not(feature = "detections"))]
    pub(crate) const fn proof() -> Option<Available> {
        None
    }
}
