//! Paths of values in a document, with wildcards: JSON pointers (RFC 6901) in which `*`
//! is any one member or item and `**` any number of them.
//!
//! ```text
//! /spec/users/*/code
//! /spec/**/password
//! /metadata/annotations/example.com~1token
//! ```
//!
//! `~0` is `~`, `~1` is `/`, and `~2` is a `*` that is meant literally.

use std::fmt::{self, Display, Formatter};

use crate::doc::{AnyDoc, Kind, Malformed};

/// A path of values in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    text: Box<str>,
    segments: Vec<Segment>,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// The member of this name or the item of this number.
    Name(Box<[u8]>),
    /// Any one member or item.
    One,
    /// Any number of members and items, none included.
    Any,
}

/// The reason why a text is not a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The text does not begin with `/`.
    #[error("the pointer `{found}` must begin with `/`: did you mean `{meant}`?")]
    Relative {
        /// The text.
        found: String,
        /// The pointer that was probably meant.
        meant: String,
    },
    /// The text is `/`.
    #[error("the pointer `/` names a member without a name; write `/` and a name, such as `/spec`")]
    Empty,
    /// A `~` does not begin an escape.
    #[error("the pointer `{0}` has a `~` that is not `~0` (`~`), `~1` (`/`) or `~2` (`*`)")]
    Escape(String),
    /// The path has nothing but wildcards.
    #[error("the pointer `{0}` names everything; it needs at least one name")]
    Everything(String),
}

impl Path {
    /// Reads a path.
    pub fn parse(text: &str) -> Result<Path, PathError> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(PathError::Relative {
                found: text.into(),
                meant: pointer_for(text),
            });
        };
        if rest.is_empty() {
            return Err(PathError::Empty);
        }
        let segments = rest.split('/').map(|segment| {
            Ok(match segment {
                "*" => Segment::One,
                "**" => Segment::Any,
                name => {
                    let name = unescape(name).ok_or_else(|| PathError::Escape(text.into()))?;
                    Segment::Name(name.into())
                }
            })
        });
        let segments = segments.collect::<Result<Vec<Segment>, PathError>>()?;
        let has_name = |segment| matches!(segment, &Segment::Name(_));
        if !segments.iter().any(has_name) {
            return Err(PathError::Everything(text.into()));
        }
        Ok(Path {
            text: text.into(),
            segments,
        })
    }

    /// True if the path leads to the value at `place`: the names of members and numbers of
    /// items from the top of the document down to it.
    pub fn leads_to<S: AsRef<[u8]>>(&self, place: &[S]) -> bool {
        // The last `**`, and the number of steps that it takes so far.
        let mut retry: Option<(usize, usize)> = None;
        let (mut segment, mut step) = (0_usize, 0_usize);
        while let Some(name) = place.get(step) {
            let fits = match self.segments.get(segment) {
                Some(Segment::Any) => {
                    retry = Some((segment, step));
                    segment = segment.saturating_add(1);
                    continue;
                }
                Some(Segment::One) => true,
                Some(Segment::Name(expected)) => **expected == *name.as_ref(),
                None => false,
            };
            if fits {
                segment = segment.saturating_add(1);
                step = step.saturating_add(1);
            } else if let Some((any, taken)) = &mut retry {
                *taken = taken.saturating_add(1);
                (segment, step) = (any.saturating_add(1), *taken);
            } else {
                return false;
            }
        }
        let rest = self.segments.get(segment..).unwrap_or_default();
        rest.iter().all(|segment| *segment == Segment::Any)
    }
}

/// The JSON pointer of the innermost value or key that holds the byte at `at`, in the
/// value that begins at `top`.
pub fn pointer_to(doc: AnyDoc<'_>, top: usize, at: usize) -> Result<String, Malformed> {
    let mut pointer = String::new();
    let mut here = top;
    'down: loop {
        match doc.kind(here)? {
            Kind::Map => {
                let mut map = doc.open_map(here)?;
                while let Some(member) = doc.next_member(&mut map)? {
                    map.next = doc.end(member.value)?;
                    if (member.start..map.next).contains(&at) {
                        let name = String::from_utf8_lossy(&member.key.value()).into_owned();
                        pointer = pointer + "/" + &name.replace('~', "~0").replace('/', "~1");
                        here = member.value;
                        continue 'down;
                    }
                }
            }
            Kind::List => {
                let mut list = doc.open_list(here)?;
                let mut index = 0usize;
                while let Some(item) = doc.next_item(&mut list)? {
                    list.next = doc.end(item)?;
                    if (item..list.next).contains(&at) {
                        pointer = format!("{pointer}/{index}");
                        here = item;
                        continue 'down;
                    }
                    index = index.saturating_add(1);
                }
            }
            _ => {}
        }
        return Ok(pointer);
    }
}

/// The name that a segment of a JSON pointer spells.
fn unescape(segment: &str) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        name.push(match byte {
            b'~' => match bytes.next()? {
                b'0' => b'~',
                b'1' => b'/',
                b'2' => b'*',
                _ => return None,
            },
            byte => byte,
        });
    }
    Some(name)
}

/// The pointer for a path in another language: `$.spec.users[*].code`, `spec['a']`.
fn pointer_for(text: &str) -> String {
    let mut pointer = String::new();
    let mut is_between = true;
    for letter in text.strip_prefix('$').unwrap_or(text).chars() {
        match letter {
            '.' | '[' | ']' | '/' => is_between = true,
            '\'' | '"' | '{' | '}' => {}
            _ => {
                if std::mem::take(&mut is_between) {
                    pointer.push('/');
                }
                pointer.push(letter);
            }
        }
    }
    if pointer.is_empty() {
        pointer.push_str("/spec");
    }
    pointer
}

impl Display for Path {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_places() {
        for (path, place, leads) in [
            ("/a/b", "a b", true),
            ("/a/b", "a", false),
            ("/a/b", "a b c", false),
            ("/a/*", "a b", true),
            ("/a/*", "a", false),
            ("/**/b", "b", true),
            ("/**/b", "a b a b", true),
            ("/**/b", "a b c", false),
            ("/a/**", "a", true),
            ("/a/**/c/*/d", "a c x c y d", true),
            ("/a/**/c/*/d", "a c x y d", false),
            ("/a~1b~0~2", "a/b~*", true),
            ("/users/*/code", "users 3 code", true),
        ] {
            let place: Vec<&str> = place.split(' ').collect();
            assert_eq!(Path::parse(path).unwrap().leads_to(&place), leads, "{path}");
        }
    }

    #[test]
    fn pointers_to_bytes() {
        let text = br#"{"a":[1,{"b/c":"xyz"}],"d":{}}"#;
        let doc = crate::doc::json::Json(text).into();
        for (needle, pointer) in [(&b"yz"[..], "/a/1/b~1c"), (b"1,", "/a/0"), (b"{}", "/d")] {
            let at = memchr::memmem::find(text, needle).unwrap();
            assert_eq!(pointer_to(doc, 0, at).unwrap(), pointer);
        }
    }

    #[test]
    fn wrong_paths_are_explained() {
        for (path, shown) in [
            ("spec.pin", "`/spec/pin`"),
            ("$.spec.users[*]['code']", "`/spec/users/*/code`"),
            ("", "`/spec`"),
            ("/", "`/`"),
            ("/a~3", "`~`"),
            ("/a~", "`~`"),
            ("/**/*", "everything"),
        ] {
            let error = Path::parse(path).unwrap_err().to_string();
            assert!(error.contains(shown), "{error}");
        }
    }

    #[test]
    fn paths_are_shown_as_written() {
        for path in ["/a/*/b~1c~0~2", "/**/x", "/0"] {
            assert_eq!(Path::parse(path).unwrap().to_string(), path);
        }
    }

    #[test]
    fn many_wildcards_end_soon() {
        let path = Path::parse(&("/**/a".repeat(30) + "/b")).unwrap();
        assert!(!path.leads_to(&vec!["a"; 2000]));
    }
}
