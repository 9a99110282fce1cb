//! The places that users name, to be hidden or kept beside the rules.

use std::borrow::Cow;

use crate::doc::path::Path;
use crate::doc::{AnyDoc, Container, Kind, Malformed};
use crate::stage::redact::Target;
use crate::stage::redact::settings::{Place, ResourcePattern};

/// Containers that may be open at once; bodies that are deeper go as a whole.
const DEEPEST: usize = 128;

impl ResourcePattern {
    /// True for objects of the resource that a request is about.
    pub fn fits(&self, target: &Target<'_>) -> bool {
        match self {
            ResourcePattern::Any => true,
            ResourcePattern::Event => false,
            ResourcePattern::One {
                resource,
                group,
                subresource,
            } => {
                resource.as_bytes() == target.resource
                    && group.as_bytes() == target.group
                    && (subresource == "*" || subresource.as_bytes() == target.subresource)
            }
        }
    }
}

/// A value at a place that a user names: the number of the place, and the position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The number of the place.
    pub place: usize,
    /// The position of the value.
    pub value: usize,
}

/// Looks for places in the body at a position.
pub(super) fn find_in_body(
    doc: AnyDoc<'_>,
    at: usize,
    places: &[Place],
    target: &Target<'_>,
    found: &mut Vec<Found>,
) -> Result<(), Malformed> {
    let wanted = wanted(places, |resource| resource.fits(target));
    if wanted.is_empty() {
        return Ok(());
    }
    let mut search = Search { doc, wanted, found };
    match doc.kind(at)? {
        Kind::Map => search.object(at),
        Kind::List => search.patch(at),
        _ => Ok(()),
    }
}

/// Looks for places in the event at a position.
pub(super) fn find_in_event(
    doc: AnyDoc<'_>,
    at: usize,
    places: &[Place],
    found: &mut Vec<Found>,
) -> Result<(), Malformed> {
    let wanted = wanted(places, |resource| *resource == ResourcePattern::Event);
    if wanted.is_empty() {
        return Ok(());
    }
    Search { doc, wanted, found }.below(at, Vec::new())
}

fn wanted(places: &[Place], fits: impl Fn(&ResourcePattern) -> bool) -> Vec<(usize, &Path)> {
    let places = places.iter().enumerate();
    places
        .filter(|(_, place)| fits(&place.resource))
        .map(|(number, place)| (number, &place.path))
        .collect()
}

struct Search<'s, 'a> {
    doc: AnyDoc<'a>,
    wanted: Vec<(usize, &'s Path)>,
    found: &'s mut Vec<Found>,
}

impl<'a> Search<'_, 'a> {
    /// Looks into an object, the items of a list of them, or the objects of a table.
    fn object(&mut self, at: usize) -> Result<(), Malformed> {
        let doc = self.doc;
        let (mut is_list, mut is_table) = (false, false);
        let (mut items, mut rows) = (None, None);
        let mut map = doc.open_map(at)?;
        while let Some(member) = doc.next_member(&mut map)? {
            let (text, end) = doc.value(member.value)?;
            map.next = end;
            let is_list_value = doc.kind(member.value)? == Kind::List;
            match &*member.key.value() {
                b"kind" => {
                    let kind = text.unwrap_or_default().value();
                    is_list = kind.ends_with(b"List");
                    is_table = *kind == *b"Table";
                }
                b"items" if is_list_value => items = Some(member.value),
                b"rows" if is_list_value => rows = Some(member.value),
                _ => {}
            }
        }
        match (items.filter(|_| is_list), rows.filter(|_| is_table)) {
            (Some(items), _) => self.each(items, &|search, item| search.below(item, Vec::new())),
            (None, Some(rows)) => self.each(rows, &|search, row| {
                if search.doc.kind(row)? != Kind::Map {
                    return Ok(());
                }
                let mut map = search.doc.open_map(row)?;
                while let Some(member) = search.doc.next_member(&mut map)? {
                    map.next = search.doc.end(member.value)?;
                    if member.key.is(b"object") {
                        search.below(member.value, Vec::new())?;
                    }
                }
                Ok(())
            }),
            (None, None) => self.below(at, Vec::new()),
        }
    }

    fn each(
        &mut self,
        list: usize,
        look: &dyn Fn(&mut Self, usize) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let mut list = self.doc.open_list(list)?;
        while let Some(item) = self.doc.next_item(&mut list)? {
            list.next = self.doc.end(item)?;
            look(self, item)?;
        }
        Ok(())
    }

    /// Looks into the operations of a JSON patch, whose values belong to their paths.
    fn patch(&mut self, at: usize) -> Result<(), Malformed> {
        self.each(at, &|search, operation| {
            if search.doc.kind(operation)? != Kind::Map {
                return Ok(());
            }
            let (mut paths, mut values) = (Vec::new(), Vec::new());
            let mut map = search.doc.open_map(operation)?;
            while let Some(member) = search.doc.next_member(&mut map)? {
                let (text, end) = search.doc.value(member.value)?;
                map.next = end;
                if member.key.is(b"value") {
                    values.push(member.value);
                } else if let Some(path) = text.filter(|_| member.key.is(b"path")) {
                    paths.push(steps_of(&path.value()));
                }
            }
            for value in values {
                for path in &paths {
                    search.at_path(value, path)?;
                }
            }
            Ok(())
        })
    }

    fn at_path(&mut self, value: usize, path: &[Cow<'a, [u8]>]) -> Result<(), Malformed> {
        // A place above the path holds all of the value.
        let above = (1..path.len()).filter_map(|length| self.place_of(path.get(..length)?));
        match above.min() {
            Some(place) => {
                self.found.push(Found { place, value });
                Ok(())
            }
            None => self.below(value, path.to_vec()),
        }
    }

    fn place_of(&self, names: &[Cow<'a, [u8]>]) -> Option<usize> {
        let mut wanted = self.wanted.iter();
        wanted.find_map(|(place, path)| path.leads_to(names).then_some(*place))
    }

    /// Looks at the value under these names, and at the values in it.
    fn below(&mut self, value: usize, mut names: Vec<Cow<'a, [u8]>>) -> Result<(), Malformed> {
        let doc = self.doc;
        let base = names.len();
        let mut open: Vec<(Container, Kind, usize)> = Vec::new();
        let mut next = Some(value);
        loop {
            if let Some(at) = next.take() {
                let kind = doc.kind(at)?;
                let place = self.place_of(&names);
                if let Some(place) = place {
                    self.found.push(Found { place, value: at });
                }
                let container = match kind {
                    Kind::Map if place.is_none() => Some(doc.open_map(at)?),
                    Kind::List if place.is_none() => Some(doc.open_list(at)?),
                    _ => None,
                };
                match container.filter(|_| open.len() < DEEPEST) {
                    Some(container) => open.push((container, kind, 0)),
                    None => {
                        let end = doc.end(at)?;
                        leave(&mut open, &mut names, base, end);
                    }
                }
            }
            let Some((container, kind, index)) = open.last_mut() else {
                return Ok(());
            };
            let child = match kind {
                Kind::Map => doc
                    .next_member(container)?
                    .map(|member| (member.key.value(), member.value)),
                _ => doc.next_item(container)?.map(|item| {
                    let name = index.to_string().into_bytes();
                    *index = index.saturating_add(1);
                    (Cow::Owned(name), item)
                }),
            };
            match child {
                Some((name, value)) => {
                    names.push(name);
                    next = Some(value);
                }
                None => {
                    let end = container.next;
                    open.pop();
                    leave(&mut open, &mut names, base, end);
                }
            }
        }
    }
}

/// Goes back from a value that ends here to the container around it.
fn leave(
    open: &mut [(Container, Kind, usize)],
    names: &mut Vec<Cow<'_, [u8]>>,
    base: usize,
    end: usize,
) {
    if let Some((container, ..)) = open.last_mut() {
        container.next = end;
    }
    names.truncate(names.len().saturating_sub(1).max(base));
}

/// The names that a JSON pointer spells.
fn steps_of<'a>(pointer: &[u8]) -> Vec<Cow<'a, [u8]>> {
    let steps = pointer.split(|byte| *byte == b'/').skip(1);
    steps
        .map(|step| Cow::Owned(super::patch::unescape(step).into_owned()))
        .collect()
}
