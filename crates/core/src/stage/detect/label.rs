//! The stage, and how its labels are written: keys beside the event.

use std::ops::Range;
use std::sync::Arc;

use super::{Detector, Labels, Severity};
use crate::available::DetectionsAvailable;
use crate::doc::Doc;
use crate::doc::edit::{Cause, Edits};
use crate::doc::msgpack::write_array_head;
use crate::event::kube::Member;
use crate::policy::{Attributes, Level, Stage};
use crate::stage::{DroppedBy, Flow, Job};
use crate::stats::{DetectionStats, Stats, count};

/// The stage: detections, and what is done with what they find.
pub struct Detect {
    /// Without detections there is no such stage.
    _available: DetectionsAvailable,
    detector: Arc<Detector>,
    settings: DetectSettings,
    /// Places of the detections' counters; `None` for those that have none.
    counters: Vec<Option<usize>>,
}

/// What is done with what detections find.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DetectSettings {
    /// Labels.
    pub format: LabelFormat,
    /// Least severity of events that stay although the policy drops them.
    pub keep: Option<Severity>,
}

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

impl LabelFormat {
    /// Key of the ids, by default.
    pub const IDS_KEY: &'static str = "kube_audit_detections";
    /// Key of the severity, by default.
    pub const SEVERITY_KEY: &'static str = "kube_audit_severity";
}

impl Default for LabelFormat {
    fn default() -> Self {
        LabelFormat {
            ids_key: LabelFormat::IDS_KEY.into(),
            severity_key: LabelFormat::SEVERITY_KEY.into(),
            shape: LabelShape::Array,
        }
    }
}

impl Detect {
    /// Makes the stage, and a counter for each detection, at 0.
    pub fn new(detector: Arc<Detector>, settings: DetectSettings, stats: &mut Stats) -> Detect {
        let detections = detector.detections().iter();
        let counters = detections.map(|detection| DetectionStats {
            id: detection.id().to_owned(),
            severity: detection.severity().name(),
            needs_body: detection.level() > Level::Metadata,
            ..DetectionStats::default()
        });
        stats.detections.extend(counters);
        let mut detect = Detect {
            _available: detector.available,
            detector: Arc::clone(&detector),
            settings,
            counters: Vec::new(),
        };
        detect.set_detector(detector, stats);
        detect
    }

    /// Puts other detections in force. Those that were not there from the start have no
    /// counters: the host takes none while it runs.
    pub fn set_detector(&mut self, detector: Arc<Detector>, stats: &Stats) {
        let detections = detector.detections().iter();
        self.counters = detections
            .map(|detection| {
                let mut known = stats.detections.iter();
                known.position(|counter| *counter.id == *detection.id())
            })
            .collect();
        self.detector = detector;
    }

    /// Returns the detections in force.
    pub fn detector(&self) -> &Detector {
        &self.detector
    }

    /// Labels an event, whatever becomes of it; answers `Continue` for one that is to stay
    /// although the policy drops it.
    #[inline]
    pub fn apply<'a, D: Doc<'a>>(
        &self,
        job: &mut Job<'_, 'a, D>,
        stage: Option<Stage>,
        logged: &Attributes<'_>,
        flow: Flow,
    ) -> Flow {
        let (doc, members) = (job.doc.into(), &job.scratch.members);
        self.detector
            .evaluate(doc, job.event, members, stage, logged, job.labels);
        if job.labels.found_nothing() {
            return flow;
        }
        self.count(job.labels, job.stats);
        let severity = self.severity(job.labels);
        let keeps = self.settings.keep.is_some() && severity >= self.settings.keep;
        match (flow, &mut job.decision) {
            (Flow::Drop(DroppedBy::Policy), Some(decision)) if keeps => {
                decision.level = Level::Metadata;
                Flow::Continue
            }
            _ => flow,
        }
    }

    #[inline(never)]
    fn count(&self, labels: &Labels, stats: &mut Stats) {
        let counter = |place: usize| self.counters.get(place).copied().flatten();
        for place in labels.hits().filter_map(counter) {
            stats.detection(place, |counter| count(&mut counter.hits));
        }
        for place in labels.undecided().filter_map(counter) {
            stats.detection(place, |counter| count(&mut counter.undecided));
        }
    }

    /// Returns the highest severity among the labels: that of the first one.
    fn severity(&self, labels: &Labels) -> Option<Severity> {
        let first = self.detector.detection(labels.hits().next()?)?;
        Some(first.severity())
    }

    /// Asks for the edits that put the labels into a record's map. A record that has a key
    /// already keeps it.
    pub fn write<'a, D: Doc<'a>>(
        &self,
        labels: &Labels,
        doc: D,
        map: Range<usize>,
        members: &[Member],
        edits: &mut Edits,
    ) {
        let Some(severity) = self.severity(labels) else {
            return;
        };
        let LabelFormat {
            ids_key,
            severity_key,
            ..
        } = &self.settings.format;
        let has = |key: &[u8]| {
            let named = |member: &Member| doc.key(member.start).is_ok_and(|own| own.is(key));
            members.iter().any(named)
        };
        if !has(ids_key) {
            edits.append_member(doc, map.clone(), ids_key, Cause::Detect, |out| {
                self.write_ids(labels, D::HAS_SIZES, D::write_text, out);
            });
        }
        if !has(severity_key) {
            edits.append_member(doc, map, severity_key, Cause::Detect, |out| {
                D::write_text(out, severity.name().as_bytes());
            });
        }
    }

    /// Appends the ids in the shape that is set, in a form of documents that has sizes or not.
    #[inline(never)]
    fn write_ids(
        &self,
        labels: &Labels,
        has_sizes: bool,
        write_text: fn(&mut Vec<u8>, &[u8]),
        out: &mut Vec<u8>,
    ) {
        let ids = labels.hits().filter_map(|hit| self.detector.detection(hit));
        let ids = ids.map(|detection| detection.id());
        if self.settings.format.shape == LabelShape::Text {
            let text: Vec<&str> = ids.collect();
            return write_text(out, text.join(",").as_bytes());
        }
        match has_sizes {
            true => write_array_head(out, ids.clone().count()),
            false => out.push(b'['),
        }
        for (number, id) in ids.enumerate() {
            if number > 0 && !has_sizes {
                out.push(b',');
            }
            write_text(out, id.as_bytes());
        }
        if !has_sizes {
            out.push(b']');
        }
    }
}
