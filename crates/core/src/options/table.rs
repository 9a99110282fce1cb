//! Every option of the plugin, once: its names, where it may be written, its values,
//! its default, whether it is secret, and a line of help.
//!
//! Sections, nodes of an `Upstream` file, `kube-audit check`, "did you mean" and
//! `docs/options.md` read this table. To add an option, write a row here and read it by
//! its constant, such as [`ORDERED`], in the options of the stage that it belongs to:
//! `options.flag(table::ORDERED)?`.
//!
//! Options of Fluent Bit itself are in it as well ([`Owner::Host`]), as far as a host from
//! 1.9 to 5.1 takes them in such a section (`flb_output_set_property`,
//! `flb_filter_set_property`).

use std::ops::RangeInclusive;

use crate::pipeline::{EventTimeSource, Format, MachineAudit, OnOther, OnUnreadable, OutputShape};
use crate::policy::Preset;
use crate::stage::detect::{LabelShape, LongRunning, Severity};
use crate::stage::shrink::Bodies;
use kube_audit_text::suggest::nearest;

use super::acknowledge::Acknowledge;
use super::choice::words;
use super::error::{OptionError, Problem, printable};
use super::on_panic::OnPanic;

/// The kinds of sections that have options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionKind {
    /// An input.
    Input,
    /// A filter, or the same as a processor.
    Filter,
    /// An output.
    Output,
    /// A node of the file that `Upstream` names.
    Node,
}

impl SectionKind {
    /// The name in messages, with its article.
    pub const fn name(self) -> &'static str {
        match self {
            SectionKind::Input => "an input",
            SectionKind::Filter => "a filter",
            SectionKind::Output => "an output",
            SectionKind::Node => "a node",
        }
    }
}

/// Who reads an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This plugin.
    Plugin,
    /// Fluent Bit, which may keep the value to itself.
    Host,
}

/// Number of times that a section may have an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Once at most.
    Once,
    /// Any number of times.
    Any,
}

/// Visibility of a value in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// Shown as it is.
    Public,
    /// Shown without what precedes an `@` in an address.
    MayHold,
    /// Never shown.
    Secret,
}

/// HTML entities of a value that are undone. KKP's templates make them of quotes and
/// the like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entities {
    /// None.
    Keep,
    /// All.
    Undo,
    /// All, if the whole value is escaped: a secret with an `&` in it stays what it is.
    UndoIfEscaped,
}

/// The values that an option takes.
#[derive(Clone, Debug)]
pub enum Value {
    /// One of a few words, in any case.
    Choice(fn() -> Vec<&'static str>),
    /// `on` or `off`.
    Flag,
    /// A time such as `500ms`, `30s` or `5m`.
    Duration,
    /// A time such as `500ms`, `30s` or `5m`, or `off`.
    DurationOrOff,
    /// A whole number within limits.
    Number(RangeInclusive<usize>),
    /// A number of bytes within limits, with a unit such as those of `512k`, `8M` and `64KiB`.
    Size(RangeInclusive<usize>),
    /// Anything else, and its shape.
    Text(&'static str),
}

impl Value {
    /// The shape in a few words, for documentation.
    pub fn shape(&self) -> String {
        match self {
            Value::Choice(words) => words().join(" | "),
            Value::Flag => "on | off".to_owned(),
            Value::Duration => "TIME".to_owned(),
            Value::DurationOrOff => "TIME | off".to_owned(),
            Value::Number(limits) => format!("{} to {}", limits.start(), limits.end()),
            Value::Size(_) => "SIZE".to_owned(),
            Value::Text(shape) => (*shape).to_owned(),
        }
    }
}

/// A row of the table.
#[derive(Clone, Debug)]
pub struct OptionDef {
    /// The name as the documentation writes it; letter case does not count.
    pub name: &'static str,
    /// Another name for the same.
    pub alias: Option<&'static str>,
    /// Sections that take the option.
    pub sections: &'static [SectionKind],
    /// Who reads it.
    pub owner: Owner,
    /// The values that it takes.
    pub value: Value,
    /// The value where it is not set, in words; empty for none.
    pub default: &'static str,
    /// Number of times that a section may have the option.
    pub repeat: Repeat,
    /// Visibility of the value in messages.
    pub secrecy: Secrecy,
    /// HTML entities of the value that are undone.
    pub entities: Entities,
    /// A line of help. Only the test that writes `docs/options.md` needs it; the library must
    /// fit into a Kubernetes Secret.
    #[cfg(test)]
    pub help: &'static str,
}

impl OptionDef {
    /// An option of this plugin that may be written once.
    const fn new(name: &'static str, sections: &'static [SectionKind], value: Value) -> OptionDef {
        OptionDef {
            name,
            alias: None,
            sections,
            owner: Owner::Plugin,
            value,
            default: "",
            repeat: Repeat::Once,
            secrecy: Secrecy::Public,
            entities: Entities::Keep,
            #[cfg(test)]
            help: "",
        }
    }

    const fn alias(mut self, alias: &'static str) -> OptionDef {
        self.alias = Some(alias);
        self
    }

    const fn default(mut self, default: &'static str) -> OptionDef {
        self.default = default;
        self
    }

    const fn repeats(mut self) -> OptionDef {
        self.repeat = Repeat::Any;
        self
    }

    const fn of_host(mut self) -> OptionDef {
        self.owner = Owner::Host;
        self
    }

    const fn secret(mut self) -> OptionDef {
        self.secrecy = Secrecy::Secret;
        self
    }

    const fn may_hold_secret(mut self) -> OptionDef {
        self.secrecy = Secrecy::MayHold;
        self
    }

    const fn entities(mut self, entities: Entities) -> OptionDef {
        self.entities = entities;
        self
    }

    #[cfg(test)]
    const fn help(mut self, help: &'static str) -> OptionDef {
        self.help = help;
        self
    }

    #[cfg(not(test))]
    const fn help(self, _: &'static str) -> OptionDef {
        self
    }

    /// True if `name` is one of its names.
    pub fn is(&self, name: &str) -> bool {
        self.names().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// True if such a section may have it.
    pub fn is_in(&self, section: SectionKind) -> bool {
        self.sections.contains(&section)
    }

    /// All its names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        [self.name].into_iter().chain(self.alias)
    }
}

/// Rows are constants; their documentation is the help.
macro_rules! options {
    ($($(#[doc = $help:literal])+ $key:ident = $def:expr;)+) => {
        $($(#[doc = $help])+ pub const $key: &OptionDef = &$def.help(concat!($($help),+));)+

        /// All options.
        pub static TABLE: &[&OptionDef] = &[$($key),+];
    };
}

use Entities::{Undo, UndoIfEscaped};
use SectionKind::{Filter, Input, Node, Output};
use Value::{Choice, Duration, DurationOrOff, Flag, Number, Size, Text};

/// Sections that apply the stages.
const STAGES: &[SectionKind] = &[Filter, Output, Input];
const BOTH: &[SectionKind] = &[Filter, Output];
const CHUNKS: &[SectionKind] = &[Filter, Input];
const INPUT: &[SectionKind] = &[Input];
const OUTPUT: &[SectionKind] = &[Output];
const RECEIVER: &[SectionKind] = &[Output, Node];
const NODE: &[SectionKind] = &[Node];

options! {
    // Policy.

    /// A policy that comes with the plugin: those of KKP, `gce` and `giantswarm`.
    /// A section has one policy at most; without one nothing is filtered.
    POLICY_PRESET = OptionDef::new("Policy_Preset", STAGES, Choice(|| Preset::ALL.map(Preset::name).to_vec()));
    /// A policy in a YAML or JSON file of at most 8 MiB.
    POLICY_FILE = OptionDef::new("Policy_File", STAGES, Text("PATH"));
    /// An environment variable that holds the policy: as `Policy` takes it.
    POLICY_ENV = OptionDef::new("Policy_Env", STAGES, Text("VARIABLE"));
    /// The policy itself, as JSON or in YAML's flow style; `apiVersion` may be left out.
    POLICY = OptionDef::new("Policy", STAGES, Text("TEXT | base64url:TEXT")).may_hold_secret().entities(Undo);
    /// Time between two looks at `Policy_File` and `Detect_File`; a change is taken when two
    /// looks find the same file.
    POLICY_RELOAD = OptionDef::new("Policy_Reload", STAGES, DurationOrOff).default("30s");

    // Reading and writing records.

    /// Shape of records on the way in. `map`: the record is the event; `json`: a key holds the
    /// event's text; `cri`: a key holds a line of a container runtime; `auto`: found out for
    /// each record.
    FORMAT = OptionDef::new("Format", STAGES, Choice(words::<Format>)).default("auto");
    /// The place of the event in a record: a key, or a path such as `$properties['log']`; what
    /// is there may be text or a map. Events under other keys of the record are judged as well.
    LOG_KEY = OptionDef::new("Log_Key", STAGES, Text("KEY | $PATH")).entities(Undo).default("`log`, then `message`");
    /// Shape of records on the way out. `map`: the event's fields become the record's; `json`: the
    /// event becomes text under `log`; `keep`: as it came.
    OUTPUT_SHAPE = OptionDef::new("Output_Shape", STAGES, Choice(words::<OutputShape>)).default("keep");
    /// Source of a record's time: the event's `stageTimestamp` or
    /// `requestReceivedTimestamp`, or `keep`.
    EVENT_TIME = OptionDef::new("Event_Time", STAGES, Choice(words::<EventTimeSource>)).default("keep");
    /// Fate of records that hold no audit event.
    NON_AUDIT = OptionDef::new("Non_Audit", STAGES, Choice(words::<OnOther>)).default("keep");
    /// Fate of records that look like an audit event and cannot be read.
    ON_ERROR = OptionDef::new("On_Error", STAGES, Choice(words::<OnOther>)).default("keep");

    // Machine audit logs.

    /// Linux audit records (auditd, the kernel's log, journald). `keep`: they are records
    /// without an audit event; `records`: each is an event; `events`: those of one event become
    /// one. See `machine-audit.md`.
    MACHINE_AUDIT = OptionDef::new("Machine_Audit", STAGES, Choice(words::<MachineAudit>)).default("keep");
    /// Leaves out what Linux audit events say twice: of a program that starts, two fifths of its bytes.
    MACHINE_AUDIT_SLIM = OptionDef::new("Machine_Audit_Slim", STAGES, Flag).default("off");

    /// Fate of a filter's chunk, or of an input's line, after an internal error of the plugin
    /// (a panic). An output asks Fluent Bit to hand the chunk over again.
    ON_PANIC = OptionDef::new("On_Panic", CHUNKS, Choice(words::<Option<OnPanic>>)).default("`drop` with a policy or redaction, else `keep`");

    // Redaction.

    /// What is redacted, separated by commas: `on` or `off` for all redactors, and single
    /// ones with their modes (`env=named, configmap=off`; `off, secret, token`). The
    /// redactors are those of `docs/redaction.md`.
    REDACT = OptionDef::new("Redact", STAGES, Text("on | off | NAME | NAME=MODE, …")).default("`on`");
    /// A place whose values are redacted too: `databases.example.net /spec/users/*/code`.
    /// RESOURCE is `plural.group/subresource` as in kubectl, `*` for any, or `event`; POINTER
    /// is a JSON pointer in which `*` is any one member or item and `**` any number of them.
    REDACT_PATH = OptionDef::new("Redact_Path", STAGES, Text("RESOURCE POINTER")).repeats().entities(Undo);
    /// Several of `Redact_Path` in one value.
    REDACT_PATHS = OptionDef::new("Redact_Paths", STAGES, Text("RESOURCE POINTER; RESOURCE POINTER…")).repeats().entities(Undo);
    /// A place that stays as it came, whatever a redactor says.
    REDACT_KEEP = OptionDef::new("Redact_Keep", STAGES, Text("RESOURCE POINTER")).repeats().entities(Undo);
    /// Several of `Redact_Keep` in one value.
    REDACT_KEEPS = OptionDef::new("Redact_Keeps", STAGES, Text("RESOURCE POINTER; RESOURCE POINTER…")).repeats().entities(Undo);
    /// More names of members, variables, flags and parameters that hold a secret.
    REDACT_NAMES = OptionDef::new("Redact_Names", STAGES, Text("NAME, NAME…"));
    /// A key of at least 16 bytes that makes marks of equal values equal:
    /// `REDACTED` and 16 digits of an HMAC-SHA256.
    REDACT_KEY = OptionDef::new("Redact_Key", STAGES, Text("TEXT")).secret().entities(UndoIfEscaped);
    /// What is done with text that looks like an audit event and cannot be read. `cut`: it
    /// ends before the first body; `On_Error drop` drops it all the same.
    REDACT_UNREADABLE = OptionDef::new("Redact_Unreadable", STAGES, Choice(words::<OnUnreadable>)).default("cut");

    // Size.

    /// Most bytes of an event as JSON: `64KiB`, `10k`, or a sink by name: `aks` (16 KiB),
    /// `cloudwatch`, `loki` (256 KiB), `splunk` (10,000). A larger one loses managed fields,
    /// the response body, the request body, then the ends of strings beyond 1,024 bytes;
    /// attributes stay. See `redaction.md`.
    MAX_EVENT_SIZE = OptionDef::new("Max_Event_Size", STAGES, Text("SIZE | aks | cloudwatch | loki | splunk | off")).default("off");
    /// Bodies as they are, as text with JSON in it, for stores that limit the number of
    /// fields, or left out.
    BODIES = OptionDef::new("Bodies", STAGES, Choice(words::<Bodies>)).default("keep");

    // Selection.

    /// Keeps only events and records that match every `Regex`. KEY is a field of the event
    /// (`verb`, `$user['username']`) or of the record (`log`); without it, or with `*`, the
    /// pattern is looked for anywhere in the event, and one with blanks needs the `*`. Patterns
    /// are those of Fluent Bit's `grep` filter. They see the event before the policy cuts it.
    REGEX = OptionDef::new("Regex", STAGES, Text("[KEY] PATTERN")).repeats().entities(Undo);
    /// Drops events and records that match any `Exclude`; otherwise like `Regex`.
    EXCLUDE = OptionDef::new("Exclude", STAGES, Text("[KEY] PATTERN")).repeats().entities(Undo);

    // Detections.

    /// Labels events that matter, before the policy drops or cuts them: `on` for all
    /// detections, a severity (low, medium, high, critical) for those of it and above, ids.
    /// `-ID` and `-SEVERITY` take out. Words are separated by commas or blanks and count from
    /// left to right: `medium,secret-read,-bulk-delete`. See `detections.md`.
    DETECT = OptionDef::new("Detect", STAGES, Text("off | on | SEVERITY | ID | -ID, …")).default("off");
    /// A YAML or JSON file with own detections, other severities and exceptions. It is read
    /// again when it changes; a bad one leaves the last good one in force.
    DETECT_FILE = OptionDef::new("Detect_File", STAGES, Text("PATH"));
    /// An environment variable that holds the same: as `Detect_Rules` takes it.
    DETECT_ENV = OptionDef::new("Detect_Env", STAGES, Text("VARIABLE"));
    /// The same itself, as JSON or in YAML's flow style.
    DETECT_RULES = OptionDef::new("Detect_Rules", STAGES, Text("TEXT | base64url:TEXT")).entities(Undo);
    /// Users whose requests get no label, unless they impersonate somebody.
    DETECT_IGNORE_USERS = OptionDef::new("Detect_Ignore_Users", STAGES, Text("NAME, NAME…"));
    /// Groups whose members' requests get no label, unless they impersonate somebody. The
    /// service accounts of a namespace are in `system:serviceaccounts:NAMESPACE`.
    DETECT_IGNORE_GROUPS = OptionDef::new("Detect_Ignore_Groups", STAGES, Text("NAME, NAME…"));
    /// The record's key for the ids of the detections. A record that has it keeps it.
    DETECT_KEY = OptionDef::new("Detect_Key", STAGES, Text("KEY")).default("kube_audit_detections");
    /// The record's key for the highest severity. A record that has it keeps it.
    DETECT_SEVERITY_KEY = OptionDef::new("Detect_Severity_Key", STAGES, Text("KEY")).default("kube_audit_severity");
    /// Ids as an array, or as one text with commas for what does not look into arrays.
    DETECT_SHAPE = OptionDef::new("Detect_Shape", STAGES, Choice(words::<LabelShape>)).default("array");
    /// Keeps events with such a label although the policy drops them, at level `Metadata`.
    /// `Regex` and `Exclude` still count.
    DETECT_KEEP = OptionDef::new("Detect_Keep", STAGES, Choice(words::<Option<Severity>>)).default("off");
    /// The event of a long-running request that is labelled: the first one with an outcome,
    /// or `complete` for servers that omit the stage `ResponseStarted`.
    DETECT_STAGE = OptionDef::new("Detect_Stage", STAGES, Choice(words::<LongRunning>)).default("first");

    // Enrichment.

    /// A key and value appended to each record; double quotes around a part with blanks.
    RECORD = OptionDef::new("Record", STAGES, Text("KEY VALUE")).repeats();
    /// Several of `Record` in one value.
    RECORDS = OptionDef::new("Records", STAGES, Text("KEY VALUE; KEY VALUE…")).repeats().entities(Undo);
    /// A key that is removed from each record; a final `*` matches any rest.
    REMOVE_KEY = OptionDef::new("Remove_key", STAGES, Text("KEY")).repeats();
    /// A key that stays, while all others are removed; not together with `Remove_key`.
    ALLOWLIST_KEY = OptionDef::new("Allowlist_key", STAGES, Text("KEY")).alias("Whitelist_key").repeats();
    /// A key that gets a random UUID.
    UUID_KEY = OptionDef::new("Uuid_key", STAGES, Text("KEY"));

    // Reading the log.

    /// The log. Its rotated files are found by themselves: those of the API server, of the
    /// kubelet and of logrotate, compressed by gzip or not.
    PATH = OptionDef::new("Path", INPUT, Text("PATH")).default("`/var/log/kubernetes/audit/audit.log`");
    /// The file that keeps the position in the log, or `off`.
    DB = OptionDef::new("DB", INPUT, Text("PATH | off")).alias("Checkpoint").default("beside the log, `NAME.kube-audit.db`");
    /// Time between two writes of that file.
    CHECKPOINT_INTERVAL = OptionDef::new("Checkpoint_Interval", INPUT, Duration).default("1s");
    /// Where a log without a position begins: at its oldest rotated file, or at its end.
    READ_FROM_HEAD = OptionDef::new("Read_from_Head", INPUT, Flag).default("on");
    /// When the position moves. `delivered`: all outputs are done with the records; `stored`:
    /// Fluent Bit has them in its file system storage; `read`: at once, as `tail` does it.
    ACKNOWLEDGE = OptionDef::new("Acknowledge", INPUT, Choice(words::<Acknowledge>)).default("delivered");
    /// Bytes of records that may be under way; beyond that the log is not read on.
    MAX_UNACKNOWLEDGED = OptionDef::new("Max_Unacknowledged", INPUT, Size(65_536..=1_000_000_000)).default("8M");
    /// Bytes of the longest line; a longer one is left out, counted and told.
    MAX_EVENT = OptionDef::new("Max_Event", INPUT, Size(65_536..=256_000_000)).default("16M");

    // Receivers.

    /// Receivers, separated by commas: `host:port`, `tcp://`, `tls://`, `[::1]:24224`,
    /// `unix:/path`.
    ENDPOINT = OptionDef::new("Endpoint", OUTPUT, Text("ADDRESS, ADDRESS…")).may_hold_secret();
    /// A Unix socket to send to.
    UNIX_PATH = OptionDef::new("Unix_Path", OUTPUT, Text("PATH"));
    /// A file of at most 1 MiB with several receivers, classic or YAML (`.yaml`, `.yml`).
    UPSTREAM = OptionDef::new("Upstream", OUTPUT, Text("PATH"));
    /// The share of the load that a node gets beside the others.
    WEIGHT = OptionDef::new("Weight", NODE, Number(1..=1_000_000)).default("1");
    /// A `standby` node is used only while no primary one is up.
    ROLE = OptionDef::new("Role", NODE, Choice(|| vec!["primary", "standby"])).default("primary");
    /// The key that receiver and sender share; it turns the handshake on.
    SHARED_KEY = OptionDef::new("Shared_Key", RECEIVER, Text("TEXT")).secret().entities(UndoIfEscaped);
    /// Turns the handshake on with an empty key; not together with `Shared_Key`.
    EMPTY_SHARED_KEY = OptionDef::new("Empty_Shared_Key", RECEIVER, Flag).default("off");
    /// The name of this sender in the handshake.
    SELF_HOSTNAME = OptionDef::new("Self_Hostname", RECEIVER, Text("NAME")).default("localhost");
    /// The user in the handshake; needs `Password` and a shared key.
    USERNAME = OptionDef::new("Username", RECEIVER, Text("TEXT")).may_hold_secret().entities(UndoIfEscaped);
    /// The user's password in the handshake; needs `Username` and a shared key.
    PASSWORD = OptionDef::new("Password", RECEIVER, Text("TEXT")).secret().entities(UndoIfEscaped);
    /// Compression of frames; `zstd` where the library is built with it. A node has the
    /// output's if it does not say otherwise.
    COMPRESS = OptionDef::new("Compress", RECEIVER, Choice(|| vec!["off", "gzip", "zstd"])).default("off");
    /// Accepted so that a section of Fluent Bit's `forward` works; options are always sent.
    SEND_OPTIONS = OptionDef::new("Send_options", RECEIVER, Flag).default("on");
    /// Waits for acknowledgements. `off` counts a frame as delivered once it is written: what
    /// is on its way when a connection ends is lost. Not for single nodes.
    REQUIRE_ACK_RESPONSE = OptionDef::new("Require_ack_response", RECEIVER, Flag).default("on");

    // Frames and delivery.

    /// Of an input: the tag of its records, `kube_audit` if it is not set. Of an output: the
    /// tag under which records are sent, with `$TAG`, `$TAG[n]` and keys of the record
    /// (`$key['inner']`). If it comes out empty, the record's own tag is used.
    TAG = OptionDef::new("Tag", &[Output, Input], Text("TEMPLATE")).default("the record's tag");
    /// Sends times as whole seconds, for old receivers.
    TIME_AS_INTEGER = OptionDef::new("Time_as_Integer", OUTPUT, Flag).default("off");
    /// Sends the metadata of records too; Fluentd up to 1.19 loses such entries.
    RETAIN_METADATA = OptionDef::new("Retain_Metadata_In_Forward_Mode", OUTPUT, Flag).default("off");
    /// Accepted so that a section of Fluent Bit's `forward` works; only logs are sent here.
    FLUENTD_COMPAT = OptionDef::new("Fluentd_Compat", OUTPUT, Flag).default("off");
    /// An option of the protocol that every frame carries.
    ADD_OPTION = OptionDef::new("Add_Option", OUTPUT, Text("KEY VALUE")).repeats();
    /// Sends chunks in order, over one connection at a time.
    ORDERED = OptionDef::new("Ordered", OUTPUT, Flag).default("off");
    /// Connections to each receiver, over which frames are spread; for receivers with
    /// several workers.
    CONNECTIONS = OptionDef::new("Connections", OUTPUT, Number(1..=64)).default("1");
    /// Frames on their way on a connection before it has to acknowledge one.
    ACK_WINDOW = OptionDef::new("Ack_Window", OUTPUT, Number(1..=1024)).default("16");
    /// Bytes of records in a frame, before compression.
    MAX_FRAME = OptionDef::new("Max_Frame", OUTPUT, Number(1_000..=6_000_000)).default("900000");
    /// The limit for a connection to be made, TLS and handshake included.
    CONNECT_TIMEOUT = OptionDef::new("Connect_Timeout", OUTPUT, Duration).default("5s");
    /// The limit for a write without progress.
    WRITE_TIMEOUT = OptionDef::new("Write_Timeout", OUTPUT, Duration).default("10s");
    /// The time without any acknowledgement on a connection after which its frames are sent
    /// again; it doubles with each time-out in a row, up to eight times the value.
    ACK_TIMEOUT = OptionDef::new("Ack_Timeout", OUTPUT, Duration).default("190s");
    /// The number of rejections after which a single record that a receiver does not store is
    /// lost, with an error in the log; without it the record is retried for ever.
    GIVE_UP_AFTER = OptionDef::new("Give_Up_After", OUTPUT, Number(1..=1000));
    /// The silence of a node after which another one gets its frames too.
    FAILOVER_AFTER = OptionDef::new("Failover_After", OUTPUT, Duration).default("3s");
    /// Time after which an unused connection is closed.
    IDLE_TIMEOUT = OptionDef::new("Idle_Timeout", OUTPUT, Duration).default("30s");
    /// The age at which a connection is replaced, so that added receivers get their share.
    ROTATE_AFTER = OptionDef::new("Rotate_After", OUTPUT, Duration).default("10m");
    /// Time that a chunk waits to be acknowledged before Fluent Bit is asked to try it again;
    /// delivery goes on meanwhile.
    FLUSH_WAIT = OptionDef::new("Flush_Wait", OUTPUT, Duration).default("10s");

    // Fluent Bit's own.

    /// The plugin, `kube_audit`; the name of a node, for the log.
    NAME = OptionDef::new("Name", &[Filter, Output, Input, Node], Text("NAME")).of_host();
    /// The tags of the records that the section gets; `*` matches anything.
    MATCH = OptionDef::new("Match", BOTH, Text("PATTERN")).of_host();
    /// Tags to match, as a regular expression.
    MATCH_REGEX = OptionDef::new("Match_Regex", BOTH, Text("PATTERN")).of_host();
    /// The name of the instance in log and metrics.
    ALIAS = OptionDef::new("Alias", STAGES, Text("NAME")).of_host();
    /// The log level of the instance.
    LOG_LEVEL = OptionDef::new("Log_Level", STAGES, Choice(|| vec!["off", "error", "warn", "warning", "info", "debug", "trace"])).default("the service's").of_host();
    /// Suppresses repeated log lines within that time; Fluent Bit 2.0.9 and later.
    LOG_SUPPRESS_INTERVAL = OptionDef::new("Log_Suppress_Interval", STAGES, Text("TIME")).of_host();
    /// `false` leaves the section out; Fluent Bit 2.1 and later.
    ACTIVE = OptionDef::new("Active", STAGES, Text("on | off")).default("on").of_host();
    /// The records that a processor gets; Fluent Bit 4.0 and later.
    CONDITION = OptionDef::new("Condition", BOTH, Text("MAP")).of_host();
    /// The receiver's name or address.
    HOST = OptionDef::new("Host", RECEIVER, Text("HOST")).may_hold_secret().of_host();
    /// The receiver's port.
    PORT = OptionDef::new("Port", RECEIVER, Number(1..=65535)).default("24224; a node must have it").of_host();
    /// Accepted, no effect: every address of a name is tried.
    IPV6 = OptionDef::new("IPv6", OUTPUT, Flag).of_host();
    /// Number of times that Fluent Bit retries a chunk.
    RETRY_LIMIT = OptionDef::new("Retry_Limit", OUTPUT, Text("NUMBER | no_limits | no_retries")).default("no_limits").of_host();
    /// Accepted, no effect: the output has a thread of its own.
    WORKERS = OptionDef::new("Workers", OUTPUT, Number(0..=1024)).default("0").of_host();
    /// The limit for chunks of this output in file system storage.
    STORAGE_TOTAL_LIMIT_SIZE = OptionDef::new("storage.total_limit_size", OUTPUT, Text("SIZE | off")).of_host();
    /// Fluent Bit's place for the input's records: `memory`, or `filesystem`.
    STORAGE_TYPE = OptionDef::new("storage.type", INPUT, Choice(|| vec!["memory", "filesystem", "memrb"])).default("memory").of_host();
    /// The input pauses, and continues later, when its records in memory take more than that.
    MEM_BUF_LIMIT = OptionDef::new("Mem_Buf_Limit", INPUT, Text("SIZE")).of_host();
    /// Pauses the input when file system storage is full.
    STORAGE_PAUSE = OptionDef::new("storage.pause_on_chunks_overlimit", INPUT, Flag).default("off").of_host();
    /// Runs the input in a thread of its own; Fluent Bit 2.0 and later. Then `Acknowledge
    /// delivered` is not possible.
    THREADED = OptionDef::new("threaded", INPUT, Flag).default("off").of_host();
    /// Accepted, no effect: see `Connect_Timeout`, `Idle_Timeout`, `Rotate_After`.
    NET = OptionDef::new("net.*", OUTPUT, Text("…")).of_host();
    /// Accepted, no effect.
    DEBUG = OptionDef::new("_debug.*", STAGES, Text("…")).of_host();
    /// Speaks TLS to the receiver.
    TLS = OptionDef::new("tls", RECEIVER, Flag).default("off").of_host();
    /// Verifies the receiver's certificate, its name included.
    TLS_VERIFY = OptionDef::new("tls.verify", RECEIVER, Flag).default("on").of_host();
    /// The name is always verified; `off` is refused unless `tls.verify` is `off`.
    TLS_VERIFY_HOSTNAME = OptionDef::new("tls.verify_hostname", RECEIVER, Flag).default("on").of_host();
    /// Accepted, no effect.
    TLS_DEBUG = OptionDef::new("tls.debug", RECEIVER, Text("NUMBER")).of_host();
    /// The name to ask for and to verify, if it is not the receiver's host.
    TLS_VHOST = OptionDef::new("tls.vhost", RECEIVER, Text("NAME")).of_host();
    /// Authorities in a directory of PEM files. Files of TLS are read again when they change.
    TLS_CA_PATH = OptionDef::new("tls.ca_path", RECEIVER, Text("PATH")).default("the system's").of_host();
    /// Authorities in a PEM file.
    TLS_CA_FILE = OptionDef::new("tls.ca_file", RECEIVER, Text("PATH")).default("the system's").of_host();
    /// The certificate of this sender, PEM; needs `tls.key_file`.
    TLS_CRT_FILE = OptionDef::new("tls.crt_file", RECEIVER, Text("PATH")).of_host();
    /// The key of this sender, PEM; needs `tls.crt_file`.
    TLS_KEY_FILE = OptionDef::new("tls.key_file", RECEIVER, Text("PATH")).of_host();
    /// Refused: keys with a password are not read.
    TLS_KEY_PASSWD = OptionDef::new("tls.key_passwd", RECEIVER, Text("TEXT")).secret().of_host();
    /// The oldest version of TLS: `1.2` or `1.3`.
    TLS_MIN_VERSION = OptionDef::new("tls.min_version", RECEIVER, Text("1.2 | 1.3")).default("1.2").of_host();
    /// The newest version of TLS: `1.2` or `1.3`.
    TLS_MAX_VERSION = OptionDef::new("tls.max_version", RECEIVER, Text("1.2 | 1.3")).default("1.3").of_host();
    /// Refused: cipher suites cannot be chosen, all that are offered are safe.
    TLS_CIPHERS = OptionDef::new("tls.ciphers", RECEIVER, Text("TEXT")).of_host();
}

/// The option of that name in any section; a name that ends with `*` covers all that begin so.
pub fn find(name: &str) -> Option<&'static OptionDef> {
    let covers = |def: &OptionDef| {
        def.is(name)
            || def.name.strip_suffix('*').is_some_and(|prefix| {
                name.get(..prefix.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
            })
    };
    TABLE.iter().copied().find(|def| covers(def))
}

/// The option of that name in such a section.
pub fn lookup(section: SectionKind, name: &str) -> Result<&'static OptionDef, OptionError> {
    match find(name) {
        Some(def) if def.is_in(section) => Ok(def),
        Some(def) => Err(OptionError::new(
            def.name,
            Problem::Misplaced {
                section,
                belongs: def.sections,
            },
        )),
        None => Err(OptionError::new(
            printable(name),
            Problem::Unknown {
                expected: unknown(section, name),
            },
        )),
    }
}

/// Returns the names that an unknown one may have been meant for.
fn unknown(section: SectionKind, name: &str) -> String {
    let known = || TABLE.iter().filter(|def| def.is_in(section));
    if let Some((before, _)) = name.split_once(['=', ':'])
        && let Some(def) = find(before)
    {
        return format!("write `{}`, a blank and the value", def.name);
    }
    let names = known().flat_map(|def| def.names());
    if let Some(meant) = nearest(name, names) {
        return format!("did you mean `{meant}`?");
    }
    // A connection must not turn out to be in the clear: name the option that encrypts it.
    let looks_like_tls = ["tls", "ssl"].iter().any(|word| {
        name.get(..word.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(word))
    });
    if looks_like_tls && TLS.is_in(section) {
        return format!("did you mean `{}`?", TLS.name);
    }
    let mut own = Vec::new();
    for def in known().filter(|def| def.owner == Owner::Plugin) {
        own.insert(own.partition_point(|name| *name < def.name), def.name);
    }
    format!("known options are {}", own.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_there_once() {
        let mut names: Vec<_> = TABLE
            .iter()
            .flat_map(|def| def.names())
            .map(str::to_ascii_lowercase)
            .collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn rows_are_complete() {
        for def in TABLE {
            let help = def.help.trim();
            assert!(help.ends_with('.'), "{}: {help}", def.name);
            assert!(!def.sections.is_empty() && !def.value.shape().is_empty());
            if let (Value::Choice(words), false) = (&def.value, def.default.is_empty()) {
                let host = def.owner == Owner::Host;
                // A default that depends on something is a phrase.
                let known = words().contains(&def.default) || def.default.contains(' ');
                assert!(host || known, "{}", def.name);
            }
        }
    }

    #[test]
    fn unknown_names_are_told_what_was_meant() {
        use SectionKind::{Filter, Node, Output};
        for (section, name, message) in [
            (
                Output,
                "Hots",
                "unknown option `Hots`: did you mean `Host`?",
            ),
            (
                Output,
                "tls.enable",
                "unknown option `tls.enable`: did you mean `tls`?",
            ),
            (Output, "TLS.verfy", "did you mean `tls.verify`?"),
            (Output, "ssl", "did you mean `tls`?"),
            (Node, "hots", "unknown option `hots`: did you mean `Host`?"),
            (Filter, "Polcy_File", "did you mean `Policy_File`?"),
            (Filter, "Whitelist_keys", "did you mean `Whitelist_key`?"),
            (
                Filter,
                "Endpoint",
                "`Endpoint` is not an option of a filter: it belongs to an output",
            ),
            (
                Node,
                "tag",
                "`Tag` is not an option of a node: it belongs to an output",
            ),
            (
                Output,
                "weight",
                "`Weight` is not an option of an output: it belongs to a node of an `Upstream` file",
            ),
            (
                Filter,
                "Frobnicate",
                "unknown option `Frobnicate`: known options are Allowlist_key, Bodies,",
            ),
        ] {
            let error = lookup(section, name).unwrap_err().to_string();
            assert!(error.contains(message), "{error}, not {message}");
        }
        for name in ["net.keepalive", "NET.dns.mode", "Storage.Total_Limit_Size"] {
            assert!(lookup(Output, name).is_ok(), "{name}");
        }
    }

    #[test]
    fn unknown_names_do_not_show_secrets() {
        for name in [
            "Shared_Key=hunter2",
            "shared_key:hunter2",
            "Password=hunter2",
            "Passwordhunter2",
            "sharedkey=hunter2",
            "Endpoint=tcp://u:hunter2@host",
        ] {
            let error = lookup(SectionKind::Output, name).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let error = lookup(SectionKind::Output, "Shared_Key=x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown option `Shared_Key…`: write `Shared_Key`, a blank and the value"
        );
    }
}
