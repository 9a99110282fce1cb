//! The filter door: one instance of `[FILTER] Name kube_audit`.

use std::sync::Arc;

use kube_audit_core::chunk::ChunkSink;
use kube_audit_core::options::Options;

use super::engine::Engine;
use super::{Log, Metric, OptionError, Patterns, Properties, Verdict};

/// One filter instance.
pub struct Filter {
    engine: Engine,
    log: Arc<dyn Log>,
    /// How much longer the last chunk that changed has become.
    growth: usize,
}

impl Filter {
    /// Reads the options; an error here stops the start of Fluent Bit. `patterns` is
    /// what the host has of regular expressions.
    pub fn new(
        properties: &Properties,
        patterns: Option<&dyn Patterns>,
        log: Arc<dyn Log>,
    ) -> Result<Filter, OptionError> {
        let options = Options::new(properties, &[])?.common()?;
        Ok(Filter {
            engine: Engine::new(options, patterns, &*log)?,
            log,
            growth: 0,
        })
    }

    /// Applies policy and enrichment to a chunk. What cannot be read as a record,
    /// and all behind it, stays.
    pub fn filter(&mut self, tag: &[u8], chunk: &[u8]) -> Verdict {
        // Twice what it was last, because chunks differ; but what came back of split
        // lines says nothing of the next chunk.
        let more = chunk.len().min(2 * self.growth);
        let mut sink = ChunkSink::new(chunk, chunk.len() + more);
        // The engine has counted and told what it could not read.
        let _ = self.engine.chunk(tag, chunk, &mut sink, &*self.log);
        match sink.finish() {
            None => Verdict::Untouched,
            Some(changed) => {
                self.growth = changed.len().saturating_sub(chunk.len());
                Verdict::Replaced(changed)
            }
        }
    }

    /// What it has counted.
    pub fn metrics(&self) -> Vec<Metric> {
        self.engine.metrics()
    }

    /// Says in the log what the instance did, and ends it.
    pub fn close(self) {
        self.engine.close(&*self.log);
    }
}
