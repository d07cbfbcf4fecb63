//! What cutting a log promises: what was asked to stay stays, and a segment that went is told from one that is missing.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use tempfile::TempDir;

use super::{Log, LogError, LogOptions, Position, Replay, segment};

const KIND: u8 = 1;

fn open(dir: &Path) -> Result<(Log, Replay), LogError> {
    let options = LogOptions {
        segment_bytes: 1_000,
        ..LogOptions::default()
    };
    Log::open(dir, options)
}

/// A log of a few segments with the keys 1 to 200.
fn filled(dir: &Path) -> Log {
    let (log, _) = open(dir).unwrap();
    for key in 1..=200 {
        log.append(KIND, key, vec![key as u8; 20].into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(log.durable(log.end())).unwrap();
    log
}

fn keys(dir: &Path) -> Vec<u64> {
    open(dir)
        .unwrap()
        .1
        .map(|record| record.unwrap().key)
        .collect()
}

fn segments(dir: &Path) -> Vec<u32> {
    let files = fs::read_dir(dir).unwrap();
    let mut numbers: Vec<_> = files
        .filter_map(|entry| segment::number(&entry.unwrap().path()))
        .collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn whole_segments_before_a_record_go_and_nothing_after_it_does() {
    let dir = TempDir::new().unwrap();
    let log = filled(dir.path());
    let before = segments(dir.path()).len();
    assert!(before >= 8);
    let keep = log.first(KIND, 120);
    let gone = log.cut(keep).unwrap();
    assert!(gone > 2 && segments(dir.path()).len() == before - gone);
    assert_eq!(log.cut(keep).unwrap(), 0, "again changes nothing");
    let first = log.next_key(KIND, 0).unwrap();
    assert!(first <= 120 && first > 60, "{first}");
    // What is gone is not found, what is left is read, and new records follow.
    assert_eq!(log.newest(KIND, first - 1).unwrap(), None);
    assert_eq!(
        log.read(KIND, 0..=u64::MAX, usize::MAX).unwrap().len() as u64,
        201 - first
    );
    log.append(KIND, 201, Bytes::new());
    drop(log);
    assert_eq!(keys(dir.path()), (first..=201).collect::<Vec<_>>());
    // And once more after a restart, whose positions begin anew.
    let (log, _) = open(dir.path()).unwrap();
    assert_eq!(log.first(KIND, first), Position(1));
    log.cut(log.first(KIND, 190)).unwrap();
    let first = log.next_key(KIND, 0).unwrap();
    drop(log);
    assert!(first > 120);
    assert_eq!(keys(dir.path()), (first..=201).collect::<Vec<_>>());
}

#[test]
fn the_segment_being_written_is_never_cut() {
    let dir = TempDir::new().unwrap();
    let log = filled(dir.path());
    // No record has such a key: everything durable may go.
    log.cut(log.first(KIND, 1_000)).unwrap();
    assert_eq!(segments(dir.path()).len(), 1);
    log.append(KIND, 201, Bytes::new());
    drop(log);
    assert_eq!(keys(dir.path()).last(), Some(&201));
}

#[test]
fn a_cut_that_a_crash_interrupted_is_finished_at_the_next_start() {
    let dir = TempDir::new().unwrap();
    let log = filled(dir.path());
    let second = fs::read(segment::path(dir.path(), 2)).unwrap();
    log.cut(log.first(KIND, 150)).unwrap();
    let (left, first) = (segments(dir.path()), log.next_key(KIND, 0).unwrap());
    drop(log);
    // The note was written, this one's deletion did not reach the disk.
    fs::write(segment::path(dir.path(), 2), second).unwrap();
    assert_eq!(keys(dir.path()).first(), Some(&first));
    assert_eq!(segments(dir.path()), left);
}

#[test]
fn a_segment_that_is_missing_where_the_log_begins_is_noticed() {
    let dir = TempDir::new().unwrap();
    let log = filled(dir.path());
    log.cut(log.first(KIND, 150)).unwrap();
    drop(log);
    let left = segments(dir.path());
    let first = segment::path(dir.path(), left[0]);
    fs::remove_file(&first).unwrap();
    let refused = open(dir.path()).err().unwrap();
    assert!(
        matches!(&refused, LogError::Missing { path } if *path == first),
        "{refused}"
    );
    for number in left {
        let _ = fs::remove_file(segment::path(dir.path(), number));
    }
    let refused = open(dir.path()).err().unwrap();
    assert!(
        matches!(&refused, LogError::Missing { path } if *path == first),
        "{refused}"
    );
}

#[test]
fn a_damaged_note_of_the_beginning_is_refused_by_name() {
    let dir = TempDir::new().unwrap();
    let log = filled(dir.path());
    log.cut(log.first(KIND, 150)).unwrap();
    drop(log);
    let note = dir.path().join("begin");
    let good = fs::read(&note).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&note, bad).unwrap();
        let refused = open(dir.path()).err().unwrap();
        assert!(
            matches!(&refused, LogError::Corrupt { path, .. } if *path == note),
            "{refused}"
        );
    }
    fs::write(&note, &good[..5]).unwrap();
    assert!(open(dir.path()).is_err());
    // A new note that was not finished does not count.
    fs::write(&note, &good).unwrap();
    fs::write(dir.path().join("begin.new"), b"st").unwrap();
    assert!(open(dir.path()).is_ok());
}
