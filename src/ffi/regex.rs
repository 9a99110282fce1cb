//! The host's regular expressions. Matching takes about 7 KiB of stack; a pattern with
//! much backtracking takes heap memory besides.

use std::ffi::CString;
use std::ptr::NonNull;

use super::bindings as abi;
use super::host::RegexApi;
use kube_audit_plugin::{Pattern, Patterns};

impl Patterns for RegexApi {
    fn compile(&self, pattern: &str) -> Option<Box<dyn Pattern>> {
        let pattern = CString::new(pattern).ok()?;
        // SAFETY: a NUL-terminated string that the host only reads; it is neither
        // empty nor a lone slash, which options refuse.
        let regex = NonNull::new(unsafe { (self.create)(pattern.as_ptr()) })?;
        let api = *self;
        Some(Box::new(HostRegex { api, regex }))
    }
}

/// A regular expression compiled by the host.
struct HostRegex {
    api: RegexApi,
    regex: NonNull<abi::flb_regex>,
}

// SAFETY: the host's expressions belong to no thread, and only one at a time has this one.
unsafe impl Send for HostRegex {}

impl Pattern for HostRegex {
    fn is_in(&self, text: &[u8]) -> bool {
        // SAFETY: the expression lives as long as `self`; the host only reads the
        // text, within its bounds.
        let found = unsafe {
            (self.api.matches)(self.regex.as_ptr(), text.as_ptr().cast_mut(), text.len())
        };
        found > 0
    }
}

impl Drop for HostRegex {
    fn drop(&mut self) {
        // SAFETY: made by the host, and not used after this.
        unsafe { (self.api.destroy)(self.regex.as_ptr()) };
    }
}
