//! Exactly once: which of a client's requests may still be ordered.
//!
//! The windows change by decided batches only, so they are equal at equal heights
//! on all replicas, and γ can check them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::ids::ClientId;

/// How far ahead of its oldest unordered request a client may be.
pub const WINDOW: u64 = 4096;

/// One client's window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The newest incarnation that had a request ordered.
    incarnation: u64,
    /// All numbers up to this one are ordered.
    low: u64,
    /// Ordered numbers above `low`; at most [`WINDOW`].
    above: BTreeSet<u64>,
}

/// All clients' windows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windows(BTreeMap<ClientId, Window>);

/// Where a (client, incarnation, number) stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It may be ordered.
    Free,
    /// It was ordered.
    Ordered,
    /// Its incarnation ended: a newer one had a request ordered.
    Stale,
    /// Beyond the window.
    Outside,
}

impl Windows {
    /// Where a request stands.
    pub fn place(&self, client: ClientId, incarnation: u64, seq: u64) -> Place {
        let fresh = Window {
            incarnation,
            ..Window::default()
        };
        let window = match self.0.get(&client) {
            Some(window) if incarnation < window.incarnation => return Place::Stale,
            Some(window) if incarnation == window.incarnation => window,
            _ => &fresh,
        };
        if seq <= window.low || window.above.contains(&seq) {
            Place::Ordered
        } else if seq - window.low > WINDOW {
            Place::Outside
        } else {
            Place::Free
        }
    }

    /// Whether a batch keeps exactly-once: each entry is free, none is there twice, and a
    /// client appears in one incarnation only.
    pub fn allow(&self, batch: &Batch) -> bool {
        let names = batch.entries.iter();
        let mut names: Vec<_> = names.map(|e| (e.client, e.seq, e.incarnation)).collect();
        names.sort_unstable();
        let distinct = names.windows(2).all(|pair| {
            let [
                (client, seq, incarnation),
                (next, next_seq, next_incarnation),
            ] = *pair
            else {
                return true;
            };
            client != next || (seq != next_seq && incarnation == next_incarnation)
        });
        let mut entries = batch.entries.iter();
        distinct && entries.all(|e| self.place(e.client, e.incarnation, e.seq) == Place::Free)
    }

    /// Moves the windows past a decided batch. Returns the clients whose incarnation changed.
    pub fn apply(&mut self, batch: &Batch) -> BTreeSet<ClientId> {
        let mut renewed = BTreeSet::new();
        for entry in &batch.entries {
            let window = self.0.entry(entry.client).or_default();
            if entry.incarnation > window.incarnation {
                *window = Window {
                    incarnation: entry.incarnation,
                    ..Window::default()
                };
                renewed.insert(entry.client);
            }
            if window.above.is_empty() && entry.seq == window.low + 1 {
                window.low += 1;
                continue;
            }
            window.above.insert(entry.seq);
            while window.above.remove(&(window.low + 1)) {
                window.low += 1;
            }
        }
        renewed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Entry;
    use crate::crypto::Digest;

    const CLIENT: ClientId = ClientId(70_000);

    fn batch(numbers: &[(u64, u64)]) -> Batch {
        let entries = numbers
            .iter()
            .map(|&(incarnation, seq)| Entry {
                client: CLIENT,
                incarnation,
                seq,
                digest: Digest([0; 32]),
            })
            .collect();
        Batch {
            time_ms: 0,
            entries,
        }
    }

    #[test]
    fn a_request_is_ordered_once_in_any_order_within_the_window() {
        let mut windows = Windows::default();
        assert!(windows.allow(&batch(&[(1, 3), (1, 1)])));
        windows.apply(&batch(&[(1, 3), (1, 1)]));
        assert!(!windows.allow(&batch(&[(1, 1)])));
        assert!(!windows.allow(&batch(&[(1, 3)])));
        assert!(
            !windows.allow(&batch(&[(1, 2), (1, 2)])),
            "twice in one batch"
        );
        assert_eq!(windows.place(CLIENT, 1, 2), Place::Free);
        assert_eq!(windows.place(CLIENT, 1, 1 + WINDOW), Place::Free);
        assert_eq!(windows.place(CLIENT, 1, 2 + WINDOW), Place::Outside);
        windows.apply(&batch(&[(1, 2)]));
        assert_eq!(windows.place(CLIENT, 1, 3 + WINDOW), Place::Free);
    }

    #[test]
    fn a_greater_incarnation_resets_the_window_and_ends_the_older() {
        let mut windows = Windows::default();
        windows.apply(&batch(&[(5, 1), (5, 2)]));
        assert_eq!(windows.place(CLIENT, 6, 1), Place::Free);
        assert!(
            !windows.allow(&batch(&[(5, 3), (6, 1)])),
            "two incarnations in one batch"
        );
        assert!(windows.apply(&batch(&[(6, 1)])).contains(&CLIENT));
        assert_eq!(windows.place(CLIENT, 5, 3), Place::Stale);
        assert_eq!(windows.place(CLIENT, 6, 1), Place::Ordered);
    }
}
