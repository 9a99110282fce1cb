//! `kube-audit replay`: logs as the filter would leave them, and a summary by rule.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube_audit_core::options::{CommonOptions, Options};
use kube_audit_core::pipeline::{Rewriter, Settings};
use kube_audit_core::policy::{Policy, Ruleset};
use kube_audit_core::stage::Enrichment;
use kube_audit_core::stats::{RuleTally, Tally};

use super::args::{Events, Replay};
use super::output::Output;
use super::policy::Choice;
use super::{Exit, Failure, input};

/// How often progress is shown on a terminal.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

pub fn run(arguments: Replay) -> Result<Exit, Failure> {
    let Replay {
        policy,
        records,
        quiet,
        events: Events { out, files },
    } = arguments;
    let records = records.into_iter();
    let records = records.map(|pair| ("record".to_owned(), pair)).collect();
    let enrichment = enrichment(&records)?;
    let parsed = policy.choice().as_ref().map(Choice::load).transpose()?;
    let policy = parsed.map(|parsed| parsed.policy);
    let ruleset = policy
        .as_ref()
        .map(|policy| Arc::new(Ruleset::compile(policy)));
    // No option here asks for a UUID.
    let mut rewriter = Rewriter::new(
        Settings {
            enrichment,
            ..Settings::default()
        },
        ruleset,
        || [0; 16],
    );

    let mut out = Output::open(&out)?;
    let mut progress = Progress::new(quiet);
    let mut kept = Vec::new();
    let read = input::for_each_line(&files, |_, line| {
        kept.clear();
        rewriter.line(line, &mut kept);
        progress.show(rewriter.tally());
        out.write(&kept)
    });
    kept.clear();
    rewriter.release_lines(&mut kept);
    out.write(&kept)?;
    out.finish()?;
    progress.clear();
    if !quiet {
        let summary = summary(rewriter.tally(), policy.as_ref());
        // Without a standard error nobody asked for a summary.
        let _ = io::stderr().write_all(summary.as_bytes());
    }
    read.map(|()| Exit::Done)
}

fn enrichment(records: &Vec<(String, String)>) -> Result<Enrichment, Failure> {
    Options::filter(records)
        .and_then(|options| CommonOptions::read(&options))
        .map(|options| options.settings.enrichment)
        .map_err(|error| Failure::Usage(format!("--record: {error}")))
}

/// A line on a terminal that says how far the work is.
struct Progress {
    next: Option<Instant>,
    shown: bool,
}

impl Progress {
    fn new(quiet: bool) -> Progress {
        let wanted = !quiet && io::stderr().is_terminal();
        Progress {
            next: wanted.then(|| Instant::now() + PROGRESS_INTERVAL),
            shown: false,
        }
    }

    fn show(&mut self, tally: &Tally) {
        // Reading the clock costs more than a small event.
        if self.next.is_none() || !tally.records.is_multiple_of(256) {
            return;
        }
        let now = Instant::now();
        if self.next.is_some_and(|next| now >= next) {
            self.next = Some(now + PROGRESS_INTERVAL);
            self.shown = true;
            let _ = write!(
                io::stderr(),
                "\r{} events, {} dropped \x1b[K",
                tally.events,
                tally.dropped
            );
        }
    }

    fn clear(&self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn summary(tally: &Tally, policy: Option<&Policy>) -> String {
    let mut text = String::new();
    if let Some(policy) = policy {
        text.push_str("rule  level              events      bytes in     bytes out  share\n");
        let levels = policy
            .rules()
            .iter()
            .map(|rule| rule.level.name())
            .chain(["(no rule)"]);
        for (index, (level, rule)) in levels.zip(&tally.rules).enumerate() {
            let name = if index + 1 == tally.rules.len() {
                "-".to_owned()
            } else {
                index.to_string()
            };
            let &RuleTally {
                events,
                bytes_in,
                bytes_out,
            } = rule;
            let share = percent(bytes_in, tally.bytes_in);
            text.push_str(&format!(
                "{name:>4}  {level:<15} {events:>9} {bytes_in:>13} {bytes_out:>13} {share:>5.1}%\n"
            ));
        }
    }
    let Tally {
        records,
        events,
        dropped,
        stripped,
        non_audit,
        malformed,
        bytes_in,
        bytes_out,
        ..
    } = tally;
    text.push_str(&format!(
        "{events} events: {} kept ({stripped} stripped), {dropped} dropped; {bytes_in} bytes in, {bytes_out} out ({:.1}%)\n",
        events - dropped,
        percent(*bytes_out, *bytes_in),
    ));
    if non_audit + malformed > 0 {
        text.push_str(&format!(
            "{records} lines: {non_audit} no audit events, {malformed} unreadable, all kept\n"
        ));
    }
    text
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}
