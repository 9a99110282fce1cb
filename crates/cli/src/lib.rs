//! The `kube-audit` tool: the plugin's engine at the command line.

mod check;
mod document;
mod eval;
mod explain;
mod finding;
mod input;
mod kkp;
mod policy;
mod render;
mod replay;

use std::io::{self, Write};
use std::process::ExitCode;

use lexopt::{Arg, Parser, ValueExt};

const HELP: &str = "\
kube-audit: Kubernetes audit logs, policies and Fluent Bit

usage:
  kube-audit eval   --policy FILE | --preset NAME  [EVENTS|-]...
      What the policy says of each event: one JSON object per line.
  kube-audit replay [--policy FILE | --preset NAME] [--record 'KEY VALUE']...
                    [--output event|record] [--quiet]  FILES|-...
      Writes what the filter would leave of records with these lines under `log` to
      standard output, and a summary by rule to standard error. --output event writes
      the text under `log` alone, --output record the whole record as JSON, as a receiver
      gets it; that is the default with --record, whose keys are beside the event.
  kube-audit explain --policy FILE | --preset NAME [--format text|json]  [EVENTS|-]...
      Which rule decides on each event, why each rule before it does not match, and
      what is cut; with --format json one JSON object per line.
  kube-audit render [--env NAME=VALUE]... [--kkp VERSION]  CLUSTER.yaml|-
      The fluent-bit.conf that Kubermatic KKP writes for the audit sidecar of a
      Cluster, byte for byte. Takes a whole manifest, its `auditLogging`, or the
      `config` of the sidecar; --env says what KKP puts into filters.
  kube-audit check [--format text|json] [--kkp VERSION] [--codes]  FILE...
      What is wrong with a Cluster of KKP, a configuration of Fluent Bit (classic or
      YAML) or an audit policy: FILE:LINE:COLUMN: SEVERITY[CODE]: what and what
      instead. The kind is told by the content. --kkp says which release runs it,
      --codes lists what may be found. With --format json one document: `findings`,
      each with severity, code, file, line, column, path and message, and the numbers
      of `errors`, `warnings` and `notes`.

Files of events hold one event per line: JSON, an EventList, or a container runtime's
line. Files that end in .gz are unpacked; - is standard input.

presets: metadata, minimal, recommended, gce, giantswarm

exit status of check: 0 no errors (there may be warnings and notes), 1 errors,
2 wrong usage or a file that cannot be read

exit status of the others: 0 done, 1 input that cannot be read, 2 wrong usage or a policy
that is refused
";

/// Why a command ends early.
enum Failure {
    /// Wrong usage, or a policy that is refused.
    Usage(String),
    /// Input or output that failed.
    Io(String),
    /// Nobody reads our output any more.
    Closed,
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Failure {
        Failure::Usage(format!("{error}; see `kube-audit --help`"))
    }
}

impl Failure {
    /// A failed write to standard output.
    fn output(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Io(format!("standard output: {error}")),
        }
    }
}

/// Runs the tool with the arguments of the process.
pub fn main() -> ExitCode {
    let (code, message) = match run(Parser::from_env()) {
        Ok(code) => return code,
        Err(Failure::Closed) => return ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => (2, message),
        Err(Failure::Io(message)) => (1, message),
    };
    // There is nowhere to report a closed standard error.
    let _ = writeln!(io::stderr(), "kube-audit: {message}");
    ExitCode::from(code)
}

fn run(mut parser: Parser) -> Result<ExitCode, Failure> {
    match parser.next()? {
        None => Err(Failure::Usage(
            "name a command: check, eval, explain, render or replay; see `kube-audit --help`"
                .to_owned(),
        )),
        Some(Arg::Short('h') | Arg::Long("help")) => print(HELP),
        Some(Arg::Short('V') | Arg::Long("version")) => {
            print(concat!("kube-audit ", env!("CARGO_PKG_VERSION"), "\n"))
        }
        Some(Arg::Value(command)) => match command.to_str() {
            Some("eval") => eval::run(parser),
            Some("check") => check::run(parser),
            Some("explain") => explain::run(parser),
            Some("render") => render::run(parser),
            Some("replay") => replay::run(parser),
            Some("help") => print(HELP),
            _ => Err(Failure::Usage(format!(
                "there is no command `{}`: use check, eval, explain, render or replay; see `kube-audit --help`",
                command.display()
            ))),
        },
        Some(arg) => Err(arg.unexpected().into()),
    }
}

/// How answers are written.
enum Format {
    Text,
    Json,
}

impl Format {
    fn read(text: &str) -> Result<Format, Failure> {
        match text {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            _ => Err(Failure::Usage(format!(
                "--format is `{text}`: use text or json"
            ))),
        }
    }
}

/// The value of `--kkp`.
fn kkp_release(parser: &mut Parser) -> Result<kkp::Release, Failure> {
    let text = parser.value()?.string()?;
    text.parse()
        .map_err(|error| Failure::Usage(format!("--kkp: {error}")))
}

fn print(text: &str) -> Result<ExitCode, Failure> {
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(Failure::output)?;
    Ok(ExitCode::SUCCESS)
}
