//! Helpers of this package's tests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::{Filter, Log, LogLevel, Pattern, Patterns};

/// A log that keeps its lines.
#[derive(Default)]
pub struct Lines(Mutex<Vec<String>>);

impl Log for Lines {
    fn log(&self, _: LogLevel, message: &str) {
        self.0.lock().unwrap().push(message.to_owned());
    }
}

impl Lines {
    /// The lines since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Regular expressions that panic when they are used for the first time, and then find
/// everything.
#[derive(Clone, Default)]
struct PanickingOnce(Arc<AtomicBool>);

impl Patterns for PanickingOnce {
    fn compile(&self, _: &str) -> Option<Box<dyn Pattern>> {
        Some(Box::new(self.clone()))
    }
}

impl Pattern for PanickingOnce {
    fn is_in(&self, _: &[u8]) -> bool {
        assert!(self.0.swap(true, Ordering::Relaxed), "no way");
        true
    }
}

/// A filter that panics at its first record.
pub fn panicking_filter(options: &[(&str, &str)], log: &Arc<Lines>) -> Filter {
    filter(options, log, PanickingOnce::default())
}

/// Makes a filter that does not panic.
pub fn working_filter(options: &[(&str, &str)], log: &Arc<Lines>) -> Filter {
    filter(options, log, PanickingOnce(Arc::new(AtomicBool::new(true))))
}

fn filter(options: &[(&str, &str)], log: &Arc<Lines>, patterns: PanickingOnce) -> Filter {
    let mut properties = vec![("regex".to_owned(), "x".to_owned())];
    for (key, value) in options {
        properties.push(((*key).to_owned(), (*value).to_owned()));
    }
    let log: Arc<Lines> = Arc::clone(log);
    Filter::new(&properties, Some(&patterns), log).unwrap()
}

/// Regular expressions that panic where they find this text, and find everything else.
#[derive(Clone)]
pub struct PanickingAt(pub &'static str);

impl Patterns for PanickingAt {
    fn compile(&self, _: &str) -> Option<Box<dyn Pattern>> {
        Some(Box::new(self.clone()))
    }
}

impl Pattern for PanickingAt {
    fn is_in(&self, text: &[u8]) -> bool {
        let text = String::from_utf8_lossy(text);
        assert!(!text.contains(self.0), "no way");
        true
    }
}
