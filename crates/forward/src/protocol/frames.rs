//! Batches of entries, and the frames that they are split into.

use std::ops::Range;

/// Entries under one tag, ready to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Tag of every entry.
    pub tag: Vec<u8>,
    /// Concatenated `[EventTime, map]` entries in MessagePack.
    pub entries: Vec<u8>,
    /// End of each entry in `entries`: ascending, the last one equal to its length.
    pub ends: Vec<usize>,
}

/// Largest frames, in bytes of uncompressed entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Entries are packed into frames up to this size. Default 900,000, because
    /// Fluent Bit receives and inflates in pieces of 1,024,000.
    pub frame: usize,
    /// An entry larger than `frame` gets a frame of its own; an entry larger than
    /// this is not sent. Default 6,000,000, because Fluent Bit closes the
    /// connection above 6,144,000, on every attempt.
    pub record: usize,
}

impl Default for Caps {
    fn default() -> Caps {
        Caps {
            frame: 900_000,
            record: 6_000_000,
        }
    }
}

/// Consecutive entries of a batch that form one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameRange {
    /// Bytes of the entries in [`Batch::entries`].
    pub bytes: Range<usize>,
    /// Number of entries.
    pub records: usize,
}

/// A batch split into frames.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Framing {
    /// Frames, in order.
    pub frames: Vec<FrameRange>,
    /// Records larger than [`Caps::record`], which are in no frame.
    pub too_large: Vec<RecordTooLarge>,
}

/// A record that is too large to be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {number} of the chunk has {} bytes, at most {cap} can be sent", .bytes.len())]
pub struct RecordTooLarge {
    /// Number of the record in its batch, counted from 1.
    pub number: usize,
    /// Bytes of the record in [`Batch::entries`].
    pub bytes: Range<usize>,
    /// Largest record that is sent, [`Caps::record`].
    pub cap: usize,
}

/// [`Batch::ends`] that contradict [`Batch::entries`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ends of a batch's records must rise up to its length, {length}")]
pub struct BatchError {
    length: usize,
}

/// Splits a batch into frames at record borders.
pub fn cut(batch: &Batch, caps: &Caps) -> Result<Framing, BatchError> {
    let sound =
        batch.ends.is_sorted() && batch.ends.last().copied().unwrap_or(0) == batch.entries.len();
    if !sound {
        return Err(BatchError {
            length: batch.entries.len(),
        });
    }
    let mut cut = Framing::default();
    let mut open: Option<FrameRange> = None;
    let mut start = 0;
    for (index, &end) in batch.ends.iter().enumerate() {
        let bytes = start..end;
        start = end;
        if bytes.len() > caps.record {
            cut.frames.extend(open.take());
            cut.too_large.push(RecordTooLarge {
                number: index.saturating_add(1),
                bytes,
                cap: caps.record,
            });
            continue;
        }
        match &mut open {
            Some(range) if end.saturating_sub(range.bytes.start) <= caps.frame => {
                range.bytes.end = end;
                range.records = range.records.saturating_add(1);
            }
            _ => cut
                .frames
                .extend(open.replace(FrameRange { bytes, records: 1 })),
        }
    }
    cut.frames.extend(open);
    Ok(cut)
}

/// Splits a frame at the record border closest to its middle. `ends` is
/// [`Batch::ends`] of the frame's batch. Returns `None` for a single record.
pub fn halve(range: &FrameRange, ends: &[usize]) -> Option<[FrameRange; 2]> {
    let Range { start, end } = range.bytes;
    let first = ends.partition_point(|&border| border <= start);
    let borders = ends.get(first..)?.get(..range.records.checked_sub(1)?)?;
    let middle = start.midpoint(end);
    let (index, &border) = borders
        .iter()
        .enumerate()
        .min_by_key(|(_, border)| border.abs_diff(middle))?;
    let front = FrameRange {
        bytes: start..border,
        records: index.saturating_add(1),
    };
    let back = FrameRange {
        bytes: border..end,
        records: range.records.saturating_sub(front.records),
    };
    Some([front, back])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(sizes: &[usize]) -> Batch {
        let ends: Vec<usize> = sizes
            .iter()
            .scan(0, |end, size| {
                *end += size;
                Some(*end)
            })
            .collect();
        Batch {
            entries: vec![0; ends.last().copied().unwrap_or(0)],
            ends,
            ..Batch::default()
        }
    }

    /// Cases 5, 11 and 12.
    #[test]
    fn cuts_at_record_borders() {
        let caps = Caps {
            frame: 10,
            record: 20,
        };
        /// Sizes of records; sizes and records of frames; numbers of records too large.
        type Case = (
            &'static [usize],
            &'static [(usize, usize)],
            &'static [usize],
        );
        let cases: [Case; 9] = [
            (&[], &[], &[]),
            (&[1], &[(1, 1)], &[]),
            (&[5, 5], &[(10, 2)], &[]),
            (&[5, 6], &[(5, 1), (6, 1)], &[]),
            (&[3, 3, 3, 3, 3], &[(9, 3), (6, 2)], &[]),
            (&[3, 15, 3], &[(3, 1), (15, 1), (3, 1)], &[]),
            (&[20], &[(20, 1)], &[]),
            (&[3, 21, 3], &[(3, 1), (3, 1)], &[2]),
            (&[21, 22], &[], &[1, 2]),
        ];
        for (sizes, frames, too_large) in cases {
            let cut = cut(&batch(sizes), &caps).unwrap();
            let got: Vec<_> = cut
                .frames
                .iter()
                .map(|range| (range.bytes.len(), range.records))
                .collect();
            assert_eq!(got, frames, "frames of {sizes:?}");
            let got: Vec<_> = cut.too_large.iter().map(|error| error.number).collect();
            assert_eq!(got, too_large, "records too large of {sizes:?}");
        }
    }

    #[test]
    fn case_46_halves_at_the_border_next_to_the_middle() {
        /// Sizes of records; the range's first record and number of them; records of the halves.
        type Case = (&'static [usize], (usize, usize), Option<(usize, usize)>);
        let cases: [Case; 7] = [
            (&[5], (0, 1), None),
            (&[5, 5], (0, 2), Some((1, 1))),
            (&[1, 1, 1, 1, 100], (0, 5), Some((4, 1))),
            (&[100, 1, 1, 1], (0, 4), Some((1, 3))),
            (&[3, 3, 3, 3, 3], (1, 4), Some((2, 2))),
            (&[3, 3, 3, 3, 3], (2, 2), Some((1, 1))),
            (&[3, 3, 3], (2, 1), None),
        ];
        for (sizes, (first, records), expected) in cases {
            let batch = batch(sizes);
            let start = sizes[..first].iter().sum();
            let end = sizes[..first + records].iter().sum();
            let range = FrameRange {
                bytes: start..end,
                records,
            };
            let halves = halve(&range, &batch.ends);
            let got = halves.as_ref().map(|[front, back]| {
                assert_eq!((front.bytes.start, back.bytes.end), (start, end));
                assert_eq!(front.bytes.end, back.bytes.start);
                assert!(batch.ends.contains(&front.bytes.end));
                (front.records, back.records)
            });
            assert_eq!(got, expected, "{sizes:?} from {first}");
        }
    }

    #[test]
    fn names_the_record_that_is_too_large() {
        let cut = cut(
            &batch(&[3, 21]),
            &Caps {
                frame: 10,
                record: 20,
            },
        )
        .unwrap();
        let text = cut.too_large[0].to_string();
        assert_eq!(
            text,
            "record 2 of the chunk has 21 bytes, at most 20 can be sent"
        );
    }

    #[test]
    fn refuses_ends_that_do_not_fit() {
        for ends in [vec![], vec![2], vec![4], vec![2, 1, 3]] {
            let batch = Batch {
                entries: vec![0; 3],
                ends,
                ..Batch::default()
            };
            assert!(cut(&batch, &Caps::default()).is_err(), "{:?}", batch.ends);
        }
    }
}
