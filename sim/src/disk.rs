//! A replica's log: what was appended, and how much of it a power loss leaves.

use consensus::{Decided, Digest, Height, Record, RecordId, Recovered, Summary, View};

use crate::checks::promises::Promises;
use crate::frames;
use crate::rng::Rng;

/// One log entry.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A record of the core, with its number in this run.
    Record(RecordId, Record),
    /// A decision.
    Decided(Decided),
}

/// A log with one fsync at a time, which covers all that was appended before it began.
#[derive(Debug, Default)]
pub struct Disk {
    entries: Vec<Entry>,
    durable: usize,
    /// Entries that the running fsync covers.
    syncing: Option<usize>,
    /// What is needed is above this height, once this many entries are durable: the core's standing records
    /// begin at the first number and end at the second.
    cut: Option<(Height, usize, usize)>,
    /// What was ever durable, for the checker.
    promises: Promises,
}

impl Disk {
    /// Appends; true: an fsync must be started now.
    pub fn append(&mut self, entry: Entry) -> bool {
        self.entries.push(entry);
        self.start()
    }

    fn start(&mut self) -> bool {
        let due = self.syncing.is_none() && self.durable < self.entries.len();
        if due {
            self.syncing = Some(self.entries.len());
        }
        due
    }

    /// The running fsync ends. Returns the newest record covered, and whether the next begins.
    pub fn synced(&mut self) -> (Option<RecordId>, bool) {
        let covered = self.syncing.take().unwrap_or(self.durable);
        let newest =
            self.entries[self.durable..covered]
                .iter()
                .rev()
                .find_map(|entry| match entry {
                    Entry::Record(0, _) | Entry::Decided(_) => None,
                    Entry::Record(id, _) => Some(*id),
                });
        for entry in &self.entries[self.durable..covered] {
            if let Entry::Record(_, record) = entry {
                self.promises.add(record);
            }
        }
        self.durable = covered;
        self.cut_if_due();
        (newest, self.start())
    }

    /// Loses power: of the bytes that were not fsynced any prefix may survive, torn within an
    /// entry, and a bit of it may have flipped. What its checksums confirm is kept.
    pub fn crash(&mut self, rng: &mut Rng) -> Result<(), String> {
        let tail: Vec<Entry> = self.entries.drain(self.durable..).collect();
        self.syncing = None;
        self.cut = None;
        if tail.is_empty() {
            return Ok(());
        }
        let mut bytes = frames::write(&tail);
        bytes.truncate(rng.between(0, bytes.len() as u64) as usize);
        if rng.chance(25) && !bytes.is_empty() {
            let at = rng.between(0, bytes.len() as u64 - 1) as usize;
            bytes[at] ^= 1 << rng.between(0, 7);
        }
        self.entries.extend(frames::read(&bytes)?);
        self.durable = self.entries.len();
        Ok(())
    }

    /// The log is to begin above a height, with what the core needs of what lies before. True: an fsync must be
    /// started now.
    pub fn cut(&mut self, below: Height, standing: Vec<Record>) -> bool {
        let begin = self.entries.len();
        // Number 0: nobody waits for them.
        let standing = standing.into_iter().map(|record| Entry::Record(0, record));
        self.entries.extend(standing);
        self.cut = Some((below, begin, self.entries.len()));
        self.start()
    }

    fn cut_if_due(&mut self) {
        let Some((below, begin, end)) = self.cut.filter(|(_, _, end)| *end <= self.durable) else {
            return;
        };
        debug_assert!(end <= self.entries.len());
        let above = |entry: &Entry| matches!(entry, Entry::Decided(d) if d.height > below);
        let gone = self
            .entries
            .iter()
            .position(above)
            .unwrap_or(begin)
            .min(begin);
        self.entries.drain(..gone);
        self.durable -= gone;
        self.cut = None;
    }

    /// What was ever durable of its promises.
    pub fn promises(&self) -> &Promises {
        &self.promises
    }

    /// The value that is durable as decided at a height.
    pub fn decided(&self, height: Height) -> Option<Digest> {
        let mut durable = self.entries[..self.durable].iter().rev();
        durable.find_map(|entry| match entry {
            Entry::Decided(decided) if decided.height == height => Some(decided.batch.digest()),
            _ => None,
        })
    }

    /// The first height in the log, if it is above one that is asked for.
    pub fn begins_after(&self, from: Height) -> Option<Height> {
        let first = self.entries.iter().find_map(|entry| match entry {
            Entry::Decided(decided) => Some(decided.height),
            Entry::Record(..) => None,
        });
        first.filter(|first| *first > from)
    }

    /// What a restart finds, after the newest checkpoint.
    pub fn replay(&self, checkpoint: Option<Summary>, genesis: &View) -> Result<Recovered, String> {
        let mut recovered = match checkpoint {
            Some(summary) => Recovered::from_summary(summary),
            None => Recovered::in_view(genesis.clone()),
        };
        for entry in &self.entries {
            match entry {
                Entry::Record(_, record) => recovered.record(record.clone()),
                Entry::Decided(decided) => {
                    recovered.decided(decided).map_err(|gap| gap.to_string())?
                }
            }
        }
        Ok(recovered)
    }

    /// Decisions for a peer.
    pub fn decisions(&self, from: Height, max: usize) -> Vec<Decided> {
        let decided = self.entries.iter().filter_map(|entry| match entry {
            Entry::Decided(decided) if decided.height >= from => Some(decided.clone()),
            _ => None,
        });
        decided.take(max).collect()
    }

    /// Whether some durable record satisfies `wanted`.
    pub fn holds(&self, wanted: impl Fn(&Record) -> bool) -> bool {
        self.entries[..self.durable]
            .iter()
            .rev()
            .any(|entry| match entry {
                Entry::Record(_, record) => wanted(record),
                Entry::Decided(_) => false,
            })
    }
}
