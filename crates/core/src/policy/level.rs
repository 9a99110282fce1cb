//! Levels of logging, and stages of a request.

use crate::bytes;

/// Amount that is logged of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Nothing.
    None,
    /// Who did what, without bodies.
    Metadata,
    /// Metadata and the request body.
    Request,
    /// Metadata, request and response body.
    RequestResponse,
}

impl Level {
    /// All levels, lowest first.
    pub const ALL: [Level; 4] = [
        Level::None,
        Level::Metadata,
        Level::Request,
        Level::RequestResponse,
    ];

    /// Returns the name in policies and events.
    pub const fn name(self) -> &'static str {
        match self {
            Level::None => "None",
            Level::Metadata => "Metadata",
            Level::Request => "Request",
            Level::RequestResponse => "RequestResponse",
        }
    }

    /// Finds a level by its exact name.
    pub fn from_name(name: &[u8]) -> Option<Level> {
        Level::ALL
            .into_iter()
            .find(|level| level.name().as_bytes() == name)
    }
}

/// Point in the life of a request at which an event is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// On arrival, before the request is handled.
    RequestReceived,
    /// Response headers sent, body not yet (long-running requests).
    ResponseStarted,
    /// The response is complete.
    ResponseComplete,
    /// The handler panicked.
    Panic,
}

impl Stage {
    /// All stages, in the order of a request's life.
    pub const ALL: [Stage; 4] = [
        Stage::RequestReceived,
        Stage::ResponseStarted,
        Stage::ResponseComplete,
        Stage::Panic,
    ];

    /// Returns the name in policies and events.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::RequestReceived => "RequestReceived",
            Stage::ResponseStarted => "ResponseStarted",
            Stage::ResponseComplete => "ResponseComplete",
            Stage::Panic => "Panic",
        }
    }

    /// Finds a stage by its exact name.
    pub fn from_name(name: &[u8]) -> Option<Stage> {
        Stage::ALL
            .into_iter()
            .find(|stage| bytes::equal(stage.name().as_bytes(), name))
    }

    /// Bit of the stage in a [`StageSet`].
    const fn bit(self) -> u8 {
        match self {
            Stage::RequestReceived => 1 << 0,
            Stage::ResponseStarted => 1 << 1,
            Stage::ResponseComplete => 1 << 2,
            Stage::Panic => 1 << 3,
        }
    }
}

/// Set of stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StageSet(u8);

impl StageSet {
    /// Adds a stage.
    pub fn insert(&mut self, stage: Stage) {
        self.0 |= stage.bit();
    }

    /// True if the stage is in the set.
    pub fn contains(self, stage: Stage) -> bool {
        self.0 & stage.bit() != 0
    }

    /// Returns the stages that are in either set.
    #[must_use]
    pub fn union(self, other: StageSet) -> StageSet {
        StageSet(self.0 | other.0)
    }

    /// Yields the stages of the set, in the order of a request's life.
    pub fn iter(self) -> impl Iterator<Item = Stage> {
        Stage::ALL
            .into_iter()
            .filter(move |&stage| self.contains(stage))
    }
}
