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
        place(self.0.get(&client), incarnation, seq)
    }

    /// Whether a batch keeps exactly-once: each entry is free, none is there twice, and a
    /// client appears in one incarnation only.
    pub fn allow(&self, batch: &Batch) -> bool {
        self.after([]).allow(batch)
    }

    /// The windows as they will be when these batches are decided too, in this order.
    pub fn after<'a>(&self, batches: impl IntoIterator<Item = &'a Batch>) -> WindowsAhead<'_> {
        let mut moved: BTreeMap<ClientId, Window> = BTreeMap::new();
        for entry in batches.into_iter().flat_map(|batch| &batch.entries) {
            let known = || self.0.get(&entry.client).cloned().unwrap_or_default();
            let window = moved.entry(entry.client).or_insert_with(known);
            window.take(entry.incarnation, entry.seq);
        }
        WindowsAhead {
            decided: self,
            moved,
        }
    }

    /// Moves the windows past a decided batch. Returns the clients whose incarnation changed.
    pub fn apply(&mut self, batch: &Batch) -> BTreeSet<ClientId> {
        let mut renewed = BTreeSet::new();
        for entry in &batch.entries {
            let window = self.0.entry(entry.client).or_default();
            if window.take(entry.incarnation, entry.seq) {
                renewed.insert(entry.client);
            }
        }
        renewed
    }
}

impl Window {
    /// A number is ordered. Whether the incarnation changed.
    fn take(&mut self, incarnation: u64, seq: u64) -> bool {
        let renewed = incarnation > self.incarnation;
        if renewed {
            *self = Window {
                incarnation,
                ..Window::default()
            };
        }
        if self.above.is_empty() && seq == self.low + 1 {
            self.low += 1;
            return renewed;
        }
        self.above.insert(seq);
        while self.above.remove(&(self.low + 1)) {
            self.low += 1;
        }
        renewed
    }
}

/// The windows behind batches that are proposed and not decided yet.
#[derive(Debug)]
pub struct WindowsAhead<'a> {
    decided: &'a Windows,
    /// Of the clients that those batches name.
    moved: BTreeMap<ClientId, Window>,
}

impl WindowsAhead<'_> {
    /// Where a request will stand.
    pub fn place(&self, client: ClientId, incarnation: u64, seq: u64) -> Place {
        let window = self.moved.get(&client);
        place(
            window.or_else(|| self.decided.0.get(&client)),
            incarnation,
            seq,
        )
    }

    /// As [`Windows::allow`].
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
}

fn place(window: Option<&Window>, incarnation: u64, seq: u64) -> Place {
    let fresh = Window {
        incarnation,
        ..Window::default()
    };
    let window = match window {
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
            after: Digest::default(),
            time_ms: 0,
            entries,
        }
    }

    #[test]
    fn what_is_in_flight_counts_as_ordered_and_changes_nothing_yet() {
        let mut windows = Windows::default();
        windows.apply(&batch(&[(1, 1)]));
        let ahead = [batch(&[(1, 2)]), batch(&[(2, 1)])];
        let after = windows.after(&ahead[..1]);
        assert_eq!(after.place(CLIENT, 1, 2), Place::Ordered);
        assert!(after.allow(&batch(&[(1, 3)])) && !after.allow(&batch(&[(1, 2)])));
        let after = windows.after(&ahead);
        assert_eq!(after.place(CLIENT, 1, 3), Place::Stale);
        assert_eq!(after.place(CLIENT, 2, 2), Place::Free);
        assert_eq!(windows.place(CLIENT, 1, 2), Place::Free);
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
