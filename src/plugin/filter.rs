//! The filter door: one instance of `[FILTER] Name kube_audit`.

use std::sync::Arc;

use crate::record::ChunkSink;

use super::engine::Engine;
use super::options::Options;
use super::{Log, OptionError, Properties, Verdict};

/// One filter instance.
pub struct Filter {
    engine: Engine,
    log: Arc<dyn Log>,
}

impl Filter {
    /// Reads the options; an error here stops the start of Fluent Bit.
    pub fn new(properties: &Properties, log: Arc<dyn Log>) -> Result<Filter, OptionError> {
        let options = Options::new(properties, &[])?.common()?;
        Ok(Filter {
            engine: Engine::new(options, &*log)?,
            log,
        })
    }

    /// Applies policy and enrichment to a chunk. What cannot be read as a record,
    /// and all behind it, stays.
    pub fn filter(&mut self, tag: &[u8], chunk: &[u8]) -> Verdict {
        let mut sink = ChunkSink::new(chunk);
        // The engine has counted and told what it could not read.
        let _ = self.engine.chunk(tag, chunk, &mut sink, &*self.log);
        match sink.finish() {
            None => Verdict::Untouched,
            Some(chunk) => Verdict::Replaced(chunk),
        }
    }

    /// Says in the log what the instance did, and ends it.
    pub fn close(self) {
        self.engine.close(&*self.log);
    }
}
