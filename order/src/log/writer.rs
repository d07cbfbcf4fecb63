//! The log's thread: takes all that waits, writes it, makes it durable once, tells everybody.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::extent::Extent;
use super::index::{Index, Location};
use super::open::OpenSegment;
use super::segment::RECORD_HEAD;
use super::{LogError, LogOptions, LogStats, MAX_PAYLOAD, Position, Record};

/// Called on the log's thread when a record is durable, or cannot be.
pub type Done = Box<dyn FnOnce(Result<(), LogError>) + Send>;

/// Small records are gathered up to this many bytes before they are written; a longer payload is written by itself.
const GATHER: usize = 256 << 10;
/// The largest segment size that can be asked for: with one record more it still counts in 32 bits.
const MAX_SEGMENT: u32 = 1 << 30;

/// How long a record that nobody waits for may wait for another whose fsync it shares.
const LINGER: Duration = Duration::from_millis(20);

/// A record on its way to the disk.
pub struct Pending {
    pub record: Record,
    pub done: Option<Done>,
    /// Somebody waits for it.
    pub urgent: bool,
}

/// How far the log is.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Records that are durable, from the first on.
    pub durable: u64,
    /// Set once; nothing becomes durable afterwards.
    pub failure: Option<LogError>,
    pub stats: LogStats,
}

/// Between the appenders and the log's thread.
pub struct Queue {
    state: Mutex<State>,
    /// For the log's thread: there is something, or the log closes.
    filled: Condvar,
    /// For appenders: there is room.
    emptied: Condvar,
}

struct State {
    waiting: Vec<Pending>,
    bytes: usize,
    limit: usize,
    /// The position of the newest record.
    last: u64,
    /// One of those waiting is urgent.
    urgent: bool,
    /// What the log's thread does; without this every append would be a system call.
    thread: Thread,
    closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Thread {
    Works,
    /// Waits for an urgent record, and for [`LINGER`] to pass.
    Dozes,
    /// Waits for any record.
    Sleeps,
}

impl Queue {
    pub fn new(last: u64, limit: usize) -> Queue {
        let state = State {
            waiting: Vec::new(),
            bytes: 0,
            limit,
            last,
            urgent: false,
            thread: Thread::Works,
            closed: false,
        };
        Queue {
            state: Mutex::new(state),
            filled: Condvar::new(),
            emptied: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn push(&self, pending: Pending) -> Position {
        let mut state = self.lock();
        while state.bytes > state.limit {
            state = self
                .emptied
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.bytes += pending.record.payload.len() + RECORD_HEAD;
        state.last += 1;
        state.urgent |= pending.urgent || state.bytes > state.limit;
        state.waiting.push(pending);
        let wakes = match state.thread {
            Thread::Works => false,
            Thread::Dozes => state.urgent,
            Thread::Sleeps => true,
        };
        let position = Position(state.last);
        if wakes {
            state.thread = Thread::Works;
            // The woken thread's first step is to take the lock.
            drop(state);
            self.filled.notify_one();
        }
        position
    }

    pub fn end(&self) -> Position {
        Position(self.lock().last)
    }

    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    /// Waits for records that should be written and moves all that wait to `group`; false once the queue is closed and
    /// empty.
    fn take(&self, group: &mut Vec<Pending>) -> bool {
        let mut state = self.lock();
        let mut lingered = false;
        while !(state.urgent || state.closed || (lingered && !state.waiting.is_empty())) {
            if lingered {
                state.thread = Thread::Sleeps;
                state = self
                    .filled
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                lingered = false;
            } else {
                state.thread = Thread::Dozes;
                let (woken, timeout) = self
                    .filled
                    .wait_timeout(state, LINGER)
                    .unwrap_or_else(PoisonError::into_inner);
                (state, lingered) = (woken, timeout.timed_out());
            }
        }
        state.thread = Thread::Works;
        state.urgent = false;
        std::mem::swap(&mut state.waiting, group);
        if std::mem::take(&mut state.bytes) > state.limit {
            self.emptied.notify_all();
        }
        !(group.is_empty() && state.closed)
    }
}

/// What the log's thread owns.
pub struct Writer {
    pub dir: PathBuf,
    pub segment: OpenSegment,
    pub options: LogOptions,
    pub queue: Arc<Queue>,
    pub index: Arc<Index>,
    pub extent: Arc<Extent>,
    pub report: watch::Sender<Progress>,
    /// The same failure once more: whoever waits for this alone is not woken by each group.
    pub failed: watch::Sender<Option<LogError>>,
    /// Keeps others out until nothing is written here any more; released when the file closes, so the last field.
    pub _lock: File,
}

impl Writer {
    /// Until the queue is closed and empty. After a failure every record is refused: a file whose write or fsync failed
    /// is in an unknown state, and trying again could lie.
    pub fn run(mut self) {
        let (mut group, mut gathered) = (Vec::new(), Vec::new());
        let mut failure: Option<LogError> = None;
        while self.queue.take(&mut group) {
            let outcome = match &failure {
                Some(error) => Err(error.clone()),
                None => self.commit(&group, &mut gathered),
            };
            if let (Err(error), None) = (&outcome, &failure) {
                tracing::error!(%error, "the log failed");
                self.report
                    .send_modify(|now| now.failure = Some(error.clone()));
                self.failed.send_replace(Some(error.clone()));
                failure = Some(error.clone());
            }
            for done in group.drain(..).filter_map(|pending| pending.done) {
                done(outcome.clone());
            }
        }
        // Room that is left is cut at the next start.
        if failure.is_none()
            && let Err(error) = self.segment.trim()
        {
            tracing::warn!(%error, "the log was not trimmed");
        }
    }

    /// Makes a group durable, with one fsync for all of it unless it crosses into a new segment.
    fn commit(&mut self, group: &[Pending], gathered: &mut Vec<u8>) -> Result<(), LogError> {
        let mut position = self.report.borrow().durable;
        let mut stats = self.report.borrow().stats;
        let mut entries = Vec::with_capacity(group.len());
        let mut durable = self.durable();
        for Pending { record, .. } in group {
            if record.payload.len() > MAX_PAYLOAD {
                return Err(LogError::TooLong(record.payload.len()));
            }
            if self.segment.length >= self.most() {
                self.write(gathered)?;
                self.segment.trim()?;
                if self.options.fsync {
                    self.segment.sync_all()?;
                    stats.fsyncs += 1;
                }
                self.segment = OpenSegment::create(&self.dir, self.segment.id.number + 1)?;
                self.extent.push(self.segment.id.number, position + 1);
                durable = self.durable();
            }
            position += 1;
            entries.push(self.place(record, durable, position, gathered));
            stats.records += 1;
            stats.bytes += (RECORD_HEAD + record.payload.len()) as u64;
            if record.payload.len() > GATHER {
                self.write(gathered)?;
                self.segment.write(&record.payload)?;
            } else {
                gathered.extend_from_slice(&record.payload);
                if gathered.len() >= GATHER {
                    self.write(gathered)?;
                }
            }
        }
        self.write(gathered)?;
        self.sync(&mut stats)?;
        self.index.extend(entries);
        self.report.send_modify(|now| {
            now.durable = position;
            now.stats = stats;
        });
        Ok(())
    }

    /// Bytes of the segment that are durable between two groups; without fsync, nothing is promised of any record.
    fn durable(&self) -> u32 {
        if self.options.fsync {
            self.segment.length
        } else {
            0
        }
    }

    /// Gives a record its place and gathers its head.
    fn place(
        &mut self,
        record: &Record,
        durable: u32,
        position: u64,
        gathered: &mut Vec<u8>,
    ) -> ((u8, u64, u64), Location) {
        let OpenSegment { id, length, .. } = &mut self.segment;
        let location = Location {
            segment: *id,
            offset: *length,
            length: record.payload.len() as u32,
        };
        gathered.extend_from_slice(&id.record_head(record, *length, durable));
        *length += RECORD_HEAD as u32 + location.length;
        ((record.kind, record.key, position), location)
    }

    fn write(&mut self, gathered: &mut Vec<u8>) -> Result<(), LogError> {
        if self.options.fsync {
            self.segment.make_room(self.most());
        }
        self.segment.write(gathered)?;
        gathered.clear();
        Ok(())
    }

    /// A segment that has grown to so many bytes gets a successor.
    fn most(&self) -> u32 {
        self.options.segment_bytes.min(MAX_SEGMENT)
    }

    fn sync(&self, stats: &mut LogStats) -> Result<(), LogError> {
        if self.options.fsync {
            self.segment.sync()?;
            stats.fsyncs += 1;
        }
        Ok(())
    }
}
