//! The plugin as cargo built it for this test run, under the names hosts know it by.

#![allow(dead_code, reason = "each program uses a part of it")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use escargot::format::Message;

/// The library under test: the path in `KUBE_AUDIT_LIBRARY`, such as one that is to be
/// shipped, or else a build of this source.
///
/// A test of a package does not link the package's shared object, so that cargo does not
/// build it for the test: this asks for it, once in a process.
pub fn library() -> PathBuf {
    static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
        if let Some(chosen) = std::env::var_os("KUBE_AUDIT_LIBRARY") {
            return PathBuf::from(chosen);
        }
        let build = escargot::CargoBuild::new()
            .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
            .args(["--lib"]);
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
    });
    BUILT.clone()
}

/// How the library gets the filter's file name.
#[derive(Clone, Copy, Debug)]
pub enum SecondName {
    Symlink,
    HardLink,
    Copy,
}

/// A directory with the library under both names.
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
        let filter = installed.filter();
        match second_name {
            SecondName::Symlink => symlink("libkube_audit.so", filter),
            SecondName::HardLink => fs::hard_link(library, filter),
            SecondName::Copy => fs::copy(library, filter).map(drop),
        }
        .expect("second name");
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
}
