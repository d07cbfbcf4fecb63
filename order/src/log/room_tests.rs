//! The room ahead in a segment: it is there while the log is written, and never taken for a record or for its loss.

use std::fs;
use std::path::Path;
use std::sync::mpsc;

use bytes::Bytes;
use tempfile::TempDir;

use super::open::OpenSegment;
use super::segment::{self, RECORD_HEAD, SEGMENT_HEAD};
use super::tests::wait_until;
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

#[test]
fn a_crash_leaves_the_last_group_in_doubt_and_it_is_written_again() {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(dir.path(), 64 << 20).unwrap();
    fill(&log, 1..=3);
    drop(log);
    let path = segment::path(dir.path(), 1);
    let whole = fs::read(&path).unwrap();
    let scan = || segment::Scan::new(path.clone(), 1, Bytes::from(whole.clone())).unwrap();
    assert!(scan().doubtful().is_empty());
    let mut scan = scan();
    while scan.next().unwrap().is_some() {}
    assert_eq!(scan.doubtful(), &whole[SEGMENT_HEAD + 2 * RECORD..]);
    // What stands there meanwhile is what the system takes for written: here, nothing.
    let mut forgotten = whole.clone();
    let from = whole.len() - RECORD;
    forgotten[from..].fill(0);
    fs::write(&path, &forgotten).unwrap();
    let end = whole.len() as u32;
    let opened = OpenSegment::reopen(scan.id(), end, scan.doubtful(), path.clone()).unwrap();
    assert_eq!(opened.length, end);
    assert!(fs::read(&path).unwrap() == whole);
}

#[test]
fn opening_writes_the_last_group_and_nothing_before_it() {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(dir.path(), 64 << 20).unwrap();
    fill(&log, 1..=3);
    drop(log);
    let path = segment::path(dir.path(), 1);
    let before = written_bytes();
    drop(open(dir.path(), 64 << 20).unwrap());
    // Beside it the lock's file is opened, of which nothing is written.
    assert_eq!(written_bytes() - before, RECORD as u64);
    assert_eq!(
        fs::metadata(&path).unwrap().len() as usize,
        SEGMENT_HEAD + 3 * RECORD
    );
}

/// Bytes that this thread has given to write calls.
fn written_bytes() -> u64 {
    let counts = fs::read_to_string("/proc/thread-self/io").unwrap();
    let line = counts.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.unwrap().parse().unwrap()
}

#[test]
fn a_segment_without_its_head_is_damage_for_whoever_reads_beside_its_writer() {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(dir.path(), 300).unwrap();
    fill(&log, 1..=30);
    let second = segment::path(dir.path(), 2);
    let whole = fs::read(&second).unwrap();
    let mut damaged = whole.clone();
    damaged[3] ^= 1;
    fs::write(&second, damaged).unwrap();
    let refused = Replay::beside(dir.path()).unwrap().find_map(Result::err);
    assert!(matches!(refused, Some(LogError::Corrupt { path, offset: 0, .. }) if path == second));
    fs::write(&second, whole).unwrap();
    assert_eq!(keys(Replay::beside(dir.path()).unwrap()).len(), 30);
    // The last one too, unless there is nothing behind its head, as while it is made.
    let newest = (1..).take_while(|number| segment::path(dir.path(), *number).exists());
    let newest = segment::path(dir.path(), newest.last().unwrap());
    let mut damaged = fs::read(&newest).unwrap();
    damaged[3] ^= 1;
    fs::write(&newest, &damaged).unwrap();
    let refused = Replay::beside(dir.path()).err().unwrap();
    assert!(matches!(refused, LogError::Corrupt { path, offset: 0, .. } if path == newest));
    fs::write(&newest, &damaged[..SEGMENT_HEAD]).unwrap();
    assert!(keys(Replay::beside(dir.path()).unwrap()).len() < 30);
}

#[test]
fn a_segment_that_is_cut_while_the_log_is_read_is_told_from_one_that_is_missing() {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(dir.path(), 300).unwrap();
    fill(&log, 1..=60);
    let mut beside = Replay::beside(dir.path()).unwrap();
    assert_eq!(beside.next().unwrap().unwrap().key, 1);
    assert!(log.cut(log.first(1, 50)).unwrap() > 1);
    let ended = beside.find_map(Result::err).unwrap();
    assert!(matches!(ended, LogError::Cut { .. }), "{ended}");
    assert!(keys(Replay::beside(dir.path()).unwrap()).contains(&60));
}

#[test]
fn damage_in_what_is_durable_of_the_last_segment_is_not_its_end() {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(dir.path(), 64 << 20).unwrap();
    fill(&log, 1..=9);
    let path = segment::path(dir.path(), 1);
    let mut damaged = fs::read(&path).unwrap();
    damaged[SEGMENT_HEAD + 4 * RECORD + RECORD_HEAD] ^= 1;
    fs::write(&path, damaged).unwrap();
    let refused = Replay::beside(dir.path()).err().unwrap();
    let at = (SEGMENT_HEAD + 4 * RECORD) as u64;
    assert!(matches!(refused, LogError::Corrupt { offset, .. } if offset == at));
}

#[test]
fn whoever_closes_a_log_from_its_own_thread_keeps_others_out_until_it_has_ended() {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(dir.path(), 64 << 20).unwrap();
    let (go, gate) = mpsc::channel::<()>();
    let (told, heard) = mpsc::channel();
    let last = log.clone();
    let dir_of_log = dir.path().to_owned();
    log.append_then(1, 1, Bytes::new(), move |_| {
        gate.recv().unwrap();
        drop(last);
        // This thread still has a group to write.
        let again = open(&dir_of_log, 64 << 20);
        told.send(matches!(again, Err(LogError::InUse { .. })))
            .unwrap();
    });
    wait_until(|| log.stats().records == 1);
    log.append(1, 2, Bytes::new());
    drop(log);
    go.send(()).unwrap();
    assert!(heard.recv().unwrap());
    wait_until(|| open(dir.path(), 64 << 20).is_ok());
    assert_eq!(keys(open(dir.path(), 64 << 20).unwrap().1), [1, 2]);
}
