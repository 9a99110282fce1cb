//! The policy's decision on an event: how much of it is logged, if anything.

use std::sync::Arc;

use crate::doc::Doc;
use crate::policy::{Attributes, Level, Ruleset, Stage};
use crate::stage::{DroppedBy, Flow, Job};
use crate::stats;

/// The policy in force, if there is one.
#[derive(Default)]
pub struct Decide {
    /// The compiled policy.
    pub ruleset: Option<Arc<Ruleset>>,
}

impl Decide {
    /// Asks the policy, and remembers its decision in the job. `logged` is the request.
    #[inline]
    pub fn apply<'a, D: Doc<'a>>(
        &self,
        job: &mut Job<'_, 'a, D>,
        stage: Option<Stage>,
        logged: &Attributes<'_>,
    ) -> Flow {
        let Some(ruleset) = &self.ruleset else {
            return Flow::Continue;
        };
        let decision = job
            .event
            .decided_attributes(logged, |attributes| ruleset.decide(attributes));
        if let Some(rule) = job.stats.rule(decision.rule) {
            stats::count(&mut rule.events);
            stats::count_bytes(&mut rule.bytes_in, job.event.range().len());
        }
        job.decision = Some(decision);
        let is_omitted = stage.is_some_and(|stage| decision.omit_stages.contains(stage));
        match decision.level != Level::None && !is_omitted {
            true => Flow::Continue,
            false => Flow::Drop(DroppedBy::Policy),
        }
    }
}
