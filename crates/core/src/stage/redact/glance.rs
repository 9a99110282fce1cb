//! Quick looks at bytes, for anything that may have to be hidden.
//!
//! Most events hold no secret, and most bodies none either. So bytes are first looked at
//! in blocks of 32 for pairs of letters that every name and form of a secret has. Where
//! such a pair is found, a few more steps decide; only then the rules are asked. A quick
//! look may be wrong in one direction: it finds something where nothing is.
//!
//! Pairs are found as in Teddy (Hyperscan, aho-corasick): the bits of a byte's halves are
//! looked up in two tables of 16 entries, of which each has a bit for each of eight groups
//! of pairs.

use std::ops::Shr as _;

use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch, u8x32};

use crate::doc::AnyDoc;
use crate::doc::msgpack::{HeadKind, Msgpack};
use crate::stage::redact::names::Names;
use crate::stage::redact::net;
use crate::stage::redact::scan::from;

/// Bytes looked at in one step.
const BLOCK: usize = 32;

/// Groups of pairs: the letters that come first, and those that come second. A group
/// has more pairs than are meant; the code that follows a find checks for those.
const PAIRS: [(&[u8], &[u8]); 8] = [
    // The end of a name in a letter.
    (b"adeghlmnprstvwyADEGHLMNPRSTVWY", b"\""),
    // The beginning of a string that may be a document.
    (b"\"", b"{[ \\"),
    // Escapes that the API server does not write; the end of a name in something else.
    (b"\\4]-", b"u/\""),
    // `://`, and the dashes of PEM.
    (b":-", b"/-"),
    // Tokens with `_` after their first letters.
    (b"bkmoprsu", b"_"),
    // `authorization`, `AIza`, `xox?-`.
    (b"zZx", b"aAo"),
    // `eyJ`, `LS0tLS1`.
    (b"yL", b"JS"),
    // `hv?.`, `glpat-`.
    (b"hl", b"vp"),
];

/// The groups whose pairs are about names and structure; the others are the net's.
const STRUCTURE: u8 = 0b111;

/// A table for the low or high half of a byte: a bit for each group.
type Table = [u8; BLOCK];

/// Tables for the first and the second letter of a pair: low halves, high halves.
static TABLES: [[Table; 2]; 2] = tables();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "evaluated at compile time: an error stops the build"
)]
const fn tables() -> [[Table; 2]; 2] {
    let mut tables = [[[0; BLOCK]; 2]; 2];
    let mut group = 0;
    while group < PAIRS.len() {
        let letters = [PAIRS[group].0, PAIRS[group].1];
        let mut place = 0;
        while place < 2 {
            let mut at = 0;
            while at < letters[place].len() {
                let byte = letters[place][at] as usize;
                // Shuffles work within halves of a block: both have the table.
                let mut half = 0;
                while half < BLOCK {
                    tables[place][0][half + (byte & 0xf)] |= 1 << group;
                    tables[place][1][half + (byte >> 4)] |= 1 << group;
                    half += 16;
                }
                at += 1;
            }
            place += 1;
        }
        group += 1;
    }
    tables
}

/// True if a text may hold something that the net catches.
pub(super) fn may_catch(text: &[u8]) -> bool {
    find_pairs(text, Wanted::Net)
}

/// True if a value may hold something that a rule hides.
pub(super) fn may_hide(doc: AnyDoc<'_>, value: usize, end: usize) -> bool {
    let text = doc.bytes().get(value..end).unwrap_or_default();
    match doc {
        AnyDoc::Json(_) => find_pairs(text, Wanted::All),
        AnyDoc::Msgpack(_) => may_catch(text) || has_strings_of_structure(text),
    }
}

/// What pairs are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// Those of the net.
    Net,
    /// Those for names and structure as well.
    All,
}

/// True if a pair is found that means something.
fn find_pairs(text: &[u8], wanted: Wanted) -> bool {
    dispatch!(Level::new(), simd => find_pairs_with(simd, text, wanted))
}

// All that it calls has to be inlined into it, to be compiled for the same registers.
#[inline(always)]
fn find_pairs_with<S: Simd>(simd: S, text: &[u8], wanted: Wanted) -> bool {
    let [[first_low, first_high], [second_low, second_high]] = &TABLES;
    let first_low = u8x32::from_slice(simd, first_low);
    let first_high = u8x32::from_slice(simd, first_high);
    let second_low = u8x32::from_slice(simd, second_low);
    let second_high = u8x32::from_slice(simd, second_high);
    let groups = match wanted {
        Wanted::Net => !STRUCTURE,
        Wanted::All => u8::MAX,
    };
    let groups = u8x32::splat(simd, groups);
    let mut padded = [0; BLOCK + 1];
    let mut start = 0;
    while start < text.len().saturating_sub(1) {
        let block = match text.get(start..).and_then(<[u8]>::first_chunk) {
            Some(block) => block,
            None => {
                for (place, byte) in padded.iter_mut().zip(from(text, start)) {
                    *place = *byte;
                }
                &padded
            }
        };
        let (Some(here), Some(next)) = (block.first_chunk(), block.last_chunk()) else {
            return true;
        };
        let here: &[u8; BLOCK] = here;
        let next: &[u8; BLOCK] = next;
        let (here, next) = (u8x32::from_slice(simd, here), u8x32::from_slice(simd, next));
        let found = first_low.swizzle_dyn_within_blocks(here & 0xf)
            & first_high.swizzle_dyn_within_blocks(here.shr(4))
            & second_low.swizzle_dyn_within_blocks(next & 0xf)
            & second_high.swizzle_dyn_within_blocks(next.shr(4))
            & groups;
        let mut left = !found.simd_eq(0).to_bitmask() & u64::from(u32::MAX);
        while left != 0 {
            let at = start.saturating_add(bit_of(left));
            if means_something(text, at, wanted) {
                return true;
            }
            left &= left.wrapping_sub(1);
        }
        start = start.saturating_add(BLOCK);
    }
    false
}

/// The number of the lowest bit.
#[inline(always)]
#[expect(clippy::as_conversions, reason = "at most 64")]
fn bit_of(bits: u64) -> usize {
    bits.trailing_zeros() as usize
}

/// Checks a pair that was found.
#[inline(always)]
fn means_something(text: &[u8], at: usize, wanted: Wanted) -> bool {
    if wanted == Wanted::Net {
        return is_caught(text, at);
    }
    let next = text.get(at.saturating_add(1)).copied();
    match (text.get(at).copied(), next) {
        // By far the most: the end of a string.
        (Some(last), Some(b'"')) if last != b'\\' => {
            let name = text.get(..=at).unwrap_or_default();
            LAST_THREE.have::<3>(name) && is_secret_string(name, from(text, at.saturating_add(2)))
        }
        (Some(b'"' | b'\\'), _) => is_of_structure(text, at),
        _ => is_caught(text, at),
    }
}

/// Checks a pair of the net's groups.
#[inline(never)]
fn is_caught(text: &[u8], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back);
    match from(text, at) {
        [b':', b'/', b'/', ..] => net::password_of_url(text, at).is_some(),
        [b'-', b'-', ..] => net::private_key(text, at).is_some(),
        [_, b'_', ..] => [1, 2, 3, 5]
            .into_iter()
            .filter_map(before)
            .any(|begin| net::token(text, begin).is_some()),
        [b'z', b'a', ..] if before(2).is_some_and(|begin| net::token(text, begin).is_some()) => {
            true
        }
        // The group of the API is called so.
        [b'z', b'a', b't', b'i', b'o', b'n', b'.', ..] => false,
        [b'z' | b'Z', b'a' | b'A', ..] => {
            before(7).is_some_and(|begin| net::authorization(text, begin).is_some())
        }
        [b'y', b'J', ..] => before(1).is_some_and(|begin| net::web_token(text, begin).is_some()),
        [b'L', b'S', ..] => net::private_key_in_base64(text, at).is_some(),
        [b'x', b'o', ..] | [b'h', b'v', ..] => net::token(text, at).is_some(),
        [b'l', b'p', ..] => before(1).is_some_and(|begin| net::token(text, begin).is_some()),
        _ => false,
    }
}

/// Checks the beginning of a string or of an escape, in JSON.
#[inline(never)]
fn is_of_structure(text: &[u8], at: usize) -> bool {
    match from(text, at) {
        [b'"', b'{' | b'[', ..] => true,
        // A string that begins with white space, or white space after one.
        [b'"', b' ', rest @ ..] => begins_document(rest),
        [b'"', b'\\', b'n' | b'r' | b't', ..] => true,
        [b'\\', b'/', ..] => true,
        [b'\\', b'u', digits @ ..] => !is_escape_of_server(digits),
        _ => false,
    }
}

fn begins_document(text: &[u8]) -> bool {
    let solid = text.iter().find(|byte| !byte.is_ascii_whitespace());
    matches!(solid, Some(b'{' | b'['))
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
fn has_strings_of_structure(value: &[u8]) -> bool {
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
                // The length before a longer text may look like a letter of it.
                let is_long = length >= BLOCK && may_catch(text);
                if is_long || ends_secret_name(text) || begins_document(text) {
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

/// Endings of names of secrets, without case and separators; see
/// [`names`](crate::stage::redact::names). By their last letters.
const ENDINGS: [(u8, &[&str]); 12] = [
    (b'd', &["password", "passwd", "pwd"]),
    (b'e', &["passphrase", "cookie", "signature"]),
    (b'n', &["token", "authorization", "dsn", "accountjson"]),
    (b'y', &["key"]),
    (b't', &["secret", "onboardingticket", "jwt"]),
    (b's', &["credentials", "pass"]),
    (b'g', &["kubeconfig", "connectionstring"]),
    (b'a', &["userdata", "keydata"]),
    (b'4', &["userdatabase64"]),
    (b'w', &["bindpw"]),
    (b'h', &["auth"]),
    (b'r', &["bearer"]),
];

/// Names, kinds and annotations that are looked into, as they are written; a name ends in
/// one of them.
const WORDS: [(u8, &[&str]); 11] = [
    (b'v', &["env"]),
    (b's', &["args", "Status"]),
    (b'd', &["command", "/applied", "/last-applied"]),
    (b'p', &["ConfigMap"]),
    (b'e', &["Table"]),
    (b't', &["TokenRequest", "CertificateSigningRequest"]),
    (b'w', &["TokenReview"]),
    (b'n', &["/last-applied-configuration", "user-assertion"]),
    (b'm', &["user-assertion.cloud.google.com"]),
    (b'l', &["kapp.k14s.io/original"]),
    (b'g', &["/encoded-deployment-config"]),
];

/// The last letters of [`ENDINGS`] and [`WORDS`]: three of all, and of each as many as it
/// has, up to five.
static LAST_THREE: Letters<512> = Letters::of_all::<3>(Length::AtLeast);
static ONLY_THREE: Letters<64> = Letters::of_all::<3>(Length::Exactly);
static ONLY_FOUR: Letters<64> = Letters::of_all::<4>(Length::Exactly);
static LAST_FIVE: Letters<64> = Letters::of_all::<5>(Length::AtLeast);

/// A bit for each ending of some letters, by their lowest five bits: case is not told
/// apart, and more endings may seem to be there than are.
struct Letters<const WORDS: usize>([u64; WORDS]);

/// The words whose endings are in a table.
#[derive(Clone, Copy)]
enum Length {
    /// Those that have so many letters, and with separators too.
    AtLeast,
    /// Those that have no more.
    Exactly,
}

impl<const SIZE: usize> Letters<SIZE> {
    #[expect(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "evaluated at compile time: an error stops the build"
    )]
    const fn of_all<const N: usize>(length: Length) -> Letters<SIZE> {
        let mut letters = Letters([0; SIZE]);
        let mut table = 0;
        while table < 2 {
            let rows: &[(u8, &[&str])] = if table == 0 { &ENDINGS } else { &WORDS };
            let mut row = 0;
            while row < rows.len() {
                let mut word = 0;
                while word < rows[row].1.len() {
                    let bytes = rows[row].1[word].as_bytes();
                    let fits = match length {
                        Length::AtLeast => bytes.len() >= N,
                        Length::Exactly => bytes.len() == N,
                    };
                    if fits {
                        letters = letters.with::<N>(bytes);
                    }
                    word += 1;
                }
                row += 1;
            }
            table += 1;
        }
        letters
    }

    /// Adds the ending of a word; of three letters, with separators in it and after it.
    #[expect(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "evaluated at compile time: an error stops the build"
    )]
    const fn with<const N: usize>(mut self, word: &[u8]) -> Letters<SIZE> {
        let mut last = [0; N];
        let mut at = 0;
        while at < N {
            last[at] = word[word.len() - N + at];
            at += 1;
        }
        self = self.with_ending(last);
        let mut separator = 0;
        while N == 3 && separator < SEPARATORS.len() {
            let s = SEPARATORS[separator];
            let (b, c) = (last[1], last[2]);
            let forms = [
                [s, s, s],
                [s, b, c],
                [b, s, c],
                [b, c, s],
                [s, c, s],
                [c, s, s],
            ];
            let mut form = 0;
            while form < forms.len() {
                self = self.with_ending(forms[form]);
                form += 1;
            }
            separator += 1;
        }
        self
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "evaluated at compile time: an error stops the build"
    )]
    const fn with_ending<const N: usize>(mut self, letters: [u8; N]) -> Letters<SIZE> {
        let number = number_of::<N, SIZE>(letters);
        self.0[number / 64] |= 1 << (number % 64);
        self
    }

    #[inline(always)]
    fn have<const N: usize>(&self, text: &[u8]) -> bool {
        text.last_chunk::<N>().is_some_and(|last| {
            let number = number_of::<N, SIZE>(*last);
            let bits = self.0.get(number / 64).copied().unwrap_or(0);
            bits >> (number % 64) & 1 == 1
        })
    }
}

/// The number of some letters among those of a table of so many words.
#[inline(always)]
#[expect(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    reason = "the index is below the length, and the number of bits is known"
)]
const fn number_of<const N: usize, const SIZE: usize>(letters: [u8; N]) -> usize {
    let mut all = 0u32;
    let mut at = 0;
    while at < N {
        all = all << 5 | (letters[at] & 31) as u32;
        at += 1;
    }
    if N == 3 && SIZE == 512 {
        // There is a bit for each.
        return all as usize;
    }
    // An odd number without pattern (the golden ratio): its products spread well.
    (all.wrapping_mul(0x9e37_79b1) >> 20) as usize % (SIZE * 64)
}

/// What may stand between the letters of a name, and around them.
const SEPARATORS: [u8; 5] = *b"-_. ]";

/// True if a text ends in a name that may be that of a secret.
#[inline]
pub(super) fn ends_secret_name(text: &[u8]) -> bool {
    LAST_THREE.have::<3>(text) && ends_secret_name_exactly(text)
}

/// True if a string of JSON, in whose last letter `text` ends and whose closing quote
/// `rest` follows, is the name of a member or value that is secret, or a kind that matters.
#[inline(never)]
fn is_secret_string(text: &[u8], rest: &[u8]) -> bool {
    if !ends_secret_name_exactly(text) {
        return false;
    }
    let begin = memchr::memrchr(b'"', text).map_or(0, |quote| quote.saturating_add(1));
    let name = from(text, begin);
    let after = rest.iter().find(|byte| !byte.is_ascii_whitespace());
    let names = Names::default();
    let is_secret = match after {
        Some(b':') => names.is_secret_member(name),
        _ => {
            let before = text.get(..begin.saturating_sub(1)).unwrap_or_default();
            return names_something(before) && (names.is_secret_name(name) || ends_in_word(name));
        }
    };
    is_secret || ends_in_word(name)
}

/// True if what stands before a string is a key whose value names something: the value of
/// a pair, a column, a kind.
fn names_something(before: &[u8]) -> bool {
    let before = before.trim_ascii_end();
    let key = before
        .strip_suffix(b":")
        .unwrap_or_default()
        .trim_ascii_end();
    let keys = [&b"\"name\""[..], b"\"key\"", b"\"kind\""];
    keys.iter().any(|known| key.ends_with(known))
}

#[inline(never)]
fn ends_secret_name_exactly(text: &[u8]) -> bool {
    let has_separators = match text.last_chunk::<5>() {
        Some(last) => !last.iter().all(u8::is_ascii_alphanumeric),
        None => true,
    };
    let is_known = has_separators
        || LAST_FIVE.have::<5>(text)
        || ONLY_FOUR.have::<4>(text)
        || ONLY_THREE.have::<3>(text);
    if !is_known {
        return false;
    }
    let mut name = text;
    while let [rest @ .., b'-' | b'_' | b'.' | b' ' | b']'] = name {
        name = rest;
    }
    let Some(last) = name.last() else {
        return false;
    };
    words_for(&ENDINGS, last.to_ascii_lowercase())
        .iter()
        .any(|ending| ends_in(name, ending.as_bytes()))
        || ends_in_word(name)
}

fn ends_in_word(name: &[u8]) -> bool {
    let last = name.last().copied().unwrap_or_default();
    words_for(&WORDS, last)
        .iter()
        .any(|word| name.ends_with(word.as_bytes()))
}

/// The words of a table that end in a letter.
fn words_for(table: &[(u8, &'static [&'static str])], last: u8) -> &'static [&'static str] {
    let row = table.iter().find(|(letter, _)| *letter == last);
    row.map_or(&[], |(_, words)| words)
}

/// True if the last `N` letters of a name and an ending differ. Where there are separators
/// among them, or fewer letters, nothing is known.
#[inline(always)]
fn differs<const N: usize>(name: &[u8], ending: &[u8]) -> bool {
    match (name.last_chunk::<N>(), ending.last_chunk::<N>()) {
        (Some(last), Some(ending)) => {
            !last.eq_ignore_ascii_case(ending) && last.iter().all(u8::is_ascii_alphanumeric)
        }
        _ => false,
    }
}

/// True if a name has an ending, without case and separators. `key` alone is not a name of a
/// secret.
fn ends_in(name: &[u8], ending: &[u8]) -> bool {
    if differs::<4>(name, ending) || differs::<8>(name, ending) {
        return false;
    }
    let mut letters = name
        .iter()
        .rev()
        .filter(|byte| !matches!(byte, b'-' | b'_' | b'.' | b' '));
    let ends = ending.iter().rev().all(|letter| {
        letters
            .next()
            .is_some_and(|byte| byte.to_ascii_lowercase() == *letter)
    });
    ends && (ending != b"key" || letters.next().is_some_and(|byte| *byte != b'"'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doc::json::Json;
    use crate::stage::redact::names;

    fn hides(json: &str) -> bool {
        may_hide(Json(json.as_bytes()).into(), 0, json.len())
    }

    #[test]
    fn every_secret_name_is_seen() {
        let names = Names::default();
        for name in names::all() {
            let others = [
                format!("x-{name}"),
                format!("x[{name}]"),
                name.to_uppercase(),
            ];
            for name in [name.to_owned()].iter().chain(&others) {
                let key = format!("{{\"{name}\":1}}");
                let value = format!("{{\"name\":\"{name}\"}}");
                for room in (0..40).map(|room| " ".repeat(room)) {
                    let is_secret = names.is_secret_member(name.as_bytes());
                    assert!(!is_secret || hides(&format!("{room}{key}")), "{name}");
                    let is_secret = names.is_secret_name(name.as_bytes());
                    assert!(!is_secret || hides(&format!("{room}{value}")), "{name}");
                }
            }
        }
        for name in [
            "api_key",
            "pass.word",
            "client-secret",
            "Data-Base-Pass-Word",
        ] {
            assert!(hides(&format!("{{\"{name}\":1}}")), "{name}");
        }
    }

    #[test]
    fn everyday_bodies_are_not_walked() {
        for body in [
            r#"{"kind":"Lease","apiVersion":"v1","metadata":{"name":"n","managedFields":[{"fieldsV1":{"f:spec":{"k:{\"type\":\"Ready\"}":{}}}}]},"spec":{"renewTime":"2026-01-01T00:00:00.0Z"}}"#,
            r#"{"status":{"conditions":[{"type":"Ready","message":"a \u003cb\u003e \"c\""}],"key":"x"}}"#,
            "{ \"a\" : [ 1 , \"b\" ] }",
        ] {
            assert!(!hides(body), "{body}");
        }
    }

    #[test]
    fn documents_and_escapes_are_seen() {
        for body in [
            r#"{"a":"{\"b\":1}"}"#,
            r#"{"a":"[1]"}"#,
            r#"{"a":" {}"}"#,
            r#"{"a":"\n{}"}"#,
            r#"{"pass\u0077or\u0064":1}"#,
            r#"{"a":"https:\/\/u:p@h"}"#,
            r#"{"kind":"Status"}"#,
            r#"{"kapp.k14s.io/original":"x"}"#,
        ] {
            assert!(hides(body), "{body}");
        }
    }

    #[test]
    fn what_the_net_catches_is_seen_at_any_place() {
        let long = "0a".repeat(20);
        for secret in [
            format!("eyJ{long}.eyJ{long}.x"),
            format!("ghp_{long}"),
            format!("github_pat_{long}"),
            format!("glpat-{long}"),
            format!("xoxb-{long}"),
            format!("sk_live_{long}"),
            format!("hvs.{long}"),
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
                let mut spans = crate::stage::redact::spans::Spans::default();
                net::catch(text.as_bytes(), &mut spans);
                assert_eq!(spans.count(), 1, "{text}");
            }
        }
        let words = "a plain text about nothing: https://example.com/x?a=b, --flag, authorization.k8s.io/reason";
        assert!(!may_catch(words.as_bytes()));
        assert!(!may_catch(b""));
    }
}
