//! Counts of what became of records and events.

/// What a rewriter has done since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Log records or lines read.
    pub records: u64,
    /// Audit events found in them.
    pub events: u64,
    /// Events dropped by the policy: level `None`, no rule, or an omitted stage.
    pub dropped: u64,
    /// Events that the policy would keep, dropped by a condition.
    pub excluded_events: u64,
    /// Other records dropped by a condition.
    pub excluded_others: u64,
    /// Events that the policy took something out of.
    pub stripped: u64,
    /// Records that hold no audit event.
    pub non_audit: u64,
    /// Records that look like an audit event and cannot be read.
    pub malformed: u64,
    /// Records dropped because none of their keys was to stay.
    pub emptied: u64,
    /// Bytes of the events read.
    pub bytes_in: u64,
    /// Bytes of the events kept.
    pub bytes_out: u64,
    /// By rule of the policy in force; behind the last one, events that no rule matched.
    pub rules: Vec<RuleTally>,
}

/// What became of the events that one rule decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleTally {
    /// Events.
    pub events: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// The bytes that were kept of them.
    pub bytes_out: u64,
}

impl Tally {
    /// Events kept.
    pub fn kept(&self) -> u64 {
        self.events - self.dropped - self.excluded_events
    }

    /// The tally of a rule; `None` stands for no rule.
    pub fn rule(&mut self, rule: Option<u32>) -> Option<&mut RuleTally> {
        let last = self.rules.len().checked_sub(1)?;
        self.rules.get_mut(rule.map_or(last, |rule| rule as usize))
    }
}
