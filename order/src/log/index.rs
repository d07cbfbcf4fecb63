//! Where the durable records lie, by kind and key.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::segment::{self, RECORD_HEAD, SegmentId};
use super::{LogError, Record};

/// A record's place on disk.
#[derive(Clone, Copy, Debug)]
pub struct Location {
    pub segment: SegmentId,
    pub offset: u32,
    /// Bytes of payload.
    pub length: u32,
}

/// Kind, key, position: so records of one key follow each other in the order of appending.
type Entries = BTreeMap<(u8, u64, u64), Location>;

#[derive(Default)]
pub struct Index {
    entries: Mutex<Entries>,
}

impl Index {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn extend(&self, entries: impl IntoIterator<Item = ((u8, u64, u64), Location)>) {
        self.lock().extend(entries);
    }

    pub fn range(&self, kind: u8, keys: RangeInclusive<u64>, max_bytes: usize) -> Vec<Location> {
        let (first, last) = ((kind, *keys.start(), 0), (kind, *keys.end(), u64::MAX));
        if first > last {
            return Vec::new();
        }
        let entries = self.lock();
        let mut bytes = 0;
        let fitting = entries.range(first..=last).map(|(_, location)| *location);
        fitting
            .take_while(|location| {
                let is_first = bytes == 0;
                // A record without payload counts too, so that the first is the only one let through unmeasured.
                bytes += location.length as usize + RECORD_HEAD;
                is_first || bytes <= max_bytes
            })
            .collect()
    }

    pub fn newest(&self, kind: u8, key: u64) -> Option<Location> {
        let entries = self.lock();
        let mut of_key = entries.range((kind, key, 0)..=(kind, key, u64::MAX));
        of_key.next_back().map(|(_, location)| *location)
    }

    /// The lowest position among the records of a kind from a key on.
    pub fn first(&self, kind: u8, key: u64) -> Option<u64> {
        let entries = self.lock();
        let from_key = entries.range((kind, key, 0)..=(kind, u64::MAX, u64::MAX));
        from_key.map(|((_, _, position), _)| *position).min()
    }

    pub fn next_key(&self, kind: u8, key: u64) -> Option<u64> {
        let entries = self.lock();
        let mut of_kind = entries.range((kind, key, 0)..=(kind, u64::MAX, u64::MAX));
        of_kind.next().map(|((_, key, _), _)| *key)
    }

    /// Forgets the records of segments before this one.
    pub fn forget_before(&self, number: u32) {
        self.lock()
            .retain(|_, location| location.segment.number >= number);
    }

    pub fn last_key(&self, kind: u8) -> Option<u64> {
        let entries = self.lock();
        let mut of_kind = entries.range((kind, 0, 0)..=(kind, u64::MAX, u64::MAX));
        of_kind.next_back().map(|((_, key, _), _)| *key)
    }
}

/// Reads records back and checks them again: a disk may have forgotten since.
pub fn load(dir: &Path, locations: &[Location]) -> Result<Vec<Record>, LogError> {
    let mut open: Option<(u32, File)> = None;
    let mut records = Vec::with_capacity(locations.len());
    for location in locations {
        let path = segment::path(dir, location.segment.number);
        let io = |source| LogError::io(&path, source);
        let file = match &open {
            Some((number, file)) if *number == location.segment.number => file,
            _ => {
                let file = File::open(&path).map_err(io)?;
                &open.insert((location.segment.number, file)).1
            }
        };
        let mut bytes = vec![0; RECORD_HEAD + location.length as usize];
        file.read_exact_at(&mut bytes, location.offset.into())
            .map_err(io)?;
        let (kind, key) = match location.segment.decode_record(&bytes, location.offset) {
            Ok((head, payload)) if payload.len() == location.length as usize => {
                (head.kind, head.key)
            }
            Ok(_) => return Err(corrupt(&path, location, "another record is there")),
            Err(what) => return Err(corrupt(&path, location, what)),
        };
        let payload = Bytes::from(bytes).slice(RECORD_HEAD..);
        records.push(Record { kind, key, payload });
    }
    Ok(records)
}

fn corrupt(path: &Path, location: &Location, what: &'static str) -> LogError {
    LogError::Corrupt {
        path: path.into(),
        offset: location.offset.into(),
        what,
    }
}
