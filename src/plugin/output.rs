//! The output door: one instance of `[OUTPUT] Name kube_audit`.

use std::sync::Arc;

use super::{Log, OptionError, Outcome, Properties};

/// What the host keeps of an output section instead of handing it on as properties.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSettings {
    /// `Host`.
    pub host: Option<String>,
    /// `Port`.
    pub port: Option<u16>,
}

/// One output instance. Its thread runs from [`Output::new`] to [`Output::close`].
pub struct Output {
    log: Arc<dyn Log>,
}

impl Output {
    /// Reads the options and starts the thread; an error here stops the start of Fluent Bit.
    pub fn new(
        _properties: &Properties,
        _host: &HostSettings,
        log: Arc<dyn Log>,
    ) -> Result<Output, OptionError> {
        Ok(Output { log })
    }

    /// Hands a chunk over and waits for a short, bounded time.
    pub fn flush(&self, _tag: &[u8], _chunk: &[u8]) -> Outcome {
        Outcome::Retry
    }

    /// Ends the thread within a bounded time.
    pub fn close(self) {
        self.log.log(super::LogLevel::Info, "closed");
    }
}
