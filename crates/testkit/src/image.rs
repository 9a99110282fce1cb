//! A root directory laid out like the official image, made of private mounts, in
//! which shipped files run as they are.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fluent_bit::FluentBit;
use crate::{judge, library, root};

/// No start and no delivery takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tells if there can be private mounts here; where not, the test is skipped.
///
/// # Panics
///
/// If hosts are required: without private mounts they cannot run shipped files.
pub fn is_possible() -> bool {
    let private = Command::new("unshare").args(["-rm", "true"]).status();
    let possible = private.is_ok_and(|status| status.success());
    if !possible {
        let reason = "no private mounts (`unshare -rm`), shipped files are not run";
        assert!(judge::required_hosts().is_empty(), "{reason}");
        judge::skip(reason);
    }
    possible
}

/// The shipped configurations.
pub fn shipped() -> PathBuf {
    root().join("fluent-bit-conf")
}

/// The image: the host's program, the plugin under its three names, the shipped
/// configuration, and an audit log.
pub struct Image {
    root: tempfile::TempDir,
}

impl Image {
    /// Lays out an image with the program of that host.
    pub fn new(host: &FluentBit) -> Image {
        let image = Image {
            root: tempfile::tempdir().unwrap(),
        };
        for folder in [
            "usr",
            "dev",
            "proc",
            "tmp",
            "etc/fluent-bit",
            "fluent-bit/bin",
            "fluent-bit/plugins",
            "var/log/kubernetes/audit",
            "var/log/containers",
            "var/lib/fluent-bit",
        ] {
            fs::create_dir_all(image.path(folder)).unwrap();
        }
        for link in ["bin", "lib", "lib64"] {
            symlink(format!("usr/{link}"), image.path(link)).unwrap();
        }
        fs::copy(host.program(), image.path("fluent-bit/bin/fluent-bit")).unwrap();
        let library = image.path("fluent-bit/plugins/libkube_audit.so");
        fs::copy(library::library(), library).unwrap();
        for name in ["flb-filter_kube_audit.so", "flb-in_kube_audit.so"] {
            let link = image.path(&format!("fluent-bit/plugins/{name}"));
            symlink("libkube_audit.so", link).unwrap();
        }
        copy_folder(&shipped(), &image.path("fluent-bit/etc"));
        fs::copy(
            shipped().join("sample/audit.log"),
            image.path("var/log/kubernetes/audit/audit.log"),
        )
        .unwrap();
        image
    }

    /// A path of the image, as it is seen from outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.root.path().join(inside)
    }

    /// A file of the image as text; empty while there is none.
    pub fn read(&self, inside: &str) -> String {
        fs::read(self.path(inside))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Puts the keys of a Secret where KKP mounts it, as the kubelet does it: files in
    /// a folder with the time as its name, `..data` as a link to it, and a link for
    /// each key. Done again, it swaps that one link.
    pub fn mount_secret(&self, keys: &[(&str, &[u8])]) {
        let mount = self.path("etc/fluent-bit");
        let old = fs::read_link(mount.join("..data")).ok();
        let new = match &old {
            None => "..2026_11_20_08_00_00.000000001",
            Some(_) => "..2026_11_20_08_01_00.000000002",
        };
        fs::create_dir(mount.join(new)).unwrap();
        for (key, value) in keys {
            fs::write(mount.join(new).join(key), value).unwrap();
            let link = mount.join(key);
            if !link.is_symlink() {
                symlink(format!("..data/{key}"), link).unwrap();
            }
        }
        symlink(new, mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
        if let Some(old) = old {
            fs::remove_dir_all(mount.join(old)).unwrap();
        }
    }

    /// Starts the host with a configuration of the image.
    pub fn start(&self, config: &str, environment: &[(&str, &str)]) -> Running {
        let log = self.path(&format!("tmp/{}.log", config.replace('/', "_")));
        let output = File::create(&log).unwrap();
        let child = Command::new("unshare")
            .args([
                "-rm",
                "sh",
                "-c",
                "for d in usr dev proc; do mount --rbind /$d $d || exit; done; \
                 mount --bind etc/fluent-bit etc/fluent-bit && \
                 mount -o remount,bind,ro etc/fluent-bit || exit; exec chroot . \"$@\"",
                "sh",
            ])
            .args(["/fluent-bit/bin/fluent-bit", "-c", config])
            .current_dir(self.root.path())
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Running { child, log }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &copy);
        } else {
            fs::copy(&path, copy).unwrap();
        }
    }
}

/// A host at work; it is killed when a test forgets it.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// What it wrote to stdout and stderr so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// The records on standard output.
    pub fn records(&self) -> Vec<Value> {
        self.log()
            .lines()
            .filter(|line| line.starts_with('{'))
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Waits until something is so.
    #[track_caller]
    pub fn wait_for(&self, what: &str, is_so: impl Fn(&Running) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            assert!(start.elapsed() < PATIENCE, "no {what} in:\n{}", self.log());
            sleep(Duration::from_millis(50));
        }
    }

    /// Tells it to end, and waits; the result is its log.
    #[track_caller]
    pub fn stop(mut self) -> String {
        let kill = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        assert!(kill.unwrap().success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{}", self.log());
        self.log()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
