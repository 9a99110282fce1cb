//! The `kube-audit` tool: the engine of the plugin at the command line.
//!
//! A command is a file: its `run` takes the arguments that `args` has read for it.

#![forbid(unsafe_code)]
// An input that nobody thought of is an error message, not a panic or a wrong number.
#![cfg_attr(
    not(test),
    deny(
        unreachable_pub,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::todo,
        clippy::unimplemented,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::arithmetic_side_effects,
        clippy::as_conversions
    )
)]

mod args;
mod check;
mod detect;
mod document;
mod eval;
mod explain;
mod finding;
mod generate;
mod input;
mod kkp;
mod machine;
mod output;
mod policy;
mod render;
mod replay;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, error::ErrorKind};

use kube_audit_core::options::{CommonOptions, Options, Properties};

use self::args::{Cli, Command};

/// Exit status of the tool, as `kube-audit --help` documents it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// All is done and well.
    Done,
    /// Input or output failed, or a check found errors.
    Failed,
    /// Wrong usage, a policy that is refused, or a file that cannot be read.
    Usage,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        match exit {
            Exit::Done => ExitCode::SUCCESS,
            Exit::Failed => ExitCode::from(1),
            Exit::Usage => ExitCode::from(2),
        }
    }
}

/// Reason for which a command ends early.
#[derive(Debug)]
enum Failure {
    /// Wrong usage, or a policy that is refused.
    Usage(String),
    /// Input or output that failed.
    Io(String),
    /// Nobody reads the output any more.
    Closed,
}

/// Runs the tool with the arguments of the process.
pub fn main() -> ExitCode {
    let (exit, message) = match run() {
        Ok(exit) => return exit.into(),
        Err(Failure::Closed) => return Exit::Done.into(),
        Err(Failure::Usage(message)) => (Exit::Usage, message),
        Err(Failure::Io(message)) => (Exit::Failed, message),
    };
    // There is nowhere to report a closed standard error.
    let _ = writeln!(io::stderr(), "kube-audit: {message}");
    exit.into()
}

fn run() -> Result<Exit, Failure> {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match cli.command {
        Some(Command::Check(arguments)) => check::run(&arguments),
        Some(Command::Eval(arguments)) => eval::run(arguments),
        Some(Command::Explain(arguments)) => explain::run(arguments),
        Some(Command::Generate(arguments)) => generate::run(arguments),
        Some(Command::Render(arguments)) => render::run(&arguments),
        Some(Command::Replay(arguments)) => replay::run(arguments),
        None => Err(Failure::Usage(
            "name a command: check, eval, explain, render or replay; see `kube-audit --help`"
                .to_owned(),
        )),
    }
}

/// Reads options of a filter that commands take too.
fn filter_options(options: &Properties) -> Result<CommonOptions, Failure> {
    Options::filter(options)
        .and_then(|options| CommonOptions::read(&options))
        .map_err(|error| Failure::Usage(error.to_string()))
}

/// Handles what `clap` returns instead of arguments: help, the version, or an error.
fn usage(error: &clap::Error) -> Result<Exit, Failure> {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let mut out = output::Output::open(&args::Out { out_file: None })?;
            out.write(text.as_bytes())?;
            out.finish()?;
            Ok(Exit::Done)
        }
        _ => {
            let text = text.trim_end();
            let message = text.strip_prefix("error: ").unwrap_or(text);
            Err(Failure::Usage(message.to_owned()))
        }
    }
}
