//! `kube-audit replay`: logs as the filter would leave them, and a summary by rule.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube_audit_core::chunk::{LineForm, LineSink, write_line_record};
use kube_audit_core::pipeline::Pipeline;
use kube_audit_core::policy::{Policy, Ruleset};
use kube_audit_core::stats::{RuleStats, Stats};

use super::args::{Events, Replay, ReplayForm};
use super::output::Output;
use super::policy::Choice;
use super::{Exit, Failure, detect, filter_options, input};

/// Time between two updates of the progress on a terminal.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

pub(crate) fn run(arguments: Replay) -> Result<Exit, Failure> {
    let Replay {
        policy,
        detect,
        detect_keep,
        records,
        redaction,
        machine_audit,
        machine_audit_slim,
        form,
        quiet,
        events: Events { out, files },
    } = arguments;
    let mut options = redaction.properties();
    options.extend(records.into_iter().map(|pair| ("Record".to_owned(), pair)));
    if let Some(word) = machine_audit {
        options.push(("Machine_Audit".to_owned(), word));
        // An event is no line of its own otherwise.
        let shape = match form {
            Some(ReplayForm::Record) => "map",
            _ => "json",
        };
        options.push(("Output_Shape".to_owned(), shape.to_owned()));
    }
    if machine_audit_slim {
        options.push(("Machine_Audit_Slim".to_owned(), "on".to_owned()));
    }
    let options = filter_options(&options)?;
    let parsed = policy.choice().as_ref().map(Choice::load).transpose()?;
    let policy = parsed.map(|parsed| parsed.policy);
    let ruleset = policy
        .as_ref()
        .map(|policy| Arc::new(Ruleset::compile(policy)));
    let detect = detect.load(detect_keep.as_deref())?;
    // Keys beside the event are seen in the record only.
    let form = form.unwrap_or(
        match options.settings.enrichment.is_empty() && detect.is_none() {
            true => ReplayForm::Event,
            false => ReplayForm::Record,
        },
    );
    // No option here asks for a UUID.
    let mut pipeline = Pipeline::new(options.settings, ruleset, || [0; 16]);
    pipeline.set_redaction(Some(options.redaction));
    pipeline.set_shrink(options.shrink);
    if let Some(detect) = detect {
        pipeline.set_detect(detect.detector, detect.options.settings);
    }
    let mut sink = LineSink::new(match form {
        ReplayForm::Event => LineForm::Event,
        ReplayForm::Record => LineForm::Record,
    });

    let mut out = Output::open(&out)?;
    let mut progress = Progress::new(quiet);
    let mut chunk = Vec::new();
    let mut work = |chunk: &mut Vec<u8>| {
        // A line always makes a record that can be read.
        let _ = pipeline.chunk(TAG, chunk, &mut sink);
        chunk.clear();
        progress.show(pipeline.stats());
        let written = out.write(&sink.lines);
        sink.lines.clear();
        written
    };
    let read = input::for_each_line(&files, |_, line| {
        write_line_record(line, &mut chunk);
        match chunk.len() < CHUNK {
            true => Ok(()),
            false => work(&mut chunk),
        }
    });
    let read = read.and(work(&mut chunk));
    pipeline.release(TAG, &mut sink);
    out.write(&sink.lines)?;
    out.finish()?;
    progress.clear();
    if !quiet {
        let summary = summary(pipeline.stats(), policy.as_ref());
        // Without a standard error nobody asked for a summary.
        let _ = io::stderr().write_all(summary.as_bytes());
    }
    read.map(|()| Exit::Done)
}

/// Bytes of records that go through the pipeline at once, as with Fluent Bit: the end of a
/// chunk may end an event of several records.
const CHUNK: usize = 1 << 18;

/// All lines have the same tag: the pieces of a split line may be in two files.
const TAG: &[u8] = b"";

/// A line on a terminal that shows how far the work is.
struct Progress {
    next: Option<Instant>,
    shown: bool,
}

impl Progress {
    fn new(quiet: bool) -> Progress {
        let wanted = !quiet && io::stderr().is_terminal();
        Progress {
            next: wanted.then(Instant::now),
            shown: false,
        }
    }

    fn show(&mut self, stats: &Stats) {
        if self.next.is_none() {
            return;
        }
        let now = Instant::now();
        if self.next.is_some_and(|next| now >= next) {
            self.next = now.checked_add(PROGRESS_INTERVAL);
            self.shown = true;
            let _ = write!(
                io::stderr(),
                "\r{} events, {} dropped \x1b[K",
                stats.events,
                stats.dropped
            );
        }
    }

    fn clear(&self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn summary(stats: &Stats, policy: Option<&Policy>) -> String {
    let mut text = String::new();
    if let Some(policy) = policy {
        text.push_str("rule  level              events      bytes in     bytes out  share\n");
        let levels = policy
            .rules()
            .iter()
            .map(|rule| rule.level.name())
            .chain(["(no rule)"]);
        let names = (0..policy.rules().len()).map(|index| index.to_string());
        let names = names.chain(["-".to_owned()]);
        for ((name, level), rule) in names.zip(levels).zip(&stats.rules) {
            let &RuleStats {
                events,
                bytes_in,
                bytes_out,
            } = rule;
            let share = percent(bytes_in, stats.bytes_in);
            text.push_str(&format!(
                "{name:>4}  {level:<15} {events:>9} {bytes_in:>13} {bytes_out:>13} {share:>5.1}%\n"
            ));
        }
    }
    text.push_str(&detect::summary(stats));
    text.push_str(&stats.summary());
    text.push('\n');
    // Linux audit events have no bytes that a policy could cut.
    if stats.machine_records == 0 || stats.events > 0 {
        let share = percent(stats.bytes_out, stats.bytes_in);
        text.push_str(&format!("{share:.1}% of the bytes of events are kept\n"));
    }
    text
}

#[expect(
    clippy::as_conversions,
    reason = "the nearest float is good enough for a percentage"
)]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}
