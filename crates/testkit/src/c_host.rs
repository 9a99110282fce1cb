//! The C host of `crates/testkit/c/host.c`, compiled for a version and driven by commands.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::root;

/// A C host to compile.
pub struct CHost {
    flags: Vec<String>,
    sources: Vec<&'static str>,
}

/// What a run of the host left behind.
pub struct Ran {
    /// Exit status, `None` after a signal.
    pub status: Option<i32>,
    /// Results of the commands.
    pub stdout: String,
    /// The plugin's log.
    pub log: String,
}

impl CHost {
    /// A host with the layouts and functions of that version, which it also says it is.
    pub fn of(version: &str) -> CHost {
        let mut flags = Vec::new();
        for (name, number) in ["MAJOR", "MINOR", "PATCH"].iter().zip(version.split('.')) {
            flags.push(format!("-DHOST_{name}={number}"));
        }
        CHost {
            flags,
            sources: vec!["host.c"],
        }
    }

    /// It says that it is another version.
    pub fn says(mut self, version: &str) -> CHost {
        self.flags.push(format!("-DHOST_SAYS=\"{version}\""));
        self
    }

    /// Its instances keep their properties that many bytes further on.
    pub fn moves_properties(mut self, bytes: usize) -> CHost {
        self.flags.push(format!("-DHOST_MOVES_PROPERTIES={bytes}"));
        self
    }

    /// Its filters keep their metrics that many bytes further on.
    pub fn moves_metrics(mut self, bytes: usize) -> CHost {
        self.flags.push(format!("-DHOST_MOVES_METRICS={bytes}"));
        self
    }

    /// Its input plugin objects have that many bytes more.
    pub fn grows_inputs(mut self, bytes: usize) -> CHost {
        self.flags.push(format!("-DHOST_GROWS_INPUTS={bytes}"));
        self
    }

    /// It was built without the tracing of chunks.
    pub fn without_chunk_trace(mut self) -> CHost {
        self.flags.push("-DHOST_WITHOUT_CHUNK_TRACE".to_owned());
        self
    }

    /// It was built without regular expressions.
    pub fn without_regex(mut self) -> CHost {
        self.flags.push("-DHOST_WITHOUT_REGEX".to_owned());
        self
    }

    /// Its malloc aligns to 8 bytes only.
    pub fn malloc8(mut self) -> CHost {
        self.sources.push("malloc8.c");
        self
    }

    /// Compiles it and runs the commands, which are separated by spaces; a word
    /// that is a path to be filled in is given by its `{name}`.
    pub fn run(&self, commands: &str, paths: &[(&str, &Path)]) -> Ran {
        let directory = tempfile::tempdir().expect("temporary directory");
        let program = self.compile(directory.path());
        let mut host = Command::new(program);
        for word in commands.split_whitespace() {
            let name = word
                .strip_prefix('{')
                .and_then(|word| word.strip_suffix('}'));
            match name.and_then(|name| paths.iter().find(|(known, _)| *known == name)) {
                Some((_, path)) => host.arg(path),
                None => host.arg(word),
            };
        }
        let output = host.output().expect("host runs");
        Ran {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            log: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn compile(&self, directory: &Path) -> PathBuf {
        let program = directory.join("host");
        let include = root().join("include");
        let mut compiler = compiler(&self.sources);
        compiler.arg("-rdynamic").arg("-I").arg(include);
        compile(compiler.args(&self.flags).arg("-ldl"), &program);
        program
    }
}

/// Compiles a library to preload whose `malloc` aligns to 8 bytes only, into a directory.
pub fn malloc8_library(directory: &Path) -> PathBuf {
    let library = directory.join("malloc8.so");
    compile(
        compiler(&["malloc8.c"]).args(["-shared", "-fPIC"]),
        &library,
    );
    library
}

/// The C compiler with sources from `crates/testkit/c`.
fn compiler(sources: &[&str]) -> Command {
    let directory = root().join("crates/testkit/c");
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut compiler = cc::Build::new()
        .opt_level(1)
        .target(&triple)
        .host(&triple)
        .cargo_metadata(false)
        .get_compiler()
        .to_command();
    compiler
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror"])
        .args(sources.iter().map(|file| directory.join(file)));
    compiler
}

fn compile(compiler: &mut Command, result: &Path) {
    let output = compiler.arg("-o").arg(result).output().expect("C compiler");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}
