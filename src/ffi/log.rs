//! Log lines, printed only where there is stack for it.
//!
//! The host's log function needs 4 to 9 KiB of stack, and on a thread that is
//! not the host's it ignores `log_file`. So a line is kept when it is written,
//! on any thread, and printed by the next entry point that returns. The thread
//! of an output makes the host's engine call one.

use std::ffi::{CString, c_int};
use std::io::{self, Write};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::PluginKind;
use super::bindings as abi;
use super::host::{Function, Host};
use kube_audit_plugin::{Log, LogLevel, one_line};

/// Lines kept between two entry points.
const MOST_LINES: usize = 256;

/// The log of one instance.
pub(super) struct InstanceLog {
    printer: Function<abi::flb_log_print_fn>,
    /// `[filter:kube_audit:NAME]`, as in the host's own lines.
    prefix: String,
    /// The host's number of the least severe level that is printed.
    level: AtomicI32,
    /// Waiting lines from any thread, and the number of those that found no room.
    lines: (Sender<Line>, Receiver<Line>),
    lost: AtomicUsize,
}

type Line = (LogLevel, String);

impl InstanceLog {
    /// The log of the instance `name`, at the level info until another one is known.
    pub(super) fn new(
        printer: Function<abi::flb_log_print_fn>,
        kind: PluginKind,
        name: &str,
    ) -> InstanceLog {
        InstanceLog {
            printer,
            prefix: format!("[{kind}:kube_audit:{name}]"),
            level: AtomicI32::new(abi::FLB_LOG_INFO),
            lines: bounded(MOST_LINES),
            lost: AtomicUsize::new(0),
        }
    }

    /// Sets the level, by the host's number.
    pub(super) fn set_level(&self, level: c_int) {
        self.level.store(level, Ordering::Relaxed);
    }

    /// Logs the version of the host.
    pub(super) fn start(&self, host: &Host) {
        let line = format!("started by Fluent Bit {}", host.version);
        self.log(LogLevel::Debug, &line);
    }

    /// Logs why the instance does not start, and waits a moment: hosts may end at
    /// once and drop lines that their log thread has not written yet.
    pub(super) fn start_failed(&self, why: &dyn std::fmt::Display) {
        const TO_BE_WRITTEN: Duration = Duration::from_millis(100);

        self.log(LogLevel::Error, &why.to_string());
        self.print();
        std::thread::sleep(TO_BE_WRITTEN);
    }

    /// Prints the waiting lines. Needs up to 9 KiB of stack.
    pub(super) fn print(&self) {
        let (_, lines) = &self.lines;
        for (level, line) in lines.try_iter() {
            self.print_line(level, &line);
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            self.print_line(
                LogLevel::Warn,
                &format!("{lost} log lines were lost: too many between two calls of the host"),
            );
        }
    }

    fn print_line(&self, level: LogLevel, line: &str) {
        let text = format!("{} {}", self.prefix, one_line(line));
        let Ok(text) = CString::new(text) else {
            return;
        };
        // SAFETY: format and argument are NUL-terminated strings that the host
        // copies; it may be called on any thread.
        unsafe {
            (self.printer)(number(level), ptr::null(), 0, c"%s".as_ptr(), text.as_ptr());
        }
    }
}

impl Log for InstanceLog {
    fn log(&self, level: LogLevel, message: &str) {
        if number(level) > self.level.load(Ordering::Relaxed) {
            return;
        }
        let (lines, _) = &self.lines;
        if lines.try_send((level, message.to_owned())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The host's number for a level.
fn number(level: LogLevel) -> c_int {
    match level {
        LogLevel::Error => abi::FLB_LOG_ERROR,
        LogLevel::Warn => abi::FLB_LOG_WARN,
        LogLevel::Info => abi::FLB_LOG_INFO,
        LogLevel::Debug => abi::FLB_LOG_DEBUG,
    }
}

/// Writes an error to stderr, where the host's own log cannot be used.
pub(super) fn complain(kind: PluginKind, why: &dyn std::fmt::Display) {
    // Without stderr there is no other place.
    let _ = writeln!(io::stderr(), "[error] [{kind}:kube_audit] {why}");
}

/// A log function for tests.
#[cfg(test)]
pub mod fake {
    use super::*;
    use std::cell::RefCell;
    use std::ffi::{CStr, c_char};

    thread_local! {
        static PRINTED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    type WithText =
        unsafe extern "C" fn(c_int, *const c_char, c_int, *const c_char, *const c_char) -> c_int;

    /// Takes as much stack as the log function of the hosts before 5.1.0.
    // SAFETY: on 64-bit Linux, pointers and integers are passed alike with and
    // without the ellipsis.
    pub const PRINTER: Function<abi::flb_log_print_fn> =
        unsafe { std::mem::transmute::<WithText, Function<abi::flb_log_print_fn>>(print) };

    unsafe extern "C" fn print(
        _: c_int,
        _: *const c_char,
        _: c_int,
        _: *const c_char,
        text: *const c_char,
    ) -> c_int {
        std::hint::black_box([0u8; 4352]);
        // SAFETY: the format has one argument, which is a NUL-terminated string.
        let text = unsafe { CStr::from_ptr(text) }
            .to_string_lossy()
            .into_owned();
        PRINTED.with_borrow_mut(|printed| printed.push(text));
        0
    }

    /// The lines printed on this thread since the last call.
    pub fn printed() -> Vec<String> {
        PRINTED.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(log: &InstanceLog) -> (Vec<(LogLevel, String)>, usize) {
        let (_, lines) = &log.lines;
        (lines.try_iter().collect(), log.lost.load(Ordering::Relaxed))
    }

    #[test]
    fn lines_below_the_level_are_not_kept() {
        let log = InstanceLog::new(fake::PRINTER, PluginKind::Filter, "kube_audit.0");
        log.set_level(abi::FLB_LOG_WARN);
        for level in [
            LogLevel::Error,
            LogLevel::Warn,
            LogLevel::Info,
            LogLevel::Debug,
        ] {
            log.log(level, "text");
        }
        let kept = [LogLevel::Error, LogLevel::Warn].map(|level| (level, "text".to_owned()));
        assert_eq!(waiting(&log), (kept.to_vec(), 0));
    }

    #[test]
    fn lines_are_bounded_and_the_rest_is_counted() {
        let log = InstanceLog::new(fake::PRINTER, PluginKind::Filter, "kube_audit.0");
        for i in 0..MOST_LINES + 3 {
            log.log(LogLevel::Info, &i.to_string());
        }
        let (lines, lost) = waiting(&log);
        assert_eq!((lines.len(), lost), (MOST_LINES, 3));
        assert_eq!(lines[0].1, "0");
    }
}
