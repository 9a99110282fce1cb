//! The version of the Fluent Bit that loaded the library, and its functions.
//!
//! A host reports its version in one way only: a gauge in its own metrics. That
//! is believed when everything else that can be seen from outside agrees: the
//! size of a built-in plugin object, and functions that came with the layouts.
//! The layouts of `include/` and [`super::instance`] are those of official build
//! options; a build that changes them contradicts itself here and is refused.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;
use std::ptr::{self, NonNull};

use once_cell::sync::OnceCell;

use super::bindings as abi;
use kube_audit_plugin::Patterns;

#[cfg(feature = "input")]
mod input;
#[cfg(all(feature = "input", test))]
pub(super) use input::TRACE_SIZE;
#[cfg(feature = "input")]
pub(super) use input::{InputApi, InputPluginLayout};

/// A released version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub u16, pub u16, pub u16);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl Version {
    /// The first three numbers of `4.2.3.1` or `5.1.1-rc1`.
    fn parse(text: &str) -> Option<Version> {
        let mut numbers = text.split('.').map(|part| {
            let end = part
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(part.len());
            part.get(..end)?.parse().ok()
        });
        Some(Version(
            numbers.next()??,
            numbers.next()??,
            numbers.next()??,
        ))
    }
}

/// The first version that passes `cb_filter` its ten arguments.
const OLDEST: Version = Version(1, 9, 3);
/// The newest minor version with known layouts.
const NEWEST: &str = "5.1.x";
/// The first version after it.
const TOO_NEW: Version = Version(5, 2, 0);

/// The layouts of the filter plugin object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FilterPluginLayout {
    /// 72 bytes, before 2.2.0.
    V1_9_0,
    /// 80 bytes, with `cb_pre_run`.
    V2_2_0,
    /// 88 bytes, with `cb_notification`.
    V3_2_0,
}

impl FilterPluginLayout {
    const fn of(version: Version) -> FilterPluginLayout {
        match version {
            Version(..=1, ..) | Version(2, ..=1, _) => FilterPluginLayout::V1_9_0,
            Version(2, ..) | Version(3, ..=1, _) => FilterPluginLayout::V2_2_0,
            _ => FilterPluginLayout::V3_2_0,
        }
    }

    const fn size(self) -> u64 {
        match self {
            FilterPluginLayout::V1_9_0 => size_of::<abi::flb_filter_plugin_v1_9_0>() as u64,
            FilterPluginLayout::V2_2_0 => size_of::<abi::flb_filter_plugin_v2_2_0>() as u64,
            FilterPluginLayout::V3_2_0 => size_of::<abi::flb_filter_plugin_v3_2_0>() as u64,
        }
    }
}

/// Functions that all hosts export from a version on, and no older ones.
const MARKERS: [(&CStr, Version); 10] = [
    (c"flb_ra_update_kv_pair", Version(1, 9, 3)),
    (c"flb_log_cache_create", Version(2, 0, 9)),
    (c"flb_filter_init", Version(2, 1, 0)),
    (
        c"flb_input_log_append_skip_processor_stages",
        Version(2, 1, 4),
    ),
    (c"flb_proxy_output_cb_init", Version(2, 2, 0)),
    (c"flb_tls_set_verify_hostname", Version(3, 1, 0)),
    (c"flb_notification_enqueue", Version(3, 2, 0)),
    (c"flb_tls_set_minmax_proto", Version(4, 0, 0)),
    (c"flb_config_map_get_raw", Version(5, 0, 3)),
    (c"flb_output_proxy_tls_ca_check", Version(5, 1, 0)),
];

/// The reason why this process is not served.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("this process is not a Fluent Bit that plugins can use: it does not export `{0}`")]
    NoSymbol(String),
    #[error("this Fluent Bit does not report its version")]
    NoVersion,
    #[error("Fluent Bit {0} is not supported: use {OLDEST} to {NEWEST}")]
    Unknown(String),
    #[error(
        "this Fluent Bit reports version {version} but its `{symbol}` has {found} bytes \
         instead of {expected}: a build with layouts that this plugin does not know; use an \
         official build"
    )]
    PluginSize {
        version: Version,
        symbol: String,
        found: u64,
        expected: u64,
    },
    #[error(
        "this Fluent Bit reports version {version} but {} `{symbol}`, which came with {since}: \
         a build with layouts that this plugin does not know; use an official build",
        if *.version < *.since { "has" } else { "lacks" }
    )]
    Marker {
        version: Version,
        symbol: String,
        since: Version,
    },
}

/// The non-null form of a function pointer of the bindings.
pub(super) type Function<Nullable> = <Nullable as IntoIterator>::Item;

/// The Fluent Bit that loaded the library.
pub(super) struct Host {
    /// Version of the host.
    pub version: Version,
    /// The layout of the filter plugin object that it copies.
    pub filter_plugin: FilterPluginLayout,
    /// Log of the host.
    pub log_print: Function<abi::flb_log_print_fn>,
    /// Functions for filters.
    pub filter: FilterApi,
    /// Functions for outputs.
    pub output: OutputApi,
    /// Functions for inputs, or why there is no input in this host.
    #[cfg(feature = "input")]
    pub input: Result<InputApi, Refusal>,
    /// Functions for metrics, from 2.0.0 on, unless it was built without them.
    pub metrics: Option<MetricsApi>,
    /// Regular expressions, unless the host was built without them.
    pub regex: Option<RegexApi>,
}

/// The host's functions for filters.
pub(super) struct FilterApi {
    pub get_property: Function<abi::flb_filter_get_property_fn>,
    pub name: Function<abi::flb_filter_name_fn>,
    pub set_context: Function<abi::flb_filter_set_context_fn>,
}

/// The host's functions for outputs.
pub(super) struct OutputApi {
    pub get_property: Function<abi::flb_output_get_property_fn>,
    pub set_property: Function<abi::flb_output_set_property_fn>,
    pub name: Function<abi::flb_output_name_fn>,
    /// `None` before 2.0.0.
    pub get_cmt_instance: abi::flb_output_get_cmt_instance_fn,
}

/// The host's functions for the metrics of an instance.
pub(super) struct MetricsApi {
    pub counter_create: Function<abi::cmt_counter_create_fn>,
    pub counter_set: Function<abi::cmt_counter_set_fn>,
    pub gauge_create: Function<abi::cmt_gauge_create_fn>,
    pub gauge_set: Function<abi::cmt_gauge_set_fn>,
}

/// The host's regular expressions.
#[derive(Clone, Copy)]
pub(super) struct RegexApi {
    pub create: Function<abi::flb_regex_create_fn>,
    pub matches: Function<abi::flb_regex_match_fn>,
    pub destroy: Function<abi::flb_regex_destroy_fn>,
}

impl Host {
    /// Regular expressions of the host, as the plugins take them.
    pub(super) fn patterns(&self) -> Option<&dyn Patterns> {
        self.regex.as_ref().map(|regex| regex as &dyn Patterns)
    }
}

/// The host of this process. A host that was refused once may still be found later.
pub(super) fn host() -> Result<&'static Host, Refusal> {
    static HOST: OnceCell<Host> = OnceCell::new();
    HOST.get_or_try_init(probe)
}

/// The function of that name with the type that `include/` gives it, null as `None`.
macro_rules! nullable {
    ($name:literal: $type:ty) => {{
        let symbol = $crate::ffi::host::symbol($name);
        // SAFETY: a host's function of this name has had this one signature in
        // all releases, and null is this type's `None`.
        unsafe { std::mem::transmute::<*mut std::ffi::c_void, $type>(symbol) }
    }};
}

/// The function of that name, or a return with [`Refusal::NoSymbol`].
macro_rules! function {
    ($name:literal: $type:ty) => {
        $crate::ffi::host::nullable!($name: $type)
            .ok_or_else(|| $crate::ffi::host::missing($name))?
    };
}

pub(super) use function;
pub(super) use nullable;

fn probe() -> Result<Host, Refusal> {
    let log_print = function!(c"flb_log_print": abi::flb_log_print_fn);
    let filter = FilterApi {
        get_property: function!(c"flb_filter_get_property": abi::flb_filter_get_property_fn),
        name: function!(c"flb_filter_name": abi::flb_filter_name_fn),
        set_context: function!(c"flb_filter_set_context": abi::flb_filter_set_context_fn),
    };
    let output = OutputApi {
        get_property: function!(c"flb_output_get_property": abi::flb_output_get_property_fn),
        set_property: function!(c"flb_output_set_property": abi::flb_output_set_property_fn),
        name: function!(c"flb_output_name": abi::flb_output_name_fn),
        get_cmt_instance: nullable!(c"flb_output_get_cmt_instance": abi::flb_output_get_cmt_instance_fn),
    };
    let metrics = || {
        Ok::<_, Refusal>(MetricsApi {
            counter_create: function!(c"cmt_counter_create": abi::cmt_counter_create_fn),
            counter_set: function!(c"cmt_counter_set": abi::cmt_counter_set_fn),
            gauge_create: function!(c"cmt_gauge_create": abi::cmt_gauge_create_fn),
            gauge_set: function!(c"cmt_gauge_set": abi::cmt_gauge_set_fn),
        })
    };
    let regex = || {
        Ok::<_, Refusal>(RegexApi {
            create: function!(c"flb_regex_create": abi::flb_regex_create_fn),
            matches: function!(c"flb_regex_match": abi::flb_regex_match_fn),
            destroy: function!(c"flb_regex_destroy": abi::flb_regex_destroy_fn),
        })
    };
    let text = AboutItself {
        create: function!(c"cmt_create": abi::cmt_create_fn),
        destroy: function!(c"cmt_destroy": abi::cmt_destroy_fn),
        encode: function!(c"cmt_encode_text_create": abi::cmt_encode_text_create_fn),
        free_text: function!(c"cmt_encode_text_destroy": abi::cmt_encode_text_destroy_fn),
        add: function!(c"flb_metrics_fluentbit_add": abi::flb_metrics_fluentbit_add_fn),
    }
    .text();
    let reported = reported_version(&text).ok_or(Refusal::NoVersion)?;
    let version = Version::parse(reported).ok_or_else(|| Refusal::Unknown(reported.to_owned()))?;
    if !(OLDEST..TOO_NEW).contains(&version) {
        return Err(Refusal::Unknown(reported.to_owned()));
    }

    let filter_plugin = FilterPluginLayout::of(version);
    let name_at = std::mem::offset_of!(abi::flb_filter_plugin_v1_9_0, name);
    confirm_size(version, &BUILTIN_FILTERS, filter_plugin.size(), name_at)?;
    for (name, since) in MARKERS {
        if symbol(name).is_null() == (version >= since) {
            return Err(Refusal::Marker {
                version,
                symbol: lossy(name),
                since,
            });
        }
    }
    // Before, instances have metrics that nothing shows.
    let shows_metrics = version >= Version(2, 0, 0);
    Ok(Host {
        version,
        filter_plugin,
        log_print,
        filter,
        output,
        #[cfg(feature = "input")]
        input: InputApi::probe(version),
        metrics: shows_metrics.then(|| metrics().ok()).flatten(),
        regex: regex().ok(),
    })
}

/// The functions for the host's metrics about itself. All of them may be called at any
/// time on any thread.
struct AboutItself {
    create: Function<abi::cmt_create_fn>,
    destroy: Function<abi::cmt_destroy_fn>,
    encode: Function<abi::cmt_encode_text_create_fn>,
    free_text: Function<abi::cmt_encode_text_destroy_fn>,
    add: Function<abi::flb_metrics_fluentbit_add_fn>,
}

impl AboutItself {
    /// The metrics as text, empty if the host makes none.
    fn text(&self) -> String {
        // The configuration cannot be reached yet. All releases read two numbers of it
        // only, and the largest has 18.6 KB.
        let mut config = vec![0u64; 4096];
        // SAFETY: makes a context of our own.
        let Some(metrics) = NonNull::new(unsafe { (self.create)() }) else {
            return String::new();
        };
        // SAFETY: the context is live; `config` is read within its bounds, and nothing
        // of it is kept.
        unsafe { (self.add)(config.as_mut_ptr().cast(), metrics.as_ptr()) };
        // SAFETY: the context is live.
        let encoded = unsafe { (self.encode)(metrics.as_ptr()) };
        // SAFETY: null or a NUL-terminated text that is valid until `free_text`.
        let text = unsafe { optional(encoded) }.map_or_else(String::new, lossy);
        if !encoded.is_null() {
            // SAFETY: made by `encode`, and not used after this.
            unsafe { (self.free_text)(encoded) };
        }
        // SAFETY: made by `create`, and not used after this.
        unsafe { (self.destroy)(metrics.as_ptr()) };
        text
    }
}

/// The version in `fluentbit_build_info{hostname="…",version="4.0.0",os="linux"} = …`.
fn reported_version(metrics: &str) -> Option<&str> {
    let (_, info) = metrics.split_once("fluentbit_build_info{")?;
    let (_, version) = info.split_once("version=\"")?;
    let (version, _) = version.split_once('"')?;
    Some(version)
}

/// Filters that the host has built in: the symbol of the plugin object, and its name.
const BUILTIN_FILTERS: [(&CStr, &CStr); 2] = [
    (c"filter_stdout_plugin", c"stdout"),
    (c"filter_grep_plugin", c"grep"),
];

/// Compares the size of one of the host's own plugin objects, which has its name at
/// `name_at`, with that of the version's layout.
fn confirm_size(
    version: Version,
    builtin: &[(&CStr, &CStr)],
    expected: u64,
    name_at: usize,
) -> Result<(), Refusal> {
    for (name, plugin) in builtin {
        let object = symbol(name);
        let Some(found) = symbol_size(object) else {
            continue;
        };
        if found != expected {
            return Err(Refusal::PluginSize {
                version,
                symbol: lossy(name),
                found,
                expected,
            });
        }
        let place: *const *const c_char = object.wrapping_byte_add(name_at).cast();
        // SAFETY: within the object, which has the size of the layout.
        let found = unsafe { place.read() };
        // SAFETY: the name is null or a string constant of the host.
        if unsafe { optional(found) } == Some(plugin) {
            return Ok(());
        }
    }
    Err(missing(builtin.first().map_or(c"", |(name, _)| name)))
}

/// An exported symbol of the process, or null.
pub(super) fn symbol(name: &CStr) -> *mut c_void {
    // SAFETY: the name is NUL-terminated; looking up runs no code of others.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
}

/// The size of an object by its entry in the symbol table; `None` without an entry.
fn symbol_size(object: *const c_void) -> Option<u64> {
    unsafe extern "C" {
        /// GNU extension of `dladdr` that also gives the entry of the symbol table.
        fn dladdr1(
            address: *const c_void,
            info: *mut libc::Dl_info,
            entry: *mut *mut c_void,
            flags: c_int,
        ) -> c_int;
    }
    const RTLD_DL_SYMENT: c_int = 1;

    if object.is_null() {
        return None;
    }
    let mut info = libc::Dl_info {
        dli_fname: ptr::null(),
        dli_fbase: ptr::null_mut(),
        dli_sname: ptr::null(),
        dli_saddr: ptr::null_mut(),
    };
    let mut entry: *mut c_void = ptr::null_mut();
    // SAFETY: both results are valid places.
    let found = unsafe { dladdr1(object, &mut info, &mut entry, RTLD_DL_SYMENT) };
    if found == 0 || entry.is_null() || !ptr::eq(info.dli_saddr, object) {
        return None;
    }
    // SAFETY: with this flag the entry is an ELF symbol inside the mapped file, which
    // stays mapped, as it is the program.
    Some(unsafe { (*entry.cast::<libc::Elf64_Sym>()).st_size })
}

/// The refusal of a host without that symbol.
pub(super) fn missing(name: &CStr) -> Refusal {
    Refusal::NoSymbol(lossy(name))
}

/// A text of the host, with replacement characters for bytes that are not UTF-8.
pub(super) fn lossy(text: &CStr) -> String {
    text.to_string_lossy().into_owned()
}

/// A string that the host may have left out.
///
/// # Safety
/// `text` is null or NUL-terminated and valid for `'a`.
pub(super) unsafe fn optional<'a>(text: *const c_char) -> Option<&'a CStr> {
    // SAFETY: not null, and the caller guarantees the rest.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, version) in [
            ("4.0.0", Some(Version(4, 0, 0))),
            ("4.2.3.1", Some(Version(4, 2, 3))),
            ("5.1.1-rc1", Some(Version(5, 1, 1))),
            ("1.9.10", Some(Version(1, 9, 10))),
            ("4.0", None),
            ("4..1", None),
            ("", None),
            ("x.1.2", None),
        ] {
            assert_eq!(Version::parse(text), version, "{text}");
        }
    }

    #[test]
    fn version_in_metrics() {
        let text = "2026-01-01T00:00:00Z fluentbit_uptime{hostname=\"version=\"} = 1\n\
            2026-01-01T00:00:00Z fluentbit_build_info{hostname=\"a\",version=\"2.2.3\",os=\"linux\"} = 0\n";
        assert_eq!(reported_version(text), Some("2.2.3"));
        assert_eq!(reported_version("fluentbit_uptime 1"), None);
        assert_eq!(reported_version(""), None);
    }

    #[test]
    fn a_process_that_is_not_a_fluent_bit_is_refused() {
        assert_eq!(
            host().map(|host| host.version).unwrap_err().to_string(),
            "this process is not a Fluent Bit that plugins can use: it does not export `flb_log_print`"
        );
    }

    #[test]
    fn size_of_a_symbol() {
        assert_eq!(symbol_size(ptr::null()), None);
        let text = symbol(c"malloc");
        assert!(symbol_size(text).is_some_and(|size| size > 0));
    }
}
