//! The sending end: offers what it has, and sends it no faster than it may.

use std::collections::{BTreeMap, VecDeque};

use crate::crypto::Digest;
use crate::ids::{Height, ReplicaId};

use super::limits::MAX_KEPT;
use super::{ChunkList, StateMessage, TransferLimits};

/// Checkpoints that stay: the newest.
const NEWEST: usize = 2;
/// An older one stays while somebody fetched of it within this time, and not longer in all than that (milliseconds): a
/// transfer may take longer than the next two checkpoints, but a receiver that never ends fills no disk.
const FETCHED_MS: (u64, u64) = (10_000, 600_000);
/// A peer's queries are answered at most so often (milliseconds).
const OFFER_MS: u64 = 50;

/// What a source wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceAction {
    /// To one peer.
    Send {
        /// The peer.
        to: ReplicaId,
        /// What to say.
        message: StateMessage,
    },
    /// Read a checkpoint's list from disk and send it as [`StateMessage::List`].
    SendList {
        /// To whom.
        to: ReplicaId,
        /// Which checkpoint.
        height: Height,
    },
    /// Read a chunk from disk and send it as [`StateMessage::Chunk`].
    SendChunk {
        /// To whom.
        to: ReplicaId,
        /// Which checkpoint.
        height: Height,
        /// Which chunk.
        index: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    List,
    Chunk(u32),
}

/// A checkpoint on disk, by its sizes.
#[derive(Clone, Copy, Debug)]
struct Kept {
    chunks: usize,
    chunk_bytes: u32,
    /// When somebody fetched of it: first and last.
    fetched: Option<(u64, u64)>,
}

impl Kept {
    fn is_being_fetched(&self, now: u64) -> bool {
        let (lately, in_all) = FETCHED_MS;
        self.fetched
            .is_some_and(|(first, last)| now < last + lately && now < first + in_all)
    }
}

/// One replica's sending end. Memory: its roots, and a few questions of each member.
#[derive(Debug)]
pub struct Source {
    limits: TransferLimits,
    remembers: usize,
    roots: BTreeMap<Height, Digest>,
    kept: BTreeMap<Height, Kept>,
    /// Questions of each peer, oldest first.
    queues: BTreeMap<ReplicaId, VecDeque<(Height, Wanted)>>,
    offered_at: BTreeMap<ReplicaId, u64>,
    /// Who was served last: peers take turns.
    served: Option<ReplicaId>,
    /// Bytes that may be sent now; below zero, what was sent in advance.
    credit: i64,
    filled_at: u64,
}

impl Source {
    /// One that remembers so many roots.
    pub fn new(limits: TransferLimits, remembers: usize) -> Self {
        Self {
            limits,
            remembers,
            roots: BTreeMap::new(),
            kept: BTreeMap::new(),
            queues: BTreeMap::new(),
            offered_at: BTreeMap::new(),
            served: None,
            credit: 0,
            filled_at: 0,
        }
    }

    /// Vouches for a root from now on.
    pub fn remember(&mut self, height: Height, root: Digest) {
        self.roots.insert(height, root);
        while self.roots.len() > self.remembers {
            self.roots.pop_first();
        }
    }

    /// The roots vouched for, to be kept with the next checkpoint.
    pub fn roots(&self) -> Vec<(Height, Digest)> {
        self.roots
            .iter()
            .map(|(height, root)| (*height, *root))
            .collect()
    }

    /// A checkpoint is durable on disk. Those that are older than the two newest are no longer offered and may be deleted,
    /// but for one that is being fetched. Returns the heights that stay, ascending: the log is needed from the first on.
    pub fn keep(&mut self, now: u64, list: &ChunkList) -> Vec<Height> {
        let kept = Kept {
            chunks: list.chunks.len(),
            chunk_bytes: list.chunk_bytes,
            fetched: None,
        };
        self.kept.insert(list.height, kept);
        let mut others = 0;
        let descending = self.kept.iter().rev().skip(NEWEST);
        let gone: Vec<Height> = descending
            .filter(|(_, kept)| {
                others += usize::from(kept.is_being_fetched(now));
                !kept.is_being_fetched(now) || others > 1
            })
            .map(|(height, _)| *height)
            .collect();
        self.kept.retain(|height, _| !gone.contains(height));
        self.kept.keys().copied().collect()
    }

    /// Hears a peer; what is none of a source's business is passed over.
    pub fn hear(
        &mut self,
        now: u64,
        from: ReplicaId,
        message: &StateMessage,
        out: &mut Vec<SourceAction>,
    ) {
        match message {
            StateMessage::Query { above } => self.offer(now, from, *above, out),
            StateMessage::FetchList { height } => {
                self.enqueue(now, from, *height, Wanted::List, out);
            }
            StateMessage::FetchChunk { height, index } => {
                self.enqueue(now, from, *height, Wanted::Chunk(*index), out);
            }
            _ => return,
        }
        self.tick(now, out);
    }

    fn offer(&mut self, now: u64, to: ReplicaId, above: Height, out: &mut Vec<SourceAction>) {
        if self
            .offered_at
            .get(&to)
            .is_some_and(|at| now < at + OFFER_MS)
        {
            return;
        }
        self.offered_at.insert(to, now);
        let Some(first) = above.checked_add(1) else {
            return;
        };
        let roots = self
            .roots
            .range(first..)
            .map(|(height, root)| (*height, *root))
            .collect();
        let kept = self
            .kept
            .range(first..)
            .map(|(height, _)| *height)
            .take(MAX_KEPT)
            .collect();
        out.push(SourceAction::Send {
            to,
            message: StateMessage::Offer { roots, kept },
        });
    }

    fn enqueue(
        &mut self,
        now: u64,
        from: ReplicaId,
        height: Height,
        wanted: Wanted,
        out: &mut Vec<SourceAction>,
    ) {
        let kept = self.kept.get_mut(&height).filter(|kept| match wanted {
            Wanted::List => true,
            Wanted::Chunk(index) => (index as usize) < kept.chunks,
        });
        let Some(kept) = kept else {
            let message = StateMessage::Dropped { height };
            out.push(SourceAction::Send { to: from, message });
            return;
        };
        kept.fetched.get_or_insert((now, now)).1 = now;
        let queue = self.queues.entry(from).or_default();
        // A receiver that keeps to its own bound loses nothing here.
        if queue.len() < self.limits.in_flight && !queue.contains(&(height, wanted)) {
            queue.push_back((height, wanted));
        }
    }

    /// Sends what the rate allows; peers take turns.
    pub fn tick(&mut self, now: u64, out: &mut Vec<SourceAction>) {
        let passed = now.saturating_sub(self.filled_at).min(1_000);
        self.filled_at = self.filled_at.max(now);
        let earned = self.limits.bytes_per_second.saturating_mul(passed) / 1_000;
        // Nothing is saved up for longer than a tenth of a second.
        let most = (self.limits.bytes_per_second / 10) as i64;
        self.credit = self.credit.saturating_add(earned as i64).min(most.max(1));
        while self.credit > 0 {
            let waiting =
                |(id, queue): (&ReplicaId, &VecDeque<_>)| (!queue.is_empty()).then_some(*id);
            let peers: Vec<_> = self.queues.iter().filter_map(waiting).collect();
            let next = peers
                .iter()
                .find(|id| Some(**id) > self.served)
                .or(peers.first());
            let Some(&to) = next else { return };
            self.served = Some(to);
            let Some((height, wanted)) = self.queues.get_mut(&to).and_then(VecDeque::pop_front)
            else {
                return;
            };
            let Some(kept) = self.kept.get(&height) else {
                out.push(SourceAction::Send {
                    to,
                    message: StateMessage::Dropped { height },
                });
                continue;
            };
            let (cost, action) = match wanted {
                Wanted::List => (32 * kept.chunks, SourceAction::SendList { to, height }),
                Wanted::Chunk(index) => (
                    kept.chunk_bytes as usize,
                    SourceAction::SendChunk { to, height, index },
                ),
            };
            self.credit -= cost.max(1) as i64;
            out.push(action);
        }
    }

    /// When [`Source::tick`] is due.
    pub fn next_deadline(&self) -> Option<u64> {
        let waits = self.queues.values().any(|queue| !queue.is_empty());
        let owed = self.credit.min(0).unsigned_abs() + 1;
        let ms = owed.saturating_mul(1_000) / self.limits.bytes_per_second.max(1) + 1;
        waits.then_some(self.filled_at.saturating_add(ms))
    }
}
