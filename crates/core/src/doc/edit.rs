//! Edits of a document: asked for by any stage, in any order, and settled once.
//!
//! A stage asks for an edit by its meaning ([`Edits::remove_member`],
//! [`Edits::replace_value`], …) and says why ([`Cause`]). It need not know what other
//! stages ask for. [`Edits::settle`] then makes a [`Plan`] of it: which bytes go and
//! which come in their place, with the commas of JSON and the sizes in msgpack's heads.
//! Everything outside the plan is copied byte for byte.
//!
//! Where edits meet, one of them wins:
//!
//! | edits | outcome |
//! |---|---|
//! | one lies inside a member, item or value that is removed or replaced | the outer one |
//! | several of the same range | removal, then replacement; of two alike the one asked for first |
//! | parts of one text that overlap | both ranges go; the text of the one that begins first comes |

use std::cmp::Reverse;
use std::ops::Range;

use crate::doc::Doc;
use crate::order::sort_by_rank;

/// The reason for an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The level of the rule leaves a body or annotation out.
    Level,
    /// The `level` field names the level that the event now has.
    LevelName,
    /// The rule omits managed fields.
    ManagedFields,
    /// A secret is hidden.
    Redact,
    /// The event is too large.
    Shrink,
    /// A detection marks the event.
    Detect,
    /// Options add and remove keys of the record.
    Enrich,
    /// The event gets another shape, without what is around it.
    Shape,
}

impl Cause {
    /// All causes, in the order of the stages.
    pub const ALL: [Cause; 8] = [
        Cause::Level,
        Cause::LevelName,
        Cause::ManagedFields,
        Cause::Redact,
        Cause::Shrink,
        Cause::Detect,
        Cause::Enrich,
        Cause::Shape,
    ];

    #[expect(clippy::as_conversions, reason = "the number of a variant")]
    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// Edits of one document that have been asked for. Reused from document to document, so
/// that it allocates nothing once it has grown, unless many edits have to be put in order.
#[derive(Debug, Default)]
pub struct Edits {
    requests: Vec<Request>,
    /// The number of requests so far, with those that yielded to others.
    asked: u32,
    /// Bytes that edits put in, one after the other.
    text: Vec<u8>,
    /// Changes of the sizes in heads, while settling.
    sizes: Vec<SizeChange>,
    splices: Vec<Splice>,
    /// Bytes that the splices remove and add, and their causes.
    removed: usize,
    added: usize,
    causes: u16,
}

/// An edit as it was asked for.
#[derive(Clone, Copy, Debug)]
struct Request {
    start: usize,
    end: usize,
    /// Start of the map, list or text that it changes; of a replacement, of the value.
    owner: usize,
    /// The bytes that come in, as a range of `Edits::text`.
    text: (usize, usize),
    kind: RequestKind,
    cause: Cause,
    /// Number of the request among all.
    order: u32,
}

/// The effect of a request. For the same range, the first of these wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum RequestKind {
    /// A member or item goes.
    Remove,
    /// A value is replaced.
    Replace,
    /// A part of a text is replaced.
    Part,
    /// A member comes at the end of a map.
    Append,
}

impl From<RequestKind> for usize {
    #[expect(clippy::as_conversions, reason = "the number of a variant")]
    fn from(kind: RequestKind) -> usize {
        kind as usize
    }
}

/// A place in the order of what was asked for.
fn number(order: u32) -> usize {
    usize::try_from(order).unwrap_or(usize::MAX)
}

impl Request {
    /// The order in which requests are settled: by position, and an outer range before
    /// what lies in it. What only comes in goes before all that begins there, and into an
    /// inner map or text before it does into the outer one.
    fn rank(&self) -> (usize, bool, Reverse<usize>, RequestKind, u32) {
        let is_range = self.start < self.end;
        let size = if is_range { self.end } else { self.owner };
        (self.start, is_range, Reverse(size), self.kind, self.order)
    }

    /// Returns whether the request before it, which stays, makes it superfluous.
    fn yields_to(&self, winner: &mut Request) -> bool {
        let within = match winner.kind {
            RequestKind::Append => false,
            RequestKind::Part => self.start < winner.end,
            // What comes in where the winner ends belongs to what is in it, or around it.
            _ => self.start < winner.end || (winner.start..winner.end).contains(&self.owner),
        };
        if within && self.kind == RequestKind::Part && winner.kind == RequestKind::Part {
            winner.end = winner.end.max(self.end);
        }
        within
    }

    /// By how much the size in its owner's head changes.
    fn size_change(&self) -> isize {
        match self.kind {
            RequestKind::Remove => -1,
            RequestKind::Replace => 0,
            RequestKind::Part => {
                let (from, to) = self.text;
                to.wrapping_sub(from)
                    .wrapping_sub(self.end.wrapping_sub(self.start))
                    .cast_signed()
            }
            RequestKind::Append => 1,
        }
    }
}

/// A change of the size in the head of a map, list or text.
#[derive(Clone, Copy, Debug)]
struct SizeChange {
    owner: usize,
    by: isize,
    cause: Cause,
}

/// Bytes of the document that go, and bytes that come in their place.
#[derive(Clone, Copy, Debug)]
struct Splice {
    start: usize,
    end: usize,
    /// The bytes that come in, as a range of `Edits::text`.
    text: (usize, usize),
    cause: Cause,
    order: u32,
}

impl Edits {
    /// Forgets all edits.
    #[inline]
    pub fn clear(&mut self) {
        self.requests.clear();
        self.asked = 0;
        self.text.clear();
        self.splices.clear();
        (self.removed, self.added, self.causes) = (0, 0, 0);
    }

    /// Removes a member, from its key to the end of its value, of the map that begins at `map`.
    #[inline]
    pub fn remove_member(&mut self, map: usize, member: Range<usize>, cause: Cause) {
        self.request(RequestKind::Remove, map, member, cause, |_| ());
    }

    /// Removes an item of the list that begins at `list`.
    #[inline]
    pub fn remove_item(&mut self, list: usize, item: Range<usize>, cause: Cause) {
        self.request(RequestKind::Remove, list, item, cause, |_| ());
    }

    /// Replaces a value by the one that `write` appends in the form of the document, as
    /// [`Doc::write_text`] does.
    #[inline]
    pub fn replace_value(
        &mut self,
        value: Range<usize>,
        cause: Cause,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        self.request(RequestKind::Replace, value.start, value, cause, write);
    }

    /// Replaces a part of the text whose value begins at `text` (with its opening quote
    /// or head) by what `write` appends, as [`Doc::write_text_part`] does. The part is a
    /// range of the document inside [`Text::raw`](crate::doc::Text::raw) and must not cut
    /// an escape in two.
    #[inline]
    pub fn replace_part(
        &mut self,
        text: usize,
        part: Range<usize>,
        cause: Cause,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        self.request(RequestKind::Part, text, part, cause, write);
    }

    /// Appends a member to a map, after those appended before; `write` appends its value
    /// in the form of the document.
    pub fn append_member<'a, D: Doc<'a>>(
        &mut self,
        doc: D,
        map: Range<usize>,
        key: &[u8],
        cause: Cause,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let at = doc.members_end(&map);
        self.request(RequestKind::Append, map.start, at..at, cause, |out| {
            out.extend_from_slice(D::SEPARATOR);
            D::write_key(out, key);
            write(out);
        });
    }

    /// Applies the plan for a document to this one, in which it is the text whose value
    /// begins at `text`; its first byte is at `offset`. The document around must hold the
    /// text without escapes, as msgpack does.
    #[inline]
    pub fn embed(&mut self, text: usize, offset: usize, inner: Plan<'_>) {
        if inner.is_empty() {
            return;
        }
        let texts = self.text.len();
        self.text.extend_from_slice(inner.text);
        for splice in inner.splices {
            let request = Request {
                start: offset.saturating_add(splice.start),
                end: offset.saturating_add(splice.end),
                owner: text,
                text: (
                    texts.saturating_add(splice.text.0),
                    texts.saturating_add(splice.text.1),
                ),
                kind: RequestKind::Part,
                cause: splice.cause,
                order: self.next_order(),
            };
            self.requests.push(request);
        }
    }

    /// Asks for all that others ask for, of the same document.
    #[inline]
    pub fn add(&mut self, others: &Edits) {
        if !others.requests.is_empty() {
            self.add_all(others);
        }
    }

    #[cold]
    fn add_all(&mut self, others: &Edits) {
        let texts = self.text.len();
        self.text.extend_from_slice(&others.text);
        for request in &others.requests {
            let (from, to) = request.text;
            let request = Request {
                text: (texts.saturating_add(from), texts.saturating_add(to)),
                order: self.next_order(),
                ..*request
            };
            self.requests.push(request);
        }
    }

    #[inline]
    fn request(
        &mut self,
        kind: RequestKind,
        owner: usize,
        at: Range<usize>,
        cause: Cause,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let from = self.text.len();
        write(&mut self.text);
        let request = Request {
            start: at.start,
            end: at.end.max(at.start),
            owner,
            text: (from, self.text.len()),
            kind,
            cause,
            order: self.next_order(),
        };
        self.requests.push(request);
    }

    fn next_order(&mut self) -> u32 {
        self.asked = self.asked.saturating_add(1);
        self.asked
    }

    /// Makes a plan of the edits asked for. More may be asked for afterwards, and settled
    /// anew together with these.
    #[inline]
    pub fn settle<'a, D: Doc<'a>>(&mut self, doc: D) -> Plan<'_> {
        // Most documents stay as they are.
        if !self.requests.is_empty() {
            self.settle_requests(doc);
        }
        self.plan()
    }

    #[inline(never)]
    fn settle_requests<'a, D: Doc<'a>>(&mut self, doc: D) {
        self.splices.clear();
        self.resolve();
        if D::HAS_SIZES {
            self.write_heads(doc);
        }
        self.lower(doc);
        if !self.sum_up(doc.bytes().len()) {
            self.repair(doc.bytes().len());
        }
    }

    /// The plan that was made last.
    #[inline]
    pub fn plan(&self) -> Plan<'_> {
        Plan {
            requests: &self.requests,
            splices: &self.splices,
            text: &self.text,
            removed: self.removed,
            added: self.added,
            causes: self.causes,
        }
    }

    /// Puts requests in order and drops those that yield to others.
    fn resolve(&mut self) {
        if self.requests.len() < 2 {
            return;
        }
        if !self.requests.is_sorted_by_key(Request::rank) {
            sort_by_rank(&mut self.requests, |request| {
                let (start, is_range, Reverse(size), kind, order) = request.rank();
                [start, is_range.into(), !size, kind.into(), number(order)]
            });
        }
        self.requests
            .dedup_by(|request, winner| request.yields_to(winner));
    }

    /// Writes the heads whose sizes change.
    fn write_heads<'a, D: Doc<'a>>(&mut self, doc: D) {
        let (Some(first), Some(last)) = (self.requests.first(), self.requests.last()) else {
            return;
        };
        let (owner, cause) = (first.owner, first.cause);
        // Mostly a text or map is all that is edited.
        if owner == last.owner && self.requests.iter().all(|request| request.owner == owner) {
            let changes = self.requests.iter().map(Request::size_change);
            let by = changes.fold(0, isize::wrapping_add);
            return self.write_head(doc, SizeChange { owner, by, cause });
        }
        self.sizes.clear();
        self.sizes
            .extend(self.requests.iter().map(|request| SizeChange {
                owner: request.owner,
                by: request.size_change(),
                cause: request.cause,
            }));
        sort_by_rank(&mut self.sizes, |size| [size.owner, 0, 0, 0, 0]);
        self.sizes.dedup_by(|size, before| {
            let same = size.owner == before.owner;
            if same {
                before.by = before.by.wrapping_add(size.by);
            }
            same
        });
        let sizes = std::mem::take(&mut self.sizes);
        for size in &sizes {
            self.write_head(doc, *size);
        }
        self.sizes = sizes;
    }

    #[inline]
    fn write_head<'a, D: Doc<'a>>(&mut self, doc: D, size: SizeChange) {
        if size.by == 0 {
            return;
        }
        let from = self.text.len();
        if let Some(end) = doc.write_resized_head(size.owner, size.by, &mut self.text) {
            let text = (from, self.text.len());
            push(&mut self.splices, size.owner..end, text, size.cause);
        }
    }

    /// Turns requests into splices.
    fn lower<'a, D: Doc<'a>>(&mut self, doc: D) {
        let splices = &mut self.splices;
        let mut rest = &self.requests[..];
        // The map or list that has lost all that it had, and the map whose first member
        // has been appended.
        let (mut emptied, mut begun) = (None, None);
        while let [request, others @ ..] = rest {
            let &Request {
                start,
                end,
                owner,
                mut text,
                kind,
                cause,
                ..
            } = request;
            rest = others;
            if kind == RequestKind::Remove && !D::HAS_SIZES {
                let (run, next) = run_of_removals(doc, request, others);
                rest = others.get(run..).unwrap_or_default();
                let run = std::iter::once(request).chain(others.iter().take(run));
                let before = match next {
                    Some(_) => None,
                    None => doc.previous_end(start),
                };
                if next.is_none() && before.is_none() {
                    emptied = Some(owner);
                }
                remove_run(run, before, next, splices);
                continue;
            }
            if kind == RequestKind::Append && !D::HAS_SIZES {
                let is_empty = start == owner.saturating_add(1) || emptied == Some(owner);
                if is_empty && begun != Some(owner) {
                    begun = Some(owner);
                    text.0 = text.0.saturating_add(D::SEPARATOR.len());
                }
            }
            push(splices, start..end, text, cause);
        }
    }

    /// Sums up what the splices do; returns whether they are in the order of the document
    /// and lie in it.
    #[inline]
    fn sum_up(&mut self, length: usize) -> bool {
        let (mut free, mut in_order) = (0, true);
        (self.removed, self.added, self.causes) = (0, 0, 0);
        for splice in &self.splices {
            in_order &= free <= splice.start && splice.start <= splice.end;
            free = splice.end;
            self.removed = self.removed.wrapping_add(splice.removed());
            self.added = self.added.wrapping_add(splice.added());
            self.causes |= splice.cause.bit();
        }
        in_order && free <= length
    }

    /// Puts splices in the order of the document. Edits of ranges that are none of this
    /// document may overlap even now: they are cut to fit.
    #[cold]
    fn repair(&mut self, length: usize) {
        sort_by_rank(&mut self.splices, |splice| {
            [splice.start, splice.end, number(splice.order), 0, 0]
        });
        let mut free = 0;
        for splice in &mut self.splices {
            splice.start = splice.start.max(free).min(length);
            splice.end = splice.end.max(splice.start).min(length);
            free = splice.end;
        }
        self.sum_up(length);
    }
}

impl Splice {
    fn removed(&self) -> usize {
        self.end.wrapping_sub(self.start)
    }

    fn added(&self) -> usize {
        self.text.1.wrapping_sub(self.text.0)
    }
}

#[inline]
fn push(splices: &mut Vec<Splice>, at: Range<usize>, text: (usize, usize), cause: Cause) {
    splices.push(Splice {
        start: at.start,
        end: at.end,
        text,
        cause,
        order: u32::try_from(splices.len()).unwrap_or(u32::MAX),
    });
}

/// Counts the requests after a removal that remove the members directly after it, and
/// finds the start of the member that follows them all, if there is one.
fn run_of_removals<'a, D: Doc<'a>>(
    doc: D,
    first: &Request,
    others: &[Request],
) -> (usize, Option<usize>) {
    let mut next = doc.next_start(first.end);
    let mut run = 0usize;
    for other in others {
        if other.kind != RequestKind::Remove || next != Some(other.start) {
            break;
        }
        next = doc.next_start(other.end);
        run = run.saturating_add(1);
    }
    (run, next)
}

/// Removes members that follow each other, with their commas: those after them, up to
/// the next member that stays; at the end of the map those before them, from the last
/// one on that stays.
fn remove_run<'r>(
    run: impl Iterator<Item = &'r Request>,
    before: Option<usize>,
    next: Option<usize>,
    splices: &mut Vec<Splice>,
) {
    let mut run = run.peekable();
    let mut from = before;
    while let Some(request) = run.next() {
        let start = from.unwrap_or(request.start);
        let end = match (before, run.peek()) {
            (Some(_), _) => request.end,
            (None, Some(follower)) => follower.start,
            (None, None) => next.unwrap_or(request.end),
        };
        push(splices, start..end, request.text, request.cause);
        from = before.map(|_| end);
    }
}

/// Edits of a document that were settled.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'e> {
    requests: &'e [Request],
    splices: &'e [Splice],
    text: &'e [u8],
    removed: usize,
    added: usize,
    causes: u16,
}

impl Plan<'_> {
    /// Returns whether the document stays as it is.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.splices.is_empty()
    }

    /// Returns whether something is done for this cause.
    #[inline]
    pub fn has(&self, cause: Cause) -> bool {
        self.causes & cause.bit() != 0
    }

    /// The length of a document after the edits.
    #[inline]
    pub fn length_of(&self, document: usize) -> usize {
        document
            .saturating_add(self.added)
            .saturating_sub(self.removed)
    }

    /// The bytes that go for a cause, and those that come.
    #[inline]
    pub fn bytes(&self, cause: Cause) -> ByteChange {
        let mut change = ByteChange::default();
        if self.has(cause) {
            for splice in self.splices.iter().filter(|splice| splice.cause == cause) {
                change.removed = change.removed.saturating_add(splice.removed());
                change.added = change.added.saturating_add(splice.added());
            }
        }
        change
    }

    /// The cause for which the member or item that begins at `start` is removed, if it is.
    pub fn removal_of(&self, start: usize) -> Option<Cause> {
        let removal = |request: &&Request| {
            request.kind == RequestKind::Remove && (request.start..request.end).contains(&start)
        };
        self.requests
            .iter()
            .find(removal)
            .map(|request| request.cause)
    }

    /// By how many members or items the map or list that begins at `owner` grows.
    pub fn members_gained(&self, owner: usize) -> isize {
        let changes = self.requests.iter().filter(|request| {
            request.owner == owner
                && matches!(request.kind, RequestKind::Remove | RequestKind::Append)
        });
        changes.map(Request::size_change).sum()
    }

    /// Appends a range of the document with the edits that lie in it.
    pub fn apply_within(&self, document: &[u8], range: Range<usize>, out: &mut Vec<u8>) {
        let within = |splice: &&Splice| range.start <= splice.start && splice.end <= range.end;
        let first = self.splices.iter().position(|splice| within(&splice));
        let first = first.unwrap_or(self.splices.len());
        let splices = self.splices.get(first..).unwrap_or_default();
        let count = splices.iter().take_while(within).count();
        let splices = splices.get(..count).unwrap_or_default();
        Plan { splices, ..*self }.apply(document, range, out);
    }

    /// Appends a range of the document, in which all edits lie, with the edits.
    pub fn apply(&self, document: &[u8], range: Range<usize>, out: &mut Vec<u8>) {
        let mut from = range.start;
        for splice in self.splices {
            let same = document.get(from..splice.start);
            out.extend_from_slice(same.unwrap_or_default());
            let text = self.text.get(splice.text.0..splice.text.1);
            out.extend_from_slice(text.unwrap_or_default());
            from = splice.end;
        }
        out.extend_from_slice(document.get(from..range.end).unwrap_or_default());
    }
}

/// Bytes that edits remove and add.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteChange {
    /// Bytes of the document that go.
    pub removed: usize,
    /// Bytes that come.
    pub added: usize,
}

#[cfg(test)]
mod tests;
