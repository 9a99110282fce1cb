//! One instance of the input.

use std::fmt::Display;
use std::sync::Arc;

use super::{Log, Metric, Metrics, OptionError, Patterns, Properties};

/// What the host says about an input instance at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputSettings {
    /// Where the host keeps the instance's chunks (`storage.type`).
    pub storage: Storage,
    /// Whether [`Ingest::chunks`] can tell which chunks the host holds.
    pub chunks: ChunkList,
}

/// The host's place for the chunks of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In memory: what is not delivered dies with the process.
    Memory,
    /// In files, which the host reads again when it starts.
    Filesystem,
}

/// Whether the chunks that the host holds can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkList {
    /// They can.
    Known,
    /// They cannot: the instance runs in a thread of its own (`threaded on`), while the
    /// list belongs to the engine's thread.
    OtherThread,
}

/// The host takes no records now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// The host's pipeline, as an input sees it during one call.
pub trait Ingest {
    /// Appends records, framed as a chunk has them, under the instance's tag. Nothing is
    /// appended if the host refuses, because it has paused the input or has no memory.
    fn append(&mut self, records: &[u8]) -> Result<(), Refused>;

    /// Gives the chunks that the host still holds for the instance: numbers that differ
    /// among live chunks, and that a later chunk may have again. A chunk that is gone was
    /// delivered by all outputs, or given up by them.
    fn chunks(&mut self, held: &mut Vec<usize>);
}

/// What an input wants after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collected {
    /// To be called again when the next interval is over.
    Idle,
    /// To be called again as soon as the host has done its other work.
    More,
}

/// One `[INPUT] Name kube_audit` section at work.
pub struct Input {
    log: Arc<dyn Log>,
}

impl Input {
    /// Time between two calls of [`collect`](Input::collect) in milliseconds.
    pub const INTERVAL_MS: u32 = 250;

    /// Reads the options; an error here stops the start of Fluent Bit. `patterns` are the
    /// host's regular expressions, `None` if it was built without them.
    pub fn new(
        properties: &Properties,
        settings: InputSettings,
        patterns: Option<&dyn Patterns>,
        log: Arc<dyn Log>,
    ) -> Result<Input, OptionError> {
        let _ = (properties, settings, patterns);
        Ok(Input { log })
    }

    /// Reads on, and appends what the stages leave.
    pub fn collect(&mut self, host: &mut dyn Ingest) -> Collected {
        let _ = host;
        Collected::Idle
    }

    /// Counts and logs a panic in [`collect`](Input::collect).
    pub fn panicked(&mut self, panic: &dyn Display) {
        let _ = panic;
    }

    /// Takes note of what the outputs have done since the last call, logs what the
    /// instance did, and ends it. `host` is `None` if its list is gone already.
    pub fn close(self, host: Option<&mut dyn Ingest>) {
        let _ = (host, self.log);
    }
}

impl Metrics for Input {
    fn metrics(&self, visit: &mut dyn FnMut(&Metric<'_>)) {
        let _ = visit;
    }
}
