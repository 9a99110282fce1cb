//! One instance of the input.
//!
//! | file | duty |
//! |---|---|
//! | `mod` | reads, applies the stages, hands on, moves the position |
//! | `disk` | the file system with the log |
//! | `checkpoint` | the file that keeps the position |
//! | `stats` | counters of what is read |

mod checkpoint;
mod disk;
mod stats;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kube_audit_core::chunk::{EventTime, write_record};
use kube_audit_core::options::{Acknowledge, CommonOptions, InputOptions, OnPanic, Options, table};
use kube_audit_core::stats::summary;
use kube_audit_reader::{
    Lag, Ledger, Notice, Position, Reader, ReaderOptions, Start, Step, last_event_time, split_lines,
};

use super::engine::{Engine, Unfinished};
use super::log::LogLimit;
use super::metrics::visit_series;
use super::panics::Panics;
use super::{Log, LogLevel, Metric, Metrics, OptionError, Patterns, Properties};

use checkpoint::{Found, Saver};
use disk::LogDirectory;
use stats::InputStats;

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
    /// list belongs to the engine's thread. Records wait between the two, and are lost there
    /// when the host ends or pauses the input.
    OtherThread,
    /// They can, but that says nothing: the host drops the oldest ones when its memory for
    /// them is full (`storage.type memrb`).
    Ring,
}

/// The host takes no records now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// The host's pipeline, as an input sees it during one call.
pub trait Ingest {
    /// Appends records, framed as a chunk has them, under the instance's tag. Nothing is
    /// appended if the host refuses, because it has paused the input or has no memory.
    fn append(&mut self, records: &[u8]) -> Result<(), Refused>;

    /// Puts the chunks that the host still holds for the instance in the place of `held`:
    /// numbers that differ among live chunks, and that a later chunk may have again. A chunk
    /// that is gone was delivered by all outputs, or given up by them. If the list cannot be
    /// read, `held` stays as it is.
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
    options: InputOptions,
    /// The log's path as text.
    name: String,
    acknowledge: Acknowledge,
    on_panic: OnPanic,
    engine: Engine,
    reader: Reader<LogDirectory>,
    ledger: Ledger<Option<Mark>>,
    /// The newest place before which nothing is withheld in the engine.
    safe: Option<Mark>,
    /// The place before which everything is done with, until it is written.
    done: Option<Mark>,
    saver: Option<Saver>,
    /// The time of the last write of the position.
    saved: Duration,
    /// Lines that the reader gave, until the host has what is left of them.
    work: Option<Work>,
    /// The records of lines, before the stages.
    records: Vec<u8>,
    /// What the stages have left of the lines in work.
    left: Vec<u8>,
    /// The chunks that the host held at the last look.
    held: Vec<usize>,
    began: Instant,
    /// The last time at which something was read, or there was nothing to read.
    progress: Duration,
    looked: Duration,
    stats: InputStats,
    panics: Panics,
    limits: Limits,
    log: Arc<dyn Log>,
}

/// Limits of log lines of one kind each.
#[derive(Default)]
struct Limits {
    loss: LogLimit,
    stuck: LogLimit,
    checkpoint: LogLimit,
    zeros: LogLimit,
}

/// A place in the log, and the time of the last event before it as its line has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    position: Position,
    event_time: String,
}

/// What is to be done next with lines in work. It outlives a panic, and says then what that
/// was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// All lines go through the stages at once.
    All,
    /// One line after the other does, because all at once ended in a panic: the line that
    /// begins there.
    Line(usize),
    /// What is left goes to the host.
    HandOn,
}

/// Bytes to read at once, as many as the host takes for a chunk in few steps.
const PIECE: usize = 512 << 10;

/// Pieces before the host has its turn.
const PIECES_AT_ONCE: usize = 4;

/// Time without progress that is told.
const STUCK: Duration = Duration::from_secs(60);

impl Input {
    /// Time between two calls of [`collect`](Input::collect) in milliseconds.
    pub const INTERVAL_MS: u32 = 250;

    /// Reads the options and the kept position; an error here stops the start of Fluent
    /// Bit. `patterns` are the host's regular expressions, `None` if it was built without
    /// them.
    pub fn new(
        properties: &Properties,
        settings: InputSettings,
        patterns: Option<&dyn Patterns>,
        log: Arc<dyn Log>,
    ) -> Result<Input, OptionError> {
        let given = Options::input(properties)?;
        let options = InputOptions::read(&given)?;
        let common = CommonOptions::read(&given)?;
        let acknowledge = acknowledge(&given, &options, settings, &*log)?;
        let hides_nothing = common.policy.is_none() && common.redaction.hides_nothing();
        let on_panic = options.on_panic.unwrap_or(match hides_nothing {
            true => OnPanic::Keep,
            false => OnPanic::Drop,
        });
        let engine = Engine::new(common, patterns, &*log)?;
        let name = options.path.display().to_string();
        let (saver, found) = kept(&options, &name, &*log)?;
        let start = match options.from_head {
            true => Start::Oldest,
            false => Start::End,
        };
        let reading = ReaderOptions {
            start,
            longest_line: options.max_event,
            piece: PIECE,
        };
        let disk = LogDirectory::new(options.path.clone());
        let position = found.as_ref().map(|mark| mark.position);
        Ok(Input {
            name,
            acknowledge,
            on_panic,
            engine,
            reader: Reader::new(disk, reading, position),
            ledger: Ledger::default(),
            stats: InputStats {
                event_time: found
                    .as_ref()
                    .map_or(String::new(), |mark| mark.event_time.clone()),
                ..InputStats::default()
            },
            safe: found,
            done: None,
            saver,
            saved: Duration::ZERO,
            work: None,
            records: Vec::new(),
            left: Vec::new(),
            held: Vec::new(),
            began: Instant::now(),
            progress: Duration::ZERO,
            looked: Duration::ZERO,
            panics: Panics::default(),
            limits: Limits::default(),
            options,
            log,
        })
    }

    /// Reads on, and appends what the stages leave.
    pub fn collect(&mut self, host: &mut dyn Ingest) -> Collected {
        let now = self.began.elapsed();
        self.note_delivered(host);
        let collected = self.read_on(host, now);
        self.look(now);
        self.tell(now);
        self.save(now);
        collected
    }

    fn read_on(&mut self, host: &mut dyn Ingest, now: Duration) -> Collected {
        for _ in 0..PIECES_AT_ONCE {
            if self.work.is_none() {
                if self.ledger.under_way() >= self.options.max_unacknowledged {
                    return Collected::Idle;
                }
                match self.reader.read(now) {
                    Step::Wait => return Collected::Idle,
                    Step::More => continue,
                    Step::Lines => self.work = Some(Work::All),
                }
            }
            self.work_off();
            if self.hand_on(host) == Err(Refused) {
                return Collected::Idle;
            }
            self.progress = now;
        }
        Collected::More
    }

    /// Takes the lines in work through the stages.
    fn work_off(&mut self) {
        let lines = self.reader.lines();
        let time = wall_clock();
        if self.work == Some(Work::All) {
            if let Some(time) = last_event_time(lines) {
                self.stats.event_time.clear();
                self.stats.event_time.push_str(time);
            }
            self.records.clear();
            for line in split_lines(lines) {
                push(line, time, &mut self.records, &mut self.stats);
            }
            match stages(&mut self.engine, &self.records, &*self.log) {
                Some(changed) => self.left = changed,
                None => std::mem::swap(&mut self.left, &mut self.records),
            }
        }
        // The last call ended in a panic; this finds the line that causes it.
        while let Some(Work::Line(at)) = self.work
            && let line = line_at(lines, at)
            && !line.is_empty()
        {
            self.records.clear();
            for line in split_lines(line) {
                push(line, time, &mut self.records, &mut self.stats);
            }
            match stages(&mut self.engine, &self.records, &*self.log) {
                Some(changed) => self.left.extend(changed),
                None => self.left.extend_from_slice(&self.records),
            }
            self.work = Some(Work::Line(at.saturating_add(line.len())));
        }
        self.work = Some(Work::HandOn);
    }

    /// Appends what is left, and takes note of the place after it.
    fn hand_on(&mut self, host: &mut dyn Ingest) -> Result<(), Refused> {
        let bytes = self.left.len();
        if bytes > 0 {
            host.append(&self.left)?;
        }
        self.left.clear();
        self.work = None;
        // What the engine withholds is lost with the process: it must be read again then.
        if self.engine.stats().nothing_withheld()
            && let Some(position) = self.reader.position()
        {
            self.safe = Some(Mark {
                position,
                event_time: self.stats.event_time.clone(),
            });
        }
        let end = self.safe.clone();
        let done = match self.acknowledge {
            Acknowledge::Stored | Acknowledge::Read => Some(end),
            Acknowledge::Delivered if bytes == 0 => self.ledger.nothing_to_hand_on(end),
            Acknowledge::Delivered => {
                host.chunks(&mut self.held);
                self.ledger.handed_on(end, bytes, &self.held)
            }
        };
        self.done = done.flatten().or_else(|| self.done.take());
        Ok(())
    }

    /// Looks now and then at what is not read yet, and remembers when nothing was.
    fn look(&mut self, now: Duration) {
        if now.saturating_sub(self.looked) >= Duration::from_secs(1) {
            self.looked = now;
            self.reader.look();
        }
        if self.work.is_none() && self.reader.lag() == Lag::default() {
            self.progress = now;
        }
    }

    fn note_delivered(&mut self, host: &mut dyn Ingest) {
        if self.acknowledge == Acknowledge::Delivered {
            host.chunks(&mut self.held);
            let done = self.ledger.look(&self.held).flatten();
            self.done = done.or_else(|| self.done.take());
        }
        self.stats.unacknowledged = self.ledger.under_way();
    }

    /// Logs what happened to the log, and a stream that stands still.
    fn tell(&mut self, now: Duration) {
        self.stats.read = *self.reader.counters();
        self.stats.seconds = u64::from(wall_clock().seconds);
        self.stats.lag = self.reader.lag();
        self.stats.unacknowledged = self.ledger.under_way();
        if let Some(mark) = &self.safe {
            self.stats.position = mark.position.offset();
        }
        let last = match &*self.stats.event_time {
            "" => String::new(),
            time => format!("; the last event read is of {time}"),
        };
        for notice in self.reader.notices() {
            let level = match &notice {
                Notice::Reading { .. } => LogLevel::Info,
                Notice::Unreadable { .. } => LogLevel::Warn,
                _ => LogLevel::Error,
            };
            // All losses are counted; a log line for each could be many.
            if !notice.is_loss() || self.limits.loss.allows() {
                let last = if notice.is_loss() { &*last } else { "" };
                self.log.log(level, &format!("{notice}{last}"));
            }
        }
        if self.stats.zeros > self.stats.zeros_told && self.limits.zeros.allows() {
            self.stats.zeros_told = self.stats.zeros;
            let line = format!(
                "{} zero bytes in front of lines are left out: {} was cut while its writer went \
                 on at the old place, or the machine stopped while it was written",
                self.stats.zeros, self.name
            );
            self.log.log(LogLevel::Warn, &line);
        }
        let still = now.saturating_sub(self.progress);
        if still >= STUCK && self.limits.stuck.allows() {
            let line = format!(
                "nothing was read for {} s, and {} bytes in this and {} more files are waiting: the \
                 outputs have not delivered {} bytes (`Max_Unacknowledged` is {}), Fluent Bit has \
                 paused the input, or the next file cannot be opened",
                still.as_secs(),
                self.stats.lag.bytes,
                self.stats.lag.files,
                self.stats.unacknowledged,
                self.options.max_unacknowledged,
            );
            self.log.log(LogLevel::Warn, &line);
        }
    }

    /// Writes the position if it is time to.
    fn save(&mut self, now: Duration) {
        let Some(saver) = &self.saver else {
            return;
        };
        if let Some(error) = saver.error()
            && self.limits.checkpoint.allows()
        {
            let line = format!(
                "the position cannot be kept in {} ({error}): a restart would begin at the last \
                 one that was; set `DB` to a path that can be written",
                saver.path().display()
            );
            self.log.log(LogLevel::Error, &line);
        }
        if now.saturating_sub(self.saved) >= self.options.checkpoint_interval
            && let Some(mark) = self.done.take()
        {
            self.saved = now;
            saver.save(&self.name, mark.position, &mark.event_time);
        }
    }

    /// Counts and logs a panic in [`collect`](Input::collect). The next call takes the
    /// lines one by one; one that panics alone is dropped or passes as it is, by `On_Panic`.
    pub fn panicked(&mut self, panic: &dyn Display) {
        let (next, consequence) = match self.work {
            Some(Work::All) => {
                self.left.clear();
                (Work::Line(0), "the lines in work are taken one by one")
            }
            Some(Work::Line(at)) => {
                let line = line_at(self.reader.lines(), at);
                let next = Work::Line(at.saturating_add(line.len()));
                match self.on_panic {
                    OnPanic::Drop => {
                        self.stats.dropped_lines = self.stats.dropped_lines.saturating_add(1);
                        (next, "a line is dropped (`On_Panic drop`)")
                    }
                    OnPanic::Keep => {
                        for line in split_lines(line) {
                            push(line, wall_clock(), &mut self.left, &mut self.stats);
                        }
                        (next, "a line passes as it is (`On_Panic keep`)")
                    }
                }
            }
            Some(Work::HandOn) | None => {
                self.panics.report(panic, "nothing is lost", &*self.log);
                return;
            }
        };
        self.work = Some(next);
        self.panics.report(panic, consequence, &*self.log);
    }

    /// Takes note of what the outputs have done since the last call, logs what the
    /// instance did, and ends it. `host` is `None` if its list is gone already.
    pub fn close(mut self, host: Option<&mut dyn Ingest>) {
        if let Some(host) = host {
            self.note_delivered(host);
        }
        let now = self.began.elapsed();
        self.tell(now);
        if let Some(saver) = self.saver.take() {
            if let Some(mark) = self.done.take() {
                saver.save(&self.name, mark.position, &mark.event_time);
            }
            let path = saver.path().display().to_string();
            if let Some(error) = saver.end() {
                let line = format!("the position cannot be kept in {path} ({error})");
                self.log.log(LogLevel::Error, &line);
            }
        }
        self.engine.close(Unfinished::ReadAgain, &*self.log);
        let read = summary(&stats::SERIES, &self.stats);
        let line = read.unwrap_or_else(|| "nothing was read".to_owned());
        self.log.log(LogLevel::Info, &line);
        self.panics.close(&*self.log);
    }
}

/// Appends a line as a record. Zero bytes in front of it were never written by anybody.
fn push(line: &[u8], time: EventTime, records: &mut Vec<u8>, stats: &mut InputStats) {
    let zeros = line.iter().take_while(|byte| **byte == 0).count();
    let line = line.get(zeros..).unwrap_or_default();
    stats.zeros = stats
        .zeros
        .saturating_add(u64::try_from(zeros).unwrap_or(0));
    if !line.is_empty() {
        stats.lines = stats.lines.saturating_add(1);
        write_record(line, time, records);
    }
}

/// The line of a text that begins at a place, with its line break; empty at the end.
fn line_at(lines: &[u8], at: usize) -> &[u8] {
    let rest = lines.get(at..).unwrap_or_default();
    let line = rest.split_inclusive(|byte| *byte == b'\n').next();
    line.unwrap_or_default()
}

/// What the stages leave of records; `None` if that is all of them, as they are.
fn stages(engine: &mut Engine, records: &[u8], log: &dyn Log) -> Option<Vec<u8>> {
    engine.rewrite(TAG, records, records.len(), log)
}

/// The key under which split lines of this log are put together.
const TAG: &[u8] = b"";

fn wall_clock() -> EventTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.unwrap_or_default();
    EventTime {
        seconds: u32::try_from(since.as_secs()).unwrap_or(u32::MAX),
        nanoseconds: since.subsec_nanos(),
    }
}

/// When the position moves, as far as the host lets it be known.
fn acknowledge(
    given: &Options<'_>,
    options: &InputOptions,
    settings: InputSettings,
    log: &dyn Log,
) -> Result<Acknowledge, OptionError> {
    let wanted = options.acknowledge.unwrap_or_default();
    if let (Acknowledge::Stored, Storage::Memory) = (wanted, settings.storage)
        && let Some(given) = given.one(table::ACKNOWLEDGE)?
    {
        return Err(given.requires(table::STORAGE_TYPE, "set it to filesystem"));
    }
    let cause = match settings.chunks {
        ChunkList::Known => return Ok(wanted),
        ChunkList::OtherThread => "threaded on",
        ChunkList::Ring => "storage.type memrb",
    };
    if wanted != Acknowledge::Read {
        let line = format!(
            "with `{cause}` Fluent Bit does not tell what becomes of records: `Acknowledge read` is \
             used, and what is in memory is lost if the process ends"
        );
        log.log(LogLevel::Warn, &line);
    }
    Ok(Acknowledge::Read)
}

/// Finds the kept position, and gets ready to keep later ones.
fn kept(
    options: &InputOptions,
    name: &str,
    log: &dyn Log,
) -> Result<(Option<Saver>, Option<Mark>), OptionError> {
    let Some(path) = &options.checkpoint else {
        let line = "`DB off`: the position is not kept, and each start begins anew";
        log.log(LogLevel::Warn, line);
        return Ok((None, None));
    };
    let begins = match options.from_head {
        true => "the oldest rotated file",
        false => "the end of the log",
    };
    let mark = match checkpoint::find(path, name)? {
        Found::None => {
            let line = format!(
                "no position is kept in {}: {begins} comes first",
                path.display()
            );
            log.log(LogLevel::Info, &line);
            None
        }
        Found::Position(found) => Some(Mark {
            position: found.position,
            event_time: found.event_time,
        }),
        Found::PutAside { to, error } => {
            let line = format!(
                "{} is not used ({error}) and is now {}: {begins} comes first, and what was \
                 delivered before comes again",
                path.display(),
                to.display()
            );
            log.log(LogLevel::Error, &line);
            None
        }
    };
    let saver = Saver::start(path.clone()).map_err(|error| {
        let expected = format!("the thread that writes it cannot be started ({error})");
        OptionError::invalid(table::DB, &path.display().to_string(), expected)
    })?;
    Ok((Some(saver), mark))
}

impl Metrics for Input {
    fn metrics(&self, visit: &mut dyn FnMut(&Metric<'_>)) {
        self.engine.metrics(visit);
        visit_series(&stats::SERIES, &self.stats, visit);
        self.panics.metrics(visit);
    }
}
