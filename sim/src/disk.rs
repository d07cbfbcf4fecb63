//! A replica's log: what was appended, and how much of it a power loss leaves.

use consensus::{Decided, Height, Record, RecordId, Recovered};

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

    /// Loses power: of what was not fsynced, any prefix may survive.
    pub fn crash(&mut self, rng: &mut Rng) {
        let kept = rng.between(self.durable as u64, self.entries.len() as u64) as usize;
        self.entries.truncate(kept);
        self.durable = kept;
        self.syncing = None;
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
