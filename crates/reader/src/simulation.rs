//! The reader over a file system of our own, with writers that rotate, compress, cut and
//! remove as the API server, kubelet and logrotate do.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;

use proptest::prelude::*;

use crate::disk::{Disk, Entry, FileId, Listing, LogFile, Packing};
use crate::reader::{Notice, Reader, ReaderOptions, Start, Step, split_lines};
use crate::{Checkpoint, Position};

const LIVE: &str = "audit.log";

struct FileData {
    inode: u64,
    content: Vec<u8>,
    modified: i128,
}

type FileCell = Rc<RefCell<FileData>>;

#[derive(Default)]
struct Directory {
    files: BTreeMap<String, FileCell>,
    /// All that were made, open ones among them: an inode is used again once nobody has it.
    made: Vec<Weak<RefCell<FileData>>>,
    clock: i128,
}

impl Directory {
    fn make(&mut self, name: &str, content: Vec<u8>) -> FileCell {
        self.clock += 1;
        let live = self.made.iter().filter_map(Weak::upgrade);
        let used: Vec<u64> = live.map(|file| file.borrow().inode).collect();
        let inode = (1..).find(|inode| !used.contains(inode)).unwrap();
        let file = Rc::new(RefCell::new(FileData {
            inode,
            content,
            modified: self.clock,
        }));
        self.made.push(Rc::downgrade(&file));
        self.files.insert(name.to_owned(), Rc::clone(&file));
        file
    }
}

#[derive(Clone, Default)]
struct Fake(Rc<RefCell<Directory>>);

struct Open {
    file: FileCell,
}

fn id(file: &FileCell) -> FileId {
    FileId {
        device: 1,
        inode: file.borrow().inode,
    }
}

impl Disk for Fake {
    type File = Open;

    fn list(&mut self) -> io::Result<Listing> {
        let entry = |(name, file): (&String, &FileCell)| Entry {
            name: name.clone(),
            id: id(file),
            size: file.borrow().content.len() as u64,
            modified: file.borrow().modified,
        };
        Ok(Listing {
            live: LIVE.to_owned(),
            files: self.0.borrow().files.iter().map(entry).collect(),
        })
    }

    fn live(&mut self) -> io::Result<Option<FileId>> {
        Ok(self.0.borrow().files.get(LIVE).map(id))
    }

    fn open(&mut self, name: &str, _: Packing) -> io::Result<Open> {
        let directory = self.0.borrow();
        let file = directory.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Open {
            file: Rc::clone(file),
        })
    }
}

impl LogFile for Open {
    fn id(&self) -> FileId {
        id(&self.file)
    }

    fn state(&self) -> io::Result<(u64, i128)> {
        let file = self.file.borrow();
        Ok((file.content.len() as u64, file.modified))
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let file = self.file.borrow();
        let from = file.content.get(offset as usize..).unwrap_or_default();
        let read = from.len().min(buffer.len());
        buffer[..read].copy_from_slice(&from[..read]);
        Ok(read)
    }
}

/// A writer of numbered lines.
struct Writer {
    disk: Fake,
    lines: u32,
    rotations: u32,
}

impl Writer {
    fn new() -> Writer {
        Writer {
            disk: Fake::default(),
            lines: 0,
            rotations: 0,
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        let mut directory = self.disk.0.borrow_mut();
        if !directory.files.contains_key(LIVE) {
            directory.make(LIVE, Vec::new());
        }
        directory.clock += 1;
        let mut file = directory.files[LIVE].borrow_mut();
        file.content.extend_from_slice(bytes);
        file.modified = directory.clock;
    }

    fn line(&mut self) -> Vec<u8> {
        self.lines += 1;
        let padding = "x".repeat(self.lines as usize * 7 % 50);
        format!("line {} {padding}\n", self.lines).into_bytes()
    }

    fn write(&mut self) {
        let line = self.line();
        self.append(&line);
    }

    fn rotated_name(&self, rotation: u32) -> String {
        format!("audit-2026-11-20T08-00-00.{rotation:03}.log")
    }

    /// As lumberjack does: rename, and a new file with the next line.
    fn rotate(&mut self) {
        let to = self.rotated_name(self.rotations);
        let mut directory = self.disk.0.borrow_mut();
        if let Some(file) = directory.files.remove(LIVE) {
            directory.files.insert(to, file);
            self.rotations += 1;
        }
        drop(directory);
        self.write();
    }

    /// The oldest plain file becomes a compressed one; both exist for a while.
    fn compress(&mut self, remove: bool) {
        let mut directory = self.disk.0.borrow_mut();
        let is_plain = |name: &&String| name.ends_with(".log") && *name != LIVE;
        let Some(name) = directory.files.keys().find(is_plain).cloned() else {
            return;
        };
        let compressed = format!("{name}.gz");
        let (content, modified) = {
            let file = directory.files[&name].borrow();
            (file.content.clone(), file.modified)
        };
        if !directory.files.contains_key(&compressed) {
            // A part of it first.
            let part = match remove {
                true => content.clone(),
                false => content[..content.len() / 2].to_vec(),
            };
            let file = directory.make(&compressed, part);
            file.borrow_mut().modified = modified;
        }
        if remove {
            directory.files[&compressed].borrow_mut().content = content;
            directory.files.remove(&name);
        }
    }

    fn remove_oldest(&mut self) {
        let mut directory = self.disk.0.borrow_mut();
        let oldest = directory.files.keys().find(|name| *name != LIVE).cloned();
        if let Some(name) = oldest {
            directory.files.remove(&name);
        }
    }

    /// As logrotate does with `copytruncate`.
    fn copy_and_truncate(&mut self) {
        let to = self.rotated_name(self.rotations);
        let mut directory = self.disk.0.borrow_mut();
        let Some(file) = directory.files.get(LIVE).cloned() else {
            return;
        };
        let content = file.borrow().content.clone();
        if content.is_empty() {
            return;
        }
        directory.make(&to, content);
        directory.clock += 1;
        file.borrow_mut().content.clear();
        file.borrow_mut().modified = directory.clock;
        self.rotations += 1;
    }

    fn reader(&self, position: Option<Position>) -> Reader<Fake> {
        let options = ReaderOptions {
            start: Start::Oldest,
            longest_line: 1000,
            piece: 64,
        };
        Reader::new(self.disk.clone(), options, position)
    }
}

/// Reads all that there is; the lines go to `seen`.
fn read_all(reader: &mut Reader<Fake>, now: &mut u64, seen: &mut Vec<u32>) -> Vec<Notice> {
    let mut waits = 0;
    while waits < 3 {
        match read_once(reader, now, seen) {
            Step::Wait => waits += 1,
            Step::Lines | Step::More => waits = 0,
        }
    }
    reader.notices().collect()
}

fn read_once(reader: &mut Reader<Fake>, now: &mut u64, seen: &mut Vec<u32>) -> Step {
    *now += 3;
    let step = reader.read(Duration::from_secs(*now));
    if step == Step::Lines {
        for line in split_lines(reader.lines()) {
            seen.push(number(line));
        }
    }
    step
}

/// The number of a line, 0 if it is none of the writer's.
fn number(line: &[u8]) -> u32 {
    let line = std::str::from_utf8(line).unwrap();
    let number = line
        .strip_prefix("line ")
        .and_then(|line| line.split(' ').next());
    number.map_or(0, |number| number.parse().unwrap())
}

fn losses(notices: &[Notice]) -> Vec<&Notice> {
    notices.iter().filter(|notice| notice.is_loss()).collect()
}

#[test]
fn rotated_files_come_first_and_the_live_one_last() {
    let mut writer = Writer::new();
    for _ in 0..3 {
        writer.write();
        writer.write();
        writer.rotate();
    }
    writer.compress(true);
    let (mut seen, mut now) = (Vec::new(), 0);
    let notices = read_all(&mut writer.reader(None), &mut now, &mut seen);
    assert_eq!(seen, (1..=writer.lines).collect::<Vec<_>>());
    assert_eq!(losses(&notices), [&Notice::PositionGone; 0]);
}

#[test]
fn a_line_that_is_too_long_is_left_out_and_told() {
    let mut writer = Writer::new();
    writer.write();
    writer.append(&[b'x'; 3000]);
    writer.append(b"\n");
    writer.write();
    let mut reader = writer.reader(None);
    let (mut seen, mut now) = (Vec::new(), 0);
    let notices = read_all(&mut reader, &mut now, &mut seen);
    assert_eq!(seen, [1, 2]);
    let expected = Notice::TooLong {
        name: LIVE.to_owned(),
        offset: 15,
        bytes: 3001,
    };
    assert_eq!(losses(&notices), [&expected]);
    assert_eq!(reader.counters().long_bytes, 3001);
}

#[test]
fn a_cut_without_a_copy_is_told() {
    let mut writer = Writer::new();
    writer.write();
    let mut reader = writer.reader(None);
    let (mut seen, mut now) = (Vec::new(), 0);
    read_all(&mut reader, &mut now, &mut seen);
    writer.disk.0.borrow().files[LIVE]
        .borrow_mut()
        .content
        .clear();
    // Longer than before at once.
    writer.write();
    writer.write();
    let notices = read_all(&mut reader, &mut now, &mut seen);
    assert_eq!(seen, [1, 2, 3]);
    assert!(
        matches!(losses(&notices)[..], [Notice::Truncated { .. }]),
        "{notices:?}"
    );
}

#[test]
fn files_removed_unread_are_told() {
    let mut writer = Writer::new();
    writer.write();
    let mut reader = writer.reader(None);
    let (mut seen, mut now) = (Vec::new(), 0);
    read_once(&mut reader, &mut now, &mut seen);
    for _ in 0..3 {
        writer.rotate();
    }
    reader.look();
    writer.remove_oldest();
    // That was the current one, which is open.
    reader.look();
    assert_eq!(losses(&reader.notices().collect::<Vec<_>>()).len(), 0);
    writer.remove_oldest();
    let notices = read_all(&mut reader, &mut now, &mut seen);
    assert_eq!(seen, [1, 3, 4]);
    assert!(
        matches!(losses(&notices)[..], [Notice::Removed { .. }]),
        "{notices:?}"
    );
    assert_eq!(reader.counters().lost_files, 1);
}

#[test]
fn a_position_whose_file_is_gone_is_told() {
    let mut writer = Writer::new();
    writer.write();
    let mut reader = writer.reader(None);
    let (mut seen, mut now) = (Vec::new(), 0);
    read_once(&mut reader, &mut now, &mut seen);
    let position = reader.position();
    for _ in 0..4 {
        writer.rotate();
    }
    writer.remove_oldest();
    writer.remove_oldest();
    let notices = read_all(&mut writer.reader(position), &mut now, &mut seen);
    assert_eq!(seen, [1, 3, 4, 5]);
    assert!(
        losses(&notices).contains(&&Notice::PositionGone),
        "{notices:?}"
    );
}

#[test]
fn the_last_line_of_a_rotated_file_needs_no_line_break() {
    let mut writer = Writer::new();
    writer.write();
    writer.append(b"line 2 half");
    writer.lines += 1;
    let mut reader = writer.reader(None);
    let (mut seen, mut now) = (Vec::new(), 0);
    read_all(&mut reader, &mut now, &mut seen);
    assert_eq!(seen, [1]);
    writer.rotate();
    read_all(&mut reader, &mut now, &mut seen);
    assert_eq!(seen, [1, 2, 3]);
}

#[test]
fn a_start_at_the_end_leaves_out_what_was_there() {
    let mut writer = Writer::new();
    writer.write();
    writer.rotate();
    writer.append(b"line 3 begun");
    writer.lines += 1;
    let options = ReaderOptions {
        start: Start::End,
        longest_line: 1000,
        piece: 64,
    };
    let mut reader = Reader::new(writer.disk.clone(), options, None);
    let (mut seen, mut now) = (Vec::new(), 0);
    read_all(&mut reader, &mut now, &mut seen);
    assert_eq!(seen, [0; 0]);
    writer.append(b" and done\n");
    writer.write();
    read_all(&mut reader, &mut now, &mut seen);
    assert_eq!(seen, [3, 4]);

    // A log that comes later is read from its beginning.
    let later = Writer::new();
    let mut reader = Reader::new(later.disk.clone(), options, None);
    let mut seen = Vec::new();
    read_all(&mut reader, &mut now, &mut seen);
    let mut later = later;
    later.write();
    read_all(&mut reader, &mut now, &mut seen);
    assert_eq!(seen, [1]);
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Act {
    Write,
    WriteInTwoParts,
    Rotate,
    BeginToCompress,
    Compress,
    CopyAndTruncate,
    Read,
    ReadAll,
    /// What was read so far is acknowledged.
    Acknowledge,
    /// The process ends without a word, and another one begins at the kept position.
    Restart,
}

fn acts(copies: bool) -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => Just(Act::Write),
        1 => Just(Act::WriteInTwoParts),
        2 => Just(match copies { true => Act::CopyAndTruncate, false => Act::Rotate }),
        1 => Just(Act::BeginToCompress),
        1 => Just(Act::Compress),
        4 => Just(Act::Read),
        1 => Just(Act::ReadAll),
        2 => Just(Act::Acknowledge),
        1 => Just(Act::Restart),
    ];
    proptest::collection::vec(act, 1..120)
}

/// Runs a schedule; at the end all lines have been seen, in order but for what came twice
/// after a restart, and nothing was told to be lost.
fn run(acts: &[Act]) -> Result<(), TestCaseError> {
    let mut writer = Writer::new();
    let mut kept: Option<(Position, usize)> = None;
    let mut reader = writer.reader(None);
    let (mut seen, mut now) = (Vec::new(), 0);
    let mut notices = Vec::new();
    for act in acts {
        match act {
            Act::Write => writer.write(),
            Act::WriteInTwoParts => {
                let line = writer.line();
                let (first, second) = line.split_at(line.len() / 2);
                writer.append(first);
                read_once(&mut reader, &mut now, &mut seen);
                writer.append(second);
            }
            Act::Rotate => writer.rotate(),
            Act::BeginToCompress => writer.compress(false),
            Act::Compress => writer.compress(true),
            Act::CopyAndTruncate => {
                // A reader looks between two of them.
                writer.copy_and_truncate();
                read_all(&mut reader, &mut now, &mut seen);
            }
            Act::Read => {
                read_once(&mut reader, &mut now, &mut seen);
            }
            Act::ReadAll => notices.extend(read_all(&mut reader, &mut now, &mut seen)),
            Act::Acknowledge => {
                if let Some(position) = reader.position() {
                    let checkpoint = Checkpoint {
                        log: LIVE.to_owned(),
                        position,
                        event_time: String::new(),
                    };
                    let text = checkpoint.to_text();
                    let back = Checkpoint::parse(text.as_bytes()).unwrap();
                    kept = Some((back.position, seen.len()));
                }
            }
            Act::Restart => {
                notices.extend(reader.notices());
                reader = writer.reader(kept.map(|(position, _)| position));
                seen.truncate(kept.map_or(0, |(_, seen)| seen));
            }
        }
    }
    notices.extend(read_all(&mut reader, &mut now, &mut seen));
    prop_assert_eq!(seen, (1..=writer.lines).collect::<Vec<_>>());
    prop_assert_eq!(losses(&notices), Vec::<&Notice>::new());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_line_once_through_renames_and_compression(acts in acts(false)) {
        run(&acts)?;
    }

    #[test]
    fn every_line_once_through_copies_that_are_cut(acts in acts(true)) {
        run(&acts)?;
    }
}
