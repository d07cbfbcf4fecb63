//! The room ahead in a segment: it is there while the log is written, and never taken for a record or for its loss.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use tempfile::TempDir;

use super::segment::{self, RECORD_HEAD, SEGMENT_HEAD};
use super::{Log, LogError, LogOptions, Replay};

fn open(dir: &Path, segment_bytes: u32) -> Result<(Log, Replay), LogError> {
    let options = LogOptions {
        segment_bytes,
        ..LogOptions::default()
    };
    Log::open(dir, options)
}

/// Appends these keys, each with a payload of ten bytes, durable one after another.
fn fill(log: &Log, keys: impl Iterator<Item = u64>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for key in keys {
        let position = log.append(1, key, Bytes::from(vec![7; 10]));
        runtime.block_on(log.durable(position)).unwrap();
    }
}

fn keys(replay: Replay) -> Vec<u64> {
    replay.map(|record| record.unwrap().key).collect()
}

const RECORD: usize = RECORD_HEAD + 10;

/// As a power failure leaves the files: the log's own end is not reached.
fn copied(dir: &Path) -> TempDir {
    let copy = TempDir::new().unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

#[test]
fn records_are_written_into_room_that_is_there_and_a_crash_leaves_zeros_that_are_cut() {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(dir.path(), 64 << 20).unwrap();
    fill(&log, 1..=1);
    let path = segment::path(dir.path(), 1);
    let with_room = fs::metadata(&path).unwrap().len();
    let written = (SEGMENT_HEAD + RECORD) as u64;
    // Where the file system makes none there is nothing to see.
    assert!(with_room == written || with_room == written + (1 << 20));
    fill(&log, 2..=9);
    if with_room > written {
        assert_eq!(fs::metadata(&path).unwrap().len(), with_room);
    }
    let crashed = copied(dir.path());
    let beside: Result<Vec<_>, _> = Replay::beside(dir.path()).unwrap().collect();
    assert_eq!(beside.unwrap().len(), 9);
    drop(log);
    let whole = (SEGMENT_HEAD + 9 * RECORD) as u64;
    assert_eq!(fs::metadata(&path).unwrap().len(), whole, "trimmed");

    let (log, replay) = open(crashed.path(), 64 << 20).unwrap();
    assert_eq!(keys(replay), (1..=9).collect::<Vec<_>>());
    fill(&log, 10..=10);
    drop(log);
    let (_, replay) = open(crashed.path(), 64 << 20).unwrap();
    assert_eq!(keys(replay), (1..=10).collect::<Vec<_>>());
}

#[test]
fn more_records_than_the_room_holds_make_more_of_it() {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(dir.path(), 64 << 20).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    // Below and above what is gathered, and one that is larger than the room itself.
    let lengths = [300_000, 200_000, 900_000, 3 << 20, 10, 700_000];
    for (key, length) in (1..).zip(lengths) {
        let position = log.append(1, key, Bytes::from(vec![key as u8; length]));
        runtime.block_on(log.durable(position)).unwrap();
    }
    let crashed = copied(dir.path());
    for dir in [dir.path(), crashed.path()] {
        let log = (dir == crashed.path()).then(|| open(dir, 64 << 20).unwrap());
        let replay = match log {
            Some((_, replay)) => replay,
            None => Replay::beside(dir).unwrap(),
        };
        let found: Vec<_> = replay.map(Result::unwrap).collect();
        assert_eq!(
            found.iter().map(|r| r.payload.len()).collect::<Vec<_>>(),
            lengths
        );
        assert!(
            found
                .iter()
                .all(|r| r.payload.iter().all(|byte| *byte == r.key as u8))
        );
    }
}

#[test]
fn a_segment_with_a_successor_has_no_room_left_and_zeros_in_it_are_damage() {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(dir.path(), 300).unwrap();
    fill(&log, 1..=30);
    let first = segment::path(dir.path(), 1);
    let records = (300 - SEGMENT_HEAD).div_ceil(RECORD);
    assert_eq!(
        fs::metadata(&first).unwrap().len() as usize,
        SEGMENT_HEAD + records * RECORD
    );
    drop(log);
    let whole = fs::read(&first).unwrap();
    let mut lost = whole.clone();
    lost[SEGMENT_HEAD + (records - 1) * RECORD..].fill(0);
    let with_room = [&whole[..], &[0; 50]].concat();
    for damaged in [lost, with_room] {
        fs::write(&first, damaged).unwrap();
        let refused = open(dir.path(), 300).err().unwrap();
        assert!(
            matches!(&refused, LogError::Corrupt { path, .. } if *path == first),
            "{refused}"
        );
        let beside = Replay::beside(dir.path()).unwrap().find_map(Result::err);
        assert!(matches!(beside, Some(LogError::Corrupt { .. })));
    }
    fs::write(&first, whole).unwrap();
    assert_eq!(keys(open(dir.path(), 300).unwrap().1).len(), 30);
}

#[test]
fn zeros_before_a_record_that_says_they_were_durable_are_damage_and_others_are_a_torn_group() {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(dir.path(), 64 << 20).unwrap();
    fill(&log, 1..=3);
    let crashed = copied(dir.path());
    drop(log);
    let path = segment::path(crashed.path(), 1);
    let whole = fs::read(&path).unwrap();
    let second = SEGMENT_HEAD + RECORD;
    // The third record was written when the second was durable.
    let mut damaged = whole.clone();
    damaged[second..second + RECORD].fill(0);
    fs::write(&path, &damaged).unwrap();
    let refused = open(crashed.path(), 64 << 20).err().unwrap();
    assert!(matches!(refused, LogError::Corrupt { offset, .. } if offset == second as u64));
    // Nothing says so of the last: its head did not reach the disk, its payload did.
    let mut torn = whole;
    let third = second + RECORD;
    torn[third..third + RECORD_HEAD].fill(0);
    fs::write(&path, &torn).unwrap();
    assert_eq!(keys(open(crashed.path(), 64 << 20).unwrap().1), [1, 2]);
}
