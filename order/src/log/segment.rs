//! Segment files and the records in them.
//!
//! A segment: the magic, its number (u32), a random salt (u32), a checksum (u32); then records. A record: a mark, a checksum, the
//! payload's length, how many bytes of this segment were durable when it was written (u32 each), key (u64), kind (u8),
//! payload. Numbers are little endian; checksums are CRC-32C.
//!
//! **Torn or damaged?** The writer starts a group only after the one before is durable. So a bad record at offset X was
//! durable once if, and as far as a file can tell only if, a good record further on says that more than X bytes were durable
//! before it. Then the log is damaged and refuses to open. Otherwise what begins at X is a group whose fsync never
//! returned, or the last one of all: it is cut. (A damaged bit in the last group of all looks like a torn
//! write to any log; to lose that group is to lose a disk, which the replica's peers make up for.)
//!
//! **Zeros at the end** of the segment being written are room made ahead (see [`open`](super::open)): nothing begins there. Those where a
//! group should be whose fsync returned would be a disk that lost the end of a file, which no log can tell either. A segment with
//! a successor was trimmed before that began, so zeros at its end are damage.
//!
//! The checksum of a record covers the salt and its offset too, so a payload cannot pretend to hold a record.

use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes};

use super::{LogError, MAX_PAYLOAD, Record};

/// Bytes before the first record.
pub const SEGMENT_HEAD: usize = 20;
/// Bytes of a record before its payload.
pub const RECORD_HEAD: usize = 25;

const MAGIC: &[u8; 8] = b"steellg1";
const MARK: [u8; 4] = [0xc5, 0x53, 0x4c, 0x9e];

/// Number and salt of a segment, as its head tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentId {
    pub number: u32,
    pub salt: u32,
}

pub fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:010}.segment"))
}

/// The number of a segment by its file name; `None` for other files.
pub fn number(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?.strip_suffix(".segment")?;
    (name.len() == 10).then(|| name.parse().ok())?
}

impl SegmentId {
    pub fn encode(self) -> Vec<u8> {
        let mut head = MAGIC.to_vec();
        head.put_u32_le(self.number);
        head.put_u32_le(self.salt);
        head.put_u32_le(crc32c::crc32c(&head));
        head
    }

    /// `None` if the file does not begin with the head of segment `number`.
    pub fn decode(file: &[u8], number: u32) -> Option<SegmentId> {
        let mut rest = file.get(..SEGMENT_HEAD)?.strip_prefix(MAGIC)?;
        let id = SegmentId {
            number: rest.get_u32_le(),
            salt: rest.get_u32_le(),
        };
        (id.number == number && id.encode() == file[..SEGMENT_HEAD]).then_some(id)
    }

    /// The head of a record to be written at `offset`, when the first `durable` bytes of the segment are.
    pub fn record_head(self, record: &Record, offset: u32, durable: u32) -> [u8; RECORD_HEAD] {
        let mut head = [0; RECORD_HEAD];
        let mut rest = &mut head[..];
        rest.put_slice(&MARK);
        rest.put_u32_le(0);
        rest.put_u32_le(u32::try_from(record.payload.len()).expect("at most MAX_PAYLOAD"));
        rest.put_u32_le(durable);
        rest.put_u64_le(record.key);
        rest.put_u8(record.kind);
        let checksum = self.checksum(offset, &head, &record.payload);
        head[4..8].copy_from_slice(&checksum.to_le_bytes());
        head
    }

    fn checksum(self, offset: u32, head: &[u8], payload: &[u8]) -> u32 {
        let mut place = [0; 8];
        (&mut place[..4]).put_u32_le(self.salt);
        (&mut place[4..]).put_u32_le(offset);
        let sum = crc32c::crc32c(&place);
        crc32c::crc32c_append(crc32c::crc32c_append(sum, &head[8..]), payload)
    }

    /// The record at `offset`, given what the file holds from there on, and the durable bytes that it tells of.
    pub fn decode_record(self, input: &[u8], offset: u32) -> Result<(Head, &[u8]), &'static str> {
        let head = input.get(..RECORD_HEAD).ok_or("a record's head is cut")?;
        if head[..4] != MARK {
            return Err("no record begins here");
        }
        let mut rest = &head[4..];
        let checksum = rest.get_u32_le();
        let length = rest.get_u32_le() as usize;
        let durable = rest.get_u32_le();
        let (key, kind) = (rest.get_u64_le(), rest.get_u8());
        if length > MAX_PAYLOAD {
            return Err("a record's length cannot be");
        }
        let payload = input
            .get(RECORD_HEAD..RECORD_HEAD + length)
            .ok_or("a record is cut")?;
        if self.checksum(offset, head, payload) != checksum {
            return Err("a record's checksum does not match");
        }
        Ok((Head { kind, key, durable }, payload))
    }
}

/// What a good record's head says.
pub struct Head {
    pub kind: u8,
    pub key: u64,
    /// Bytes of the segment that were durable when the record was written.
    pub durable: u32,
}

/// The records of a segment's bytes, one after another.
pub struct Scan {
    path: PathBuf,
    id: SegmentId,
    bytes: Bytes,
    offset: u32,
    /// What the last record said of the segment's durable bytes.
    durable: u32,
}

/// What a scan stopped at, and where.
#[derive(Debug)]
pub struct Bad {
    pub offset: u32,
    pub what: &'static str,
}

impl Scan {
    /// `None` if the head is not that of segment `number`.
    pub fn new(path: PathBuf, number: u32, bytes: Bytes) -> Option<Scan> {
        Some(Scan {
            path,
            id: SegmentId::decode(&bytes, number)?,
            bytes,
            offset: SEGMENT_HEAD as u32,
            durable: SEGMENT_HEAD as u32,
        })
    }

    pub fn id(&self) -> SegmentId {
        self.id
    }

    /// Where the next record begins; at the end, the length of what is good.
    pub fn offset(&self) -> u32 {
        self.offset
    }

    /// The next record; none where the file ends, or nothing but zeros follows.
    pub fn next(&mut self) -> Result<Option<Record>, Bad> {
        let input = &self.bytes[self.offset as usize..];
        if input.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let (head, payload) = self
            .id
            .decode_record(input, self.offset)
            .map_err(|what| Bad {
                offset: self.offset,
                what,
            })?;
        let record = Record {
            kind: head.kind,
            key: head.key,
            // A copy: a slice would keep the whole segment in memory.
            payload: Bytes::copy_from_slice(payload),
        };
        self.offset += (RECORD_HEAD + payload.len()) as u32;
        self.durable = head.durable;
        Ok(Some(record))
    }

    /// What is good and may not be durable, as far as the file tells: the last group.
    pub fn doubtful(&self) -> &[u8] {
        let from = self.durable.min(self.offset);
        &self.bytes[from as usize..self.offset as usize]
    }

    /// Whether the file ends where the scan stands.
    pub fn is_used_up(&self) -> bool {
        self.offset as usize == self.bytes.len()
    }

    /// The zeros after the last record of a segment that was trimmed.
    pub fn zeros(&self) -> Bad {
        Bad {
            offset: self.offset,
            what: "zeros where records were",
        }
    }

    /// Whether something after the bad record shows that it was durable.
    pub fn was_durable(&self, bad: &Bad) -> bool {
        let tail = &self.bytes[bad.offset as usize..];
        let marks = tail
            .windows(MARK.len())
            .enumerate()
            .filter(|(_, window)| *window == MARK);
        marks
            .filter_map(|(at, _)| {
                let offset = bad.offset + at as u32;
                self.id.decode_record(&tail[at..], offset).ok()
            })
            .any(|(head, _)| head.durable > bad.offset)
    }

    pub fn corrupt(&self, bad: &Bad) -> LogError {
        LogError::Corrupt {
            path: self.path.clone(),
            offset: bad.offset.into(),
            what: bad.what,
        }
    }
}
