//! Quick looks at bytes, for anything that may have to be hidden.
//!
//! Most events hold no secret, and most bodies none either. So bytes are first looked at
//! in blocks of 32 for three letters in a row that names and forms of secrets have. Where
//! such letters are found, a few more steps decide; only then the rules are asked. A quick
//! look may be wrong in one direction: it finds something where nothing is.
//!
//! Letters are found as in Teddy (Hyperscan, aho-corasick): the halves of a byte are
//! looked up in two tables of 16 entries, of which each has a bit for each of eight groups
//! of letters.

use std::ops::{Range, Shr as _};

use fearless_simd::prelude::*;
use fearless_simd::{Level, mask8x32, u8x32};

use crate::doc::escape::unescape;
use crate::doc::json::Json;
use crate::doc::msgpack::{HeadKind, Msgpack};
use crate::doc::{AnyDoc, Doc, Kind, Malformed};
use crate::stage::redact::annotation::is_copy;
use crate::stage::redact::roles::Class;
use crate::stage::redact::scan::{from, is_json_space, run};
use crate::stage::redact::spans::Spans;
use crate::stage::redact::words::Command;
use crate::stage::redact::{Redactor, Settings, net};

/// Bytes looked at in one step.
const BLOCK: usize = 32;

/// Bytes that a step needs: the letters at the last place of a block, a quote and a colon.
const REACH: usize = BLOCK + 4;

/// The last letters of names of members that matter; each group is a bit, from the lowest.
/// Case is not told apart. They count where a quote and a colon follow.
const ENDINGS: [&str; 3] = [
    "e64 pwd swd ase ord dsn lue",
    "ret key ket rgs als ken and ied ind",
    "dpw env ing fig ata",
];

/// The bits of [`ENDINGS`].
const NAMES: u8 = 0b111;

/// What may stand between the letters of a name, where a name has it among the last three.
const SEPARATORS: &[u8] = b"-_. ";

/// The bit of [`SEPARATORS`].
const SEPARATED: u8 = 0b1000;

/// Three letters in a row.
struct Letters(&'static [u8], &'static [u8], &'static [u8]);

/// Letters that count anywhere; the groups are the bits after those of names.
const FORMS: [&[Letters]; 4] = [
    // `://`; the dashes of PEM; `last-applied`; `serviceaccountjson`.
    &[
        Letters(b":", b"/", b"/"),
        Letters(b"-", b"-", b"-"),
        Letters(b"t", b"-", b"a"),
        Letters(b"jJ", b"sS", b"oO"),
    ],
    // `authorization`, `AIza`; the beginning of a document in a string.
    &[Letters(b"iI", b"zZ", b"aA"), Letters(b"\" nrt", b"{[", ANY)],
    // `hvs.`, `LS0tLS1`, `xox?-`, `glpat-`.
    &[
        Letters(b"v", b"sb", b"."),
        Letters(b"L", b"S", b"0"),
        Letters(b"x", b"o", b"x"),
        Letters(b"g", b"l", b"p"),
    ],
    // `gh?_`, `…_pat_`, `sk_live_`, `npm_`; `eyJ`; `kapp.k14s.io`.
    &[
        Letters(b"h", b"pousr", b"_"),
        Letters(b"a", b"t", b"_"),
        Letters(b"v", b"e", b"_"),
        Letters(b"p", b"m", b"_"),
        Letters(b"e", b"y", b"J"),
        Letters(b"k", b"1", b"4"),
    ],
];

/// Any letter: one of each half.
const ANY: &[u8] = b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff";

/// A table for the low or high half of a byte: a bit for each group.
type Table = [u8; BLOCK];

/// Tables for the first, second and third letter: low halves, high halves.
static TABLES: [[Table; 2]; 3] = tables();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated at compile time: an error stops the build"
)]
const fn tables() -> [[Table; 2]; 3] {
    let mut tables = [[[0; BLOCK]; 2]; 3];
    let mut group = 0;
    while group < ENDINGS.len() {
        let letters = ENDINGS[group].as_bytes();
        let mut at = 0;
        while at < letters.len() {
            // Three letters and a blank.
            if at % 4 < 3 {
                let upper = letters[at].to_ascii_uppercase();
                tables[at % 4] = with(tables[at % 4], &[letters[at], upper], 1 << group);
            }
            at += 1;
        }
        group += 1;
    }
    let mut place = 0;
    while place < 3 {
        tables[place] = with(tables[place], SEPARATORS, SEPARATED);
        let mut group = 0;
        while group < FORMS.len() {
            let mut form = 0;
            while form < FORMS[group].len() {
                let Letters(first, second, third) = FORMS[group][form];
                let letters = [first, second, third][place];
                tables[place] = with(tables[place], letters, SEPARATED << (group + 1));
                form += 1;
            }
            group += 1;
        }
        place += 1;
    }
    tables
}

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "evaluated at compile time: an error stops the build"
)]
const fn with(mut tables: [Table; 2], letters: &[u8], group: u8) -> [Table; 2] {
    let mut at = 0;
    while at < letters.len() {
        let byte = letters[at] as usize;
        // Shuffles work within halves of a block: both have the table.
        let mut half = 0;
        while half < BLOCK {
            tables[0][half + (byte & 0xf)] |= group;
            tables[1][half + (byte >> 4)] |= group;
            half += 16;
        }
        at += 1;
    }
    tables
}

/// Places in a text that are worth a closer look.
struct Candidates<'t> {
    text: &'t [u8],
    wanted: Wanted,
    /// The beginning of the next block.
    next: usize,
    /// Blocks with candidates: where they begin, and a bit for each candidate.
    found: [(usize, u32); BATCH],
    /// The number of those blocks, and of those that have been visited.
    count: usize,
    visited: usize,
    /// The block that is being visited: where it begins, and its candidates that are left.
    start: usize,
    left: u32,
}

/// Blocks with candidates that are collected at once: each start costs as much as some blocks.
const BATCH: usize = 8;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// Secrets known by their form.
    Forms,
    /// Names of members and the structure of JSON as well.
    Json,
}

impl<'t> Candidates<'t> {
    fn new(text: &'t [u8], wanted: Wanted) -> Candidates<'t> {
        Candidates {
            text,
            wanted,
            next: 0,
            found: [(0, 0); BATCH],
            count: 0,
            visited: 0,
            start: 0,
            left: 0,
        }
    }

    /// Collects the next blocks with candidates.
    #[inline(never)]
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    fn advance(&mut self) {
        match Level::new().as_avx2() {
            Some(avx2) => avx2.vectorize(
                #[inline(always)]
                || self.advance_with(avx2),
            ),
            // Without instructions for looking up bytes, there is nothing to be won.
            None => self.advance_plainly(),
        }
    }

    #[inline(never)]
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
    fn advance(&mut self) {
        fearless_simd::dispatch!(Level::baseline(), simd => self.advance_with(simd));
    }

    /// Collects byte by byte.
    #[cfg(any(test, target_arch = "x86", target_arch = "x86_64"))]
    fn advance_plainly(&mut self) {
        let is_json = self.wanted == Wanted::Json;
        self.collect(|block| {
            let mut found = 0;
            for (place, letters) in block.windows(REACH - BLOCK + 1).enumerate() {
                let &[first, second, third, quote, colon] = letters else {
                    continue;
                };
                let [a, b, c] = [(0, first), (1, second), (2, third)].map(groups_of);
                let is_quote = quote == b'"';
                let groups = if is_json && is_quote && colon == b':' {
                    a & b & c | (a | b | c) & SEPARATED
                } else {
                    a & b & c & !(NAMES | SEPARATED)
                };
                let unusual = is_json && (first == b'\\' || is_quote && colon <= b' ');
                found |= u32::from(groups != 0 || unusual) << place;
            }
            found
        });
    }

    // All that it calls has to be inlined into it, to be compiled for the same registers.
    #[inline(always)]
    #[expect(clippy::as_conversions, reason = "there are 32 lanes")]
    fn advance_with<S: Simd>(&mut self, simd: S) {
        let lanes = |bytes: &[u8; BLOCK]| u8x32::from_slice(simd, bytes);
        let splat = |byte| u8x32::splat(simd, byte);
        let tables = TABLES.each_ref().map(|halves| halves.each_ref().map(lanes));
        let ([first_low, first_high], [second_low, second_high], [third_low, third_high]) =
            tables.into();
        let is_json = self.wanted == Wanted::Json;
        // The groups that count anywhere, and those that count in the name of a member.
        let anywhere = splat(!(NAMES | SEPARATED));
        let named = if is_json { splat(u8::MAX) } else { anywhere };
        let structure = mask8x32::splat(simd, is_json);
        self.collect(
            #[inline(always)]
            |block| {
                let [first @ .., _, _, _, _] = block;
                let [_, second @ .., _, _, _] = block;
                let [_, _, third @ .., _, _] = block;
                let [_, _, _, quote @ .., _] = block;
                let [_, _, _, _, colon @ ..] = block;
                let (first, second, third) = (lanes(first), lanes(second), lanes(third));
                let (quote, colon) = (lanes(quote).simd_eq(b'"'), lanes(colon));
                let first_groups = first_low.swizzle_dyn_within_blocks(first & 0xf)
                    & first_high.swizzle_dyn_within_blocks(first.shr(4));
                let second_groups = second_low.swizzle_dyn_within_blocks(second & 0xf)
                    & second_high.swizzle_dyn_within_blocks(second.shr(4));
                let third_groups = third_low.swizzle_dyn_within_blocks(third & 0xf)
                    & third_high.swizzle_dyn_within_blocks(third.shr(4));
                let key = quote & colon.simd_eq(b':');
                let separated = (first_groups | second_groups | third_groups) & SEPARATED;
                let groups = (first_groups & second_groups & third_groups | separated)
                    & key.select(named, anywhere);
                let unusual = (first.simd_eq(b'\\') | quote & colon.simd_le(b' ')) & structure;
                !(groups.simd_eq(0) & !unusual).to_bitmask() as u32
            },
        );
    }

    /// Collects blocks with candidates, which `look` finds in a block.
    #[inline(always)]
    fn collect(&mut self, look: impl Fn(&[u8; REACH]) -> u32) {
        let mut rest = from(self.text, self.next);
        let mut places = self.found.iter_mut();
        let mut padded;
        self.visited = 0;
        while !rest.is_empty() {
            let block = match rest.first_chunk() {
                Some(block) => block,
                None => {
                    padded = [0; REACH];
                    if let Some(front) = padded.get_mut(..rest.len()) {
                        front.copy_from_slice(rest);
                    }
                    &padded
                }
            };
            let found = look(block);
            if found != 0 {
                let Some(place) = places.next() else {
                    break;
                };
                *place = (self.text.len().saturating_sub(rest.len()), found);
            }
            rest = rest.get(BLOCK..).unwrap_or_default();
        }
        self.count = BATCH.saturating_sub(places.len());
        self.next = self.text.len().saturating_sub(rest.len());
    }
}

impl Iterator for Candidates<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.left == 0 {
            if self.visited == self.count {
                if self.next >= self.text.len() {
                    return None;
                }
                self.advance();
                if self.count == 0 {
                    return None;
                }
            }
            (self.start, self.left) = self.found.get(self.visited).copied()?;
            self.visited = self.visited.saturating_add(1);
        }
        let place = usize::try_from(self.left.trailing_zeros()).ok()?;
        self.left &= self.left.wrapping_sub(1);
        self.start.checked_add(place)
    }
}

/// The groups of a letter at a place.
#[cfg(any(test, target_arch = "x86", target_arch = "x86_64"))]
fn groups_of((place, letter): (usize, u8)) -> u8 {
    let entry = |half: usize, nibble: u8| {
        let table = TABLES.get(place).and_then(|halves| halves.get(half))?;
        table.get(usize::from(nibble)).copied()
    };
    entry(0, letter & 0xf).unwrap_or_default() & entry(1, letter >> 4).unwrap_or_default()
}

/// True if a text may hold something that the net catches.
pub(super) fn may_catch(text: &[u8]) -> bool {
    Candidates::new(text, Wanted::Forms).any(|at| is_caught(text, at))
}

/// True if a text in JSON may hold something that the net catches, or letters that are
/// escaped and could be any.
pub(super) fn may_catch_escaped(text: &[u8]) -> bool {
    Candidates::new(text, Wanted::Json).any(|at| match from(text, at) {
        [b'\\', b'u', digits @ ..] => !is_escape_of_server(digits),
        [b'\\', b'/', ..] => true,
        [b'\\', ..] | [_, _, _, b'"', b':', ..] => false,
        _ => is_caught(text, at),
    })
}

/// Checks letters of a form.
#[inline(never)]
fn is_caught(text: &[u8], at: usize) -> bool {
    let begins = |back: usize| at.checked_sub(back);
    let is_token = |back| begins(back).is_some_and(|begin| net::token(text, begin).is_some());
    match from(text, at) {
        [b':', b'/', b'/', ..] => net::password_of_url(text, at).is_some(),
        [b'-', b'-', b'-', ..] => net::private_key(text, at).is_some(),
        [b'e', b'y', b'J', ..] => net::web_token(text, at).is_some(),
        [b'L', b'S', b'0', ..] => net::private_key_in_base64(text, at).is_some(),
        [_, _, b'_', ..] => is_token(1) || is_token(5) || is_token(6) || is_token(8),
        [b'v', _, b'.', ..] => is_token(1),
        [b'x', b'o', b'x', ..] | [b'g', b'l', b'p', ..] => is_token(0),
        [i, z, a, rest @ ..] if [*i, *z, *a].eq_ignore_ascii_case(b"iza") => {
            // The group of the API is called so.
            let is_header = || begins(6).is_some_and(|at| net::authorization(text, at).is_some());
            is_token(1) || !rest.starts_with(b"tion.") && is_header()
        }
        _ => false,
    }
}

/// Looks at values, with the buffers that it takes.
#[derive(Debug, Default)]
pub(super) struct Glance {
    plain: Vec<u8>,
    spans: Spans,
}

impl Glance {
    /// The first place in a part of a document at which a rule for names and texts may hide
    /// something; in msgpack, the beginning of the part.
    pub(super) fn first(
        &mut self,
        settings: &Settings,
        doc: AnyDoc<'_>,
        part: Range<usize>,
    ) -> Option<usize> {
        let begin = part.start;
        let text = doc.bytes().get(part).unwrap_or_default();
        match doc {
            AnyDoc::Json(_) => {
                let mut look = Look {
                    text,
                    settings,
                    glance: self,
                    is_after_env: false,
                };
                let place = Candidates::new(text, Wanted::Json).find(|at| look.matters(*at))?;
                begin.checked_add(place)
            }
            AnyDoc::Msgpack(_) => {
                let matters = may_catch(text) || has_strings_that_matter(settings, text);
                matters.then_some(begin)
            }
        }
    }
}

/// A look at a value in JSON.
struct Look<'l> {
    text: &'l [u8],
    settings: &'l Settings,
    glance: &'l mut Glance,
    /// True after a list of environment variables: any value may be one of theirs.
    is_after_env: bool,
}

impl Look<'_> {
    #[inline]
    fn matters(&mut self, at: usize) -> bool {
        match from(self.text, at) {
            // By far the most.
            [b'i', b'n', b'd', b'"', b':', b'"', first, ..]
                if !matches!(first, b'S' | b'C' | b'T') =>
            {
                false
            }
            [b'a', b't', b'a', b'"', b':', ..] if self.ends(at, b"metadata") => false,
            [_, b'"', b'.', b'"', b':', ..] => false,
            rest => self.letters_matter(at, rest),
        }
    }

    /// True if a name ends with the three letters at a place.
    #[inline]
    fn ends(&self, at: usize, name: &[u8]) -> bool {
        let text = self.text.get(..at.saturating_add(3));
        text.is_some_and(|text| text.ends_with(name))
    }

    /// Checks letters that were found, with what follows them.
    fn letters_matter(&mut self, at: usize, rest: &[u8]) -> bool {
        match rest {
            [b'\\', b'/', ..] => true,
            [b'\\', b'u', digits @ ..] => !is_escape_of_server(digits),
            [b'\\', ..] => false,
            [_, _, _, b'"', b':', ..] => self.member_matters(at.saturating_add(3)),
            // White space before a colon.
            [_, _, _, b'"', byte, after @ ..] if is_json_space(*byte) => {
                from(after, run(after, 0, is_json_space)).starts_with(b":")
            }
            // The end of a name whose last three letters others have.
            [b'j' | b'J', _, _, _, b'"', b':', ..] => self.member_matters(at.saturating_add(4)),
            [_, b'{' | b'[', ..] => self.begins_document(at),
            [b't', b'-', b'a', ..] => has_value(rest, b"t-applied-configuration\":"),
            [b'k', b'1', b'4', ..] => has_value(rest, b"k14s.io/original\":"),
            _ => is_caught(self.text, at),
        }
    }

    /// Checks a member, whose name ends at a quote.
    fn member_matters(&mut self, quote: usize) -> bool {
        let before = self.text.get(..quote).unwrap_or_default();
        let names = &self.settings.names;
        let value = run(self.text, quote.saturating_add(2), is_json_space);
        let begin = || {
            let before = before.iter().rposition(|byte| *byte == b'"');
            before.map_or(0, |before| before.saturating_add(1))
        };
        match before {
            [.., b'"', b'k', b'i', b'n', b'd'] => self.kind_matters(value),
            [.., b'"', b'e', b'n', b'v'] => self.env_matters(value),
            [.., b'"', b'k', b'e', b'y'] => false,
            [.., b'"', b'a', b'r', b'g', b's']
            | [.., b'"', b'c', b'o', b'm', b'm', b'a', b'n', b'd'] => {
                self.words_matter(value).unwrap_or(true)
            }
            [.., b'"', b'v', b'a', b'l', b'u', b'e'] => self.value_matters(begin(), value),
            [.., b'l', b'i', b'e', b'd'] => {
                is_copy(from(before, begin())) && !is_nothing(from(self.text, value))
            }
            _ if !names.is_plausible(before) => false,
            _ => {
                let name = from(before, begin());
                !is_nothing(from(self.text, value))
                    && (names.is_secret_member(name) || is_copy(name))
            }
        }
    }

    /// True for the kinds of objects that are judged by their kind.
    fn kind_matters(&self, value: usize) -> bool {
        let Some(kind) = from(self.text, value).strip_prefix(b"\"") else {
            return false;
        };
        let kind = kind
            .get(..run(kind, 0, |byte| byte != b'"'))
            .unwrap_or_default();
        match Class::of_kind(kind.strip_suffix(b"List").unwrap_or(kind)) {
            Class::None => matches!(kind, b"Status" | b"Table"),
            Class::SigningRequest => self.settings.is_on(Redactor::Csr),
            _ => true,
        }
    }

    /// Checks a list of environment variables: it matters itself if it has anything but maps,
    /// and otherwise where values follow.
    fn env_matters(&mut self, value: usize) -> bool {
        let json = Json(self.text);
        let mut find = || {
            let Kind::List = json.kind(value)? else {
                return Ok(false);
            };
            let mut list = json.open_list(value)?;
            while let Some(item) = json.next_item(&mut list)? {
                self.is_after_env = true;
                if json.kind(item)? != Kind::Map {
                    return Ok(true);
                }
                list.next = json.end(item)?;
            }
            Ok(false)
        };
        let found: Result<bool, Malformed> = find();
        found.unwrap_or(true)
    }

    /// Checks the words of a command.
    fn words_matter(&mut self, value: usize) -> Result<bool, Malformed> {
        let json = Json(self.text);
        if json.kind(value)? != Kind::List || !self.settings.is_on(Redactor::Args) {
            return Ok(false);
        }
        let Glance { plain, spans } = &mut *self.glance;
        let mode = self.settings.mode(Redactor::Args);
        let mut command = Command::new();
        let mut list = json.open_list(value)?;
        while let Some(item) = json.next_item(&mut list)? {
            let (word, end) = json.value(item)?;
            list.next = end;
            let Some(word) = word else {
                return Ok(true);
            };
            plain.clear();
            unescape(word.raw, plain);
            spans.clear();
            command.word(plain, mode, &self.settings.names, Redactor::Args, spans);
            if spans.count() > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Checks a value that has a name beside it: the name begins the map, and nothing follows.
    fn value_matters(&self, key: usize, value: usize) -> bool {
        if is_nothing(from(self.text, value)) {
            return false;
        }
        let is_pair = || {
            let before = self.text.get(..key)?.strip_suffix(b"\",\"")?;
            let begin = before.iter().rposition(|byte| *byte == b'"')?;
            let name = from(before, begin.saturating_add(1));
            let map = before.get(..begin)?.strip_suffix(b"\":")?;
            let is_map = map.ends_with(b"{\"name") || map.ends_with(b"{\"key");
            let end = Json(self.text).end(value).ok()?;
            let is_whole = from(self.text, end).starts_with(b"}");
            (is_map && is_whole && !name.is_empty()).then_some(name)
        };
        let is_plain = |name| !self.settings.names.is_secret_name(name);
        self.is_after_env || !is_pair().is_some_and(is_plain)
    }

    /// True if a bracket after a place is the first letter of a string, white space aside.
    fn begins_document(&self, at: usize) -> bool {
        let mut before = self.text.get(..=at).unwrap_or_default();
        while let [rest @ .., b' '] | [rest @ .., b'\\', b'n' | b'r' | b't'] = before {
            before = rest;
        }
        before.ends_with(b"\"")
    }
}

/// True if a text begins with the end of a key whose value is something.
fn has_value(text: &[u8], key: &[u8]) -> bool {
    let value = text.strip_prefix(key);
    value.is_some_and(|value| !is_nothing(from(value, run(value, 0, is_json_space))))
}

/// True for a text that begins with a value in which there is nothing to be hidden.
fn is_nothing(value: &[u8]) -> bool {
    matches!(
        value,
        [b'"', b'"', ..]
            | [b'{', b'}', ..]
            | [b'[', b']', ..]
            | [b'0', b',' | b'}' | b']', ..]
            | [b't' | b'f' | b'n', ..]
    )
}

/// True for the digits of escapes that Go's encoder writes: control characters, `<`, `>`,
/// `&`, and what is not ASCII.
fn is_escape_of_server(digits: &[u8]) -> bool {
    match digits {
        [b'0', b'0', b'0' | b'1', ..] => true,
        [b'0', b'0', b'2', b'6', ..] => true,
        [b'0', b'0', b'3', b'c' | b'e' | b'C' | b'E', ..] => true,
        [b'0', b'0', ..] => false,
        _ => true,
    }
}

/// True if a string of a msgpack value may be a secret name or a document.
fn has_strings_that_matter(settings: &Settings, value: &[u8]) -> bool {
    let doc = Msgpack(value);
    let mut at = 0;
    while at < value.len() {
        let Ok(head) = doc.head(at) else {
            return true;
        };
        at = head.content;
        match head.kind {
            HeadKind::Str(length) | HeadKind::Bin(length) => {
                let Ok(text) = doc.content(head, length) else {
                    return true;
                };
                if string_matters(settings, text) {
                    return true;
                }
                at = at.saturating_add(length);
            }
            HeadKind::Ext(_, length) => at = at.saturating_add(length),
            _ => {}
        }
    }
    false
}

fn string_matters(settings: &Settings, text: &[u8]) -> bool {
    let solid = text.iter().find(|byte| !byte.is_ascii_whitespace());
    let kind = text.strip_suffix(b"List").unwrap_or(text);
    matches!(solid, Some(b'{' | b'['))
        || settings.names.is_secret_name(text)
        || settings.names.is_secret_member(text)
        || matches!(text, b"env" | b"args" | b"command" | b"Status" | b"Table")
        || Class::of_kind(kind) != Class::None
        || is_copy(text)
        // The length before a longer text may look like a letter of it.
        || text.len() >= BLOCK && may_catch(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::redact::names::{self, Names};

    fn hides(json: &str) -> bool {
        let mut glance = Glance::default();
        let doc = Json(json.as_bytes());
        glance
            .first(&Settings::default(), doc.into(), 0..json.len())
            .is_some()
    }

    #[test]
    fn every_secret_name_is_seen() {
        let names = Names::default();
        for name in names::all() {
            let others = [
                format!("x-{name}"),
                format!("x.{name}"),
                format!("x/{name}"),
                name.to_uppercase(),
            ];
            for name in [name.to_owned()].iter().chain(&others) {
                for value in ["1", "\"x\"", "{\"a\":1}", "[1]"] {
                    let key = format!("{{\"{name}\":{value}}}");
                    let spaced = format!("{{\"{name}\" : {value}}}");
                    let pair = format!("{{\"name\":\"{name}\",\"value\":{value}}}");
                    for room in (0..40).map(|room| " ".repeat(room)) {
                        if names.is_secret_member(name.as_bytes()) {
                            assert!(hides(&format!("{room}{key}")), "{key}");
                            assert!(hides(&format!("{room}{spaced}")), "{spaced}");
                        }
                        if names.is_secret_name(name.as_bytes()) {
                            assert!(hides(&format!("{room}{pair}")), "{pair}");
                        }
                    }
                }
            }
        }
        for name in [
            "api_key",
            "pass.word",
            "client-secret",
            "Data-Base-Pass-Word",
            "bind_pw",
            "user-data-base-64",
            "api-ke-y",
            "passwor_d",
            "token-",
        ] {
            assert!(names.is_secret_member(name.as_bytes()), "{name}");
            assert!(hides(&format!("{{\"{name}\":1}}")), "{name}");
        }
    }

    #[test]
    fn everyday_bodies_are_not_walked() {
        for body in [
            r#"{"kind":"Lease","apiVersion":"v1","metadata":{"name":"n","managedFields":[{"fieldsV1":{"f:spec":{"k:{\"type\":\"Ready\"}":{".":{},"f:args":{},"f:env":{}}}}]},"spec":{"renewTime":"2026-01-01T00:00:00.0Z"}}"#,
            r#"{"status":{"conditions":[{"type":"Ready","reason":"x","message":"a \u003cb\u003e \"c\""}],"key":"x"}}"#,
            r#"{"a":[{"name":"LOG_LEVEL","value":"x"}],"tolerations":[{"key":"a","operator":"Exists"}]}"#,
            r#"{"env":[{"name":"POD","valueFrom":{"fieldRef":{"fieldPath":"x"}}}],"args":["--v=2","sh -c \"x\""]}"#,
            r#"{"password":"","token":{},"apiKey":null}"#,
            "{ \"a\": [ 1 , \"b\" ] }",
        ] {
            assert!(!hides(body), "{body}");
        }
    }

    #[test]
    fn values_and_words_are_seen() {
        for body in [
            r#"{"env":[{"name":"A","value":"x"}]}"#,
            r#"{"env":["A=b"]}"#,
            r#"{"env": [ {} , 1 ]}"#,
            r#"{"args":["--token=x"]}"#,
            r#"{"command":["a", "--token", "x"]}"#,
            r#"{"args":[1]}"#,
            r#"{"x":[{"value":"x","name":"token"}]}"#,
            r#"{"x":[{"name":"a","value":"x","name":"token"}]}"#,
            r#"{"x":[{"key":"token","value":5}]}"#,
        ] {
            assert!(hides(body), "{body}");
        }
    }

    #[test]
    fn documents_kinds_and_escapes_are_seen() {
        for body in [
            r#"{"a":"{\"b\":1}"}"#,
            r#"{"a":"[1]"}"#,
            r#"{"a":" {}"}"#,
            r#"{"a":"\n \t{}"}"#,
            r#"{"pass\u0077or\u0064":1}"#,
            r#"{"a":"https:\/\/u:p@h"}"#,
            r#"{"kind":"Status"}"#,
            r#"{"kind": "SecretList"}"#,
            r#"{"kapp.k14s.io/original":"x"}"#,
            r#"{"kubectl.kubernetes.io/last-applied-configuration":"x"}"#,
            r#"{"banzaicloud.com/last-applied":"x"}"#,
            r#"{"objectset.rio.cattle.io/applied":"x"}"#,
            r#"{"openshift.io/encoded-deployment-config":"x"}"#,
        ] {
            assert!(hides(body), "{body}");
        }
    }

    #[test]
    fn candidates_are_those_of_a_plain_loop() {
        let alphabet = b"\"\"::retkeyatwpdivn64-_.\\/{[ghp_LS0xolx";
        let mut number = 0x9e37_79b9_7f4a_7c15u64;
        for length in 0..400 {
            let text: Vec<u8> = std::iter::repeat_with(|| {
                number ^= number << 13;
                number ^= number >> 7;
                number ^= number << 17;
                alphabet[number as usize % alphabet.len()]
            })
            .take(length)
            .collect();
            for wanted in [Wanted::Forms, Wanted::Json] {
                let found: Vec<usize> = Candidates::new(&text, wanted).collect();
                let mut plain = Candidates::new(&text, wanted);
                let mut places = Vec::new();
                loop {
                    plain.advance_plainly();
                    if plain.count == 0 {
                        break;
                    }
                    while plain.left != 0 || plain.visited < plain.count {
                        places.extend(plain.next());
                    }
                }
                assert_eq!(found, places, "{}", String::from_utf8_lossy(&text));
            }
        }
    }

    #[test]
    fn what_the_net_catches_is_seen_at_any_place() {
        let long = "0a".repeat(20);
        for secret in [
            format!("eyJ{long}.eyJ{long}.x"),
            format!("ghp_{long}"),
            format!("ghs_{long}"),
            format!("github_pat_{long}"),
            format!("glpat-{long}"),
            format!("xoxb-{long}"),
            format!("sk_live_{long}"),
            format!("rk_live_{long}"),
            format!("hvs.{long}"),
            format!("hvb.{long}"),
            format!("dckr_pat_{long}"),
            format!("npm_{long}"),
            format!("AIza{long}"),
            "-----BEGIN EC PRIVATE KEY-----".to_owned(),
            "http://u:p@h".to_owned(),
            "AUTHORIZATION: Bearer x".to_owned(),
            "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCg==".to_owned(),
        ] {
            for room in 0..70 {
                let text = " ".repeat(room) + &secret;
                assert!(may_catch(text.as_bytes()), "{text}");
                let mut spans = Spans::default();
                net::catch(text.as_bytes(), &mut spans);
                assert_eq!(spans.count(), 1, "{text}");
            }
        }
        let words = "a plain text about nothing: https://example.com/x?a=b, --flag, authorization.k8s.io/reason";
        assert!(!may_catch(words.as_bytes()));
        assert!(!may_catch(b""));
    }
}
