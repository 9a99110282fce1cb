//! The plugin as cargo built it for this test run, under the names hosts know it by.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use escargot::format::Message;

use crate::root;

/// The library under test: the [`chosen`] one, or else a build of this source with default
/// features in the `dev` profile.
///
/// A test of a package does not link the package's shared object, so that cargo does not
/// build it for the test: this asks for it, once in a process.
pub fn library() -> PathBuf {
    static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| chosen().unwrap_or_else(|| build(&[])));
    LIBRARY.clone()
}

/// The library that `KUBE_AUDIT_LIBRARY` names, such as one that is to be shipped.
pub fn chosen() -> Option<PathBuf> {
    std::env::var_os("KUBE_AUDIT_LIBRARY").map(PathBuf::from)
}

/// Builds the library with these further arguments for cargo, into the target directory
/// that this program is from: where nothing has changed, cargo leaves the file alone, so
/// that any number of programs may ask for it at once.
pub fn build(arguments: &[&str]) -> PathBuf {
    let mut build = escargot::CargoBuild::new()
        .manifest_path(root().join("Cargo.toml"))
        .package("fluent-bit-kube-audit")
        .args(["--lib"])
        .args(arguments)
        .target_dir(target_directory());
    for (variable, _) in std::env::vars_os().filter(|(name, _)| is_about_this_program(name)) {
        build = build.env_remove(variable);
    }
    let messages = build.exec().expect("cargo builds the library");
    let mut files = Vec::new();
    for message in messages {
        let message = message.expect("a message of cargo");
        if let Ok(Message::CompilerArtifact(artifact)) = message.decode() {
            files.extend(artifact.filenames.iter().map(|file| file.to_path_buf()));
        }
    }
    let library = files
        .into_iter()
        .find(|file| file.ends_with("libkube_audit.so"));
    library.expect("cargo names the library it built")
}

/// Tells if cargo sets a variable for the programs that it runs: some build scripts, such as
/// ring's, run again when these have changed, and all that depends on them is built anew.
fn is_about_this_program(variable: &OsStr) -> bool {
    let name = variable.to_string_lossy();
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        || [
            "CARGO_CRATE_NAME",
            "CARGO_PRIMARY_PACKAGE",
            "CARGO_TARGET_TMPDIR",
            "OUT_DIR",
        ]
        .contains(&&*name)
}

/// The target directory that this program was built into, which cargo marks with a file.
fn target_directory() -> PathBuf {
    let program = std::env::current_exe().expect("the path of this program");
    let target = program
        .ancestors()
        .find(|directory| directory.join("CACHEDIR.TAG").is_file());
    target.map_or_else(|| root().join("target"), Path::to_path_buf)
}

/// How the library gets the file names of filter and input.
#[derive(Clone, Copy, Debug)]
pub enum SecondName {
    /// A symbolic link.
    Symlink,
    /// A second name of the same file.
    HardLink,
    /// A file of its own with the same content.
    Copy,
}

/// A directory with the library under its three names.
pub struct Installed {
    directory: tempfile::TempDir,
}

impl Installed {
    /// Beside the built library, so that hard links are possible.
    pub fn new(second_name: SecondName) -> Installed {
        Installed::of(&library(), second_name)
    }

    /// The same with another build of the library.
    pub fn of(library: &Path, second_name: SecondName) -> Installed {
        let beside = library.parent().expect("deps");
        let directory = tempfile::tempdir_in(beside).expect("temporary directory");
        let installed = Installed { directory };
        fs::hard_link(library, installed.output()).expect("link");
        for name in [installed.filter(), installed.input()] {
            match second_name {
                SecondName::Symlink => symlink("libkube_audit.so", name),
                SecondName::HardLink => fs::hard_link(library, name),
                SecondName::Copy => fs::copy(library, name).map(drop),
            }
            .expect("second name");
        }
        installed
    }

    /// The name that makes it an output.
    pub fn output(&self) -> PathBuf {
        self.directory.path().join("libkube_audit.so")
    }

    /// The name that makes it a filter.
    pub fn filter(&self) -> PathBuf {
        self.directory.path().join("flb-filter_kube_audit.so")
    }

    /// The name that makes it an input.
    pub fn input(&self) -> PathBuf {
        self.directory.path().join("flb-in_kube_audit.so")
    }
}
