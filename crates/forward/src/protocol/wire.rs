//! Messages of the protocol as bytes: a strict writer, a tolerant reader.
//!
//! Frames are written in the one form that every known receiver accepts:
//! PackedForward with `bin` entries, three elements and an id. Replies are read
//! in any fragmentation and any MessagePack encoding, but with a bounded size and
//! without recursion.

use kube_audit_core::doc::Doc;
use kube_audit_core::doc::msgpack::{self, HeadKind, Msgpack};

use super::FrameId;

/// Longest message from a receiver, in bytes. An acknowledgement needs 31, a PONG
/// about 200.
pub const MAX_REPLY: usize = 4096;

/// First bytes of TLS records; no message of the protocol begins with them.
pub(super) const TLS_ALERT: u8 = 0x15;
pub(super) const TLS_HANDSHAKE: u8 = 0x16;

/// Acknowledgements that receivers are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acks {
    /// One for each frame, by its id.
    #[default]
    Required,
    /// None: frames carry no id, and a written frame counts as delivered. Frames
    /// that are lost on the way stay lost.
    Waived,
}

/// One PackedForward message, `[tag, bin(entries), options]`.
///
/// The options are `"size": n`, `"chunk": id` if an acknowledgement is wanted,
/// `"compressed": name` if the entries are compressed, and the user's own ones.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Tag; any bytes.
    pub tag: &'a [u8],
    /// Concatenated `[EventTime, map]` entries, compressed or not.
    pub entries: &'a [u8],
    /// The protocol's name of the compression, if the entries are compressed.
    pub compressed: Option<&'static str>,
    /// Number of entries.
    pub records: usize,
    /// Id that the receiver acknowledges.
    pub id: &'a FrameId,
    /// The user's own options.
    pub extra: &'a [ExtraOption],
}

/// A pair that a user adds to the options of every frame. Receivers ignore options
/// that they do not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraOption {
    key: Vec<u8>,
    value: Vec<u8>,
}

/// Keys of options that belong to the protocol.
const RESERVED: [&str; 4] = ["size", "chunk", "compressed", "fluent_signal"];

/// A key that belongs to the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the protocol sets `{0}` itself, use a key other than {keys}", keys = RESERVED.join(", "))]
pub struct ReservedKey(pub &'static str);

impl ExtraOption {
    /// Checks that the key does not belong to the protocol.
    pub fn new(key: Vec<u8>, value: Vec<u8>) -> Result<ExtraOption, ReservedKey> {
        let reserved = RESERVED.into_iter().find(|name| name.as_bytes() == key);
        match reserved {
            Some(name) => Err(ReservedKey(name)),
            None => Ok(ExtraOption { key, value }),
        }
    }

    /// Returns the key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    fn len(&self) -> usize {
        self.key.len().saturating_add(self.value.len())
    }
}

impl Frame<'_> {
    /// Appends the frame to `out`, with the shortest msgpack headers.
    pub fn write(&self, acks: Acks, out: &mut Vec<u8>) {
        /// Upper bound of the headers, keys and id of a frame, in bytes.
        const OVERHEAD: usize = 96;
        /// Upper bound of the headers of an extra option, in bytes.
        const EXTRA_OVERHEAD: usize = 10;
        let extra = self.extra.iter().map(ExtraOption::len);
        let lengths = [self.tag.len(), self.entries.len()]
            .into_iter()
            .chain(extra);
        let heads = EXTRA_OVERHEAD.saturating_mul(self.extra.len());
        out.reserve(lengths.fold(OVERHEAD.saturating_add(heads), usize::saturating_add));
        out.push(0x93);
        Msgpack::write_text(out, self.tag);
        msgpack::write_bin_head(out, self.entries.len());
        out.extend_from_slice(self.entries);
        let wants_ack = acks == Acks::Required;
        let options = [true, wants_ack, self.compressed.is_some()];
        let own = options.into_iter().filter(|&is_given| is_given).count();
        msgpack::write_map_head(out, own.saturating_add(self.extra.len()));
        Msgpack::write_text(out, b"size");
        msgpack::write_unsigned(out, u64::try_from(self.records).unwrap_or(u64::MAX));
        if wants_ack {
            Msgpack::write_text(out, b"chunk");
            Msgpack::write_text(out, self.id.as_bytes());
        }
        if let Some(name) = self.compressed {
            Msgpack::write_text(out, b"compressed");
            Msgpack::write_text(out, name.as_bytes());
        }
        for option in self.extra {
            Msgpack::write_text(out, &option.key);
            Msgpack::write_text(out, &option.value);
        }
    }
}

/// Reply of a receiver to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// `{"ack": id}`: the frame with this id has arrived.
    Ack(&'a [u8]),
    /// A map without an id: the receiver refused a frame, without naming it.
    Nack,
}

/// Bytes that are not a valid message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// An array of two, which opens a handshake.
    #[error("the receiver opens a handshake: it wants a shared key, and none is set")]
    Handshake,
    /// A TLS record.
    #[error("the receiver speaks TLS, and TLS is not set for it")]
    Tls,
    /// A malformed message of the handshake.
    #[error("{message} {flaw}")]
    Misshapen {
        /// `HELO` or `PONG`.
        message: &'static str,
        /// Deviation from the protocol.
        flaw: &'static str,
    },
    /// Something other than a map.
    #[error("a reply begins with byte 0x{0:02x}; expected a map like `{{\"ack\": id}}`")]
    NotAMap(u8),
    /// An id that is neither a string nor bytes.
    #[error("the value of `ack` begins with byte 0x{0:02x}; expected a string")]
    NotAnId(u8),
    /// The one byte that MessagePack does not use.
    #[error("a message contains byte 0xc1, which is not MessagePack")]
    NotMessagePack,
    /// More than [`MAX_REPLY`] bytes.
    #[error("a message is longer than {MAX_REPLY} bytes")]
    TooLong,
}

/// Parses one reply at the front of `bytes`; returns the reply and its length, or
/// `None` if it is incomplete. Reads at most [`MAX_REPLY`] bytes.
pub fn parse_reply(bytes: &[u8]) -> Result<Option<(Reply<'_>, usize)>, WireError> {
    parse(bytes, Cursor::reply)
}

/// Parses one message at the front of `bytes` with `read`; returns the message and
/// its length, or `None` if it is incomplete. Reads at most [`MAX_REPLY`] bytes.
pub(super) fn parse<'a, T>(
    bytes: &'a [u8],
    read: impl FnOnce(&mut Cursor<'a>) -> Result<T, Stop>,
) -> Result<Option<(T, usize)>, WireError> {
    let mut cursor = Cursor {
        rest: bytes.get(..MAX_REPLY).unwrap_or(bytes),
    };
    let whole = cursor.rest.len();
    match read(&mut cursor) {
        Ok(message) => Ok(Some((message, whole.saturating_sub(cursor.rest.len())))),
        Err(Stop::Wrong(error)) => Err(error),
        Err(Stop::Incomplete) if whole == MAX_REPLY => Err(WireError::TooLong),
        Err(Stop::Incomplete) => Ok(None),
    }
}

/// Buffer that assembles replies from input in any fragmentation.
///
/// Holds at most [`MAX_REPLY`] bytes and the last input, provided that
/// [`Inbox::next_reply`] is called until it returns `None` or an error.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    read: usize,
}

impl Inbox {
    /// Appends received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns true if every byte belongs to a reply that was returned.
    pub fn is_empty(&self) -> bool {
        self.read == self.bytes.len()
    }

    /// Returns the next complete reply.
    pub fn next_reply(&mut self) -> Result<Option<Reply<'_>>, WireError> {
        let rest = self.bytes.get(self.read..).unwrap_or_default();
        Ok(parse_reply(rest)?.map(|(reply, length)| {
            self.read = self.read.saturating_add(length);
            reply
        }))
    }
}

/// Reason why a message could not be parsed.
pub(super) enum Stop {
    Incomplete,
    Wrong(WireError),
}

pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn reply(&mut self) -> Result<Reply<'a>, Stop> {
        let Some(pairs) = self.map()? else {
            return Err(Stop::Wrong(match self.byte()? {
                0x92 => WireError::Handshake,
                TLS_ALERT | TLS_HANDSHAKE => WireError::Tls,
                other => WireError::NotAMap(other),
            }));
        };
        let mut reply = Reply::Nack;
        for _ in 0..pairs {
            if self.text()? == Some(b"ack") {
                reply = self.id()?;
            } else {
                self.skip()?;
            }
        }
        Ok(reply)
    }

    /// Reads the value of `ack`. nil is read like the empty map with which Vector
    /// answers a batch that it refused.
    fn id(&mut self) -> Result<Reply<'a>, Stop> {
        match self.rest.first() {
            Some(0xc0) => self.skip().map(|()| Reply::Nack),
            Some(&marker) => match self.text()? {
                Some(id) => Ok(Reply::Ack(id)),
                None => Err(Stop::Wrong(WireError::NotAnId(marker))),
            },
            None => Err(Stop::Incomplete),
        }
    }

    /// Reads the head of a map; returns its number of pairs, or `None` if another
    /// value is next.
    pub(super) fn map(&mut self) -> Result<Option<usize>, Stop> {
        self.count(|kind| match kind {
            HeadKind::Map(pairs) => Some(pairs),
            _ => None,
        })
    }

    /// Reads the head of an array; returns its length, or `None` if another value
    /// is next.
    pub(super) fn array(&mut self) -> Result<Option<usize>, Stop> {
        self.count(|kind| match kind {
            HeadKind::Array(length) => Some(length),
            _ => None,
        })
    }

    /// Reads a head of the wanted kind; leaves any other value unread.
    fn count(&mut self, wanted: fn(HeadKind) -> Option<usize>) -> Result<Option<usize>, Stop> {
        let start = self.rest;
        let count = wanted(self.head()?);
        if count.is_none() {
            self.rest = start;
        }
        Ok(count)
    }

    /// Reads a boolean; skips any other value.
    pub(super) fn boolean(&mut self) -> Result<Option<bool>, Stop> {
        let start = self.rest;
        if let HeadKind::Bool(value) = self.head()? {
            return Ok(Some(value));
        }
        self.rest = start;
        self.skip().map(|()| None)
    }

    /// Reads a string or bytes; skips any other value.
    pub(super) fn text(&mut self) -> Result<Option<&'a [u8]>, Stop> {
        let start = self.rest;
        match self.head()? {
            HeadKind::Str(length) | HeadKind::Bin(length) => self.take(length).map(Some),
            _ => {
                self.rest = start;
                self.skip().map(|()| None)
            }
        }
    }

    /// Skips one value of any depth. Counts the values to come instead of
    /// recursing, so that hostile nesting costs no stack.
    pub(super) fn skip(&mut self) -> Result<(), Stop> {
        let mut values: usize = 1;
        while let Some(others) = values.checked_sub(1) {
            values = others;
            match self.head()? {
                HeadKind::Str(length) | HeadKind::Bin(length) | HeadKind::Ext(_, length) => {
                    self.take(length)?;
                }
                HeadKind::Array(length) => values = values.saturating_add(length),
                HeadKind::Map(pairs) => {
                    values = values.saturating_add(pairs).saturating_add(pairs);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads the head of a value. A head that cannot be read is incomplete, unless it
    /// begins with the one byte that MessagePack does not use.
    fn head(&mut self) -> Result<HeadKind, Stop> {
        match Msgpack(self.rest).head(0) {
            Ok(head) => self.take(head.content).map(|_| head.kind),
            Err(_) if self.rest.first() == Some(&0xc1) => {
                Err(Stop::Wrong(WireError::NotMessagePack))
            }
            Err(_) => Err(Stop::Incomplete),
        }
    }

    pub(super) fn byte(&mut self) -> Result<u8, Stop> {
        let (&byte, rest) = self.rest.split_first().ok_or(Stop::Incomplete)?;
        self.rest = rest;
        Ok(byte)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Stop> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Stop::Incomplete)?;
        self.rest = rest;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(tag: &[u8], entries: &[u8], records: usize) -> Vec<u8> {
        let mut out = Vec::new();
        Frame {
            tag,
            entries,
            compressed: None,
            records,
            id: &FrameId::new([0; 16]),
            extra: &[],
        }
        .write(Acks::Required, &mut out);
        out
    }

    #[test]
    fn a_frame_has_three_elements_and_string_keys() {
        let mut expected = b"\x93\xa3tag\xc4\x02\x90\x90\x82\xa4size\x02\xa5chunk\xb8".to_vec();
        expected.extend(b"AAAAAAAAAAAAAAAAAAAAAA==");
        assert_eq!(frame(b"tag", b"\x90\x90", 2), expected);
    }

    #[test]
    fn case_08_a_compressed_frame_says_so() {
        let mut out = Vec::new();
        Frame {
            tag: b"tag",
            entries: b"..",
            compressed: Some("gzip"),
            records: 2,
            id: &FrameId::new([0; 16]),
            extra: &[],
        }
        .write(Acks::Required, &mut out);
        let mut expected = b"\x93\xa3tag\xc4\x02..\x83\xa4size\x02\xa5chunk\xb8".to_vec();
        expected.extend(b"AAAAAAAAAAAAAAAAAAAAAA==\xaacompressed\xa4gzip");
        assert_eq!(out, expected);
    }

    #[test]
    fn extra_options_come_last() {
        let pair = |key: &[u8], value: &[u8]| ExtraOption::new(key.to_vec(), value.to_vec());
        let write = |extra: &[ExtraOption]| {
            let mut out = Vec::new();
            Frame {
                tag: b"tag",
                entries: b"..",
                compressed: Some("gzip"),
                records: 2,
                id: &FrameId::new([0; 16]),
                extra,
            }
            .write(Acks::Required, &mut out);
            out
        };
        let one = write(&[pair(b"cluster", b"c-1").unwrap()]);
        assert!(one.starts_with(b"\x93\xa3tag\xc4\x02..\x84\xa4size"));
        assert!(one.ends_with(b"\xaacompressed\xa4gzip\xa7cluster\xa3c-1"));
        let many = |count| vec![pair(b"k", b"").unwrap(); count];
        let headers: [(usize, &[u8]); 3] = [
            (12, b"\x8f\xa4"),
            (13, b"\xde\x00\x10\xa4"),
            (253, b"\xde\x01\x00\xa4"),
        ];
        for (count, header) in headers {
            let frame = write(&many(count));
            assert!(frame[9..].starts_with(header), "{count} extra options");
        }
        for key in RESERVED {
            assert_eq!(pair(key.as_bytes(), b"x"), Err(ReservedKey(key)));
        }
    }

    /// Case 4: tags of more than 31 and more than 255 bytes, and of any bytes.
    #[test]
    fn headers_are_the_shortest() {
        let tags: [(usize, &[u8]); 6] = [
            (0, b"\xa0"),
            (31, b"\xbf"),
            (32, b"\xd9\x20"),
            (255, b"\xd9\xff"),
            (256, b"\xda\x01\x00"),
            (65536, b"\xdb\x00\x01\x00\x00"),
        ];
        for (length, header) in tags {
            let frame = frame(&vec![0xfe; length], b"", 0);
            assert!(frame[1..].starts_with(header), "tag of {length} bytes");
        }
        let entries: [(usize, &[u8]); 5] = [
            (0, b"\xc4\x00"),
            (255, b"\xc4\xff"),
            (256, b"\xc5\x01\x00"),
            (65535, b"\xc5\xff\xff"),
            (65536, b"\xc6\x00\x01\x00\x00"),
        ];
        for (length, header) in entries {
            let frame = frame(b"", &vec![0; length], 0);
            assert!(frame[2..].starts_with(header), "{length} bytes of entries");
        }
        let sizes: [(usize, &[u8]); 5] = [
            (127, b"\x7f\xa5"),
            (128, b"\xcc\x80\xa5"),
            (256, b"\xcd\x01\x00\xa5"),
            (65535, b"\xcd\xff\xff\xa5"),
            (65536, b"\xce\x00\x01\x00\x00\xa5"),
        ];
        for (records, number) in sizes {
            let frame = frame(b"", b"", records);
            assert!(frame[10..].starts_with(number), "{records} records");
        }
    }

    /// Cases 23 and 37: every spelling of an acknowledgement and of a refusal.
    #[test]
    fn reads_replies_tolerantly() {
        let cases: [(&str, &[u8], Reply); 11] = [
            ("plain", b"\x81\xa3ack\xa2id", Reply::Ack(b"id")),
            ("bin", b"\x81\xa3ack\xc4\x02id", Reply::Ack(b"id")),
            ("key as bin", b"\x81\xc4\x03ack\xa2id", Reply::Ack(b"id")),
            (
                "wide headers",
                b"\xdf\0\0\0\x01\xda\0\x03ack\xdb\0\0\0\x02id",
                Reply::Ack(b"id"),
            ),
            (
                "line feed kept",
                b"\x81\xa3ack\xa3id\n",
                Reply::Ack(b"id\n"),
            ),
            (
                "extra before",
                b"\x82\xa1x\x93\x01\xc0\x81\x01\x02\xa3ack\xa2id",
                Reply::Ack(b"id"),
            ),
            (
                "extra after",
                b"\x82\xa3ack\xa2id\xa1x\xd7\x0012345678",
                Reply::Ack(b"id"),
            ),
            (
                "key not text",
                b"\x82\x91\x01\x02\xa3ack\xa2id",
                Reply::Ack(b"id"),
            ),
            ("empty map", b"\x80", Reply::Nack),
            ("nil", b"\x81\xa3ack\xc0", Reply::Nack),
            ("other keys only", b"\x81\xa2ok\xc3", Reply::Nack),
        ];
        for (name, bytes, reply) in cases {
            assert_eq!(parse_reply(bytes), Ok(Some((reply, bytes.len()))), "{name}");
            for end in 0..bytes.len() {
                assert_eq!(parse_reply(&bytes[..end]), Ok(None), "{name}, cut at {end}");
            }
        }
    }

    #[test]
    fn refuses_everything_else() {
        let deep = [b"\x81\xa1x".as_slice(), &[0x91; MAX_REPLY]].concat();
        let cases: [(&str, &[u8], WireError); 9] = [
            ("HELO", b"\x92\xa4HELO\x80", WireError::Handshake),
            ("text", b"{\"ack\": 1}", WireError::NotAMap(b'{')),
            ("nil", b"\xc0", WireError::NotAMap(0xc0)),
            ("TLS alert", b"\x15\x03\x03", WireError::Tls),
            ("id is a number", b"\x81\xa3ack\x07", WireError::NotAnId(7)),
            ("id is a map", b"\x81\xa3ack\x80", WireError::NotAnId(0x80)),
            ("unused byte", b"\x81\xa1x\xc1", WireError::NotMessagePack),
            ("depth bomb", &deep, WireError::TooLong),
            (
                "long",
                &[b"\x81\xa3ack\xda\xff\xff".as_slice(), &[b'x'; 5000]].concat(),
                WireError::TooLong,
            ),
        ];
        for (name, bytes, error) in cases {
            assert_eq!(parse_reply(bytes), Err(error), "{name}");
        }
        let promise = b"\x81\xa3ack\xdb\xff\xff\xff\xff";
        assert_eq!(
            parse_reply(promise),
            Ok(None),
            "a promised 4 GiB cost nothing until they come"
        );
    }

    /// Case 24: any fragmentation, several replies in one read.
    #[test]
    fn the_inbox_joins_and_splits() {
        let stream = b"\x81\xa3ack\xa1a\x81\xa3ack\xa1b\x80\x81\xa3ack\xa1c";
        let expected = [
            Reply::Ack(b"a"),
            Reply::Ack(b"b"),
            Reply::Nack,
            Reply::Ack(b"c"),
        ];
        for step in 1..=stream.len() {
            let mut inbox = Inbox::default();
            let mut count = 0;
            for part in stream.chunks(step) {
                inbox.push(part);
                while let Some(reply) = inbox.next_reply().unwrap() {
                    assert_eq!(reply, expected[count], "in steps of {step}");
                    count += 1;
                }
            }
            assert_eq!(count, expected.len(), "in steps of {step}");
        }
    }

    #[test]
    fn the_inbox_is_bounded() {
        let mut inbox = Inbox::default();
        inbox.push(b"\x81\xa3ack\xdb\x7f\xff\xff\xff");
        let error = (0..).find_map(|round| {
            assert!(round * 100 <= MAX_REPLY);
            inbox.push(&[b'x'; 100]);
            inbox.next_reply().err()
        });
        assert_eq!(error, Some(WireError::TooLong));
    }
}
