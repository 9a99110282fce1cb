//! Which Fluent Bit this is, and its functions.
//!
//! A host tells its version in one way only: a gauge in its own metrics. That
//! is believed when everything else that can be seen from outside agrees: the
//! size of a built-in plugin object, and functions that came with the layouts.
//! The layouts of `include/` are those of official build options; a build that
//! changes them contradicts itself here and is refused.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;
use std::ptr::{self, NonNull};

use once_cell::sync::OnceCell;

use super::bindings as abi;
use kube_audit_plugin::Patterns;

/// A released version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16, pub u16, pub u16);

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
/// The last minor version that was looked at.
const NEWEST: &str = "5.1.x";
/// The first version that was not.
const TOO_NEW: Version = Version(5, 2, 0);

/// The layouts of the filter plugin object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterPluginLayout {
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

/// Functions that every host from the named version on exports, and none before.
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

/// Why this process is not served.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("this process is no Fluent Bit that plugins can use: it exports no `{0}`")]
    NoSymbol(String),
    #[error("this Fluent Bit does not tell its version")]
    NoVersion,
    #[error("Fluent Bit {0} is not known to this plugin, which serves {OLDEST} to {NEWEST}")]
    Unknown(String),
    #[error(
        "this Fluent Bit says that it is {version}, but its `{symbol}` has {found} bytes \
         instead of {expected}: a build with other layouts, which this plugin does not know"
    )]
    PluginSize {
        version: Version,
        symbol: String,
        found: u64,
        expected: u64,
    },
    #[error(
        "this Fluent Bit says that it is {version}, but {} `{symbol}`, which came with {since}: \
         a build with other layouts, which this plugin does not know",
        if *.version < *.since { "has" } else { "lacks" }
    )]
    Marker {
        version: Version,
        symbol: String,
        since: Version,
    },
}

/// The function behind a nullable function pointer of the bindings.
pub type Function<Nullable> = <Nullable as IntoIterator>::Item;

/// The Fluent Bit that loaded the library.
pub struct Host {
    /// What it is.
    pub version: Version,
    /// The filter plugin object it copies.
    pub filter_plugin: FilterPluginLayout,
    /// Its functions.
    pub api: Api,
    /// Its functions for metrics, from 2.0.0 on, unless it was built without them.
    pub metrics: Option<MetricsApi>,
    /// Its regular expressions, unless it was built without them.
    pub regex: Option<RegexApi>,
}

/// The host's functions.
pub struct Api {
    pub log_print: Function<abi::flb_log_print_fn>,
    pub filter_get_property: Function<abi::flb_filter_get_property_fn>,
    pub filter_name: Function<abi::flb_filter_name_fn>,
    pub filter_set_context: Function<abi::flb_filter_set_context_fn>,
    pub output_get_property: Function<abi::flb_output_get_property_fn>,
    pub output_set_property: Function<abi::flb_output_set_property_fn>,
    pub output_name: Function<abi::flb_output_name_fn>,
}

/// The host's event loop and coroutines.
pub struct EngineApi {
    pub loop_get: Function<abi::flb_engine_evl_get_fn>,
    pub event_add: Function<abi::mk_event_add_fn>,
    pub event_del: Function<abi::mk_event_del_fn>,
    pub stack_active: Function<abi::co_active_fn>,
    pub stack_switch: Function<abi::co_switch_fn>,
    pub coroutine_get: Function<abi::flb_coro_get_fn>,
    pub coroutine_set: Function<abi::flb_coro_set_fn>,
}

/// The host's functions for the metrics of an instance.
pub struct MetricsApi {
    pub counter_create: Function<abi::cmt_counter_create_fn>,
    pub counter_set: Function<abi::cmt_counter_set_fn>,
    pub gauge_create: Function<abi::cmt_gauge_create_fn>,
    pub gauge_set: Function<abi::cmt_gauge_set_fn>,
    pub output_get_cmt_instance: Function<abi::flb_output_get_cmt_instance_fn>,
}

/// The host's regular expressions.
#[derive(Clone, Copy)]
pub struct RegexApi {
    pub create: Function<abi::flb_regex_create_fn>,
    pub matches: Function<abi::flb_regex_match_fn>,
    pub destroy: Function<abi::flb_regex_destroy_fn>,
}

impl Host {
    /// What it offers of regular expressions.
    pub fn patterns(&self) -> Option<&dyn Patterns> {
        self.regex.as_ref().map(|regex| regex as &dyn Patterns)
    }
}

/// The host of this process, found out once it is known.
pub fn host() -> Result<&'static Host, Refusal> {
    static HOST: OnceCell<Host> = OnceCell::new();
    HOST.get_or_try_init(probe)
}

/// The function of that name with the type that `include/` gives it.
macro_rules! function {
    ($name:literal: $type:ty) => {{
        // SAFETY: a host's function of this name has had this one signature in
        // all releases, and null is this type's `None`.
        let function: $type = unsafe { std::mem::transmute(symbol($name)) };
        function.ok_or_else(|| missing($name))?
    }};
}

/// The host's event loop and coroutines, found out once they are known.
pub fn engine() -> Result<&'static EngineApi, Refusal> {
    static ENGINE: OnceCell<EngineApi> = OnceCell::new();
    ENGINE.get_or_try_init(|| {
        Ok(EngineApi {
            loop_get: function!(c"flb_engine_evl_get": abi::flb_engine_evl_get_fn),
            event_add: function!(c"mk_event_add": abi::mk_event_add_fn),
            event_del: function!(c"mk_event_del": abi::mk_event_del_fn),
            stack_active: function!(c"co_active": abi::co_active_fn),
            stack_switch: function!(c"co_switch": abi::co_switch_fn),
            coroutine_get: function!(c"flb_coro_get": abi::flb_coro_get_fn),
            coroutine_set: function!(c"flb_coro_set": abi::flb_coro_set_fn),
        })
    })
}

fn probe() -> Result<Host, Refusal> {
    let api = Api {
        log_print: function!(c"flb_log_print": abi::flb_log_print_fn),
        filter_get_property: function!(c"flb_filter_get_property": abi::flb_filter_get_property_fn),
        filter_name: function!(c"flb_filter_name": abi::flb_filter_name_fn),
        filter_set_context: function!(c"flb_filter_set_context": abi::flb_filter_set_context_fn),
        output_get_property: function!(c"flb_output_get_property": abi::flb_output_get_property_fn),
        output_set_property: function!(c"flb_output_set_property": abi::flb_output_set_property_fn),
        output_name: function!(c"flb_output_name": abi::flb_output_name_fn),
    };
    let metrics = || {
        Ok::<_, Refusal>(MetricsApi {
            counter_create: function!(c"cmt_counter_create": abi::cmt_counter_create_fn),
            counter_set: function!(c"cmt_counter_set": abi::cmt_counter_set_fn),
            gauge_create: function!(c"cmt_gauge_create": abi::cmt_gauge_create_fn),
            gauge_set: function!(c"cmt_gauge_set": abi::cmt_gauge_set_fn),
            // Came with 2.0.0.
            output_get_cmt_instance: function!(c"flb_output_get_cmt_instance": abi::flb_output_get_cmt_instance_fn),
        })
    };
    let regex = || {
        Ok::<_, Refusal>(RegexApi {
            create: function!(c"flb_regex_create": abi::flb_regex_create_fn),
            matches: function!(c"flb_regex_match": abi::flb_regex_match_fn),
            destroy: function!(c"flb_regex_destroy": abi::flb_regex_destroy_fn),
        })
    };
    let text = metrics_text(
        function!(c"cmt_create": abi::cmt_create_fn),
        function!(c"cmt_destroy": abi::cmt_destroy_fn),
        function!(c"cmt_encode_text_create": abi::cmt_encode_text_create_fn),
        function!(c"cmt_encode_text_destroy": abi::cmt_encode_text_destroy_fn),
        function!(c"flb_metrics_fluentbit_add": abi::flb_metrics_fluentbit_add_fn),
    );
    let told = told_version(&text).ok_or(Refusal::NoVersion)?;
    let version = Version::parse(told).ok_or_else(|| Refusal::Unknown(told.to_owned()))?;
    if !(OLDEST..TOO_NEW).contains(&version) {
        return Err(Refusal::Unknown(told.to_owned()));
    }

    let filter_plugin = FilterPluginLayout::of(version);
    let (builtin, found) = builtin_filter_size()?;
    if found != filter_plugin.size() {
        return Err(Refusal::PluginSize {
            version,
            symbol: lossy(builtin),
            found,
            expected: filter_plugin.size(),
        });
    }
    for (name, since) in MARKERS {
        if symbol(name).is_null() == (version >= since) {
            return Err(Refusal::Marker {
                version,
                symbol: lossy(name),
                since,
            });
        }
    }
    Ok(Host {
        version,
        filter_plugin,
        api,
        metrics: metrics().ok(),
        regex: regex().ok(),
    })
}

/// The host's metrics about itself, as text.
fn metrics_text(
    create: Function<abi::cmt_create_fn>,
    destroy: Function<abi::cmt_destroy_fn>,
    encode: Function<abi::cmt_encode_text_create_fn>,
    free_text: Function<abi::cmt_encode_text_destroy_fn>,
    add: Function<abi::flb_metrics_fluentbit_add_fn>,
) -> String {
    // The configuration isn't reachable yet. All releases read two numbers of it
    // only, and the largest has 18.6 KB.
    let mut config = vec![0u64; 4096];
    // SAFETY: a metrics context of our own, ended once; `add` reads `config`
    // within its bounds and keeps nothing of it; the text is NUL-terminated and
    // valid until `free_text`. All five may be called at any time on any thread.
    unsafe {
        let Some(metrics) = NonNull::new(create()) else {
            return String::new();
        };
        add(config.as_mut_ptr().cast(), metrics.as_ptr());
        let encoded = encode(metrics.as_ptr());
        let mut text = String::new();
        if !encoded.is_null() {
            text = lossy(CStr::from_ptr(encoded));
            free_text(encoded);
        }
        destroy(metrics.as_ptr());
        text
    }
}

/// The version in `fluentbit_build_info{hostname="…",version="4.0.0",os="linux"} = …`.
fn told_version(metrics: &str) -> Option<&str> {
    let (_, info) = metrics.split_once("fluentbit_build_info{")?;
    let (_, version) = info.split_once("version=\"")?;
    let (version, _) = version.split_once('"')?;
    Some(version)
}

/// Name and size of a filter plugin object that the host brought with it.
fn builtin_filter_size() -> Result<(&'static CStr, u64), Refusal> {
    const BUILTIN: [(&CStr, &CStr); 2] = [
        (c"filter_stdout_plugin", c"stdout"),
        (c"filter_grep_plugin", c"grep"),
    ];
    for (name, plugin) in BUILTIN {
        let object = symbol(name);
        let Some(size) = symbol_size(object) else {
            continue;
        };
        // SAFETY: the symbol's size covers the part of the object that is read,
        // and the name is a string constant of the host in every layout.
        let found = unsafe {
            let object: *const abi::flb_filter_plugin_v1_9_0 = object.cast();
            if size < FilterPluginLayout::V1_9_0.size() || (*object).name.is_null() {
                continue;
            }
            CStr::from_ptr((*object).name)
        };
        if found == plugin {
            return Ok((name, size));
        }
    }
    Err(missing(BUILTIN[0].0))
}

/// An exported symbol of the process, or null.
fn symbol(name: &CStr) -> *mut c_void {
    // SAFETY: the name is NUL-terminated; looking up runs no code of others.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
}

/// What the symbol table says about the size of an object; `None` without an entry.
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
    // SAFETY: both results are valid places; with this flag the entry is an ELF
    // symbol inside the mapped file, which stays mapped (it is the program).
    unsafe {
        let found = dladdr1(object, &mut info, &mut entry, RTLD_DL_SYMENT);
        if found == 0 || entry.is_null() || !ptr::eq(info.dli_saddr, object) {
            return None;
        }
        Some((*entry.cast::<libc::Elf64_Sym>()).st_size)
    }
}

fn missing(name: &CStr) -> Refusal {
    Refusal::NoSymbol(lossy(name))
}

/// Text of the host; what is not UTF-8 is replaced.
pub fn lossy(text: &CStr) -> String {
    text.to_string_lossy().into_owned()
}

/// A string that the host may have left out.
///
/// # Safety
/// `text` is null or NUL-terminated and valid for `'a`.
pub unsafe fn optional<'a>(text: *const c_char) -> Option<&'a CStr> {
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
        assert_eq!(told_version(text), Some("2.2.3"));
        assert_eq!(told_version("fluentbit_uptime 1"), None);
        assert_eq!(told_version(""), None);
    }

    #[test]
    fn a_process_that_is_no_fluent_bit_is_refused() {
        assert_eq!(
            host().map(|host| host.version).unwrap_err().to_string(),
            "this process is no Fluent Bit that plugins can use: it exports no `flb_log_print`"
        );
    }

    #[test]
    fn size_of_a_symbol() {
        assert_eq!(symbol_size(ptr::null()), None);
        let text = symbol(c"malloc");
        assert!(symbol_size(text).is_some_and(|size| size > 0));
    }
}
