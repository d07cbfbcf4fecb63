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
    /// served last; of a client only its oldest incarnation.
    pub fn select(
        &mut self,
        settings: &Settings,
        windows: &WindowsAhead<'_>,
        view: &View,
        after: Digest,
        time_ms: u64,
    ) -> Option<Value> {
        let start = self.last_served.map_or(Bound::Unbounded, Bound::Excluded);
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
        let (mut bytes, mut last, mut closed) = (0, None, false);
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
                    return false;
                }
                (bytes, *incarnation, last) = (grown, Some(of), Some(*client));
                value.batch.entries.push(Entry::of(request));
                value.bodies.push(request.clone());
                // A change of the view ends its batch.
                closed = view.administers(*client) && !mutated!(settings, ChangeInTheMiddle);
                true
            });
        }
        self.last_served = last.or(self.last_served);
        (!value.bodies.is_empty()).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::pool::tests::{clients_of, request};
    use super::*;
    use crate::window::Windows;

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
