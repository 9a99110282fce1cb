//! The plugin as cargo built it for this test run, under the names hosts know it by.

#![allow(dead_code, reason = "each program uses a part of it")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The library under test: the path in `KUBE_AUDIT_LIBRARY`, such as one that is to
/// be shipped, or else `deps/libkube_audit.so` beside this test's own program. Cargo
/// builds that together with the rlib that the test is linked to, so it is never
/// older than the test.
pub fn library() -> PathBuf {
    if let Some(chosen) = std::env::var_os("KUBE_AUDIT_LIBRARY") {
        return PathBuf::from(chosen);
    }
    let program = std::env::current_exe().expect("own path");
    let profile = program.parent().and_then(Path::parent).expect("target");
    let library = profile.join("deps/libkube_audit.so");
    assert!(library.is_file(), "{} is missing", library.display());
    library
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
