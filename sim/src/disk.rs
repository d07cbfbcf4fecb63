//! A replica's log: what was appended, and how much of it a power loss leaves.

use consensus::{Decided, Height, Record, RecordId, Recovered};

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
                    Entry::Record(id, _) => Some(*id),
                    Entry::Decided(_) => None,
                });
        self.durable = covered;
        (newest, self.start())
    }

    /// Loses power: of the bytes that were not fsynced any prefix may survive, torn within an
    /// entry, and a bit of it may have flipped. What its checksums confirm is kept.
    pub fn crash(&mut self, rng: &mut Rng) -> Result<(), String> {
        let tail: Vec<Entry> = self.entries.drain(self.durable..).collect();
        self.syncing = None;
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

    /// What a restart finds.
    pub fn replay(&self) -> Result<Recovered, String> {
        let mut recovered = Recovered::default();
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
