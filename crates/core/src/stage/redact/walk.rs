//! The walk through a part of an event, from container to container, without recursion:
//! callbacks of the host run on small stacks.
//!
//! Each container that is open has a [`Role`], which decides the roles of its
//! children (`roles.rs`). The walk itself only opens and closes containers and deals with leaves.

use std::borrow::Cow;
use std::ops::Range;

use crate::doc::escape::unescape;
use crate::doc::json::Json;
use crate::doc::{AnyDoc, Container, Doc as _, Kind, Malformed, Text};
use crate::stage::redact::glance::Glance;
use crate::stage::redact::hide::{Content, Hide};
use crate::stage::redact::mark::is_mark;
use crate::stage::redact::roles::{Body, Class, Role};
use crate::stage::redact::scalar::Scalar;
use crate::stage::redact::scan::is_json;
use crate::stage::redact::spans::{RawPlaces, Spans};
use crate::stage::redact::words::{self, Command};
use crate::stage::redact::{Redactor, Settings, Target, lines, message, net};

/// Containers that may be open at once: deeper ones are not looked into.
const DEEPEST: usize = 128;

/// Documents inside strings that may be nested in each other.
const DOCUMENTS: usize = 4;

/// The reason why a walk stops early: the rest has not been looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Containers are nested too deeply.
    Deep,
    /// The document cannot be read on.
    Malformed,
}

impl From<Malformed> for Stop {
    fn from(_: Malformed) -> Stop {
        Stop::Malformed
    }
}

/// A value in the document, or at the end of a path that a patch names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// The value at this position.
    Real(usize),
    /// The container that has the step of this number as its only child.
    Step(usize),
}

/// The name of a value in its container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// None: an item of a list, or the value that the walk begins with.
    Item,
    /// The key that begins at this position.
    Key(usize),
    /// The step of this number.
    Step(usize),
}

/// A container that is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    cursor: Cursor,
    is_map: bool,
    /// The role of the container.
    pub role: Role,
    /// The class of objects without kind in it.
    pub class: Class,
    /// The child that is looked at.
    pub child: Name,
    /// The number of children before that one.
    pub index: usize,
    /// The words of a command so far.
    pub command: Command,
    /// True if paths of the catalogue begin here.
    pub is_root: bool,
}

#[derive(Clone, Copy, Debug)]
enum Cursor {
    Real(Container),
    /// The one child of a step, unless it was visited.
    Step(Option<usize>),
}

/// The buffers of a walk.
#[derive(Debug, Default)]
pub(super) struct Level {
    stack: Vec<Frame>,
    /// The steps of a path, one after the other, and the end of each.
    steps: Vec<u8>,
    step_ends: Vec<usize>,
    /// A flag for each column of a table: true if it holds secrets.
    pub columns: Vec<bool>,
    plain: Vec<u8>,
    spans: Spans,
    glance: Glance,
    /// A place from which on nothing matters up to another one.
    clear: Range<usize>,
    /// Ends of values that were found on the way.
    pub ends: Ends,
}

/// Ends of values of a document, by where they begin: finding one takes a pass over the value.
/// A new one takes the place of another.
#[derive(Debug)]
pub(super) struct Ends([(usize, usize); ENDS]);

/// Ends that are remembered: a power of two.
const ENDS: usize = 32;

impl Default for Ends {
    fn default() -> Self {
        Ends([(usize::MAX, 0); ENDS])
    }
}

impl Ends {
    /// Remembers the end of the value that begins at a place.
    pub(super) fn set(&mut self, at: usize, end: usize) {
        if let Some(place) = self.0.get_mut(at % ENDS) {
            *place = (at, end);
        }
    }

    fn get(&self, at: usize) -> Option<usize> {
        let (begin, end) = *self.0.get(at % ENDS)?;
        (begin == at).then_some(end)
    }
}

/// The buffers of the walks through documents inside strings, the outermost first.
#[derive(Debug)]
pub(super) struct Levels([Level; DOCUMENTS + 1]);

impl Level {
    fn begin(&mut self) {
        self.stack.clear();
        self.clear = 0..0;
        self.ends = Ends::default();
    }
}

impl Levels {
    /// The buffers of quick looks.
    pub(super) fn glance(&mut self) -> &mut Glance {
        let [level, ..] = &mut self.0;
        &mut level.glance
    }
}

impl Default for Levels {
    fn default() -> Self {
        Levels(std::array::from_fn(|_| Level::default()))
    }
}

/// The use that a walk makes of its findings.
#[derive(Debug)]
pub(super) enum Findings<'r> {
    /// The walk collects them.
    Collect(&'r mut Vec<Hide>),
    /// The walk stops at the first; true once there is one.
    Any(bool),
}

/// Collects the parts of a text that are to be hidden.
type Collect<'c> = &'c mut dyn FnMut(&[u8], &Settings, &mut Spans);

/// A walk through parts of one document.
pub(super) struct Walk<'r, 'a> {
    /// The settings of the redaction.
    pub settings: &'r Settings,
    /// The target of the request.
    pub target: &'r Target<'r>,
    /// The document.
    pub doc: AnyDoc<'a>,
    /// The end of the part of the document that is walked through.
    end: usize,
    findings: Findings<'r>,
    /// The buffers of this walk.
    pub level: &'r mut Level,
    deeper: &'r mut [Level],
    /// The value at the end of the path.
    pub end_of_path: usize,
}

impl<'r, 'a> Walk<'r, 'a> {
    /// Prepares a walk that collects what it finds.
    pub(super) fn new(
        settings: &'r Settings,
        target: &'r Target<'r>,
        doc: AnyDoc<'a>,
        end: usize,
        hides: &'r mut Vec<Hide>,
        levels: &'r mut Levels,
    ) -> Walk<'r, 'a> {
        let [level, deeper @ ..] = &mut levels.0;
        level.begin();
        Walk {
            settings,
            target,
            doc,
            end,
            findings: Findings::Collect(hides),
            level,
            deeper,
            end_of_path: 0,
        }
    }

    /// The findings so far, if this walk collects them.
    pub(super) fn collected(&mut self) -> Option<&mut Vec<Hide>> {
        match &mut self.findings {
            Findings::Collect(hides) => Some(hides),
            Findings::Any(_) => None,
        }
    }

    /// Walks through a value.
    pub(super) fn run(&mut self, node: Node, role: Role, class: Class) -> Result<(), Stop> {
        let base = self.level.stack.len();
        self.enter(node, role, class)?;
        while self.level.stack.len() > base && !self.is_done() {
            self.step()?;
        }
        self.level.stack.truncate(base);
        Ok(())
    }

    /// True if the walk has found what it looks for.
    fn is_done(&self) -> bool {
        matches!(self.findings, Findings::Any(true))
    }

    /// Goes to the next child of the innermost container, or closes it.
    fn step(&mut self) -> Result<(), Stop> {
        let doc = self.doc;
        let (node, name) = {
            let steps = self.level.step_ends.len();
            let Some(frame) = self.level.stack.last_mut() else {
                return Ok(());
            };
            let child = match &mut frame.cursor {
                Cursor::Step(step) => step.take().map(|step| {
                    let next = step.saturating_add(1);
                    let node = if next < steps {
                        Node::Step(next)
                    } else {
                        Node::Real(self.end_of_path)
                    };
                    (node, Name::Step(step))
                }),
                Cursor::Real(map) if frame.is_map => doc
                    .next_member(map)?
                    .map(|member| (Node::Real(member.value), Name::Key(member.start))),
                Cursor::Real(list) => doc
                    .next_item(list)?
                    .map(|item| (Node::Real(item), Name::Item)),
            };
            let Some((node, name)) = child else {
                return self.close();
            };
            frame.child = name;
            (node, name)
        };
        let (role, class) = self.role_of_child(name, node)?;
        match (role, node) {
            (Role::Skip, Node::Real(at)) => self.passed(self.end_of(at)?),
            (Role::Skip, Node::Step(_)) => {}
            (Role::Generic | Role::Metadata, Node::Real(at))
                if matches!(doc.kind(at)?, Kind::Map | Kind::List) =>
            {
                match self.pruned(at)? {
                    Some(end) => self.passed(end),
                    None => self.enter(node, role, class)?,
                }
            }
            _ => self.enter(node, role, class)?,
        }
        Ok(())
    }

    /// The end of a container, if it holds nothing that a rule for names and texts hides, as
    /// a quick look tells.
    fn pruned(&mut self, at: usize) -> Result<Option<usize>, Malformed> {
        if self.target.places.is_some() || self.settings.names.has_more() {
            return Ok(None);
        }
        // Of a Secret, there is much that need not be looked at.
        let is_whole = self
            .level
            .stack
            .last()
            .is_some_and(|frame| frame.class.whole().is_some());
        let known = self.level.ends.get(at);
        let text = match self.doc {
            AnyDoc::Json(Json(text)) if !is_whole => text,
            doc => {
                let end = self.end_of(at)?;
                let glance = &mut self.level.glance;
                let matters = glance.first(self.settings, doc, at..end).is_some();
                return Ok((!matters).then_some(end));
            }
        };
        let Level { glance, clear, .. } = &mut *self.level;
        if at < clear.start || at >= clear.end {
            // The look goes on to what matters next, so that nothing is looked at twice.
            let next = glance.first(self.settings, self.doc, at..self.end);
            *clear = at..next.unwrap_or(self.end);
        }
        if let Some(end) = known {
            return Ok((end <= clear.end).then_some(end));
        }
        let before = Json(text.get(..clear.end).unwrap_or(text));
        Ok(before.end(at).ok())
    }

    /// The end of a value.
    fn end_of(&self, at: usize) -> Result<usize, Malformed> {
        match self.level.ends.get(at) {
            Some(end) => Ok(end),
            None => self.doc.end(at),
        }
    }

    fn close(&mut self) -> Result<(), Stop> {
        if let Some(Frame {
            cursor: Cursor::Real(container),
            ..
        }) = self.level.stack.pop()
        {
            self.passed(container.next);
        }
        Ok(())
    }

    /// Notes that the child of the innermost container ends here.
    fn passed(&mut self, end: usize) {
        if let Some(frame) = self.level.stack.last_mut() {
            frame.index = frame.index.saturating_add(1);
            if let Cursor::Real(container) = &mut frame.cursor {
                container.next = end;
            }
        }
    }

    /// Opens a container, or deals with a leaf.
    fn enter(&mut self, node: Node, role: Role, class: Class) -> Result<(), Stop> {
        let kind = self.kind(node)?;
        let (cursor, is_map) = match (node, kind) {
            (Node::Real(at), Kind::Map) => (Cursor::Real(self.doc.open_map(at)?), true),
            (Node::Real(at), Kind::List) => (Cursor::Real(self.doc.open_list(at)?), false),
            (Node::Step(step), kind) => (Cursor::Step(Some(step)), kind == Kind::Map),
            (Node::Real(at), _) => {
                let (text, end) = self.doc.value(at)?;
                self.leaf(at..end, text, role)?;
                self.passed(end);
                return Ok(());
            }
        };
        if self.level.stack.len() >= DEEPEST {
            return Err(Stop::Deep);
        }
        let is_root = matches!(role, Role::Object(_));
        let (role, class) = self.role_of_container(node, is_map, role, class)?;
        self.level.stack.push(Frame {
            cursor,
            is_map,
            role,
            class,
            child: Name::Item,
            index: 0,
            command: Command::new(),
            is_root,
        });
        Ok(())
    }

    fn leaf(&mut self, at: Range<usize>, text: Option<Text<'a>>, role: Role) -> Result<(), Stop> {
        let Range { start, end } = at;
        let Some(text) = text else {
            if let Role::Leaves { redactor, .. } = role {
                match Scalar::read(self.doc, start)? {
                    Scalar::Empty => {}
                    Scalar::Number => self.hide(at, redactor, Content::Number),
                    Scalar::Bytes => self.hide(at, redactor, Content::Text),
                }
            }
            return Ok(());
        };
        let at = start;
        match role {
            Role::Skip => {}
            Role::Leaves {
                redactor,
                is_base64,
            } => {
                let content = if is_base64 {
                    Content::Base64
                } else {
                    Content::Text
                };
                if !is_empty_or_mark(&text) {
                    self.hide(at..end, redactor, content);
                }
            }
            Role::Document(document) => self.document(at, end, text, document)?,
            Role::Lines(redactor) => self.parts(at, text, &mut |text, settings, spans| {
                lines::hide(text, &settings.names, redactor, spans);
            }),
            Role::Message { is_classed, field } => self.message(at, text, is_classed, field)?,
            Role::Script(redactor) => self.parts(at, text, &mut |text, settings, spans| {
                words::script(text, &settings.names, redactor, spans);
            }),
            Role::Word => self.word(at, text),
            Role::LastSegment => self.parts(at, text, &mut |text, _, spans| {
                let last = memchr::memrchr(b'/', text).map_or(0, |slash| slash.saturating_add(1));
                let name = text.get(last..).unwrap_or_default();
                if !name.starts_with(b"sha256~") {
                    spans.add_rest(text, last, Redactor::Crd);
                }
            }),
            _ => self.catch(at, text),
        }
        Ok(())
    }

    /// Hides what the net catches in a string.
    pub(super) fn catch(&mut self, at: usize, text: Text<'a>) {
        if self.settings.is_on(Redactor::Net) {
            self.parts(at, text, &mut |text, _, spans| net::catch(text, spans));
        }
    }

    fn message(
        &mut self,
        at: usize,
        text: Text<'a>,
        is_classed: bool,
        field: Option<usize>,
    ) -> Result<(), Stop> {
        let field = match field {
            Some(field) => self.doc.string(field)?,
            None => None,
        };
        self.parts_after(at, text, field, &mut |text, settings, spans| {
            message::hide(text, is_classed, settings, spans);
        });
        Ok(())
    }

    fn word(&mut self, at: usize, text: Text<'a>) {
        let mut command = self
            .level
            .stack
            .last()
            .map_or_else(Command::new, |frame| frame.command);
        self.parts(at, text, &mut |text, settings, spans| {
            let mode = settings.mode(Redactor::Args);
            command.word(text, mode, &settings.names, Redactor::Args, spans);
        });
        if let Some(frame) = self.level.stack.last_mut() {
            frame.command = command;
        }
    }

    /// Hides parts of a string, which `collect` finds in its value.
    pub(super) fn parts(&mut self, at: usize, text: Text<'a>, collect: Collect<'_>) {
        self.parts_after(at, text, None, collect);
    }

    /// Hides parts of a string as [`parts`](Walk::parts) does; `collect` reads it after the
    /// name of its `field` and a colon.
    fn parts_after(
        &mut self,
        at: usize,
        text: Text<'a>,
        field: Option<Text<'a>>,
        collect: Collect<'_>,
    ) {
        let Level { plain, spans, .. } = &mut *self.level;
        spans.clear();
        plain.clear();
        if let Some(field) = field.filter(|field| !field.raw.is_empty()) {
            unescape(field.raw, plain);
            plain.extend_from_slice(b": ");
        }
        let front = plain.len();
        let value = if text.escaped || front > 0 {
            if text.escaped {
                unescape(text.raw, plain);
            } else {
                plain.extend_from_slice(text.raw);
            }
            plain
        } else {
            text.raw
        };
        collect(value, self.settings, spans);
        let mut places = RawPlaces::new(text.raw);
        let mut place = |plain: usize| {
            text.at.saturating_add(if text.escaped {
                places.find(plain)
            } else {
                plain
            })
        };
        for span in spans.settle(value, front) {
            let part = place(span.at.start)..place(span.at.end);
            match &mut self.findings {
                Findings::Any(found) => *found = true,
                Findings::Collect(hides) => hides.push(Hide {
                    at: part,
                    redactor: span.redactor,
                    content: Content::Part(at),
                }),
            }
        }
    }

    /// Hides a value.
    pub(super) fn hide(&mut self, at: Range<usize>, redactor: Redactor, content: Content) {
        match &mut self.findings {
            Findings::Any(found) => *found = true,
            Findings::Collect(hides) => hides.push(Hide {
                at,
                redactor,
                content,
            }),
        }
    }

    /// Looks into a document inside a string: anything in it that is to be hidden hides
    /// the whole string.
    fn document(
        &mut self,
        at: usize,
        end: usize,
        text: Text<'a>,
        document: Document,
    ) -> Result<(), Stop> {
        if is_empty_or_mark(&text) {
            return Ok(());
        }
        let mut plain = std::mem::take(&mut self.level.plain);
        let json = if text.escaped {
            plain.clear();
            unescape(text.raw, &mut plain);
            &plain
        } else {
            text.raw
        };
        let verdict = self.look_into(json, document);
        self.level.plain = plain;
        match verdict {
            Verdict::Secret => self.hide(at..end, document.redactor, Content::Text),
            Verdict::Clean => {}
            Verdict::NotADocument => self.catch(at, text),
        }
        Ok(())
    }

    fn look_into(&mut self, json: &[u8], document: Document) -> Verdict {
        let begins = json.iter().position(|byte| !byte.is_ascii_whitespace());
        let at = begins.unwrap_or(json.len());
        let is_container = matches!(json.get(at), Some(b'{' | b'['));
        if !is_json(json) {
            return match document.unreadable {
                Unreadable::Hides => Verdict::Secret,
                Unreadable::IsText => Verdict::NotADocument,
            };
        }
        if !is_container {
            return Verdict::NotADocument;
        }
        let Some((level, deeper)) = self.deeper.split_first_mut() else {
            return Verdict::Secret;
        };
        level.begin();
        let nowhere = Target::default();
        let (target, class) = match document.of {
            Of::SameObject(class) => (self.target, class),
            Of::Anything => (&nowhere, Class::None),
        };
        let mut walk = Walk {
            settings: self.settings,
            target,
            doc: Json(json).into(),
            end: json.len(),
            findings: Findings::Any(false),
            level,
            deeper,
            end_of_path: 0,
        };
        match walk.run(Node::Real(at), document.role(), class) {
            Ok(()) if !walk.is_done() => Verdict::Clean,
            _ => Verdict::Secret,
        }
    }

    /// The kind of a value.
    pub(super) fn kind(&self, node: Node) -> Result<Kind, Malformed> {
        match node {
            Node::Real(at) => self.doc.kind(at),
            Node::Step(step) if is_index(self.step_name(step)) => Ok(Kind::List),
            Node::Step(_) => Ok(Kind::Map),
        }
    }

    /// The name of a child; empty for an item.
    pub(super) fn name(&self, name: Name) -> Result<Cow<'a, [u8]>, Malformed> {
        Ok(match name {
            Name::Item => Cow::Borrowed(&[]),
            Name::Key(at) => self.doc.key(at)?.value(),
            Name::Step(step) => Cow::Owned(self.step_name(step).to_vec()),
        })
    }

    /// The innermost container that is open.
    pub(super) fn frame(&self) -> Option<&Frame> {
        self.level.stack.last()
    }

    /// Notes that a word of a command is not a string.
    pub(super) fn skip_word(&mut self) {
        if let Some(frame) = self.level.stack.last_mut() {
            frame.command.skip();
        }
    }

    /// The names from the object down to the child that is looked at; items are `*`.
    pub(super) fn place(&self) -> Result<Vec<Cow<'a, [u8]>>, Malformed> {
        let root = self.level.stack.iter().rposition(|frame| frame.is_root);
        let frames = self
            .level
            .stack
            .get(root.unwrap_or(0)..)
            .unwrap_or_default();
        let names = frames.iter().map(|frame| match frame.child {
            Name::Item => Ok(Cow::Borrowed(&b"*"[..])),
            name => self.name(name),
        });
        names.collect()
    }

    /// Sets the path that a patch names, and the value at its end.
    pub(super) fn set_path<'s>(
        &mut self,
        steps: impl Iterator<Item = Cow<'s, [u8]>>,
        value: usize,
    ) {
        let level = &mut *self.level;
        level.steps.clear();
        level.step_ends.clear();
        for step in steps {
            level.steps.extend_from_slice(&step);
            level.step_ends.push(level.steps.len());
        }
        self.end_of_path = value;
    }

    /// The steps of the path.
    pub(super) fn steps(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        (0..self.level.step_ends.len()).map(|step| self.step_name(step))
    }

    fn step_name(&self, step: usize) -> &[u8] {
        let end = |step: usize| self.level.step_ends.get(step).copied();
        let from = step.checked_sub(1).and_then(end).unwrap_or(0);
        let to = end(step).unwrap_or(from);
        self.level.steps.get(from..to).unwrap_or_default()
    }
}

/// A document that is expected in a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Document {
    /// The redactor that hides it.
    pub redactor: Redactor,
    /// The object that the document is about.
    pub of: Of,
    /// The treatment of text that cannot be read.
    pub unreadable: Unreadable,
    /// True for the annotation of the API server about a webhook, with the patch in it.
    pub is_webhook: bool,
}

impl Document {
    fn role(self) -> Role {
        if self.is_webhook {
            Role::Webhook
        } else {
            Role::Object(Body::Patch)
        }
    }
}

/// The object that a document inside a string is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// The object around it, or one of its class.
    SameObject(Class),
    /// An object of any kind.
    Anything,
}

/// The treatment of text that cannot be read as a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Hidden: the text may hold a secret.
    Hides,
    /// Judged as text of another kind.
    IsText,
}

/// The result of looking into a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Secret,
    Clean,
    NotADocument,
}

/// True for steps that lead to an item of a list.
pub(super) fn is_index(step: &[u8]) -> bool {
    step == b"-" || !step.is_empty() && step.iter().all(u8::is_ascii_digit)
}

/// True for strings that hide nothing.
fn is_empty_or_mark(text: &Text<'_>) -> bool {
    text.raw.is_empty() || is_mark(text.raw)
}
