//! Which of the waiting requests make the next batch: the predicate *fair* of Alg. 2, l. 4.

use std::ops::Bound;

use crate::batch::{Batch, Entry};
use crate::crypto::Digest;
use crate::ids::ClientId;
use crate::record::Value;
use crate::settings::{Settings, mutated};
use crate::view::View;
use crate::window::{Place, WindowsAhead};

use super::pool::Pool;

impl Pool {
    /// The next batch: clients take turns, one request each, beginning after the one
    /// served last; of a client only its oldest incarnation. One whose request did not fit in has the first turn of the next
    /// batch, or a request as large as a batch would always find others before it.
    pub fn select(
        &mut self,
        settings: &Settings,
        windows: &WindowsAhead<'_>,
        view: &View,
        after: Digest,
        time_ms: u64,
    ) -> Option<Value> {
        let start = self.turn.unwrap_or(Bound::Unbounded);
        let later = self.clients.range((start, Bound::Unbounded));
        let mut turns: Vec<_> = later
            .chain(self.clients.iter())
            .take(self.clients.len())
            .filter(|(client, _)| {
                !mutated!(settings, StarveClient) || client.0 != ClientId::FIRST_ORDINARY
            })
            .map(|(client, queue)| (*client, queue.requests.iter().peekable(), None))
            .collect();
        let mut value = Value {
            batch: Batch {
                after,
                time_ms,
                entries: Vec::new(),
            },
            bodies: Vec::new(),
        };
        let (mut bytes, mut last, mut passed_over, mut closed) = (0, None, None, false);
        while !turns.is_empty() && !closed {
            turns.retain_mut(|(client, requests, incarnation)| {
                if closed || value.bodies.len() >= settings.max_batch_requests {
                    return false;
                }
                let Some((&(of, seq), request)) = requests.next() else {
                    return false;
                };
                if incarnation.is_some_and(|first| first != of) {
                    return false;
                }
                if windows.place(*client, of, seq) != Place::Free {
                    return true;
                }
                let grown = bytes + request.op.len();
                if grown > settings.max_batch_bytes && !value.bodies.is_empty() {
                    if incarnation.is_none() {
                        passed_over.get_or_insert(Bound::Included(*client));
                    }
                    return false;
                }
                (bytes, *incarnation) = (grown, Some(of));
                last = Some(Bound::Excluded(*client));
                value.batch.entries.push(Entry::of(request));
                value.bodies.push(request.clone());
                // A change of the view ends its batch.
                closed = view.administers(*client) && !mutated!(settings, ChangeInTheMiddle);
                true
            });
        }
        self.turn = passed_over.or(last).or(self.turn);
        (!value.bodies.is_empty()).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::pool::tests::{clients_of, request};
    use super::*;
    use crate::window::Windows;

    #[test]
    fn a_request_as_large_as_a_batch_is_not_passed_over_for_ever() {
        let settings = Settings {
            max_batch_bytes: 100,
            ..Settings::default()
        };
        let (mut pool, mut windows) = (Pool::default(), Windows::default());
        for seq in 1..=6 {
            for (client, bytes) in [(1, 30), (2, 100), (3, 30), (4, 99)] {
                let added = pool.add(0, &settings, request(client, 1, seq, bytes));
                assert_eq!(added, Ok(true));
            }
        }
        let mut batches: Vec<Vec<u32>> = Vec::new();
        for _ in 0..5 {
            let (view, after) = (View::default(), Digest::default());
            let ahead = windows.after([]);
            let value = pool.select(&settings, &ahead, &view, after, 0).unwrap();
            let renewed = windows.apply(&value.batch);
            pool.decided(0, &value.batch, &renewed, &windows);
            batches.push(clients_of(&value).iter().map(|(id, _)| *id).collect());
        }
        let small: &[u32] = &[3, 1, 3];
        let expected: [&[u32]; 5] = [&[1, 3, 1], &[2], small, &[4], &[1, 3, 1]];
        assert_eq!(batches, expected.map(<[u32]>::to_vec));
    }

    #[test]
    fn clients_take_turns_and_the_next_batch_goes_on_where_the_last_ended() {
        let settings = Settings {
            max_batch_requests: 4,
            ..Settings::default()
        };
        let (mut pool, mut windows) = (Pool::default(), Windows::default());
        for seq in 1..=5 {
            for client in [1, 2, 3] {
                assert_eq!(pool.add(0, &settings, request(client, 1, seq, 1)), Ok(true));
            }
        }
        let first = pool
            .select(
                &settings,
                &windows.after([]),
                &View::default(),
                Digest::default(),
                0,
            )
            .unwrap();
        assert_eq!(clients_of(&first), [(1, 1), (2, 1), (3, 1), (1, 2)]);
        let renewed = windows.apply(&first.batch);
        pool.decided(0, &first.batch, &renewed, &windows);
        let second = pool
            .select(
                &settings,
                &windows.after([]),
                &View::default(),
                Digest::default(),
                0,
            )
            .unwrap();
        assert_eq!(clients_of(&second), [(2, 2), (3, 2), (1, 3), (2, 3)]);
    }
}
