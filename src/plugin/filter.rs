//! The filter door: one instance of `[FILTER] Name kube_audit`.

use std::sync::Arc;

use super::{Log, OptionError, Properties, Verdict};

/// One filter instance.
pub struct Filter {
    log: Arc<dyn Log>,
}

impl Filter {
    /// Reads the options; an error here stops the start of Fluent Bit.
    pub fn new(_properties: &Properties, log: Arc<dyn Log>) -> Result<Filter, OptionError> {
        Ok(Filter { log })
    }

    /// Applies policy and enrichment to a chunk.
    pub fn filter(&mut self, _tag: &[u8], _chunk: &[u8]) -> Verdict {
        Verdict::Untouched
    }

    /// Says in the log what the instance did, and ends it.
    pub fn close(self) {
        self.log.log(super::LogLevel::Info, "closed");
    }
}
