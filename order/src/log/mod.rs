//! The log of a replica: votes, decisions, verdicts and write sets, durable before anybody hears of them.
//!
//! Records go to numbered segment files through one thread, which writes everything that waits and then calls fdatasync
//! once for all of it (group fsync). Every record carries a checksum and how much of its segment was durable when it was written,
//! so that a torn tail, which was promised to nobody, is told from damage to what was promised; see [`segment`].
//!
//! The index is in memory, about 40 bytes a record; payloads are read back from disk.

#[cfg(test)]
mod cut_tests;
mod error;
mod extent;
mod index;
mod open;
mod recovery;
#[cfg(test)]
mod room_tests;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

pub use error::LogError;
pub use recovery::Replay;

use extent::Extent;
use index::Index;
use writer::{Pending, Progress, Queue, Writer};

/// The longest payload of a record, in bytes.
pub const MAX_PAYLOAD: usize = 1 << 30;

/// How a log is kept.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// A segment that has grown to this many bytes gets a successor; at most 1 GiB.
    pub segment_bytes: u32,
    /// Whether records are made durable; without it a power loss takes acknowledged records (for benchmarks).
    pub fsync: bool,
    /// Bytes that may wait for the disk; past it [`Log::append`] blocks its caller.
    pub pending_bytes: usize,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            segment_bytes: 64 << 20,
            fsync: true,
            pending_bytes: 256 << 20,
        }
    }
}

/// The place of a record in the order of all appends; the first that the log held when it was opened is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// What was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What sort of record it is; the log does not care.
    pub kind: u8,
    /// What it is found by, such as a height; several records may share one.
    pub key: u64,
    /// Its content.
    pub payload: Bytes,
}

/// Counters since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Records written.
    pub records: u64,
    /// Bytes written, with heads.
    pub bytes: u64,
    /// Groups made durable: fdatasync calls for records.
    pub fsyncs: u64,
}

/// A handle to an open log; clones share it. The last one to go waits until everything appended is durable.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    queue: Arc<Queue>,
    index: Arc<Index>,
    extent: Arc<Extent>,
    progress: watch::Receiver<Progress>,
    failed: watch::Receiver<Option<LogError>>,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl Log {
    /// Opens the log in `dir`, making it if there is none, and cuts a torn tail. Reads all of it once.
    ///
    /// # Errors
    /// Names the file and offset of a damaged record; the files are left as they are then.
    pub fn open(dir: impl AsRef<Path>, options: LogOptions) -> Result<(Log, Replay), LogError> {
        let dir = dir.as_ref();
        let recovered = recovery::recover(dir)?;
        let durable = recovered.records;
        let (report, progress) = watch::channel(Progress {
            durable,
            ..Progress::default()
        });
        let (failure, failed) = watch::channel(None);
        let queue = Arc::new(Queue::new(durable, options.pending_bytes));
        let index = Arc::new(recovered.index);
        let extent = Arc::new(recovered.extent);
        let writer = Writer {
            dir: dir.to_owned(),
            segment: recovered.last,
            options,
            queue: queue.clone(),
            index: index.clone(),
            extent: extent.clone(),
            report,
            failed: failure,
            _lock: recovered.lock,
        };
        let thread = std::thread::Builder::new().name("log-writer".to_owned());
        let thread = thread
            .spawn(move || writer.run())
            .map_err(|source| LogError::io(dir, source))?;
        let inner = Inner {
            dir: dir.to_owned(),
            queue,
            index,
            extent,
            progress,
            failed,
            writer: Some(thread),
        };
        let log = Log {
            inner: Arc::new(inner),
        };
        Ok((log, recovered.replay))
    }

    /// Hands a record to the log. Cheap; blocks only when the disk is [`LogOptions::pending_bytes`] behind.
    /// Records are kept in the order of the calls.
    pub fn append(&self, kind: u8, key: u64, payload: Bytes) -> Position {
        self.push(kind, key, payload, true, None)
    }

    /// Like [`append`](Log::append) for a record that nobody waits for: it shares the fsync of the next one, and gets its own
    /// only when none comes within 20 ms.
    pub fn append_lazily(&self, kind: u8, key: u64, payload: Bytes) -> Position {
        self.push(kind, key, payload, false, None)
    }

    /// Like [`append`](Log::append), and calls `done` on the log's thread once the record is durable, or cannot be.
    /// `done` must be quick and must not append: all appenders wait for it. Calls come in the order of the records.
    pub fn append_then(
        &self,
        kind: u8,
        key: u64,
        payload: Bytes,
        done: impl FnOnce(Result<(), LogError>) + Send + 'static,
    ) -> Position {
        self.push(kind, key, payload, true, Some(Box::new(done)))
    }

    fn push(
        &self,
        kind: u8,
        key: u64,
        payload: Bytes,
        urgent: bool,
        done: Option<writer::Done>,
    ) -> Position {
        let record = Record { kind, key, payload };
        self.inner.queue.push(Pending {
            record,
            done,
            urgent,
        })
    }

    /// Waits until the record at `position`, and so every earlier one, is durable.
    pub async fn durable(&self, position: Position) -> Result<(), LogError> {
        let mut progress = self.inner.progress.clone();
        let reached = progress
            .wait_for(|now| now.durable >= position.0 || now.failure.is_some())
            .await;
        match reached {
            Ok(now) if now.durable >= position.0 => Ok(()),
            Ok(now) => Err(now.failure.clone().unwrap_or(LogError::Closed)),
            Err(_) => Err(LogError::Closed),
        }
    }

    /// Waits for the log to fail, which it may never do. Nothing becomes durable after that: the replica has to stop.
    pub async fn failed(&self) -> LogError {
        let mut failed = self.inner.failed.clone();
        match failed.wait_for(Option::is_some).await {
            Ok(failure) => failure.clone().unwrap_or(LogError::Closed),
            Err(_) => LogError::Closed,
        }
    }

    /// Durable records of a kind with keys in the range, by key and then in the order of appending: as many as fit in `max_bytes`
    /// of payload, and at least one. Reads the disk, so it may block.
    pub fn read(
        &self,
        kind: u8,
        keys: RangeInclusive<u64>,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        let found = self.inner.index.range(kind, keys, max_bytes);
        index::load(&self.inner.dir, &found)
    }

    /// The newest durable record of a kind and key. Reads the disk, so it may block.
    pub fn newest(&self, kind: u8, key: u64) -> Result<Option<Record>, LogError> {
        let found = self.inner.index.newest(kind, key);
        Ok(index::load(&self.inner.dir, found.as_slice())?.pop())
    }

    /// The greatest key among the durable records of a kind.
    pub fn last_key(&self, kind: u8) -> Option<u64> {
        self.inner.index.last_key(kind)
    }

    /// The position of the first durable record of a kind whose key is at least `key`; if there is none, one that is
    /// after all records that are durable now.
    pub fn first(&self, kind: u8, key: u64) -> Position {
        // In this order: what becomes durable meanwhile must not be taken for older than it is.
        let end = Position(self.inner.progress.borrow().durable + 1);
        self.inner
            .index
            .first(kind, key)
            .map_or(end, Position)
            .min(end)
    }

    /// The position of the newest record appended so far.
    pub fn end(&self) -> Position {
        self.inner.queue.end()
    }

    /// The smallest key, from one on, among the durable records of a kind.
    pub fn next_key(&self, kind: u8, key: u64) -> Option<u64> {
        self.inner.index.next_key(kind, key)
    }

    /// Deletes what lies before a record that is durable, as far as whole segments allow: those that end before it.
    /// Returns how many went. Not to be called before the [`Replay`] has ended. Writes and deletes files, so it may block.
    ///
    /// # Errors
    /// When the system refuses; the log is sound then, and longer than it need be.
    pub fn cut(&self, keep: Position) -> Result<usize, LogError> {
        self.inner
            .extent
            .cut(&self.inner.dir, keep, &self.inner.index)
    }

    /// What was written so far.
    pub fn stats(&self) -> LogStats {
        self.inner.progress.borrow().stats
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(writer) = self.writer.take()
            // A callback may hold the last handle; a thread cannot wait for itself.
            && writer.thread().id() != std::thread::current().id()
            && writer.join().is_err()
        {
            tracing::error!(dir = %self.dir.display(), "the log's thread failed");
        }
    }
}
