//! What is done to an event, a file for each stage.
//!
//! The order is fixed, and written in [`Stages::apply`]:
//!
//! | stage | file | does |
//! |---|---|---|
//! | decide | `decide` | asks the policy for level and omitted stages |
//! | detect | [`detect`] | labels what matters, and may keep it at level `Metadata` |
//! | select | `select` | drops what `Regex` and `Exclude` do not let through |
//! | cut | `cut` | asks for what the level leaves out to be removed |
//! | redact | [`redact`] | asks for the secrets in what is left to be hidden |
//! | shrink | [`shrink`] | asks for what makes an event too large to be removed |
//!
//! The last stage, `enrich`, is about the record that the event ends up in, and is
//! applied when that is written; so are the labels, which are put beside the event. Stages
//! only ask for [edits](crate::doc::edit); what they amount to is settled once, after all
//! of them.
//!
//! A stage that is added is a file with its options, its `apply` and its tests, a line in
//! [`Stages::apply`], and its counters in [`stats`].

pub(crate) mod cut;
pub(crate) mod decide;
pub mod detect;
pub(crate) mod enrich;
pub(crate) mod explain;
pub(crate) mod note;
pub mod redact;
pub(crate) mod select;
pub mod shrink;

pub use crate::input::FieldPath;
pub use enrich::{Enrichment, KeyPattern, KeyRule};
pub use explain::{Cuts, Evaluation, NotEvaluated, evaluate, examine, explain_detections};
pub use select::{Condition, Effect, Pattern, Place};

use std::sync::Arc;

use crate::doc::edit::Edits;
use crate::doc::msgpack::Msgpack;
use crate::doc::{Doc, Malformed};
use crate::event::kube::{Event, Member, Scratch};
use crate::policy::{Decision, Ruleset};
use crate::stats::{self, Stats};

use decide::Decide;
use detect::{Detect, Labels};
use redact::Redaction;
use select::Select;
use shrink::Shrink;

/// An event on its way through the stages.
pub struct Job<'j, 'a, D> {
    /// The document that the event is in.
    pub doc: D,
    /// The event.
    pub event: Event<'j, 'a>,
    /// The event's members and user groups.
    pub scratch: &'j Scratch,
    /// The record's map with its members, if the event is text in it.
    pub record: Option<(Msgpack<'j>, &'j [Member])>,
    /// The policy's decision, once it is made; `None` without a policy.
    pub decision: Option<Decision>,
    /// Edits of the event that stages ask for.
    pub edits: &'j mut Edits,
    /// Labels of the event.
    pub labels: &'j mut Labels,
    /// Counters.
    pub stats: &'j mut Stats,
}

/// The course of an event after a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The event goes on to the next stage.
    Continue,
    /// The event is dropped.
    Drop(DroppedBy),
}

/// The stage that drops an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DroppedBy {
    /// The policy: level `None`, no rule, or an omitted stage.
    Policy,
    /// A condition.
    Condition,
}

/// The stages that an event goes through, with their options.
#[derive(Default)]
pub struct Stages {
    /// The policy.
    pub decide: Decide,
    /// The detections, if there are any.
    pub detect: Option<Detect>,
    /// The conditions.
    pub select: Select,
    /// The redaction; `None` if it is off.
    pub redact: Option<Redaction>,
    /// The shrink; `None` if events may have any size.
    pub shrink: Option<Shrink>,
}

impl Stages {
    /// The policy alone.
    pub fn of_policy(ruleset: &Arc<Ruleset>) -> Stages {
        Stages {
            decide: Decide {
                ruleset: Some(Arc::clone(ruleset)),
            },
            ..Stages::default()
        }
    }

    /// Takes an event through all stages, in order, and counts it.
    ///
    /// Detections see each event as it came, also one that the policy drops. One that a
    /// detection keeps is still up to the selection.
    // One for each form of documents, however many callers there are.
    #[inline(never)]
    pub fn apply<'a, D: Doc<'a>>(&mut self, job: &mut Job<'_, 'a, D>) -> Result<Flow, Malformed> {
        stats::count(&mut job.stats.events);
        stats::count_bytes(&mut job.stats.bytes_in, job.event.range().len());
        let (decided, mut flow) = self.judge(job);
        let kept_by_detection = flow != decided;
        if flow == Flow::Continue {
            flow = self.select.apply(job);
        }
        match flow {
            Flow::Continue => {
                if kept_by_detection {
                    stats::count(&mut job.stats.kept_by_detection);
                }
                cut::apply(job)?;
                let mut notes = Vec::new();
                if let Some(redaction) = &mut self.redact {
                    redaction.apply(job, &mut notes)?;
                }
                if let Some(shrink) = &mut self.shrink {
                    shrink.apply(job, &mut notes)?;
                }
                if !notes.is_empty() {
                    note::write(job, &notes)?;
                }
            }
            Flow::Drop(DroppedBy::Policy) => stats::count(&mut job.stats.dropped),
            Flow::Drop(DroppedBy::Condition) => stats::count(&mut job.stats.excluded_events),
        }
        Ok(flow)
    }

    /// Asks policy and detections, which see the same request. The first answer is the
    /// policy's, the second one what detections make of it.
    #[inline]
    fn judge<'a, D: Doc<'a>>(&self, job: &mut Job<'_, 'a, D>) -> (Flow, Flow) {
        if self.decide.ruleset.is_none() && self.detect.is_none() {
            return (Flow::Continue, Flow::Continue);
        }
        let (document, event, scratch) = (job.doc.bytes(), job.event, job.scratch);
        let stage = event.stage();
        event.logged_attributes(document, scratch, |logged| {
            let decided = self.decide.apply(job, stage, logged);
            match &self.detect {
                Some(detect) => (decided, detect.apply(job, stage, logged, decided)),
                None => (decided, decided),
            }
        })
    }
}
