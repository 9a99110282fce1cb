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
    /// `tls on` and what goes with it.
    pub tls: Option<HostTls>,
}

/// The `tls.*` options as the host keeps them, each named after its option.
///
/// `tls.verify_hostname` is not among them: the host's default is off, and it
/// does not tell a default from a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the option of that name")]
pub struct HostTls {
    pub verify: bool,
    pub vhost: Option<String>,
    pub ca_path: Option<String>,
    pub ca_file: Option<String>,
    pub crt_file: Option<String>,
    pub key_file: Option<String>,
    pub key_passwd: Option<String>,
    pub min_version: Option<String>,
    pub max_version: Option<String>,
    pub ciphers: Option<String>,
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
