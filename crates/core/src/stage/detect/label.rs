//! How labels are written: keys and values that are put beside an event.

use super::{Detector, Labels};
use crate::doc::Doc;
use crate::doc::msgpack::{Msgpack, write_array_head};

/// The keys of labels, and the shape of the ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelFormat {
    /// Key of the ids.
    pub ids_key: Vec<u8>,
    /// Key of the highest severity.
    pub severity_key: Vec<u8>,
    /// Shape of the ids.
    pub shape: LabelShape,
}

/// The shape of the ids in a label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LabelShape {
    /// An array of strings.
    #[default]
    Array,
    /// One string, separated by commas, for what does not look into arrays.
    Text,
}

impl Default for LabelFormat {
    fn default() -> Self {
        LabelFormat {
            ids_key: b"kube_audit_detections".to_vec(),
            severity_key: b"kube_audit_severity".to_vec(),
            shape: LabelShape::Array,
        }
    }
}

impl LabelFormat {
    /// Writes the ids as a msgpack value.
    pub fn write_ids(&self, detector: &Detector, labels: &Labels, out: &mut Vec<u8>) {
        let ids = labels.hits().filter_map(|hit| detector.detection(hit));
        match self.shape {
            LabelShape::Array => {
                write_array_head(out, ids.clone().count());
                for detection in ids {
                    Msgpack::write_text(out, detection.id().as_bytes());
                }
            }
            LabelShape::Text => {
                let mut text = Vec::new();
                for detection in ids {
                    if !text.is_empty() {
                        text.push(b',');
                    }
                    text.extend_from_slice(detection.id().as_bytes());
                }
                Msgpack::write_text(out, &text);
            }
        }
    }
}
