//! What waits for a height that this replica has not executed yet.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use consensus::{ClientId, Height};

use super::bounds::{WAITING, WAITING_PER_CLIENT, WAITING_REPEATS};
use crate::run::Repeat;

/// What waits.
#[derive(Debug, Default)]
pub struct Waiting {
    pub queries: WaitingQueries,
    pub repeats: WaitingRepeats,
}

/// Requests that came again while their batch is on its way to the service, by its height. Bounded: what finds no room comes
/// once more.
#[derive(Debug, Default)]
pub struct WaitingRepeats(BTreeMap<(Height, ClientId, u64, u64), Repeat>);

impl WaitingRepeats {
    /// Lets one wait.
    pub fn add(&mut self, repeat: Repeat) {
        if self.0.len() < WAITING_REPEATS {
            let Repeat {
                client,
                incarnation,
                seq,
                by,
            } = repeat;
            self.0.insert((by, client, incarnation, seq), repeat);
        }
    }

    /// The next one whose batch is executed at `height`.
    pub fn due(&mut self, height: Height) -> Option<Repeat> {
        let first = self.0.first_entry()?;
        (first.key().0 <= height).then(|| first.remove())
    }
}

/// A query as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Who asks.
    pub client: ClientId,
    /// Its number.
    pub id: u64,
    /// Not before this height.
    pub min_height: Height,
    /// What is asked.
    pub op: Bytes,
    /// Send the result itself.
    pub whole: bool,
}

/// Where a query waits: by height first, then in the order of coming.
type Place = (Height, u64);

/// Bounded; what asks for the furthest future gives way, so a client that asks for a height that never comes harms
/// itself first, and others with the same wish next.
#[derive(Debug, Default)]
pub struct WaitingQueries {
    queries: BTreeMap<Place, Query>,
    clients: BTreeMap<ClientId, BTreeSet<Place>>,
    came: u64,
}

impl WaitingQueries {
    /// Lets a query wait for its height.
    pub fn add(&mut self, query: Query) {
        self.came += 1;
        let (place, client) = ((query.min_height, self.came), query.client);
        self.queries.insert(place, query);
        let own = self.clients.entry(client).or_default();
        own.insert(place);
        if own.len() > WAITING_PER_CLIENT
            && let Some(furthest) = own.last().copied()
        {
            self.remove(furthest);
        }
        if self.queries.len() > WAITING
            && let Some(furthest) = self.queries.keys().next_back().copied()
        {
            self.remove(furthest);
        }
    }

    /// The next query whose time has come when `height` is executed.
    pub fn due(&mut self, height: Height) -> Option<Query> {
        let first = *self.queries.keys().next()?;
        if first.0 > height {
            return None;
        }
        self.remove(first)
    }

    /// Forgets what a client asked: it is gone.
    pub fn forget(&mut self, client: ClientId) {
        for place in self.clients.remove(&client).unwrap_or_default() {
            self.queries.remove(&place);
        }
    }

    fn remove(&mut self, place: Place) -> Option<Query> {
        let query = self.queries.remove(&place)?;
        if let Some(own) = self.clients.get_mut(&query.client) {
            own.remove(&place);
            if own.is_empty() {
                self.clients.remove(&query.client);
            }
        }
        Some(query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(client: u32, id: u64, min_height: Height) -> Query {
        Query {
            client: ClientId(client),
            id,
            min_height,
            op: Bytes::new(),
            whole: false,
        }
    }

    fn due(waiting: &mut WaitingQueries, height: Height) -> Vec<u64> {
        std::iter::from_fn(|| waiting.due(height))
            .map(|query| query.id)
            .collect()
    }

    #[test]
    fn queries_are_due_by_height() {
        let mut waiting = WaitingQueries::default();
        for (id, height) in [(1, 5), (2, 4), (3, 6), (4, 4)] {
            waiting.add(query(1, id, height));
        }
        assert_eq!(due(&mut waiting, 3), [0; 0]);
        assert_eq!(due(&mut waiting, 5), [2, 4, 1]);
        assert_eq!(due(&mut waiting, 6), [3]);
    }

    #[test]
    fn one_client_pushes_out_its_own() {
        let mut waiting = WaitingQueries::default();
        waiting.add(query(2, 999, 1_000));
        for id in 0..200 {
            waiting.add(query(1, id, 10 + id));
        }
        let left = due(&mut waiting, 10_000);
        let kept: Vec<u64> = (0..WAITING_PER_CLIENT as u64).chain([999]).collect();
        assert_eq!(left, kept);
    }

    #[test]
    fn many_clients_that_ask_for_heights_that_never_come_push_out_each_other() {
        let mut waiting = WaitingQueries::default();
        waiting.add(query(1, 1, 5));
        let liars = (WAITING / WAITING_PER_CLIENT + 5) as u32;
        for client in 100..100 + liars {
            for id in 0..WAITING_PER_CLIENT as u64 {
                waiting.add(query(client, id, Height::MAX));
            }
        }
        assert_eq!(waiting.queries.len(), WAITING);
        assert_eq!(due(&mut waiting, 5), [1]);
    }

    #[test]
    fn a_client_that_is_gone_leaves_nothing() {
        let mut waiting = WaitingQueries::default();
        waiting.add(query(1, 1, 5));
        waiting.add(query(2, 2, 5));
        waiting.forget(ClientId(1));
        assert_eq!(due(&mut waiting, 5), [2]);
        assert!(waiting.clients.is_empty());
    }
}
