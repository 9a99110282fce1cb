//! Reading a section out of the host's instance: name, options, settings.
//!
//! An instance is read by offsets, in a table per plugin kind with a row for each layout.
//! The layout of the host's version is not trusted alone: an instance's name and its list
//! of properties are compared with what the host's own functions answer before
//! anything is used.

mod filter;
#[cfg(feature = "input")]
mod input;
mod output;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::mem::offset_of;
use std::ptr;

use super::bindings as abi;
use super::host::{Version, lossy, optional};
use kube_audit_plugin::Properties;

use filter::filters_of;
pub(super) use filter::{filter_metrics, filter_name, read_filter};
#[cfg(feature = "input")]
pub(super) use input::{InputSection, Tag, chunks_of, input_name, read_input};
pub(super) use output::{OutputSection, RetryLimit, output_name, outputs_beside, read_output};

/// The part that every section has.
#[derive(Debug)]
pub(super) struct Section {
    /// The host's number of the log level; negative while the host has none.
    pub log_level: c_int,
    /// The options in the order of the configuration.
    pub properties: Properties,
}

/// The reason why a section cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SectionError {
    /// The offsets of this version do not fit.
    #[error(
        "this Fluent Bit reports version {version} but keeps the {what} of an instance in another \
         place: a build with layouts that this plugin does not know; use an official build"
    )]
    Layout {
        version: Version,
        what: &'static str,
    },
    /// An option's value is not text.
    #[error("option `{0}`: the value is not UTF-8")]
    NotUtf8(String),
    /// `Port` is outside of the numbers of ports.
    #[error("option `Port` is {0}: use a number from 1 to 65535")]
    Port(c_int),
}

/// A field of an instance: a `T` at an offset in bytes.
struct Field<T> {
    offset: usize,
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Field<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Field<T> {}

/// The field at an offset.
const fn at<T>(offset: usize) -> Field<T> {
    let kind = PhantomData;
    Field { offset, kind }
}

impl<T: Copy> Field<T> {
    /// The same field that many bytes further on.
    #[cfg(feature = "input")]
    const fn behind(self, bytes: usize) -> Field<T> {
        at(self.offset.wrapping_add(bytes))
    }

    /// The field's address.
    fn place(self, instance: *const c_void) -> *const T {
        instance.wrapping_byte_add(self.offset).cast()
    }

    /// Reads the field.
    ///
    /// # Safety
    /// `instance` has the layout that the field belongs to, and no other thread
    /// changes it.
    unsafe fn read(self, instance: *const c_void) -> T {
        // SAFETY: the caller guarantees an aligned `T` there.
        unsafe { self.place(instance).read() }
    }
}

/// The row for a version, from a table that begins with the newest layout.
fn layout_of<L: Copy>(layouts: &[(Version, L)], version: Version, oldest: L) -> L {
    let row = layouts.iter().find(|(since, _)| version >= *since);
    row.map_or(oldest, |(_, layout)| *layout)
}

/// Offsets of the fields that every instance has.
#[derive(Clone, Copy)]
struct CommonLayout {
    log_level: Field<c_int>,
    name: Field<[c_char; 32]>,
    /// Null if it is not set.
    alias: Field<*const c_char>,
    properties: Field<abi::mk_list>,
}

impl CommonLayout {
    /// Reads a section once the host's functions confirm where its parts are.
    ///
    /// # Safety
    /// `instance` is a live instance that no other thread changes, `name` is the host's
    /// name for it, and `get` is the host's lookup of a property in it.
    unsafe fn read(
        self,
        version: Version,
        instance: *const c_void,
        name: *const c_char,
        get: impl Fn(&CStr) -> *const c_char,
    ) -> Result<Section, SectionError> {
        let layout = |what| SectionError::Layout { version, what };

        // SAFETY: within every instance, aligned; a pointer that is only compared.
        let alias = unsafe { self.alias.read(instance) };
        // The host answers with one of these two places.
        let expected = if alias.is_null() {
            self.name.place(instance).cast()
        } else {
            alias
        };
        if name.is_null() || !ptr::eq(name, expected) {
            return Err(layout("name"));
        }

        // SAFETY: within every instance, which the caller vouches for.
        let items = unsafe { items(self.properties.place(instance)) };
        let items = items.ok_or_else(|| layout("properties"))?;
        let mut properties = Properties::new();
        for (at, item) in items.iter().enumerate() {
            // SAFETY: a key is a NUL-terminated string that lives as long as the instance.
            let key = unsafe { CStr::from_ptr(item.key) };
            let is_first = items.iter().take(at).all(|earlier| {
                // SAFETY: as above.
                let earlier = unsafe { CStr::from_ptr(earlier.key) };
                !earlier.to_bytes().eq_ignore_ascii_case(key.to_bytes())
            });
            // The host finds the first property of a name only, by its place.
            if is_first && !ptr::eq(get(key), item.val) {
                return Err(layout("properties"));
            }
            let key = lossy(key);
            // SAFETY: null or a NUL-terminated string, as the host's lookup confirms.
            let value = unsafe { owned(&key, item.val) }?.unwrap_or_default();
            properties.push((key, value));
        }
        Ok(Section {
            // SAFETY: name and properties confirm the layout.
            log_level: unsafe { self.log_level.read(instance) },
            properties,
        })
    }
}

/// The items of a property list in order, `None` unless it is a sound circular list.
///
/// # Safety
/// As for [`nodes`]; every node of the list is part of a property.
unsafe fn items(head: *const abi::mk_list) -> Option<Vec<abi::flb_kv>> {
    // SAFETY: the caller guarantees it.
    let nodes = unsafe { nodes(head) }?;
    let item = |node: &*const abi::mk_list| {
        let item = node.wrapping_byte_sub(offset_of!(abi::flb_kv, _head));
        // SAFETY: the caller guarantees that the node is part of a property.
        let item = unsafe { item.cast::<abi::flb_kv>().read() };
        (!item.key.is_null()).then_some(item)
    };
    nodes.iter().map(item).collect()
}

/// The nodes of a list in order, `None` unless it is a sound circular list.
///
/// # Safety
/// `head` may be read as a list head; a pointer in it that looks like one is one.
unsafe fn nodes(head: *const abi::mk_list) -> Option<Vec<*const abi::mk_list>> {
    /// Far more than any list has that is read here, a list of chunks included.
    const MOST: usize = 1 << 24;

    let mut nodes = Vec::new();
    let mut node = head;
    while nodes.len() < MOST {
        // SAFETY: the head, or a sound node.
        node = unsafe { next(node) }?;
        if ptr::eq(node, head) {
            return Some(nodes);
        }
        nodes.push(node);
    }
    None
}

/// The next node of a list, `None` unless it is linked back.
///
/// # Safety
/// `node` may be read; a pointer in it that looks like one is one.
unsafe fn next(node: *const abi::mk_list) -> Option<*const abi::mk_list> {
    /// Aligned, and not in the pages that are never mapped.
    fn looks_like_a_pointer<T>(pointer: *const T) -> bool {
        pointer.is_aligned() && pointer.addr() >= 65_536
    }

    // SAFETY: the caller guarantees it.
    let next: *const abi::mk_list = unsafe { (*node).next };
    if !looks_like_a_pointer(next) {
        return None;
    }
    // SAFETY: it looks like a pointer, which the caller vouches for.
    let back = unsafe { (*next).prev };
    ptr::eq(back, node).then_some(next)
}

/// The host's text for an option; `None` where it has none.
///
/// # Safety
/// `value` is null or a NUL-terminated string.
unsafe fn owned(option: &str, value: *const c_char) -> Result<Option<String>, SectionError> {
    // SAFETY: the caller guarantees it.
    let Some(value) = (unsafe { optional(value) }) else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(value) => Ok(Some(value.to_owned())),
        Err(_) => Err(SectionError::NotUtf8(option.to_owned())),
    }
}

#[cfg(test)]
#[allow(clippy::multiple_unsafe_ops_per_block, reason = "tests")]
mod tests {
    use super::*;
    use std::ffi::CString;

    const VERSION: Version = Version(4, 0, 0);

    /// An instance with the fields that every one has.
    #[repr(C)]
    struct Instance {
        properties: abi::mk_list,
        alias: *const c_char,
        name: [c_char; 32],
        log_level: c_int,
    }

    const LAYOUT: CommonLayout = CommonLayout {
        log_level: at(offset_of!(Instance, log_level)),
        name: at(offset_of!(Instance, name)),
        alias: at(offset_of!(Instance, alias)),
        properties: at(offset_of!(Instance, properties)),
    };

    /// An instance as the host builds it; leaked, as its list's nodes point to each other.
    fn instance(properties: &[(&CStr, Option<&CStr>)]) -> *mut Instance {
        let null = abi::mk_list {
            prev: ptr::null_mut(),
            next: ptr::null_mut(),
        };
        let instance: *mut Instance = Box::leak(Box::new(Instance {
            properties: null,
            alias: ptr::null(),
            name: [0; 32],
            log_level: 3,
        }));
        // SAFETY: leaked just now.
        let mut nodes = vec![unsafe { &raw mut (*instance).properties }];
        for (key, value) in properties {
            let item = Box::leak(Box::new(abi::flb_kv {
                key: CString::from(*key).into_raw(),
                val: value.map_or(ptr::null_mut(), |value| CString::from(value).into_raw()),
                _head: null,
            }));
            nodes.push(&raw mut item._head);
        }
        for (at, &node) in nodes.iter().enumerate() {
            let next = nodes[(at + 1) % nodes.len()];
            // SAFETY: leaked nodes, used on this thread only.
            unsafe {
                (*node).next = next;
                (*next).prev = node;
            }
        }
        instance
    }

    /// Reads an instance whose host finds the properties of `found` and the name `name`.
    fn read(
        instance: *const Instance,
        found: *const Instance,
        name: *const c_char,
    ) -> Result<Section, SectionError> {
        let get = |wanted: &CStr| {
            // SAFETY: made by `instance`.
            let items = unsafe { items(&raw const (*found).properties) }.unwrap();
            let same = |item: &&abi::flb_kv| {
                // SAFETY: keys made by `instance`.
                let key = unsafe { CStr::from_ptr(item.key) };
                key.to_bytes().eq_ignore_ascii_case(wanted.to_bytes())
            };
            items
                .iter()
                .find(same)
                .map_or(ptr::null(), |item| item.val.cast_const())
        };
        // SAFETY: made by `instance`, whose strings are NUL-terminated.
        unsafe { LAYOUT.read(VERSION, instance.cast(), name, get) }
    }

    /// Reads an instance whose host confirms everything.
    fn read_confirmed(instance: *const Instance) -> Result<Section, SectionError> {
        read(
            instance,
            instance,
            LAYOUT.name.place(instance.cast()).cast(),
        )
    }

    fn layout(what: &'static str) -> SectionError {
        SectionError::Layout {
            version: VERSION,
            what,
        }
    }

    #[test]
    fn properties_come_in_order_with_repeated_keys() {
        let section = read_confirmed(instance(&[
            (c"record", Some(c"a 1")),
            (c"Policy", Some(c"x")),
            (c"Record", Some(c"b 2")),
            (c"empty", None),
        ]));
        let section = section.unwrap();
        let expected = [
            ("record", "a 1"),
            ("Policy", "x"),
            ("Record", "b 2"),
            ("empty", ""),
        ];
        assert_eq!(
            section.properties,
            expected.map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
        assert_eq!(section.log_level, 3);

        let empty = read_confirmed(instance(&[])).unwrap();
        assert!(empty.properties.is_empty());
    }

    #[test]
    fn places_that_the_host_does_not_confirm_are_refused() {
        let one = instance(&[(c"a", Some(c"1"))]);
        let name = LAYOUT.name.place(one.cast()).cast();
        for found in [instance(&[(c"a", Some(c"1"))]), instance(&[])] {
            assert_eq!(read(one, found, name).unwrap_err(), layout("properties"));
        }
        for name in [c"kube_audit.1".as_ptr(), ptr::null()] {
            assert_eq!(read(one, one, name).unwrap_err(), layout("name"));
        }

        let broken = instance(&[(c"a", Some(c"1")), (c"b", Some(c"2"))]);
        // SAFETY: leaked nodes, used on this thread only.
        unsafe { (*(*broken).properties.next).prev = ptr::null_mut() };
        assert_eq!(read_confirmed(broken).unwrap_err(), layout("properties"));
    }

    #[test]
    fn a_value_that_is_not_text_is_an_error() {
        let error = read_confirmed(instance(&[(c"policy", Some(c"\xff"))])).unwrap_err();
        assert_eq!(error.to_string(), "option `policy`: the value is not UTF-8");
    }

    /// Name and offset of each field of a layout.
    pub(super) type Offsets = Vec<(&'static str, usize)>;

    impl CommonLayout {
        pub(super) fn offsets(&self) -> Offsets {
            vec![
                ("log_level", self.log_level.offset),
                ("name", self.name.offset),
                ("alias", self.alias.offset),
                ("properties", self.properties.offset),
            ]
        }
    }

    /// Compares with offsets that a compiler computed from the headers of every
    /// release: `reference/abi/offsets-ARCH.json` of the directory named by
    /// `KUBE_AUDIT_GROUND_TRUTH`. `later` are fields that some releases lack.
    pub(super) fn compare_with_every_release(
        structure: &str,
        later: &[&str],
        offsets: impl Fn(Version) -> Offsets,
    ) {
        use std::io::Write;

        let Some(truth) = std::env::var_os("KUBE_AUDIT_GROUND_TRUTH") else {
            // Not `eprintln`, which the test harness hides.
            let skipped = "SKIPPED: offsets of every release: KUBE_AUDIT_GROUND_TRUTH is not set";
            writeln!(std::io::stderr(), "{skipped}").unwrap();
            return;
        };
        let file = format!("reference/abi/offsets-{}.json", std::env::consts::ARCH);
        let text = std::fs::read_to_string(std::path::Path::new(&truth).join(file)).unwrap();
        let truth: serde_json::Value = serde_json::from_str(&text).unwrap();
        for range in truth[structure].as_array().unwrap() {
            for end in ["from", "to"] {
                let tag = range[end].as_str().unwrap();
                let mut numbers = tag.trim_start_matches('v').split('.');
                let mut number = || numbers.next().unwrap().parse().unwrap();
                let ours = offsets(Version(number(), number(), number()));
                let fields = range["fields"].as_object().unwrap();
                for (name, offset) in &ours {
                    let theirs = fields[*name][0].as_u64().unwrap();
                    assert_eq!(*offset as u64, theirs, "{tag} {structure}.{name}");
                }
                for name in later {
                    assert_eq!(
                        ours.iter().any(|(known, _)| known == name),
                        fields.contains_key(*name),
                        "{tag} {structure}.{name}"
                    );
                }
            }
        }
    }
}
