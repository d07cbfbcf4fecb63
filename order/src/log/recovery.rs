//! Opening a log: every record is checked, a torn tail is cut, anything else that is wrong is refused.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;

use super::extent::{self, Extent};
use super::index::{Index, Location};
use super::open::OpenSegment;
use super::segment::{self, SEGMENT_HEAD, Scan};
use super::{LogError, Record};

/// How often, and after what time, a segment that another process writes is read before it is taken for damaged.
const LOOKS: usize = 5;
const AGAIN: Duration = Duration::from_millis(20);

/// A log found sound.
pub struct Recovered {
    pub index: Index,
    pub extent: Extent,
    /// How many records there are.
    pub records: u64,
    pub replay: Replay,
    /// The segment to append to.
    pub last: OpenSegment,
    pub lock: File,
}

/// Everything a log held when it was opened, in the order of appending; read again from disk, a segment at a time.
pub struct Replay {
    /// Number, path and good length of the segments to come.
    segments: VecDeque<(u32, PathBuf, u32)>,
    current: Option<Scan>,
}

pub fn recover(dir: &Path) -> Result<Recovered, LogError> {
    make(dir).map_err(|source| LogError::io(dir, source))?;
    let lock = lock(dir)?;
    let begin = extent::read(dir)?;
    let numbers = segment_numbers(dir, begin)?;
    let (index, extent) = (Index::default(), Extent::default());
    let mut records = 0;
    let mut segments = VecDeque::new();
    let mut last = None;
    for &number in &numbers {
        let is_last = Some(&number) == numbers.last();
        let path = segment::path(dir, number);
        extent.push(number, records + 1);
        let Some(scan) = check(&path, number, is_last, &index, &mut records)? else {
            continue;
        };
        segments.push_back((number, path.clone(), scan.offset()));
        last = is_last.then_some((scan, path));
    }
    let last = match last {
        Some((scan, path)) => OpenSegment::reopen(scan.id(), scan.offset(), scan.doubtful(), path)?,
        // The last one's creation was cut short, or there is none yet.
        None => {
            if numbers.is_empty() {
                extent.push(begin, 1);
            }
            OpenSegment::create(dir, numbers.last().copied().unwrap_or(begin))?
        }
    };
    // A crash may have come between a segment's making and this.
    let named = File::open(dir).and_then(|dir| dir.sync_all());
    named.map_err(|source| LogError::io(dir, source))?;
    let replay = Replay {
        segments,
        current: None,
    };
    Ok(Recovered {
        index,
        extent,
        records,
        replay,
        last,
        lock,
    })
}

/// Makes the directory if it is not there, and what is above it, and their names durable.
fn make(dir: &Path) -> std::io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let missing = dir.ancestors().take_while(|dir| !dir.is_dir());
    let missing: Vec<_> = missing.filter(|dir| !dir.as_os_str().is_empty()).collect();
    fs::create_dir_all(dir)?;
    for made in missing {
        let parent = made
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

fn lock(dir: &Path) -> Result<File, LogError> {
    let path = dir.join("lock");
    let opened = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = opened.map_err(|source| LogError::io(&path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::InUse { path: dir.into() }),
        Err(TryLockError::Error(source)) => Err(LogError::io(&path, source)),
    }
}

/// The numbers of all segments from the log's first on, without a gap. Those before it were being deleted.
fn segment_numbers(dir: &Path, begin: u32) -> Result<Vec<u32>, LogError> {
    let io = |source| LogError::io(dir, source);
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        numbers.extend(segment::number(&entry.map_err(io)?.path()));
    }
    numbers.sort_unstable();
    for number in numbers.extract_if(.., |number| *number < begin) {
        extent::remove(&segment::path(dir, number))?;
    }
    let missing = (begin..)
        .zip(&numbers)
        .find(|(expected, number)| expected != *number);
    let missing = missing.map(|(expected, _)| expected);
    // A log that was cut once has at least the segment that it was cut before.
    match missing.or_else(|| (begin > 1 && numbers.is_empty()).then_some(begin)) {
        Some(number) => Err(LogError::Missing {
            path: segment::path(dir, number),
        }),
        None => Ok(numbers),
    }
}

/// Reads a segment to its good end and notes its records; `None`: the last one's head was never completed.
fn check(
    path: &Path,
    number: u32,
    is_last: bool,
    index: &Index,
    records: &mut u64,
) -> Result<Option<Scan>, LogError> {
    let bytes = fs::read(path).map_err(|source| LogError::io(path, source))?;
    let length = bytes.len();
    let Some(mut scan) = Scan::new(path.to_owned(), number, bytes.into()) else {
        // The head is durable before the first record is written.
        if is_last && length <= SEGMENT_HEAD {
            return Ok(None);
        }
        return Err(headless(path));
    };
    let mut found = Vec::new();
    loop {
        let offset = scan.offset();
        match scan.next() {
            Ok(Some(record)) => {
                *records += 1;
                let location = Location {
                    segment: scan.id(),
                    offset,
                    length: record.payload.len() as u32,
                };
                found.push(((record.kind, record.key, *records), location));
            }
            Ok(None) if scan.is_used_up() => break,
            Ok(None) if is_last => {
                let bytes = length - scan.offset() as usize;
                tracing::info!(file = %path.display(), offset = scan.offset(), bytes, "cut the room that was made ahead");
                break;
            }
            Ok(None) => return Err(scan.corrupt(&scan.zeros())),
            // A later segment begins only when all of this one is durable.
            Err(bad) if !is_last || scan.was_durable(&bad) => return Err(scan.corrupt(&bad)),
            Err(bad) => {
                let bytes = length - bad.offset as usize;
                tracing::warn!(file = %path.display(), offset = bad.offset, bytes, reason = bad.what, "cut a torn tail");
                break;
            }
        }
    }
    index.extend(found);
    Ok(Some(scan))
}

impl Replay {
    /// Everything that a log holds which another process may be writing, up to the last record that is whole now. Nothing is
    /// locked, cut or repaired. Reads the newest segment once, so it may block.
    ///
    /// # Errors
    /// When a segment is missing, or its end cannot be found. A damaged record is the last item.
    pub fn beside(dir: &Path) -> Result<Replay, LogError> {
        let numbers = beside_numbers(dir)?;
        let mut segments = VecDeque::new();
        for &number in &numbers {
            let path = segment::path(dir, number);
            let good = match Some(&number) == numbers.last() {
                true => good_end(&path, number)?,
                false => u32::MAX,
            };
            segments.push_back((number, path, good));
        }
        Ok(Replay {
            segments,
            current: None,
        })
    }

    fn step(&mut self) -> Result<Option<Record>, LogError> {
        loop {
            if let Some(scan) = &mut self.current {
                match scan.next().map_err(|bad| scan.corrupt(&bad))? {
                    Some(record) => return Ok(Some(record)),
                    None if scan.is_used_up() => {}
                    None => return Err(scan.corrupt(&scan.zeros())),
                }
            }
            let Some((number, path, length)) = self.segments.pop_front() else {
                return Ok(None);
            };
            let mut bytes = read_beside(&path, number)?;
            // What was appended since the log was opened is not part of it.
            bytes.truncate(length as usize);
            self.current = Scan::new(path.clone(), number, Bytes::from(bytes));
            // Of the last one nothing may be there yet.
            if self.current.is_none() && length > 0 {
                return Err(headless(&path));
            }
        }
    }
}

fn headless(path: &Path) -> LogError {
    LogError::Corrupt {
        path: path.into(),
        offset: 0,
        what: "the segment's head does not match",
    }
}

/// The numbers of all segments from the log's first on, while its owner may cut it.
fn beside_numbers(dir: &Path) -> Result<Vec<u32>, LogError> {
    let io = |source| LogError::io(dir, source);
    let mut begin = extent::read(dir)?;
    loop {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(dir).map_err(io)? {
            numbers.extend(segment::number(&entry.map_err(io)?.path()));
        }
        numbers.retain(|number| *number >= begin);
        numbers.sort_unstable();
        let missing = (begin..).zip(&numbers).find(|(want, have)| want != *have);
        let Some((number, _)) = missing else {
            return Ok(numbers);
        };
        let begins_now = extent::read(dir)?;
        if begins_now == begin {
            let path = segment::path(dir, number);
            return Err(LogError::Missing { path });
        }
        begin = begins_now;
    }
}

/// Reads a segment of a log whose owner may cut it.
fn read_beside(path: &Path, number: u32) -> Result<Vec<u8>, LogError> {
    fs::read(path).map_err(|source| {
        let begin = path.parent().map(extent::read);
        let cut = begin.is_some_and(|begin| begin.is_ok_and(|begin| number < begin));
        match source.kind() {
            std::io::ErrorKind::NotFound if cut => LogError::Cut { path: path.into() },
            _ => LogError::io(path, source),
        }
    })
}

/// Where the whole records of a segment end that is being written.
///
/// What is read while it is written can be older in front than behind: what looks damaged is looked at again.
fn good_end(path: &Path, number: u32) -> Result<u32, LogError> {
    let mut looks = 0;
    loop {
        looks += 1;
        let bytes = read_beside(path, number)?;
        let length = bytes.len();
        let end = match Scan::new(path.to_owned(), number, bytes.into()) {
            Some(mut scan) => loop {
                match scan.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => break Ok(scan.offset()),
                    Err(bad) if !scan.was_durable(&bad) => break Ok(scan.offset()),
                    Err(bad) => break Err(scan.corrupt(&bad)),
                }
            },
            // Its head is durable before anything else is in it.
            None if length <= SEGMENT_HEAD => Ok(0),
            None => Err(headless(path)),
        };
        if end.is_ok() || looks == LOOKS {
            return end;
        }
        std::thread::sleep(AGAIN);
    }
}

impl Iterator for Replay {
    type Item = Result<Record, LogError>;

    /// Ends after the first error.
    fn next(&mut self) -> Option<Self::Item> {
        let item = self.step().transpose();
        if !matches!(item, Some(Ok(_))) {
            self.segments.clear();
            self.current = None;
        }
        item
    }
}
