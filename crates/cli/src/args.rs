//! The command line: every command with its arguments, read into types.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser, ValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

use kube_audit_core::options::Properties;
use kube_audit_core::policy::Preset;

use super::Failure;
use super::kkp::Release;
use super::policy::Choice;

const EXIT_STATUS: &str = "\
Files of events hold one event per line: JSON, an EventList, or a line of a container
runtime. Files that end in .gz are unpacked; - is standard input.

Exit status:
  0  done; for check: no errors (there may be warnings and notes)
  1  input or output failed; for check: errors were found
  2  wrong usage, a policy that is refused, or a file that cannot be read";

/// Kubernetes audit logs, policies and Fluent Bit.
#[derive(Debug, Parser)]
#[command(
    name = "kube-audit",
    version,
    long_version = long_version(),
    override_usage = "kube-audit <COMMAND>",
    after_help = EXIT_STATUS
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// A command of the tool.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Check(Check),
    Eval(Eval),
    Explain(Explain),
    Replay(Replay),
    Render(Render),
    #[command(hide = true)]
    Generate(Generate),
}

/// Checks manifests of Kubermatic KKP, configurations of Fluent Bit and audit policies.
///
/// The content decides on the kind of a file: a Cluster of KKP, a configuration of Fluent
/// Bit (classic or YAML) or an audit policy. With --detect, a policy is taken for that of an
/// API server, and detections that cannot see what they are about are findings. Each finding is one line,
/// FILE:LINE:COLUMN: SEVERITY[CODE]: what was found and what would be right.
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// Form of the report: lines of text, or one JSON document.
    ///
    /// The JSON document has `findings`, each with severity, code, file, line, column, path
    /// and message, and the numbers of `errors`, `warnings` and `notes`.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Release of KKP that runs the configuration, such as 2.28.
    #[arg(long, value_name = "VERSION", default_value_t = Release::NEWEST)]
    pub kkp: Release,
    #[command(flatten)]
    pub detect: DetectArgs,
    /// List all codes of findings.
    #[arg(long)]
    pub codes: bool,
    #[command(flatten)]
    pub out: Out,
    /// Files to check; - is standard input.
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath, required_unless_present = "codes")]
    pub files: Vec<OsString>,
}

/// Shows the decision of a policy on each event, one JSON object per line.
#[derive(Args, Debug)]
pub(crate) struct Eval {
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub events: Events,
}

/// Explains the decision of a policy on each event, and the answers of detections.
///
/// Shows why earlier rules do not match, which rule decides, what is cut, and what is
/// redacted and why. With --detect it shows which detections fire, and which condition keeps
/// the near ones from it.
#[derive(Args, Debug)]
pub(crate) struct Explain {
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub detect: DetectArgs,
    /// Explain Linux audit records: which event each belongs to, and what it says.
    #[arg(long)]
    pub machine_audit: bool,
    /// Form of the answers: text, or one JSON object per line.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    #[command(flatten)]
    pub redaction: RedactionArgs,
    #[command(flatten)]
    pub events: Events,
}

/// What is redacted and left out: options of the filter.
#[derive(Args, Debug)]
pub(crate) struct RedactionArgs {
    /// Redactors to turn on or off, as with the filter's option `Redact`.
    #[arg(long, value_name = "WORDS")]
    redact: Option<String>,
    /// Place to redact too, as with `Redact_Path`; may be repeated.
    #[arg(long, value_name = "RESOURCE POINTER")]
    redact_path: Vec<String>,
    /// Place to leave as it is, as with `Redact_Keep`; may be repeated.
    #[arg(long, value_name = "RESOURCE POINTER")]
    redact_keep: Vec<String>,
    /// More names that hold secrets, as with `Redact_Names`.
    #[arg(long, value_name = "NAMES")]
    redact_names: Option<String>,
    /// Key for marks that differ by value, as with `Redact_Key`.
    #[arg(long, value_name = "KEY")]
    redact_key: Option<String>,
    /// What to do with text that cannot be read: cut, keep or drop.
    #[arg(long, value_name = "WORD")]
    redact_unreadable: Option<String>,
    /// Most bytes of an event, or the name of a sink, as with `Max_Event_Size`.
    #[arg(long, value_name = "SIZE")]
    max_event_size: Option<String>,
    /// The form of bodies, as with `Bodies`: keep, json or drop.
    #[arg(long, value_name = "WORD")]
    bodies: Option<String>,
}

impl RedactionArgs {
    /// The same as options of a filter.
    pub(crate) fn properties(self) -> Properties {
        let once = [
            ("Redact", self.redact),
            ("Redact_Names", self.redact_names),
            ("Redact_Key", self.redact_key),
            ("Redact_Unreadable", self.redact_unreadable),
            ("Max_Event_Size", self.max_event_size),
            ("Bodies", self.bodies),
        ];
        let often = [
            ("Redact_Path", self.redact_path),
            ("Redact_Keep", self.redact_keep),
        ];
        let once = once
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let often = often.into_iter().flat_map(|(name, values)| {
            values
                .into_iter()
                .map(move |value| (name.to_owned(), value))
        });
        once.chain(often).collect()
    }
}

/// Writes the events that the filter would keep, and a summary by rule.
///
/// Events go to standard output, or to the file of -o; the summary goes to standard error.
#[derive(Args, Debug)]
pub(crate) struct Replay {
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub detect: DetectArgs,
    /// Keep events with such a label although the policy drops them, as with the filter's
    /// option `Detect_Keep`: on or a severity.
    #[arg(long, value_name = "SEVERITY", requires = "detect")]
    pub detect_keep: Option<String>,
    /// Field to add to each event, as with the filter's option `Record`; may be repeated.
    #[arg(long = "record", value_name = "KEY VALUE")]
    pub records: Vec<String>,
    #[command(flatten)]
    pub redaction: RedactionArgs,
    /// Read Linux audit records, as with the filter's option `Machine_Audit`: records or
    /// events.
    #[arg(long, value_name = "WORD")]
    pub machine_audit: Option<String>,
    /// Leave out what Linux audit events say twice, as with `Machine_Audit_Slim`.
    #[arg(long, requires = "machine_audit")]
    pub machine_audit_slim: bool,
    /// Form of the output: the text of each event alone, or the whole record as JSON, as a
    /// receiver gets it, which is the default with --record and --detect.
    #[arg(long = "output", value_enum)]
    pub form: Option<ReplayForm>,
    /// Write neither progress nor a summary.
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub events: Events,
}

/// Writes the fluent-bit.conf that Kubermatic KKP makes of a Cluster.
///
/// The text is what the audit sidecar of the cluster gets, byte for byte.
#[derive(Args, Debug)]
pub(crate) struct Render {
    /// Variable that KKP puts into filters; may be repeated.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    pub variables: Vec<(String, String)>,
    /// Release of KKP, such as 2.28.
    #[arg(long, value_name = "VERSION", default_value_t = Release::NEWEST)]
    pub kkp: Release,
    #[command(flatten)]
    pub out: Out,
    /// Manifest of a Cluster, its `auditLogging`, or the `config` of the sidecar; - is
    /// standard input.
    #[arg(value_name = "CLUSTER.yaml", value_hint = ValueHint::FilePath)]
    pub file: OsString,
}

/// Writes shell completions or man pages, for packages.
#[derive(Args, Debug)]
pub(crate) struct Generate {
    #[command(subcommand)]
    pub what: Generated,
}

/// File that the tool makes about itself.
#[derive(Debug, Subcommand)]
pub(crate) enum Generated {
    /// Completions for a shell, to standard output.
    Completions {
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Man pages of the tool and of each command, into a directory.
    Man {
        #[arg(value_hint = ValueHint::DirPath)]
        directory: PathBuf,
    },
}

/// Policy that a command works with.
#[derive(Args, Debug)]
#[group(multiple = false)]
pub(crate) struct PolicyArgs {
    /// Audit policy; - is standard input.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    policy: Option<OsString>,
    /// Policy that comes with the tool.
    #[arg(long, value_name = "NAME", value_parser = presets(), ignore_case = true)]
    preset: Option<Preset>,
}

impl PolicyArgs {
    /// Returns the policy that is named, if one is.
    pub(crate) fn choice(self) -> Option<Choice> {
        self.policy
            .map(Choice::File)
            .or(self.preset.map(Choice::Preset))
    }

    /// Returns the policy, which `command` cannot do without.
    pub(crate) fn required(self, command: &str) -> Result<Choice, Failure> {
        self.choice().ok_or_else(|| {
            Failure::Usage(format!("{command} needs --policy FILE or --preset NAME"))
        })
    }
}

/// Detections that a command works with.
#[derive(Args, Debug)]
pub(crate) struct DetectArgs {
    /// Detections to enable, as with the filter's option `Detect`: on, a severity or ids.
    #[arg(long, value_name = "DETECTIONS")]
    pub detect: Option<String>,
    /// File with own detections and exceptions, as with the filter's option `Detect_File`.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "detect")]
    pub detect_rules: Option<OsString>,
}

/// Files of events, and where answers go.
#[derive(Args, Debug)]
pub(crate) struct Events {
    #[command(flatten)]
    pub out: Out,
    /// Files of events; standard input for - or none.
    #[arg(value_name = "EVENTS", value_hint = ValueHint::FilePath)]
    pub files: Vec<OsString>,
}

/// Destination of the output.
#[derive(Args, Debug)]
pub(crate) struct Out {
    /// File to write to instead of standard output.
    #[arg(short = 'o', long = "out-file", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out_file: Option<PathBuf>,
}

/// Form of answers.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum Format {
    /// Text for people.
    #[default]
    Text,
    /// JSON for programs.
    Json,
}

/// Form of what `replay` writes.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ReplayForm {
    /// The event alone.
    Event,
    /// The record with the event and the keys beside it.
    Record,
}

fn presets() -> ValueParser {
    let names = PossibleValuesParser::new(Preset::ALL.map(Preset::name));
    names.try_map(|name| Preset::from_name(&name)).into()
}

fn variable(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("use NAME=VALUE"),
    }
}

/// Returns the version with what a bug report needs. The commit is known where
/// `KUBE_AUDIT_COMMIT` was set for the build.
fn long_version() -> String {
    let commit = option_env!("KUBE_AUDIT_COMMIT").unwrap_or("unknown");
    format!(
        "{}\ncommit: {commit}\nhosts: Fluent Bit 1.9.3 to 5.1",
        env!("CARGO_PKG_VERSION")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn presets_are_found_in_any_case() {
        let arguments = ["kube-audit", "eval", "--preset", "GCE", "x"];
        let Some(Command::Eval(eval)) = Cli::parse_from(arguments).command else {
            panic!("not eval");
        };
        assert!(matches!(
            eval.policy.choice(),
            Some(Choice::Preset(Preset::Gce))
        ));
    }

    #[test]
    fn one_policy_at_a_time() {
        let arguments = ["kube-audit", "eval", "--preset", "gce", "--policy", "x"];
        assert!(Cli::try_parse_from(arguments).is_err());
    }
}
