//! Real Fluent Bits: finding them, writing a pipeline for them, running it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::judge::{self, required_hosts, say};
use crate::library::{Installed, SecondName};

/// The versions that tests want to see, oldest first.
pub const WANTED: [&str; 4] = ["1.9.5", "2.2.3", "4.0.0", "5.1.1"];

/// The oldest version that the plugin supports.
pub const OLDEST: (u32, u32, u32) = (1, 9, 3);

/// No start, reload or stop takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A Fluent Bit on this machine.
#[derive(Clone, Debug)]
pub struct FluentBit {
    /// Major, minor, patch.
    pub version: (u32, u32, u32),
    program: PathBuf,
}

/// The hosts of this machine, oldest first: the paths in `FLUENT_BIT_BINS` (separated
/// by colons), `~/.cache/fluent-bit/VERSION/fluent-bit`, and `fluent-bit` on the
/// `PATH`; stderr says which were found and which are missing.
///
/// # Panics
///
/// If one is missing that `KUBE_AUDIT_REQUIRE_HOSTS` names.
pub fn hosts() -> &'static [FluentBit] {
    static FOUND: OnceLock<Vec<FluentBit>> = OnceLock::new();
    FOUND.get_or_init(find)
}

/// Runs a test in every host of this machine that is at least of that version, all
/// at once; the test is skipped where there is none.
pub fn in_each(since: (u32, u32, u32), test: impl Fn(&FluentBit) + Sync) {
    let new_enough = hosts().iter().filter(|host| host.version >= since);
    let hosts: Vec<&FluentBit> = new_enough.collect();
    if hosts.is_empty() {
        let (major, minor, patch) = since;
        judge::skip(&format!("no Fluent Bit {major}.{minor}.{patch} or later"));
    }
    let test = &test;
    std::thread::scope(|scope| {
        for host in hosts {
            let name = format!("Fluent Bit {}", host.name());
            let thread = std::thread::Builder::new().name(name);
            thread
                .spawn_scoped(scope, move || test(host))
                .expect("a thread");
        }
    });
}

fn find() -> Vec<FluentBit> {
    let list = |name| std::env::var_os(name).unwrap_or_default();
    let mut programs: Vec<PathBuf> = std::env::split_paths(&list("FLUENT_BIT_BINS")).collect();
    let cache = PathBuf::from(list("HOME")).join(".cache/fluent-bit");
    if let Ok(versions) = fs::read_dir(cache) {
        programs.extend(
            versions
                .flatten()
                .map(|entry| entry.path().join("fluent-bit")),
        );
    }
    programs.extend(std::env::split_paths(&list("PATH")).map(|path| path.join("fluent-bit")));

    let mut found: Vec<FluentBit> = Vec::new();
    for program in programs.into_iter().filter(|program| program.is_file()) {
        match version_of(&program) {
            Some(version) if found.iter().all(|host| host.version != version) => {
                found.push(FluentBit { version, program });
            }
            Some(_) => {}
            None => say(&format!("NOT A FLUENT BIT: {}", program.display())),
        }
    }
    found.sort_by_key(|host| host.version);
    for host in &found {
        say(&format!(
            "Fluent Bit {} is {}",
            host.name(),
            host.program.display()
        ));
    }
    for wanted in WANTED {
        if found.iter().all(|host| host.name() != wanted) {
            say(&format!("MISSING: no test runs in Fluent Bit {wanted}"));
        }
    }
    for required in required_hosts() {
        assert!(
            found.iter().any(|host| host.name() == required),
            "KUBE_AUDIT_REQUIRE_HOSTS: there is no Fluent Bit {required} in FLUENT_BIT_BINS, \
             ~/.cache/fluent-bit or PATH"
        );
    }
    found
}

/// The version in `Fluent Bit v4.0.0`.
fn version_of(program: &Path) -> Option<(u32, u32, u32)> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (_, version) = text.split_once("Fluent Bit v")?;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next()?.parse().ok();
    Some((number()?, number()?, number()?))
}

impl FluentBit {
    /// The version as text.
    pub fn name(&self) -> String {
        let (major, minor, patch) = self.version;
        format!("{major}.{minor}.{patch}")
    }

    /// The executable.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Starts a pipeline in a directory of its own.
    pub fn start(&self, pipeline: &Pipeline) -> Running {
        let directory = tempfile::tempdir().expect("temporary directory");
        let installed = Installed::new(SecondName::Symlink);
        let mut host = Command::new(&self.program);
        let config = pipeline.write(directory.path(), &installed);
        host.arg("-c").arg(config).args(&pipeline.arguments);
        if pipeline.load == Load::CommandLine {
            for library in pipeline.libraries(&installed) {
                host.arg("-e").arg(library);
            }
        }
        let log = File::create(directory.path().join("log")).expect("log");
        let child = host
            .current_dir(directory.path())
            .envs(pipeline.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log"))
            .stderr(log)
            .spawn()
            .expect("host starts");
        Running {
            name: self.name(),
            child,
            directory,
            installed,
        }
    }

    /// Starts a pipeline and waits until it ends by itself.
    pub fn run(&self, pipeline: &Pipeline) -> Finished {
        self.start(pipeline).finish()
    }
}

/// How the plugin is named to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// `plugins_file` in the service section.
    PluginsFile,
    /// `-e PATH`, once for each kind of plugin.
    CommandLine,
    /// `plugins:` in the YAML configuration, from 3.2.0 on.
    Yaml,
    /// Not at all.
    Nothing,
}

/// Language of the configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// `[INPUT]` and so on.
    Classic,
    /// From 2.0.0 on.
    Yaml,
}

type Options = Vec<(String, String)>;

/// A pipeline to run. In option values, `{dir}` is the directory of the run.
#[derive(Clone)]
pub struct Pipeline {
    load: Load,
    syntax: Syntax,
    arguments: Vec<String>,
    environment: Options,
    service: Options,
    inputs: Vec<Section>,
    filters: Vec<Section>,
    outputs: Vec<Section>,
    /// File name and content.
    files: Vec<(String, String)>,
}

#[derive(Clone)]
struct Section {
    options: Options,
    /// Filters in its `processors:` block.
    processors: Vec<Options>,
}

fn options(options: &[(&str, &str)]) -> Options {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    options.iter().map(own).collect()
}

impl Default for Pipeline {
    fn default() -> Pipeline {
        Pipeline::new()
    }
}

impl Pipeline {
    /// Makes an empty pipeline: classic syntax, plugins file, quick flushes, short end.
    pub fn new() -> Pipeline {
        Pipeline {
            load: Load::PluginsFile,
            syntax: Syntax::Classic,
            arguments: Vec::new(),
            environment: Vec::new(),
            service: options(&[("flush", "0.2"), ("grace", "2"), ("log_level", "info")]),
            inputs: Vec::new(),
            filters: Vec::new(),
            outputs: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Chooses how the plugin is named to the host.
    pub fn load(mut self, load: Load) -> Pipeline {
        self.load = load;
        self
    }

    /// Chooses the language of the configuration file.
    pub fn syntax(mut self, syntax: Syntax) -> Pipeline {
        self.syntax = syntax;
        self
    }

    /// A word for the command line.
    pub fn argument(mut self, word: &str) -> Pipeline {
        self.arguments.push(word.to_owned());
        self
    }

    /// A variable of the host's environment.
    pub fn variable(mut self, name: &str, value: &str) -> Pipeline {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// An option of the service section.
    pub fn service(mut self, key: &str, value: &str) -> Pipeline {
        self.service.push((key.to_owned(), value.to_owned()));
        self
    }

    /// A file in the directory of the run.
    pub fn file(mut self, name: &str, content: &str) -> Pipeline {
        self.files.push((name.to_owned(), content.to_owned()));
        self
    }

    /// An input of that plugin, with further options.
    pub fn input(mut self, name: &str, more: &[(&str, &str)]) -> Pipeline {
        self.inputs.push(Section::new(name, more));
        self
    }

    /// Tails these lines, each a record with one key, `log`; the host ends after them.
    pub fn lines(self, tag: &str, lines: &str) -> Pipeline {
        self.file("input.log", lines).input(
            "tail",
            &[
                ("path", "{dir}/input.log"),
                ("tag", tag),
                ("read_from_head", "on"),
                ("exit_on_eof", "on"),
            ],
        )
    }

    /// A kube_audit filter for everything.
    pub fn filter(mut self, more: &[(&str, &str)]) -> Pipeline {
        let mut section = Section::new("kube_audit", &[("match", "*")]);
        section.options.extend(options(more));
        self.filters.push(section);
        self
    }

    /// One of the host's own filters, for everything.
    pub fn host_filter(mut self, name: &str, more: &[(&str, &str)]) -> Pipeline {
        let mut section = Section::new(name, &[("match", "*")]);
        section.options.extend(options(more));
        self.filters.push(section);
        self
    }

    /// The host's own JSON parser, for everything: what follows sees the event as the record.
    pub fn json_parser(self) -> Pipeline {
        let options = [
            ("key_name", "log"),
            ("parser", "json"),
            ("reserve_data", "on"),
        ];
        self.service("parsers_file", "{dir}/parsers.conf")
            .file("parsers.conf", "[PARSER]\n    Name json\n    Format json\n")
            .host_filter("parser", &options)
    }

    /// A kube_audit filter among the processors of the last input.
    pub fn processor(mut self, more: &[(&str, &str)]) -> Pipeline {
        let section = Section::new("kube_audit", more);
        let input = self.inputs.last_mut().expect("an input");
        input.processors.push(section.options);
        self
    }

    /// An output for everything.
    pub fn output(mut self, name: &str, more: &[(&str, &str)]) -> Pipeline {
        let mut section = Section::new(name, &[("match", "*")]);
        section.options.extend(options(more));
        self.outputs.push(section);
        self
    }

    /// Writes the records as JSON lines, for [`Finished::records`].
    pub fn file_output(self, file: &str) -> Pipeline {
        let place = [("path", "{dir}"), ("file", file), ("format", "plain")];
        self.output("file", &place)
    }

    /// Writes all files; the result is the configuration's path.
    pub fn write(&self, directory: &Path, installed: &Installed) -> PathBuf {
        let text = match self.syntax {
            Syntax::Classic => self.classic(),
            Syntax::Yaml => self.yaml(installed),
        };
        let directory_name = directory.to_str().expect("UTF-8");
        let config = directory.join(match self.syntax {
            Syntax::Classic => "fluent-bit.conf",
            Syntax::Yaml => "fluent-bit.yaml",
        });
        fs::write(&config, text.replace("{dir}", directory_name)).expect("configuration");
        let mut plugins = String::from("[PLUGINS]\n");
        for library in self.libraries(installed) {
            let _ = writeln!(plugins, "    Path {}", library.display());
        }
        fs::write(directory.join("plugins.conf"), plugins).expect("plugins file");
        for (name, content) in &self.files {
            fs::write(directory.join(name), content).expect("file");
        }
        config
    }

    /// The names of the library that the host is to load: that of the input only where one
    /// is wanted, as not every library has it.
    fn libraries(&self, installed: &Installed) -> Vec<PathBuf> {
        let is_ours = |section: &Section| {
            section
                .options
                .first()
                .is_some_and(|(_, name)| name == "kube_audit")
        };
        let mut libraries = vec![installed.output(), installed.filter()];
        libraries.extend(self.inputs.iter().any(is_ours).then(|| installed.input()));
        libraries
    }

    fn service_options(&self) -> Options {
        let mut service = self.service.clone();
        if self.load == Load::PluginsFile {
            service.extend(options(&[("plugins_file", "{dir}/plugins.conf")]));
        }
        service
    }

    fn classic(&self) -> String {
        let service = [Section {
            options: self.service_options(),
            processors: Vec::new(),
        }];
        let mut text = String::new();
        for (name, sections) in [
            ("SERVICE", &service[..]),
            ("INPUT", &self.inputs[..]),
            ("FILTER", &self.filters[..]),
            ("OUTPUT", &self.outputs[..]),
        ] {
            for section in sections {
                assert!(section.processors.is_empty(), "processors need YAML");
                let _ = writeln!(text, "[{name}]");
                for (key, value) in &section.options {
                    let _ = writeln!(text, "    {key} {value}");
                }
            }
        }
        text
    }

    fn yaml(&self, installed: &Installed) -> String {
        let mut text = String::from("service:\n");
        let options = |text: &mut String, indent: &str, options: &Options| {
            for (at, (key, value)) in options.iter().enumerate() {
                let dash = if at == 0 { "- " } else { "  " };
                let _ = writeln!(text, "{indent}{dash}{key}: {}", yaml_text(value));
            }
        };
        for (key, value) in self.service_options() {
            let _ = writeln!(text, "  {key}: {}", yaml_text(&value));
        }
        if self.load == Load::Yaml {
            let _ = writeln!(text, "plugins:");
            for path in self.libraries(installed) {
                let _ = writeln!(text, "  - {}", path.display());
            }
        }
        let _ = writeln!(text, "pipeline:");
        for (name, sections) in [
            ("inputs", &self.inputs),
            ("filters", &self.filters),
            ("outputs", &self.outputs),
        ] {
            if !sections.is_empty() {
                let _ = writeln!(text, "  {name}:");
            }
            for section in sections {
                options(&mut text, "    ", &section.options);
                if !section.processors.is_empty() {
                    let _ = writeln!(text, "      processors:\n        logs:");
                }
                for processor in &section.processors {
                    options(&mut text, "          ", processor);
                }
            }
        }
        text
    }
}

fn yaml_text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

impl Section {
    fn new(name: &str, more: &[(&str, &str)]) -> Section {
        let mut section = options(&[("name", name)]);
        section.extend(options(more));
        Section {
            options: section,
            processors: Vec::new(),
        }
    }
}

/// A host at work; it is killed when a test forgets it.
pub struct Running {
    name: String,
    child: Child,
    directory: tempfile::TempDir,
    installed: Installed,
}

/// A host that ended.
pub struct Finished {
    name: String,
    /// Exit status, `None` after a signal.
    pub status: Option<i32>,
    /// What it wrote to stdout and stderr.
    pub log: String,
    directory: tempfile::TempDir,
}

impl Running {
    /// What it wrote to stdout and stderr so far.
    pub fn log(&self) -> String {
        self.read("log")
    }

    /// A file in the directory of the run; empty while there is none.
    pub fn read(&self, file: &str) -> String {
        read(self.directory.path(), file)
    }

    /// Waits until the log has that text that many times.
    #[track_caller]
    pub fn wait_for_log(&mut self, text: &str, times: usize) {
        self.wait_until(text, |host| host.log().matches(text).count() >= times);
    }

    /// Waits until something is so.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, mut is_so: impl FnMut(&Running) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            let ended = self.child.try_wait().expect("status");
            let in_time = ended.is_none() && start.elapsed() < PATIENCE;
            assert!(in_time, "{}: no {what:?} in:\n{}", self.name, self.log());
            sleep(Duration::from_millis(20));
        }
    }

    /// Puts another file in the place of one in the directory of the run.
    pub fn replace(&self, file: &str, content: &str) {
        let new = self.directory.path().join(format!("{file}.new"));
        fs::write(&new, content).expect("file");
        fs::rename(new, self.directory.path().join(file)).expect("rename");
    }

    /// Gives it another configuration and tells it to reload.
    pub fn reload(&self, pipeline: &Pipeline) {
        pipeline.write(self.directory.path(), &self.installed);
        self.signal("HUP");
    }

    /// How many threads it has, and how many sockets and event counters are open.
    pub fn threads_and_sockets(&self) -> (usize, usize) {
        let entries = |folder: &str| {
            let path = format!("/proc/{}/{folder}", self.child.id());
            fs::read_dir(path).expect("process").flatten()
        };
        let is_ours = |target: PathBuf| {
            let target = target.to_string_lossy();
            target.starts_with("socket:") || target.contains("[eventfd]")
        };
        let sockets = entries("fd").filter_map(|entry| fs::read_link(entry.path()).ok());
        (
            entries("task").count(),
            sockets.filter(|target| is_ours(target.clone())).count(),
        )
    }

    /// The signals that its thread of that name blocks, one bit for each.
    #[track_caller]
    pub fn blocked_signals(&self, thread: &str) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("threads");
        let states = tasks
            .flatten()
            .filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
        let field = |state: &str, name: &str| {
            state
                .lines()
                .find_map(|line| line.strip_prefix(name).map(|value| value.trim().to_owned()))
        };
        let mask = states
            .filter(|state| field(state, "Name:").as_deref() == Some(thread))
            .find_map(|state| field(&state, "SigBlk:"))
            .expect("a thread of that name");
        u64::from_str_radix(&mask, 16).expect("a mask")
    }

    /// Tells it to end, and waits.
    #[track_caller]
    pub fn stop(self) -> Finished {
        self.signal("TERM");
        self.finish()
    }

    /// Waits until it ends.
    #[track_caller]
    pub fn finish(mut self) -> Finished {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("status") {
                break status;
            }
            let in_time = start.elapsed() < PATIENCE;
            assert!(in_time, "{} does not end:\n{}", self.name, self.log());
            sleep(Duration::from_millis(20));
        };
        let log = self.log();
        let directory = tempfile::tempdir().expect("temporary directory");
        Finished {
            name: self.name.clone(),
            status: status.code(),
            log,
            directory: std::mem::replace(&mut self.directory, directory),
        }
    }

    fn signal(&self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &kill]).status();
        assert!(sent.is_ok_and(|status| status.success()), "{kill}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// It ended well: status 0, no word of a plugin that failed.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert_eq!(self.status, Some(0), "{}:\n{}", self.name, self.log);
    }

    /// The log has this text.
    #[track_caller]
    pub fn assert_log(&self, text: &str) {
        let has = self.log.contains(text);
        assert!(has, "{}: no {text:?} in:\n{}", self.name, self.log);
    }

    /// Waits until a file in the directory of the run has that text: a daemon
    /// writes on when the program that was started has ended.
    #[track_caller]
    pub fn wait_for(&self, file: &str, text: &str) {
        let start = Instant::now();
        while !self.read(file).contains(text) {
            let in_time = start.elapsed() < PATIENCE;
            assert!(
                in_time,
                "{}: no {text:?} in:\n{}",
                self.name,
                self.read(file)
            );
            sleep(Duration::from_millis(20));
        }
    }

    /// A file in the directory of the run; empty when there is none.
    pub fn read(&self, file: &str) -> String {
        read(self.directory.path(), file)
    }

    /// The records that [`Pipeline::file_output`] wrote.
    #[track_caller]
    pub fn records(&self, file: &str) -> Vec<serde_json::Value> {
        let text = self.read(file);
        let parse = |line| serde_json::from_str(line);
        let records: Result<Vec<_>, _> = text.lines().map(parse).collect();
        records.unwrap_or_else(|error| panic!("{}: {error} in:\n{text}", self.name))
    }
}

fn read(directory: &Path, file: &str) -> String {
    fs::read(directory.join(file))
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}
