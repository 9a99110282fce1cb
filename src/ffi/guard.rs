//! Catching panics, which must not unwind into the host.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use super::PluginKind;
use super::log::complain;

/// A panic that was caught: its place and message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Panicked(String);

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "internal error: {}", self.0)
    }
}

/// The state of a thread: outside of guards, inside one, or after a panic in one.
enum Watch {
    Off,
    On,
    Seen(String),
}

thread_local! {
    static WATCH: RefCell<Watch> = const { RefCell::new(Watch::Off) };
}

/// Runs the body of an entry point; after a panic the host gets the answer `safe`.
pub(super) fn entry<T>(kind: PluginKind, safe: T, body: impl FnOnce() -> T) -> T {
    note_panics();
    guard(body).unwrap_or_else(|panic| {
        complain(kind, &panic);
        safe
    })
}

/// The standard hook would print to stderr and may walk the stack, which is
/// more than a coroutine's stack has room for. The hook put before it only
/// notes a panic that happens inside a guard. It belongs to this library's copy
/// of std: the host and other plugins never meet it.
fn note_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let standard = take_hook();
        set_hook(Box::new(move |panic| {
            if !note(panic) {
                standard(panic);
            }
        }));
    });
}

/// Runs a body; a panic in it comes back as an error.
pub(super) fn guard<T>(body: impl FnOnce() -> T) -> Result<T, Panicked> {
    let outer = WATCH.replace(Watch::On);
    // State that a panic left half changed is behind locks or dropped: nothing in
    // here relies on more than memory safety after it.
    let result = catch_unwind(AssertUnwindSafe(body));
    let watch = WATCH.replace(outer);
    result.map_err(|payload| {
        let panic = match watch {
            Watch::Seen(panic) => panic,
            Watch::On | Watch::Off => "a panic without a place".to_owned(),
        };
        forget_unknown(payload);
        Panicked(panic)
    })
}

/// Keeps place and message of a panic when this thread is inside a guard.
fn note(panic: &PanicHookInfo<'_>) -> bool {
    WATCH.with_borrow_mut(|watch| {
        let guarded = !matches!(watch, Watch::Off);
        if guarded {
            *watch = Watch::Seen(panic.to_string().replacen('\n', " ", 1));
        }
        guarded
    })
}

/// A payload of an unknown type could panic when dropped.
fn forget_unknown(payload: Box<dyn Any + Send>) {
    if !payload.is::<&str>() && !payload.is::<String>() {
        std::mem::forget(payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_place() {
        note_panics();
        let line = line!() + 1;
        let panicked = guard(|| panic!("no {}", "way")).map(|()| "not reached");
        let place = format!("{}:{line}:", file!());
        let text = panicked.unwrap_err().to_string();
        assert!(text.contains(&place) && text.contains("no way"), "{text}");
        assert_eq!(guard(|| 5), Ok(5));
    }

    #[test]
    fn an_entry_point_answers_safely() {
        assert_eq!(entry(PluginKind::Filter, 2, || panic!("no way")), 2);
        assert_eq!(entry(PluginKind::Filter, 2, || 1), 1);
    }

    #[test]
    fn a_payload_that_panics_again_is_harmless() {
        note_panics();
        struct Grenade;
        impl Drop for Grenade {
            fn drop(&mut self) {
                panic!("again");
            }
        }
        assert!(
            guard(|| std::panic::panic_any(Grenade))
                .map(|()| 0)
                .is_err()
        );
    }
}
