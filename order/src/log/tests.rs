//! What a log promises: what was durable comes back, what was torn is cut, what is damaged is refused.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;

use super::segment::{self, RECORD_HEAD, SEGMENT_HEAD, SegmentId};
use super::{Log, LogError, LogOptions, Record, Replay};

fn open(dir: &Path) -> (Log, Replay) {
    Log::open(dir, LogOptions::default()).unwrap()
}

fn replayed(dir: &Path) -> Vec<Record> {
    open(dir).1.map(Result::unwrap).collect()
}

fn record(number: u64) -> Record {
    Record {
        kind: (number % 3) as u8,
        key: number,
        payload: vec![number as u8; (number as usize * 7) % 50].into(),
    }
}

fn append(log: &Log, record: &Record) {
    log.append(record.kind, record.key, record.payload.clone());
}

/// A log with these records, each in a group of its own; returns its only segment's bytes.
fn written(dir: &Path, records: &[Record]) -> Vec<u8> {
    for record in records {
        append(&open(dir).0, record);
    }
    fs::read(segment::path(dir, 1)).unwrap()
}

#[test]
fn replay_gives_back_what_was_appended_in_order() {
    let dir = TempDir::new().unwrap();
    let (log, mut replay) = open(dir.path());
    assert!(replay.next().is_none());
    let records: Vec<Record> = (1..=500).map(record).collect();
    records.iter().for_each(|record| append(&log, record));
    // A payload too long to be gathered with others.
    let long = Record {
        kind: 9,
        key: 9,
        payload: vec![3; 700_000].into(),
    };
    append(&log, &long);
    drop(log);
    let expected = [records, vec![long]].concat();
    assert!(replayed(dir.path()) == expected);
    // A later run goes on where this one ended.
    append(&open(dir.path()).0, &record(501));
    assert_eq!(replayed(dir.path()).last(), Some(&record(501)));
}

#[test]
fn a_record_that_nobody_waits_for_shares_the_next_fsync_or_gets_one_soon() {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(dir.path());
    for number in 1..=3 {
        let Record { kind, key, payload } = record(number);
        log.append_lazily(kind, key, payload);
    }
    let (told, heard) = mpsc::channel();
    let position = log.append_then(7, 7, Bytes::new(), move |done| told.send(done).unwrap());
    heard.recv().unwrap().unwrap();
    assert_eq!((position.0, log.stats().records), (4, 4));
    // Nothing comes after these: the first finds the thread dozing, the last asleep.
    for pause in [0, 100] {
        std::thread::sleep(Duration::from_millis(pause));
        let before = log.stats().records;
        log.append_lazily(8, 8, Bytes::new());
        wait_until(|| log.stats().records == before + 1);
    }
    assert_eq!(log.read(8, 8..=8, 100).unwrap().len(), 2);
    // Those still waiting when the log closes are not lost.
    log.append_lazily(9, 9, Bytes::new());
    drop(log);
    assert_eq!(replayed(dir.path()).len(), 7);
}

#[test]
fn a_replay_ends_where_the_log_ended_when_it_was_opened() {
    let dir = TempDir::new().unwrap();
    written(dir.path(), &[record(1)]);
    let (log, replay) = open(dir.path());
    append(&log, &record(2));
    drop(log);
    assert_eq!(replay.map(Result::unwrap).collect::<Vec<_>>(), [record(1)]);
}

#[tokio::test]
async fn a_record_is_durable_in_the_file_when_its_waiter_wakes() {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(dir.path());
    let position = log.append(1, 7, "vote".into());
    log.durable(position).await.unwrap();
    let file = fs::read(segment::path(dir.path(), 1)).unwrap();
    let end = SEGMENT_HEAD + RECORD_HEAD + 4;
    assert!(file[..end].ends_with(b"vote"));
    let later = log.append(1, 8, "more".into());
    assert!(later > position);
    assert!(log.stats().fsyncs >= 1);
}

#[test]
fn a_tail_torn_at_any_byte_is_cut() {
    let dir = TempDir::new().unwrap();
    let (first, second, last) = (record(1), record(2), record(4));
    let whole = written(dir.path(), &[first.clone(), second.clone(), last.clone()]);
    let begin = whole.len() - RECORD_HEAD - last.payload.len();
    let path = segment::path(dir.path(), 1);
    for end in begin..whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        assert_eq!(
            replayed(dir.path()),
            [first.clone(), second.clone()],
            "cut at {end}"
        );
        assert_eq!(fs::metadata(&path).unwrap().len(), begin as u64);
        // Zeros where the rest should be: a length that was durable before the content.
        let zeros = vec![0; whole.len() - end];
        fs::write(&path, [&whole[..end], &zeros].concat()).unwrap();
        let found = replayed(dir.path());
        assert!(found.starts_with(&[first.clone(), second.clone()]) && found.len() <= 3);
        assert!(found.get(2).is_none_or(|found| *found == last));
        // The log goes on after the cut.
        append(&open(dir.path()).0, &record(5));
        assert_eq!(replayed(dir.path()).last(), Some(&record(5)));
    }
}

#[test]
fn a_group_torn_in_its_middle_is_cut_from_there() {
    let dir = TempDir::new().unwrap();
    written(dir.path(), &[record(1)]);
    let path = segment::path(dir.path(), 1);
    let begin = fs::metadata(&path).unwrap().len() as usize;
    // One group of three: the log's thread is held up meanwhile.
    let (log, _) = open(dir.path());
    let (go, gate) = mpsc::channel::<()>();
    log.append_then(0, 100, Bytes::new(), move |_| gate.recv().unwrap());
    wait_until(|| log.stats().records == 1);
    (2..=4).for_each(|number| append(&log, &record(number)));
    go.send(()).unwrap();
    drop(log);
    // The group's second page reached the disk, its first did not.
    let mut torn = fs::read(&path).unwrap();
    let second = begin + RECORD_HEAD;
    torn[second] ^= 0xff;
    fs::write(&path, &torn).unwrap();
    let records = replayed(dir.path());
    assert_eq!(records.iter().map(|r| r.key).collect::<Vec<_>>(), [1, 100]);
}

#[test]
fn any_bit_flipped_in_what_was_durable_is_refused_by_file_and_offset() {
    let dir = TempDir::new().unwrap();
    let records = [record(1), record(2), record(3)];
    let whole = written(dir.path(), &records);
    let path = segment::path(dir.path(), 1);
    let last = whole.len() - RECORD_HEAD - records[2].payload.len();
    let second = SEGMENT_HEAD + RECORD_HEAD + records[0].payload.len();
    for at in 0..last {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&path, &damaged).unwrap();
        let expected = match at {
            _ if at < SEGMENT_HEAD => 0,
            _ if at < second => SEGMENT_HEAD,
            _ => second,
        };
        match Log::open(dir.path(), LogOptions::default()) {
            Err(LogError::Corrupt {
                path: file, offset, ..
            }) => {
                assert_eq!((file, offset), (path.clone(), expected as u64), "byte {at}");
            }
            Err(other) => panic!("byte {at}: {other}"),
            Ok(_) => panic!("byte {at}: damage went unnoticed"),
        }
        assert!(fs::read(&path).unwrap() == damaged, "the evidence stays");
    }
}

#[test]
fn a_payload_cannot_pretend_that_what_was_torn_was_durable() {
    let dir = TempDir::new().unwrap();
    let whole = written(dir.path(), &[record(1), record(2)]);
    let path = segment::path(dir.path(), 1);
    let id = SegmentId::decode(&whole, 1).unwrap();
    let begin = whole.len();
    let inner = Record {
        kind: 0,
        key: 0,
        payload: Bytes::new(),
    };
    // A client's payload holds what looks like a record that says "everything before me was durable"; the record around it is torn.
    let torn_around = |id: SegmentId| {
        fs::write(&path, &whole).unwrap();
        let forged = id.record_head(&inner, (begin + RECORD_HEAD) as u32, u32::MAX);
        let payload = Bytes::copy_from_slice(&forged);
        append(&open(dir.path()).0, &Record { payload, ..inner });
        let mut torn = fs::read(&path).unwrap();
        torn[begin] ^= 1;
        fs::write(&path, &torn).unwrap();
    };
    torn_around(SegmentId {
        salt: !id.salt,
        ..id
    });
    assert_eq!(replayed(dir.path()), [record(1), record(2)]);
    // It would have worked for one who knows the salt, and nobody sees it.
    torn_around(id);
    assert!(Log::open(dir.path(), LogOptions::default()).is_err());
}

#[test]
fn segments_roll_and_none_may_be_missing_or_damaged() {
    let dir = TempDir::new().unwrap();
    let options = || LogOptions {
        segment_bytes: 1000,
        ..LogOptions::default()
    };
    let (log, _) = Log::open(dir.path(), options()).unwrap();
    let records: Vec<Record> = (1..=200).map(record).collect();
    records.iter().for_each(|record| append(&log, record));
    drop(log);
    let segments = fs::read_dir(dir.path()).unwrap().count() - 1; // and the lock
    assert!(segments >= 8, "{segments} segments");
    for number in 1..=segments as u32 {
        let length = fs::metadata(segment::path(dir.path(), number))
            .unwrap()
            .len();
        assert!(length < 1000 + 50 + RECORD_HEAD as u64);
    }
    let (log, replay) = Log::open(dir.path(), options()).unwrap();
    assert_eq!(replay.map(Result::unwrap).collect::<Vec<_>>(), records);
    let zero_kind: Vec<u64> = records
        .iter()
        .filter(|r| r.kind == 0)
        .map(|r| r.key)
        .collect();
    let read = log.read(0, 0..=u64::MAX, usize::MAX).unwrap();
    assert_eq!(read.iter().map(|r| r.key).collect::<Vec<_>>(), zero_kind);
    drop(log);

    // The last record of a segment that has a successor was durable.
    let second = segment::path(dir.path(), 2);
    let good = fs::read(&second).unwrap();
    fs::write(&second, &good[..good.len() - 1]).unwrap();
    let refused = Log::open(dir.path(), options()).err().unwrap();
    assert!(matches!(refused, LogError::Corrupt { path, .. } if path == second));
    fs::remove_file(&second).unwrap();
    let refused = Log::open(dir.path(), options()).err().unwrap();
    assert!(matches!(refused, LogError::Missing { path } if path == second));
}

#[test]
fn a_segment_whose_creation_was_cut_short_is_made_again() {
    let dir = TempDir::new().unwrap();
    written(dir.path(), &[record(1)]);
    for length in [0, 7, SEGMENT_HEAD - 1] {
        fs::write(segment::path(dir.path(), 2), vec![b's'; length]).unwrap();
        assert_eq!(replayed(dir.path()), [record(1)]);
    }
    append(&open(dir.path()).0, &record(2));
    assert_eq!(replayed(dir.path()), [record(1), record(2)]);
}

#[test]
fn records_are_read_by_kind_and_key() {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(dir.path());
    for (kind, key, text) in [
        (1, 10, "a"),
        (2, 10, "other kind"),
        (1, 12, "c"),
        (1, 11, "b"),
        (1, 12, "c again"),
    ] {
        log.append(kind, key, text.into());
    }
    let check = |log: &Log| {
        let read = |keys, bytes| -> Vec<Bytes> {
            let records = log.read(1, keys, bytes).unwrap();
            records.into_iter().map(|r| r.payload).collect()
        };
        assert_eq!(read(10..=12, usize::MAX), ["a", "b", "c", "c again"]);
        assert_eq!(read(11..=11, 0), ["b"], "one at least");
        assert_eq!(read(10..=12, 2 * (RECORD_HEAD + 1)), ["a", "b"]);
        assert!(read(13..=u64::MAX, usize::MAX).is_empty());
        #[allow(clippy::reversed_empty_ranges)]
        let backwards = 12..=10;
        assert!(read(backwards, usize::MAX).is_empty());
        assert_eq!(log.newest(1, 12).unwrap().unwrap().payload, "c again");
        assert_eq!(log.newest(1, 9).unwrap(), None);
        assert_eq!(
            (log.last_key(1), log.last_key(2), log.last_key(3)),
            (Some(12), Some(10), None)
        );
    };
    wait_until(|| log.stats().records == 5);
    check(&log);
    drop(log);
    check(&open(dir.path()).0);
}

#[test]
fn damage_since_the_start_is_noticed_on_reading() {
    let dir = TempDir::new().unwrap();
    let mut bytes = written(dir.path(), &[record(1), record(4)]);
    let (log, _) = open(dir.path());
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(segment::path(dir.path(), 1), bytes).unwrap();
    assert!(matches!(log.newest(1, 4), Err(LogError::Corrupt { .. })));
    assert!(log.newest(1, 1).unwrap().is_some());
}

#[test]
fn one_fsync_serves_all_that_waited_for_it() {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(dir.path());
    let (go, gate) = mpsc::channel::<()>();
    log.append_then(0, 0, Bytes::new(), move |_| gate.recv().unwrap());
    wait_until(|| log.stats().fsyncs == 1);
    let (tell, told) = mpsc::channel();
    for thread in 0..8u64 {
        let (log, tell) = (log.clone(), tell.clone());
        std::thread::spawn(move || {
            for number in 0..100 {
                let tell = tell.clone();
                log.append_then(1, thread, number.to_string().into(), move |outcome| {
                    tell.send((thread, number, outcome.is_ok())).unwrap();
                });
            }
        })
        .join()
        .unwrap();
    }
    go.send(()).unwrap();
    let patience = Duration::from_secs(20);
    let calls: Vec<_> = (0..800)
        .map(|_| told.recv_timeout(patience).unwrap())
        .collect();
    assert!(calls.is_sorted() && calls.iter().all(|call| call.2));
    let stats = log.stats();
    assert_eq!((stats.records, stats.fsyncs), (801, 2));
}

#[test]
fn a_second_process_cannot_open_the_log() {
    let dir = TempDir::new().unwrap();
    let (_log, _) = open(dir.path());
    let refused = Log::open(dir.path(), LogOptions::default()).err().unwrap();
    assert!(matches!(refused, LogError::InUse { .. }), "{refused}");
}

/// The disk is a process of its own whose files may not grow past a limit: the write that crosses it is cut short.
const FULL_DISK: &str = "STEELDB_TEST_FULL_DISK";

#[test]
fn a_full_disk_fails_every_waiter_and_keeps_what_was_durable() {
    if let Some(dir) = std::env::var_os(FULL_DISK) {
        return fill(Path::new(&dir));
    }
    // The second is full where room was made before.
    for blocks in [64, 3_000] {
        fill_up_to(blocks);
    }
}

fn fill_up_to(blocks: u32) {
    let dir = TempDir::new().unwrap();
    // The signal is ignored so that the write itself fails, as on a full disk. Units are 512 bytes or a kilobyte.
    let script = format!(r#"trap "" XFSZ; ulimit -f {blocks}; exec "$0" "$@""#);
    let me = std::env::current_exe().unwrap();
    let test = "log::tests::a_full_disk_fails_every_waiter_and_keeps_what_was_durable";
    let output = Command::new("sh")
        .args(["-c", &script])
        .arg(me)
        .args(["--exact", test, "--nocapture"])
        .env(FULL_DISK, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
    // With space again, what was durable is there, and the torn rest is cut.
    let durable = fs::read_to_string(dir.path().join("durable")).unwrap();
    let durable: usize = durable.parse().unwrap();
    let records = replayed(dir.path());
    assert!(durable >= blocks as usize / 5 && records.len() >= durable);
    assert!((1..).zip(&records).all(|(key, record)| record.key == key));
    append(&open(dir.path()).0, &record(1));
}

fn fill(dir: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (log, _) = open(dir);
        let (mut durable, payload) = (0u64, Bytes::from(vec![7; 1000]));
        let failure = loop {
            let position = log.append(1, durable + 1, payload.clone());
            match log.durable(position).await {
                Ok(()) => durable += 1,
                Err(failure) => break failure,
            }
            assert!(durable < 9000, "the disk is never full");
        };
        assert!(matches!(failure, LogError::Io { .. }), "{failure}");
        assert!(matches!(log.failed().await, LogError::Io { .. }));
        // Nothing is tried again, even what would fit.
        let position = log.append(1, 20_000, Bytes::new());
        assert!(log.durable(position).await.is_err());
        let (tell, told) = mpsc::channel();
        log.append_then(1, 20_001, Bytes::new(), move |outcome| {
            tell.send(outcome.is_err()).unwrap();
        });
        assert!(told.recv().unwrap());
        assert_eq!(
            log.read(1, 0..=u64::MAX, usize::MAX).unwrap().len() as u64,
            durable
        );
        fs::write(dir.join("durable"), durable.to_string()).unwrap();
    });
}

pub(super) fn wait_until(condition: impl Fn() -> bool) {
    for _ in 0..2000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it never came true");
}

#[test]
fn a_log_that_somebody_writes_is_read_beside_him_as_far_as_it_is_whole() {
    let dir = TempDir::new().unwrap();
    let options = LogOptions {
        segment_bytes: 300,
        ..LogOptions::default()
    };
    let (log, _) = Log::open(dir.path(), options).unwrap();
    let records: Vec<Record> = (1..=40).map(record).collect();
    let (told, heard) = mpsc::channel();
    for record in &records {
        let told = told.clone();
        let done = move |done: Result<(), LogError>| told.send(done).unwrap();
        log.append_then(record.kind, record.key, record.payload.clone(), done);
        heard.recv().unwrap().unwrap();
    }
    let beside = |dir: &Path| Replay::beside(dir).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    assert_eq!(beside(dir.path()).unwrap(), records);
    let mut paths: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| segment::number(path).is_some())
        .collect();
    paths.sort();
    assert!(paths.len() > 3);

    // Half a record, as it is while the writer is at it: the files stay as they are.
    let last = paths.last().unwrap();
    let whole = fs::read(last).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    fs::write(last, &whole[..end - 1]).unwrap();
    assert_eq!(beside(dir.path()).unwrap(), records[..39]);
    assert_eq!(fs::read(last).unwrap().len(), end - 1);
    fs::write(last, &whole).unwrap();

    let middle = fs::read(&paths[1]).unwrap();
    let mut damaged = middle.clone();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(&paths[1], &damaged).unwrap();
    assert!(matches!(beside(dir.path()), Err(LogError::Corrupt { .. })));
    fs::remove_file(&paths[1]).unwrap();
    assert!(matches!(beside(dir.path()), Err(LogError::Missing { .. })));
}
