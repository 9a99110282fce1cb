//! The framing of records in a chunk: `[time, map]` up to Fluent Bit 2.0,
//! `[[time, metadata], map]` since 2.1, and either in a backlog.

use std::ops::Range;

use crate::doc::msgpack::{HeadKind, Msgpack};
use crate::doc::{Doc, Kind, Malformed};

/// A point in time, as records carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTime {
    /// Seconds since 1970.
    pub seconds: u32,
    /// Nanoseconds of the second.
    pub nanoseconds: u32,
}

impl EventTime {
    /// Appends the extension of type 0 that Fluent Bit and the Forward protocol use.
    pub fn write(self, out: &mut Vec<u8>) {
        let [a, b, c, d] = self.seconds.to_be_bytes();
        let [e, f, g, h] = self.nanoseconds.to_be_bytes();
        out.extend_from_slice(&[0xd7, 0, a, b, c, d, e, f, g, h]);
    }

    /// Reads an RFC 3339 time, such as the `2026-11-20T08:00:00.123456Z` of the API server
    /// or the `2026-11-20T09:00:00.123456789+01:00` of a container runtime.
    pub fn parse(text: &[u8]) -> Option<EventTime> {
        let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if separators
            .iter()
            .any(|&(at, byte)| text.get(at) != Some(&byte))
        {
            return None;
        }
        let number = |range: Range<usize>| digits(text.get(range)?);
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
        if !(1..=12).contains(&month)
            || !(1..=31).contains(&day)
            || hour > 23
            || minute > 59
            || second > 60
        {
            return None;
        }
        let rest = text.get(19..)?;
        let zone_at = rest.iter().position(|b| matches!(b, b'Z' | b'+' | b'-'))?;
        let (fraction, zone) = rest.split_at_checked(zone_at)?;
        let nanoseconds = match fraction {
            [] => 0,
            [b'.', fraction @ ..] if (1..=9).contains(&fraction.len()) => {
                let missing = 9u32.checked_sub(u32::try_from(fraction.len()).ok()?)?;
                digits(fraction)?.checked_mul(10u32.checked_pow(missing)?)?
            }
            _ => return None,
        };
        let seconds = days_since_1970(year, month, day)
            .checked_mul(86_400)?
            .checked_add(seconds_of_day(hour, minute, second))?
            .checked_sub(zone_offset(zone)?)?;
        Some(EventTime {
            seconds: u32::try_from(seconds).ok()?,
            nanoseconds,
        })
    }
}

/// The value of a few decimal digits.
fn digits(text: &[u8]) -> Option<u32> {
    let digit = |byte: &u8| char::from(*byte).to_digit(10);
    text.iter().try_fold(0u32, |value, byte| {
        value.checked_mul(10)?.checked_add(digit(byte)?)
    })
}

/// Seconds that a time zone, `Z` or `+01:00`, is ahead of UTC.
fn zone_offset(zone: &[u8]) -> Option<i64> {
    let (is_ahead, offset) = match zone {
        b"Z" => return Some(0),
        [b'+', offset @ ..] => (true, offset),
        [b'-', offset @ ..] => (false, offset),
        _ => return None,
    };
    let &[a, b, b':', c, d] = offset else {
        return None;
    };
    let (hours, minutes) = (digits(&[a, b])?, digits(&[c, d])?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = seconds_of_day(hours, minutes, 0);
    if is_ahead {
        Some(seconds)
    } else {
        seconds.checked_neg()
    }
}

/// Seconds from midnight to a time of day.
fn seconds_of_day(hours: u32, minutes: u32, seconds: u32) -> i64 {
    let minutes = hours.saturating_mul(60).saturating_add(minutes);
    i64::from(minutes.saturating_mul(60).saturating_add(seconds))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, counted in years
/// that begin in March, so that the leap day is the last one.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "the year has four digits, so that no term comes near the limits of its type"
)]
fn days_since_1970(year: u32, month: u32, day: u32) -> i64 {
    let year = i64::from(year) - i64::from(month <= 2);
    let month = i64::from((month + 9) % 12);
    let day_of_year = (153 * month + 2) / 5 + i64::from(day) - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + day_of_year - 719_468
}

/// A record of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Start of the record.
    pub at: usize,
    /// Range of its time.
    pub time: Range<usize>,
    /// Start of its body, which goes up to the end of the record.
    pub body: usize,
    /// End of the record.
    pub end: usize,
    /// The kind of record.
    pub kind: RecordKind,
}

/// The kind of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A log record.
    Log(EventTime),
    /// The start or end of a group (Fluent Bit 3.1 and later): it belongs to the
    /// host and is not a log record.
    GroupMarker,
    /// A value that is not a record.
    Unreadable,
}

/// Seconds of the markers around a group.
const MARKERS: [u32; 2] = [0xffff_ffff, 0xffff_fffe];

/// The latest seconds that cannot be taken for a marker.
const LATEST: u32 = 0xffff_fffd;

impl RecordKind {
    /// By the content of the extension that holds the record's time.
    #[inline]
    fn of_extension([a, b, c, d, e, f, g, h]: [u8; 8]) -> RecordKind {
        let time = EventTime {
            seconds: u32::from_be_bytes([a, b, c, d]),
            nanoseconds: u32::from_be_bytes([e, f, g, h]),
        };
        if MARKERS.contains(&time.seconds) && time.nanoseconds == 0 {
            RecordKind::GroupMarker
        } else {
            RecordKind::Log(time)
        }
    }
}

impl Record {
    /// The kind of a record and the place of its body, where its front has the form
    /// that Fluent Bit gives it since 2.1 when there is no metadata.
    #[inline]
    fn plain_front(chunk: &[u8], at: usize) -> Option<(RecordKind, usize)> {
        let front = chunk.get(at..)?.first_chunk::<13>()?;
        let &[0x92, 0x92, 0xd7, 0, ref time @ .., 0x80] = front else {
            return None;
        };
        Some((
            RecordKind::of_extension(*time),
            at.saturating_add(front.len()),
        ))
    }

    /// The record that begins at a position.
    pub fn read(chunk: &[u8], at: usize) -> Result<Record, Malformed> {
        let tree = Msgpack(chunk);
        if let Some((kind, body)) = Record::plain_front(chunk, at) {
            return Ok(Record {
                at,
                time: at.saturating_add(2)..body.saturating_sub(1),
                body,
                end: tree.end(body)?,
                kind,
            });
        }
        let pair = |at: usize| match tree.head(at)? {
            head if head.kind == HeadKind::Array(2) => Ok(head.content),
            _ => Err(Malformed),
        };
        let first = pair(at)?;
        let (time_at, body) = match tree.kind(first)? {
            Kind::List => {
                let time = pair(first)?;
                let metadata = tree.end(time)?;
                if tree.kind(metadata)? != Kind::Map {
                    return Err(Malformed);
                }
                (time, tree.end(metadata)?)
            }
            _ => (first, tree.end(first)?),
        };
        let time = time_at..tree.end(time_at)?;
        let kind = read_time(tree, time_at)?;
        Ok(Record {
            at,
            time,
            body,
            end: tree.end(body)?,
            kind,
        })
    }
}

impl Record {
    /// The value that begins at a position, which is not a record, so that the records
    /// after it can be read.
    #[cold]
    pub fn unreadable(chunk: &[u8], at: usize) -> Result<Record, Malformed> {
        Ok(Record::unreadable_up_to(at, Msgpack(chunk).end(at)?))
    }

    /// Bytes that are not a record.
    pub(crate) fn unreadable_up_to(at: usize, end: usize) -> Record {
        Record {
            at,
            time: at..at,
            body: at,
            end,
            kind: RecordKind::Unreadable,
        }
    }
}

/// Reads a time. One that does not fit becomes the nearest that does: the host reads it,
/// so the event must be judged.
fn read_time(tree: Msgpack<'_>, at: usize) -> Result<RecordKind, Malformed> {
    let head = tree.head(at)?;
    let time = match head.kind {
        HeadKind::Ext(0, 8) => {
            let time = tree.content(head, 8)?.first_chunk().ok_or(Malformed)?;
            return Ok(RecordKind::of_extension(*time));
        }
        HeadKind::Unsigned(seconds) => EventTime {
            seconds: u32::try_from(seconds).unwrap_or(LATEST).min(LATEST),
            nanoseconds: 0,
        },
        HeadKind::Signed(_) => EventTime {
            seconds: 0,
            nanoseconds: 0,
        },
        #[expect(
            clippy::as_conversions,
            reason = "what is out of range becomes its end"
        )]
        HeadKind::Float(seconds) => EventTime {
            seconds: (seconds as u32).min(LATEST),
            nanoseconds: (seconds.fract() * 1e9) as u32,
        },
        _ => return Err(Malformed),
    };
    Ok(RecordKind::Log(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_framings() {
        let time = b"\xd7\x00\x00\x00\x00\x05\x00\x00\x00\x07";
        let log = RecordKind::Log(EventTime {
            seconds: 5,
            nanoseconds: 7,
        });
        for (head, meta, body_at) in [
            (&b"\x92"[..], &b""[..], 11),
            (b"\x92\x92", b"\x80", 13),
            (b"\xdd\0\0\0\x02\xdd\0\0\0\x02", b"\xdf\0\0\0\0", 25),
        ] {
            let mut chunk = head.to_vec();
            chunk.extend_from_slice(time);
            chunk.extend_from_slice(meta);
            chunk.extend_from_slice(b"\x81\xa1a\x01");
            let record = Record::read(&chunk, 0).unwrap();
            assert_eq!(record.kind, log);
            assert_eq!((record.body, record.end), (body_at, chunk.len()));
            assert_eq!(&chunk[record.time], time);
            for short in 0..chunk.len() {
                assert_eq!(Record::read(&chunk[..short], 0), Err(Malformed));
            }
        }
    }

    #[test]
    fn times_of_other_types_and_markers() {
        let kind = |chunk: &[u8]| Record::read(chunk, 0).map(|record| record.kind);
        assert_eq!(
            kind(b"\x92\x05\x80"),
            Ok(RecordKind::Log(EventTime {
                seconds: 5,
                nanoseconds: 0
            }))
        );
        assert_eq!(
            kind(b"\x92\xcb\x3f\xf8\0\0\0\0\0\0\x80"),
            Ok(RecordKind::Log(EventTime {
                seconds: 1,
                nanoseconds: 500_000_000
            }))
        );
        assert_eq!(
            kind(b"\x92\x92\xd7\0\xff\xff\xff\xff\0\0\0\0\x80\x80"),
            Ok(RecordKind::GroupMarker)
        );
        assert_eq!(
            kind(b"\x92\x92\xc7\x08\0\xff\xff\xff\xfe\0\0\0\0\x80\x80"),
            Ok(RecordKind::GroupMarker)
        );
        let seconds = |chunk: &[u8]| match kind(chunk) {
            Ok(RecordKind::Log(time)) => time.seconds,
            other => panic!("{chunk:x?}: {other:?}"),
        };
        for (chunk, want) in [
            (&b"\x92\xff\x80"[..], 0),
            (b"\x92\xcf\0\0\x01\x8b\xcf\xe5\x68\x00\x80", LATEST),
            (b"\x92\xce\xff\xff\xff\xff\x80", LATEST),
            (b"\x92\xcb\x7f\xf0\0\0\0\0\0\0\x80", LATEST),
            (b"\x92\xcb\x7f\xf8\0\0\0\0\0\0\x80", 0),
            (b"\x92\xca\xbf\x80\0\0\x80", 0),
        ] {
            assert_eq!(seconds(chunk), want, "{chunk:x?}");
        }
        for chunk in [
            &b"\x92\xa1a\x80"[..],
            b"\x91\x05",
            b"\x93\x05\x80\x80",
            b"\x92\x92\x05\x01\x80",
        ] {
            assert_eq!(kind(chunk), Err(Malformed), "{chunk:x?}");
        }
    }

    #[test]
    fn times_of_events() {
        let check = |text: &str, want: Option<(u32, u32)>| {
            let want = want.map(|(seconds, nanoseconds)| EventTime {
                seconds,
                nanoseconds,
            });
            assert_eq!(EventTime::parse(text.as_bytes()), want, "{text}");
        };
        check("1970-01-01T00:00:00Z", Some((0, 0)));
        check("2000-02-29T12:00:00.5Z", Some((951_825_600, 500_000_000)));
        check(
            "2026-11-20T08:00:00.123456Z",
            Some((1_795_161_600, 123_456_000)),
        );
        check(
            "2026-11-20T08:00:00.123456789Z",
            Some((1_795_161_600, 123_456_789)),
        );
        check(
            "2026-11-20T09:30:00.5+01:30",
            Some((1_795_161_600, 500_000_000)),
        );
        check("2026-11-20T03:00:00-05:00", Some((1_795_161_600, 0)));
        for text in [
            "",
            "2026-11-20",
            "2026-13-20T08:00:00Z",
            "2026-11-20T08:00:00",
            "2026-11-20T08:00:00.Z",
            "1960-01-01T00:00:00Z",
            "2026-11-20T08:00:00+0100",
            "2026-11-20T08:00:00+24:00",
        ] {
            check(text, None);
        }
    }
}
