//! What this build has: features of cargo as types, so that code does without `cfg`.

macro_rules! available {
    ($(#[$doc:meta])* $name:ident, $feature:literal) => {
        $(#[$doc])*
        ///
        /// Without the feature there is no value of this type, so that the compiler leaves out
        /// whatever needs one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name {
            /// The build has it.
            #[cfg(feature = $feature)]
            Yes,
        }

        impl $name {
            /// Returns the proof, if this build has the feature.
            pub(crate) const fn proof() -> Option<$name> {
                #[cfg(feature = $feature)]
                return Some($name::Yes);
                #[cfg(not(feature = $feature))]
                return None;
            }
        }
    };
}

available! {
    /// Proof that this build has detections: the feature `detections`.
    DetectionsAvailable, "detections"
}

available! {
    /// Proof that this build has redaction: the feature `redaction`.
    RedactionAvailable, "redaction"
}
