//! Which file is read, from where, and what comes after it.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::disk::{Disk, FileId, LogFile, Packing};
use crate::names::{Age, Sibling, Siblings};
use crate::position::{Fingerprint, Position};

/// Where to begin a log of which no position is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the beginning of its oldest file.
    Oldest,
    /// At the end of its live file.
    End,
}

/// How to read.
#[derive(Clone, Copy, Debug)]
pub struct ReaderOptions {
    /// Where to begin without a position.
    pub start: Start,
    /// Bytes of the longest line that is read, its line break included.
    pub longest_line: usize,
    /// Bytes to read at once.
    pub piece: usize,
}

/// The result of reading on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// [`Reader::lines`] has lines, and [`Reader::position`] is the place after them.
    Lines,
    /// There is more to do, and no line yet.
    More,
    /// There is nothing to read now.
    Wait,
}

/// What happened to the log, to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A file is read from an offset on.
    Reading {
        /// Its name.
        name: String,
        /// Bytes before.
        offset: u64,
    },
    /// The log cannot be read now; it is tried again and again.
    Unreadable {
        /// The name of the file, or none for the directory.
        name: String,
        /// Why not.
        error: String,
    },
    /// A line is longer than what is read of one.
    TooLong {
        /// The file.
        name: String,
        /// The line's place in it, uncompressed.
        offset: u64,
        /// Its bytes.
        bytes: u64,
    },
    /// A rotated file was removed before it was read.
    Removed {
        /// Its name.
        name: String,
        /// Its bytes, compressed if it was.
        bytes: u64,
    },
    /// The file with the position is gone: what followed it there is lost, and so is every
    /// file that was removed since.
    PositionGone,
    /// The file was cut or written anew, and no copy has the rest.
    Truncated {
        /// Its name.
        name: String,
        /// Up to where it had been read.
        read: u64,
    },
    /// The rest of a compressed file cannot be unpacked.
    Damaged {
        /// Its name.
        name: String,
        /// Up to where it was read, uncompressed.
        read: u64,
        /// Why not.
        error: String,
    },
}

impl Notice {
    /// True if events may be lost.
    pub fn is_loss(&self) -> bool {
        !matches!(self, Notice::Reading { .. } | Notice::Unreadable { .. })
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Reading { name, offset } => write!(f, "reading {name} from byte {offset}"),
            Notice::Unreadable { name, error } if name.is_empty() => {
                write!(f, "waiting for the log: {error}")
            }
            Notice::Unreadable { name, error } => write!(f, "waiting for {name}: {error}"),
            Notice::TooLong {
                name,
                offset,
                bytes,
            } => write!(
                f,
                "a line of {bytes} bytes at byte {offset} of {name} is left out: raise `Max_Event` \
                 to read such lines"
            ),
            Notice::Removed { name, bytes } => write!(
                f,
                "{name} ({bytes} bytes) was removed before it was read: let the writer keep more \
                 or larger rotated files"
            ),
            Notice::PositionGone => f.write_str(
                "the file with the kept position is gone: what was written after the position, \
                 in it and in other files that were removed since, is lost",
            ),
            Notice::Truncated { name, read } => write!(
                f,
                "{name} was cut or written anew after {read} bytes of it were read: what was \
                 written there before the cut and not read is lost"
            ),
            Notice::Damaged { name, read, error } => write!(
                f,
                "{name} cannot be unpacked beyond byte {read} ({error}): its rest is lost"
            ),
        }
    }
}

/// What was read, and what was lost before it could be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes of lines, uncompressed.
    pub bytes: u64,
    /// Files that were read to their end.
    pub files: u64,
    /// Lines that were longer than what is read of one.
    pub long_lines: u64,
    /// Their bytes.
    pub long_bytes: u64,
    /// Rotated files that were removed before they were read to their end.
    pub lost_files: u64,
    /// Times that a file was cut or written anew and no copy had the rest.
    pub truncations: u64,
}

/// How much of the log is not read yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Bytes, compressed where files are.
    pub bytes: u64,
    /// Files after the one that is being read.
    pub files: u64,
}

/// Reads a log line by line through its rotations.
///
/// The file in work stays open, so that it is read to its end although it is renamed or
/// removed. The next file is found by the order of their names when that end is reached
/// and the log has moved on.
pub struct Reader<D: Disk> {
    disk: D,
    options: ReaderOptions,
    /// Where to begin while no file is open.
    from: From,
    current: Option<Current<D::File>>,
    /// Room for bytes of the current file.
    buffer: Vec<u8>,
    /// Bytes in `buffer` that were read.
    filled: usize,
    /// Bytes at the start of `buffer` that were handed out as lines.
    handed: usize,
    /// Bytes of a line that is too long and goes on, if there is one.
    skipping: Option<u64>,
    /// Rotated files that come after the current one.
    pending: Vec<Sibling>,
    lag: Lag,
    counters: Counters,
    notices: Vec<Notice>,
    /// The last error that was told, while it lasts.
    trouble: Option<String>,
    /// The live file was read to its end.
    idle: bool,
}

/// The place to begin.
#[derive(Clone, Copy, Debug)]
enum From {
    Start(Start),
    /// At the beginning of the live file, which did not exist at the start.
    NewFile,
    Position(Position),
}

/// The file in work.
struct Current<F> {
    file: F,
    id: FileId,
    name: String,
    packing: Packing,
    /// Its age once it was seen rotated.
    age: Option<Age>,
    /// Its age, or that of the newest file that had been rotated while it was live.
    after: Option<Age>,
    fingerprint: Option<Fingerprint>,
    /// The offset of the buffer's first byte.
    start: u64,
    modified: i128,
    /// The time at which it was found not to be the live file any more.
    left: Option<Duration>,
}

/// What to do at the end of a file.
enum AtEnd {
    Wait,
    Again,
    /// What is in the buffer is the last line, though it has no line break.
    LastLine,
}

/// Time that a writer may take to go on in the new file after a rotation.
const WRITER_MOVES: Duration = Duration::from_secs(5);

/// Reads of pieces without a line break, before somebody else has a turn.
const PIECES_AT_ONCE: usize = 4;

impl<D: Disk> Reader<D> {
    /// A reader that begins after a position, or as the options say.
    pub fn new(disk: D, options: ReaderOptions, position: Option<Position>) -> Reader<D> {
        Reader {
            disk,
            options,
            from: position.map_or(From::Start(options.start), From::Position),
            current: None,
            buffer: Vec::new(),
            filled: 0,
            handed: 0,
            skipping: None,
            pending: Vec::new(),
            lag: Lag::default(),
            counters: Counters::default(),
            notices: Vec::new(),
            trouble: None,
            idle: false,
        }
    }

    /// What was read so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How much is not read yet, as of the last look at the directory.
    pub fn lag(&self) -> Lag {
        self.lag
    }

    /// Bytes of memory that the reader has for lines.
    pub fn room(&self) -> usize {
        self.buffer.capacity()
    }

    /// What happened since the last call.
    pub fn notices(&mut self) -> impl Iterator<Item = Notice> {
        std::mem::take(&mut self.notices).into_iter()
    }

    /// The lines that the last [`read`](Self::read) found, each with its line break but for
    /// the last one of a file.
    pub fn lines(&self) -> &[u8] {
        self.buffer.get(..self.handed).unwrap_or_default()
    }

    /// The place after [`lines`](Self::lines), if a file was read.
    pub fn position(&self) -> Option<Position> {
        let current = self.current.as_ref()?;
        Some(Position {
            id: current.id,
            fingerprint: current.fingerprint?,
            offset: current.start.saturating_add(length(self.handed)),
            after: current.after,
            modified: current.modified,
        })
    }

    /// Reads on. `now` is the time since any fixed moment.
    pub fn read(&mut self, now: Duration) -> Step {
        self.drop_handed();
        if self.idle {
            match self.look_at_live() {
                AtEnd::Wait => return Step::Wait,
                AtEnd::Again => {}
                AtEnd::LastLine => {
                    self.hand_out(self.filled);
                    return Step::Lines;
                }
            }
        }
        for _ in 0..PIECES_AT_ONCE {
            if self.current.is_none() && !self.begin() {
                return Step::Wait;
            }
            match self.fill() {
                Ok(0) => match self.at_end(now) {
                    AtEnd::Wait => return Step::Wait,
                    AtEnd::Again => {}
                    AtEnd::LastLine => {
                        self.hand_out(self.filled);
                        return Step::Lines;
                    }
                },
                Ok(_) => {
                    self.trouble = None;
                    if self.cut() {
                        return Step::Lines;
                    }
                }
                Err(error) => {
                    if !self.leaves_damaged(&error) {
                        let name = self.name();
                        self.unreadable(name, &error);
                        return Step::Wait;
                    }
                }
            }
        }
        Step::More
    }

    /// Looks at the directory while nothing is read, so that lag and losses are told.
    pub fn look(&mut self) {
        if self.current.is_some()
            && let Some(siblings) = self.list()
        {
            self.observe(&siblings);
        }
    }

    fn name(&self) -> String {
        let current = self.current.as_ref();
        current.map_or_else(String::new, |current| current.name.clone())
    }

    /// Tells once that something cannot be read.
    fn unreadable(&mut self, name: String, error: &io::Error) {
        let error = error.to_string();
        if self.trouble.as_ref() != Some(&error) {
            self.trouble = Some(error.clone());
            self.notices.push(Notice::Unreadable { name, error });
        }
    }

    fn list(&mut self) -> Option<Siblings> {
        match self.disk.list() {
            Ok(listing) => Some(Siblings::of(listing)),
            Err(error) => {
                self.unreadable(String::new(), &error);
                None
            }
        }
    }

    // ---- bytes

    fn drop_handed(&mut self) {
        if self.handed == 0 {
            return;
        }
        self.buffer.copy_within(self.handed..self.filled, 0);
        self.filled = self.filled.saturating_sub(self.handed);
        if let Some(current) = &mut self.current {
            current.start = current.start.saturating_add(length(self.handed));
        }
        self.handed = 0;
        // The room of a long line is given back.
        let usual = self.options.piece.saturating_mul(2);
        if self.buffer.len() > usual && self.filled < self.options.piece {
            self.buffer.truncate(usual);
            self.buffer.shrink_to_fit();
        }
    }

    /// Reads a piece behind what is in the buffer.
    fn fill(&mut self) -> io::Result<usize> {
        let wanted = self.filled.saturating_add(self.options.piece);
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        let (Some(current), Some(room)) =
            (&mut self.current, self.buffer.get_mut(self.filled..wanted))
        else {
            return Ok(0);
        };
        let at = current.start.saturating_add(length(self.filled));
        let read = current.file.read_at(at, room)?.min(room.len());
        if at == 0 && current.fingerprint.is_none() {
            let first = room.get(..read.min(Fingerprint::MOST));
            current.fingerprint = first.and_then(Fingerprint::of);
        }
        self.filled = self.filled.saturating_add(read);
        Ok(read)
    }

    fn hand_out(&mut self, bytes: usize) {
        self.handed = bytes;
        self.counters.bytes = self.counters.bytes.saturating_add(length(bytes));
        self.know_fingerprint();
    }

    /// Makes sure that there is a fingerprint once a line was read.
    fn know_fingerprint(&mut self) {
        if let Some(current) = &mut self.current
            && current.fingerprint.is_none()
        {
            let mut first = match current.start {
                0 => self.buffer.get(..self.filled).unwrap_or_default().to_vec(),
                _ => head(&mut current.file),
            };
            first.truncate(Fingerprint::MOST);
            current.fingerprint = Fingerprint::of(&first).or_else(|| Fingerprint::of_all(&first));
        }
    }

    /// Finds the complete lines in the buffer; true if there are any to hand out.
    fn cut(&mut self) -> bool {
        let bytes = self.buffer.get(..self.filled).unwrap_or_default();
        let Some(first_end) = memchr::memchr(b'\n', bytes) else {
            if self.skipping.is_some() || self.filled > self.options.longest_line {
                self.skip(self.filled);
            }
            return false;
        };
        let first_end = first_end.saturating_add(1);
        if self.skipping.is_some() || first_end > self.options.longest_line {
            self.skip(first_end);
            let (bytes, started) = (self.skipping.take().unwrap_or(0), self.offset());
            self.too_long(started.saturating_sub(bytes), bytes);
        }
        let bytes = self.buffer.get(..self.filled).unwrap_or_default();
        match memchr::memrchr(b'\n', bytes) {
            Some(end) => {
                self.hand_out(end.saturating_add(1));
                true
            }
            None => false,
        }
    }

    /// The offset of the buffer's first byte.
    fn offset(&self) -> u64 {
        self.current.as_ref().map_or(0, |current| current.start)
    }

    /// Leaves bytes at the start of the buffer out, as part of a line that is too long.
    fn skip(&mut self, bytes: usize) {
        self.know_fingerprint();
        let skipped = self.skipping.unwrap_or(0).saturating_add(length(bytes));
        self.skipping = Some(skipped);
        self.handed = bytes;
        self.drop_handed();
    }

    fn too_long(&mut self, offset: u64, bytes: u64) {
        self.counters.long_lines = self.counters.long_lines.saturating_add(1);
        self.counters.long_bytes = self.counters.long_bytes.saturating_add(bytes);
        let name = self.name();
        self.notices.push(Notice::TooLong {
            name,
            offset,
            bytes,
        });
    }

    // ---- files

    /// Opens the first file; false if there is none yet.
    fn begin(&mut self) -> bool {
        let Some(siblings) = self.list() else {
            return false;
        };
        let Some(last) = siblings.0.len().checked_sub(1) else {
            if let From::Start(Start::End) = self.from {
                self.from = From::NewFile;
            }
            let error = io::Error::new(io::ErrorKind::NotFound, "there is no such file yet");
            self.unreadable(String::new(), &error);
            return false;
        };
        match self.from {
            From::Start(Start::Oldest) => self.open(&siblings, 0, 0),
            From::Start(Start::End) => match siblings.live() {
                Some(live) => {
                    let end = live.entry.size;
                    self.open(&siblings, last, end) && self.back_to_line_start()
                }
                None => {
                    self.from = From::NewFile;
                    false
                }
            },
            From::NewFile => siblings.live().is_some() && self.open(&siblings, last, 0),
            From::Position(position) => {
                if let Some(at) = self.find(&siblings, &position) {
                    return self.open(&siblings, at, position.offset);
                }
                let at = next_after(&siblings, position.after, position.modified);
                let opened = self.open(&siblings, at.unwrap_or(0), 0);
                if opened {
                    self.counters.lost_files = self.counters.lost_files.saturating_add(1);
                    self.notices.push(Notice::PositionGone);
                }
                opened
            }
        }
    }

    /// The place of the file with a position: the one with its identity, or else the oldest
    /// with its content, so that in doubt lines come twice.
    fn find(&mut self, siblings: &Siblings, position: &Position) -> Option<usize> {
        let Position {
            id,
            fingerprint,
            offset,
            ..
        } = *position;
        if let Some(at) = siblings.find(id)
            && let Some(sibling) = siblings.0.get(at)
            && self.has(sibling, fingerprint, offset)
        {
            return Some(at);
        }
        let mut all = siblings.0.iter();
        all.position(|sibling| self.has(sibling, fingerprint, offset))
    }

    /// True if a file begins like that, and is not shorter than an offset.
    fn has(&mut self, sibling: &Sibling, wanted: Fingerprint, offset: u64) -> bool {
        // What was cut does not have the place any more.
        if sibling.packing == Packing::Plain && sibling.entry.size < offset {
            return false;
        }
        let file = self.disk.open(&sibling.entry.name, sibling.packing);
        file.is_ok_and(|mut file| wanted.fits(&head(&mut file)))
    }

    /// Opens a file at an offset, in the place of the current one; false if that fails.
    fn open(&mut self, siblings: &Siblings, at: usize, offset: u64) -> bool {
        let Some(sibling) = siblings.0.get(at) else {
            return false;
        };
        let mut file = match self.disk.open(&sibling.entry.name, sibling.packing) {
            Ok(file) => file,
            // It was renamed a moment ago: the next look finds it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return false,
            Err(error) => {
                self.unreadable(sibling.entry.name.clone(), &error);
                return false;
            }
        };
        let rotated = siblings.0.iter().rev().find_map(|sibling| sibling.age);
        let fingerprint = match offset {
            0 => None,
            _ => Fingerprint::of(&head(&mut file)),
        };
        self.trouble = None;
        self.idle = false;
        self.filled = 0;
        self.handed = 0;
        if let Some(bytes) = self.skipping.take() {
            let at = self.offset().saturating_sub(bytes);
            self.too_long(at, bytes);
        }
        self.notices.push(Notice::Reading {
            name: sibling.entry.name.clone(),
            offset,
        });
        self.current = Some(Current {
            id: file.id(),
            file,
            name: sibling.entry.name.clone(),
            packing: sibling.packing,
            age: sibling.age,
            after: sibling.age.or(rotated),
            fingerprint,
            start: offset,
            modified: sibling.entry.modified,
            left: None,
        });
        self.observe(siblings);
        true
    }

    /// Goes back to the beginning of a line that is being written.
    fn back_to_line_start(&mut self) -> bool {
        let Some(current) = &mut self.current else {
            return false;
        };
        let back = current.start.min(length(self.options.piece));
        let from = current.start.saturating_sub(back);
        let mut before = vec![0; self.options.piece.min(usize::try_from(back).unwrap_or(0))];
        let read = current.file.read_at(from, &mut before).unwrap_or(0);
        let line_break = memchr::memrchr(b'\n', before.get(..read).unwrap_or_default());
        // A line that is longer begins in its middle.
        if let Some(at) = line_break {
            current.start = from.saturating_add(length(at)).saturating_add(1);
        }
        true
    }

    /// Takes note of what comes after the current file.
    fn observe(&mut self, siblings: &Siblings) {
        let next = self.place_after(siblings);
        let Some(current) = &mut self.current else {
            return;
        };
        if let Ok((size, modified)) = current.file.state() {
            current.modified = modified;
            let read = current.start.saturating_add(length(self.filled));
            self.lag.bytes = match current.packing {
                Packing::Plain => size.saturating_sub(read),
                Packing::Gzip => 0,
            };
        }
        let after = siblings.0.get(next..).unwrap_or_default();
        let sizes = after.iter().map(|sibling| sibling.entry.size);
        self.lag.bytes = sizes.fold(self.lag.bytes, u64::saturating_add);
        self.lag.files = length(after.len());
        let pending = after.iter().filter(|sibling| sibling.age.is_some());
        let before = std::mem::replace(&mut self.pending, pending.cloned().collect());
        for lost in before {
            let is_same = |one: &Sibling| {
                one.entry.id == lost.entry.id
                    || one.age.is_some_and(|age| matches!(age, Age::Time(..))) && one.age == lost.age
                    // Compressing keeps that time, and the number may have moved.
                    || one.entry.modified == lost.entry.modified
            };
            let is_current = self
                .current
                .as_ref()
                .is_some_and(|current| current.id == lost.entry.id || current.age == lost.age);
            if !is_current && !siblings.0.iter().any(is_same) {
                self.counters.lost_files = self.counters.lost_files.saturating_add(1);
                self.notices.push(Notice::Removed {
                    name: lost.entry.name,
                    bytes: lost.entry.size,
                });
            }
        }
    }

    /// The place of the file after the current one; the number of files if there is none.
    fn place_after(&mut self, siblings: &Siblings) -> usize {
        let end = siblings.0.len();
        let Some(current) = &mut self.current else {
            return end;
        };
        let by_identity = siblings.find(current.id);
        let is_it = |sibling: &Sibling| match (current.age, sibling.age) {
            (Some(Age::Time(..)), age) => age == current.age,
            _ => false,
        };
        let at = by_identity.or_else(|| siblings.0.iter().position(is_it));
        if let Some(at) = at
            && let Some(sibling) = siblings.0.get(at)
        {
            if sibling.age.is_some() && current.packing == Packing::Plain {
                current.name.clone_from(&sibling.entry.name);
                current.age = sibling.age;
                current.after = sibling.age;
            }
            return at.saturating_add(1);
        }
        // Rotated and compressed, or removed, between two looks.
        if let Some(fingerprint) = current.fingerprint {
            for (at, sibling) in siblings.0.iter().enumerate() {
                let may_be = sibling.packing == Packing::Gzip
                    && current.after.is_none_or(|after| {
                        sibling.age.is_some_and(|age| age.is_after(after))
                            || matches!(sibling.age, Some(Age::Number(_)))
                    });
                if may_be
                    && let Ok(mut file) = self.disk.open(&sibling.entry.name, sibling.packing)
                    && fingerprint.fits(&head(&mut file))
                {
                    current.age = sibling.age;
                    current.after = sibling.age;
                    return at.saturating_add(1);
                }
            }
        }
        next_after(siblings, current.after, current.modified).unwrap_or(end)
    }

    /// The end of the current file was reached.
    fn at_end(&mut self, now: Duration) -> AtEnd {
        if self.is_live() {
            self.idle = true;
            self.lag = Lag::default();
            self.pending.clear();
            return AtEnd::Wait;
        }
        let Some(siblings) = self.list() else {
            return AtEnd::Wait;
        };
        self.observe(&siblings);
        let next = self.place_after(&siblings);
        let Some(current) = &mut self.current else {
            return AtEnd::Wait;
        };
        // What was written before the rotation and after the last look.
        let Some(left) = current.left else {
            current.left = Some(now);
            return AtEnd::Again;
        };
        let Some(successor) = siblings.0.get(next) else {
            return AtEnd::Wait;
        };
        let writer_has_moved = successor.age.is_some()
            || successor.entry.size > 0
            || now.saturating_sub(left) >= WRITER_MOVES;
        if !writer_has_moved {
            return AtEnd::Wait;
        }
        if self.filled > 0 {
            if self.skipping.is_none() {
                return AtEnd::LastLine;
            }
            self.skip(self.filled);
        }
        let counted = self.counters.files.saturating_add(1);
        match self.open(&siblings, next, 0) {
            true => {
                self.counters.files = counted;
                AtEnd::Again
            }
            false => AtEnd::Wait,
        }
    }

    /// True if the path of the log leads to the current file.
    fn is_live(&mut self) -> bool {
        let Some(current) = &mut self.current else {
            return false;
        };
        let is_live = self.disk.live().is_ok_and(|live| live == Some(current.id));
        if is_live {
            current.left = None;
        }
        is_live
    }

    /// Looks, at little cost, whether there is anything new after the end of the live file.
    fn look_at_live(&mut self) -> AtEnd {
        let is_live = self.is_live();
        let Some(current) = &mut self.current else {
            return AtEnd::Again;
        };
        let read = current.start.saturating_add(length(self.filled));
        let Ok((size, modified)) = current.file.state() else {
            return AtEnd::Again;
        };
        if is_live && size == read && modified == current.modified {
            return AtEnd::Wait;
        }
        let (after, before) = (current.after, current.modified);
        current.modified = modified;
        // Only a file that was written to can have been cut.
        if size < read || !self.is_same_file() {
            return match self.list() {
                Some(siblings) => self.truncated(&siblings),
                None => AtEnd::Wait,
            };
        }
        // So can one of which nothing was read yet: then a copy has its lines.
        if read == 0
            && is_live
            && let Some(siblings) = self.list()
            && let Some(copy) = next_after(&siblings, after, before)
            && siblings.0.get(copy).is_some_and(|one| one.age.is_some())
        {
            return match self.open(&siblings, copy, 0) {
                true => AtEnd::Again,
                false => AtEnd::Wait,
            };
        }
        self.idle = false;
        AtEnd::Again
    }

    /// True unless the file was cut and has grown again.
    fn is_same_file(&mut self) -> bool {
        let Some(current) = &mut self.current else {
            return true;
        };
        match current.fingerprint {
            Some(fingerprint) => fingerprint.fits(&head(&mut current.file)),
            None => true,
        }
    }

    /// The live file was cut: its rest may be in a copy, as logrotate's `copytruncate` makes.
    fn truncated(&mut self, siblings: &Siblings) -> AtEnd {
        let Some(current) = &self.current else {
            return AtEnd::Wait;
        };
        let (id, name) = (current.id, current.name.clone());
        let read = current.start.saturating_add(length(self.filled));
        // Of a first line that was not complete, the part that was read.
        let begun = match current.start {
            0 => self.buffer.get(..self.filled).and_then(Fingerprint::of_all),
            _ => None,
        };
        let (offset, fingerprint) = (current.start, current.fingerprint.or(begun));
        let copy = fingerprint.and_then(|fingerprint| {
            let mut all = siblings.0.iter();
            let is_copy = |one: &Sibling| one.entry.id != id;
            all.rposition(|one| is_copy(one) && self.has(one, fingerprint, offset))
        });
        if let Some(at) = copy {
            return match self.open(siblings, at, offset) {
                true => AtEnd::Again,
                false => AtEnd::Wait,
            };
        }
        if self.filled > 0 && self.skipping.is_none() {
            return AtEnd::LastLine;
        }
        let Some(last) = siblings.0.len().checked_sub(1) else {
            return AtEnd::Wait;
        };
        match self.open(siblings, last, 0) {
            true => {
                self.counters.truncations = self.counters.truncations.saturating_add(1);
                self.notices.push(Notice::Truncated { name, read });
                AtEnd::Again
            }
            false => AtEnd::Wait,
        }
    }

    /// Goes on with the next file if the current one is compressed and cannot be unpacked
    /// further. False for any other error, and while there is no next file.
    fn leaves_damaged(&mut self, error: &io::Error) -> bool {
        let Some(current) = &mut self.current else {
            return false;
        };
        let is_damage = matches!(
            error.kind(),
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof
        );
        if current.packing != Packing::Gzip || !is_damage {
            return false;
        }
        let Some(siblings) = self.list() else {
            return false;
        };
        let name = self.name();
        let read = self.offset().saturating_add(length(self.filled));
        let next = self.place_after(&siblings);
        if !self.open(&siblings, next, 0) {
            return false;
        }
        self.counters.lost_files = self.counters.lost_files.saturating_add(1);
        let error = error.to_string();
        self.notices.push(Notice::Damaged { name, read, error });
        true
    }
}

/// The first file that is newer than a rotation; by time of change where names do not tell.
fn next_after(siblings: &Siblings, after: Option<Age>, modified: i128) -> Option<usize> {
    let is_newer = |sibling: &Sibling| match (sibling.age, after) {
        (None, _) => true,
        (Some(age), Some(after)) if age.is_after(after) => true,
        (Some(Age::Time(..)), Some(Age::Time(..))) => false,
        _ => sibling.entry.modified > modified,
    };
    siblings.0.iter().position(is_newer)
}

/// The first bytes of a file, as many as a fingerprint looks at.
fn head(file: &mut impl LogFile) -> Vec<u8> {
    let mut head = vec![0; Fingerprint::MOST];
    let mut filled = 0;
    while let Some(room) = head.get_mut(filled..)
        && !room.is_empty()
    {
        match file.read_at(length(filled), room) {
            Ok(0) | Err(_) => break,
            Ok(read) => filled = filled.saturating_add(read),
        }
    }
    head.truncate(filled);
    head
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// The lines of a text without their line breaks; empty ones are left out.
pub fn split_lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                return None;
            }
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let (line, after) = rest.split_at_checked(end)?;
            rest = after.get(1..).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.is_empty() {
                return Some(line);
            }
        }
    })
}

/// The `stageTimestamp` of the last line that has one at its end, where the API server
/// writes it, in front of the annotations.
pub fn last_event_time(lines: &[u8]) -> Option<&str> {
    const KEY: &[u8] = b"\"stageTimestamp\":\"";
    /// As much as annotations after it may take.
    const NEAR: usize = 16 << 10;
    let near = lines.get(lines.len().saturating_sub(NEAR)..)?;
    let at = memchr::memmem::rfind(near, KEY)?.saturating_add(KEY.len());
    let rest = near.get(at..)?;
    // `2026-11-20T08:00:00.123456Z` has 27 bytes.
    let end = memchr::memchr(b'"', rest).filter(|end| *end <= 40)?;
    std::str::from_utf8(rest.get(..end)?).ok()
}
