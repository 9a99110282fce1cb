//! The output door: one instance of `[OUTPUT] Name kube_audit`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::forward::frames::{Batch, RecordTooLarge};
use crate::net::{Client, Count, Flushed, News, Report};
use crate::record::EntrySink;

use super::engine::Engine;
use super::forward_options::{ForwardOptions, OWN};
use super::options::Options;
use super::{Log, LogLevel, OptionError, Outcome, Properties};

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
    client: Client,
    engine: Arc<Mutex<Engine>>,
    news: Arc<NewsToLog>,
    log: Arc<dyn Log>,
}

impl Output {
    /// Reads the options and starts the thread; an error here stops the start of Fluent Bit.
    pub fn new(
        properties: &Properties,
        host: &HostSettings,
        log: Arc<dyn Log>,
    ) -> Result<Output, OptionError> {
        let options = Options::new(properties, &OWN)?;
        let ForwardOptions {
            config,
            form,
            tag,
            remarks,
        } = ForwardOptions::new(&options, host)?;
        for remark in remarks {
            log.log(LogLevel::Warn, remark);
        }
        let tag = tag.map(String::into_bytes);
        let engine = Arc::new(Mutex::new(Engine::new(options.common()?, &*log)?));
        let news = Arc::new(NewsToLog {
            log: Arc::clone(&log),
            frames: AtomicU64::new(0),
            resent: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        });
        let prepare = {
            let (engine, news) = (Arc::clone(&engine), Arc::clone(&news));
            move |host_tag: &[u8], chunk: &[u8]| {
                let mut engine = engine.lock().unwrap_or_else(PoisonError::into_inner);
                let mut sink = EntrySink::new(form);
                if let Err(at) = engine.chunk(host_tag, chunk, &mut sink, &*news.log) {
                    news.chunk_broken(chunk.len() - at);
                }
                // A retry brings the whole chunk again: nothing may be held back beyond it.
                engine.release(host_tag, &mut sink);
                Batch {
                    tag: tag.as_deref().unwrap_or(host_tag).to_vec(),
                    entries: sink.entries,
                    ends: sink.ends,
                }
            }
        };
        let client = Client::start(config, prepare, Arc::clone(&news) as Arc<dyn Report>)
            .map_err(|error| OptionError(format!("the output cannot start: {error}")))?;
        Ok(Output {
            client,
            engine,
            news,
            log,
        })
    }

    /// Hands a chunk over and waits for a short, bounded time.
    pub fn flush(&self, tag: &[u8], chunk: &[u8]) -> Outcome {
        match self.client.flush(tag, chunk) {
            Flushed::Delivered => Outcome::Delivered,
            Flushed::Retry(reason) => {
                self.log.log(
                    LogLevel::Debug,
                    &format!("chunk of {} bytes: {reason}", chunk.len()),
                );
                Outcome::Retry
            }
        }
    }

    /// Ends the thread within a bounded time.
    pub fn close(self) {
        self.client.shutdown();
        self.engine
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .close(&*self.log);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let NewsToLog {
            frames,
            resent,
            acked,
            lost,
            ..
        } = &*self.news;
        self.log.log(
            LogLevel::Info,
            &format!(
                "{} frames sent, {} of them again; {} records acknowledged, {} lost",
                count(frames) + count(resent),
                count(resent),
                count(acked),
                count(lost)
            ),
        );
    }
}

/// Turns the client's news into log lines, and counts.
struct NewsToLog {
    log: Arc<dyn Log>,
    frames: AtomicU64,
    resent: AtomicU64,
    acked: AtomicU64,
    lost: AtomicU64,
}

impl NewsToLog {
    fn chunk_broken(&self, bytes: usize) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        let message = format!(
            "{bytes} bytes at the end of a chunk are no records; they cannot be forwarded and are lost"
        );
        self.log.log(LogLevel::Error, &message);
    }
}

impl Report for NewsToLog {
    fn news(&self, news: &News, repeated: u64) {
        let level = match news {
            News::Connected { .. } | News::ClosedWhileIdle { .. } => LogLevel::Info,
            News::PrepareFailed(_) => LogLevel::Error,
            News::TlsReloaded { .. } => LogLevel::Info,
            News::NotVerified { .. } | News::TlsNotReloaded { .. } => LogLevel::Warn,
            News::ConnectFailed { .. }
            | News::ConnectionLost { .. }
            | News::Silent { .. }
            | News::FrameSplit { .. }
            | News::FrameParked { .. } => LogLevel::Warn,
        };
        let message = match repeated {
            0 => news.to_string(),
            _ => format!("{news} (and {repeated} more of the kind since the last such line)"),
        };
        self.log.log(level, &message);
    }

    fn record_lost(&self, error: &RecordTooLarge, _entry: &[u8]) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.log
            .log(LogLevel::Error, &format!("a record is lost: {error}"));
    }

    fn count(&self, count: Count) {
        match count {
            Count::FrameSent(_) => self.frames.fetch_add(1, Ordering::Relaxed),
            Count::FrameResent(_) => self.resent.fetch_add(1, Ordering::Relaxed),
            Count::FrameAcked(records) => self.acked.fetch_add(records as u64, Ordering::Relaxed),
        };
    }
}
