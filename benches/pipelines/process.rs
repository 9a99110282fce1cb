//! A host as a process whose use of CPU and memory is told apart from all others.
#![expect(unsafe_code, reason = "only `wait4` tells what one process used")]

use std::fs::{self, File};
use std::mem::MaybeUninit;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kube_audit_testkit::fluent_bit::{FluentBit, Pipeline};
use kube_audit_testkit::library::Installed;

/// What a process used up to its end.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    user: f64,
    system: f64,
    /// Its largest resident set.
    pub peak_kib: i64,
}

impl Usage {
    /// Seconds.
    pub fn cpu(&self) -> f64 {
        self.user + self.system
    }
}

/// Waits until a process ends; `None` if it failed. Nobody else may wait for it, nor
/// afterwards.
pub fn wait(child: &Child) -> Option<Usage> {
    let pid = child.id() as i32;
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both places outlive the call, which fills them; nobody else waits for this
    // child.
    let ended = unsafe { libc::wait4(pid, &mut status, 0, usage.as_mut_ptr()) };
    // SAFETY: all zeros is a value of it, and the call filled it.
    let usage = unsafe { usage.assume_init() };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    (ended == pid && status == 0).then(|| Usage {
        user: seconds(usage.ru_utime),
        system: seconds(usage.ru_stime),
        peak_kib: usage.ru_maxrss,
    })
}

/// A host at work; it is killed when it is forgotten.
pub struct Process {
    child: Child,
    directory: tempfile::TempDir,
}

impl Process {
    /// Starts a pipeline.
    pub fn start(host: &FluentBit, pipeline: &Pipeline, installed: &Installed) -> Process {
        let directory = tempfile::tempdir().unwrap();
        let config = pipeline.write(directory.path(), installed);
        let mut command = Command::new(host.program());
        command.arg("-c").arg(config);
        Process::spawn(command, directory)
    }

    /// Starts an `in_forward` that keeps nothing.
    pub fn receiver(host: &FluentBit, port: u16) -> Process {
        let mut command = Command::new(host.program());
        command.args(["-f", "0.2", "-i", "forward", "-p", "listen=127.0.0.1"]);
        command.args(["-p", &format!("port={port}"), "-o", "null", "-m", "*"]);
        Process::spawn(command, tempfile::tempdir().unwrap())
    }

    fn spawn(mut command: Command, directory: tempfile::TempDir) -> Process {
        let log = File::create(directory.path().join("log")).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("host starts");
        Process { child, directory }
    }

    /// Asks it to end once its input has kept that position in `{dir}/position`: then all
    /// before it is delivered.
    pub fn stop_at(&self, offset: u64) {
        let position = self.directory.path().join("position");
        let end = format!("\"offset\":{offset},");
        let is_there = || fs::read_to_string(&position).is_ok_and(|text| text.contains(&end));
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_there() {
            assert!(Instant::now() < deadline, "not at byte {offset}");
            sleep(Duration::from_millis(20));
        }
        // SAFETY: a signal to a child that was not waited for.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
    }

    /// Waits until it ends, as it should.
    pub fn wait(self) -> Usage {
        let usage = wait(&self.child);
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        // What `drop` would do is done.
        let Process { directory, .. } = &self;
        fs::remove_dir_all(directory.path()).unwrap();
        std::mem::forget(self);
        usage.unwrap_or_else(|| panic!("it failed:\n{log}"))
    }

    /// Its memory now in KiB, what it shares with others divided among them.
    pub fn proportional_set(&self) -> u64 {
        let path = format!("/proc/{}/smaps_rollup", self.child.id());
        let text = fs::read_to_string(path).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let size = line.and_then(|line| line.split_whitespace().next());
        size.unwrap().parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
