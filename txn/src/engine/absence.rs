//! Clients that are gone: their transactions hold locks and places, and nobody will end them.
//!
//! Links are each replica's own business, so none ends a transaction by itself: f+1 replicas that say so in the order do, of whom
//! one is correct. A request of the client in between shows that it is there, and takes the votes back.

use super::*;

/// Who finds which client gone, in which incarnation: by the order alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absence {
    votes: BTreeMap<ClientId, (u64, BTreeSet<ReplicaId>)>,
}

impl Absence {
    /// A client's request is ordered.
    pub fn spoke(&mut self, client: ClientId) {
        self.votes.remove(&client);
    }
}

impl Engine {
    /// A replica has not been connected to a client for long.
    pub(super) fn client_gone(
        &mut self,
        voter: ClientId,
        client: ClientId,
        incarnation: u64,
        out: &mut Vec<Action>,
    ) {
        let view = self.view().clone();
        let voter = voter.as_replica();
        let Some(voter) = voter.filter(|replica| view.replicas.contains_key(replica)) else {
            return;
        };
        if self.incarnations.get(&client) != Some(&incarnation) {
            return;
        }
        let (of, votes) = self.absence.votes.entry(client).or_default();
        if *of != incarnation {
            votes.clear();
        }
        *of = incarnation;
        votes.insert(voter);
        let members = votes.iter().filter(|id| view.replicas.contains_key(id));
        if members.count() >= view.one_correct() {
            self.absence.votes.remove(&client);
            self.end_before(client, incarnation.saturating_add(1), Doom::ClientGone, out);
        }
    }

    /// Clients with open transactions, each with its incarnation.
    pub fn clients_at_work(&self) -> BTreeMap<ClientId, u64> {
        let open = self.open.keys().map(|tx| tx.client);
        let incarnation = |client| Some((client, *self.incarnations.get(&client)?));
        open.filter_map(incarnation).collect()
    }

    /// The consensus time (ms) after which the oldest open transaction expires.
    pub fn next_expiry(&self) -> Option<u64> {
        let oldest = self.open.values().map(|open| open.time_ms).min()?;
        Some(oldest + limits::MAX_TRANSACTION_AGE_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::super::group::{CLIENT, Group4};
    use super::*;

    fn gone(incarnation: u64) -> Ordered {
        Ordered::ClientGone {
            client: CLIENT,
            incarnation,
        }
    }

    fn say(group: &mut Group4, who: ClientId, what: Ordered) {
        let placed = group.place(who, what);
        group.decide(vec![placed]);
    }

    fn dropped(group: &Group4, tx: TxId) -> bool {
        let ended =
            |a: &Action| matches!(a, Action::Drop { tx: of, doom: Doom::ClientGone } if *of == tx);
        group.done.iter().all(|done| done.iter().any(ended))
    }

    #[test]
    fn two_replicas_that_miss_a_client_end_what_it_left_open_and_one_does_not() {
        let mut group = Group4::new();
        let tx = group.begin();
        let replica = |id| ClientId::of(ReplicaId(id));
        say(&mut group, replica(1), gone(1));
        say(&mut group, replica(1), gone(1));
        say(&mut group, ClientId(CLIENT.0 + 1), gone(1));
        say(&mut group, replica(2), gone(2));
        assert!(
            group.engines[0].is_open(&tx),
            "one replica, another client, another incarnation"
        );
        say(&mut group, replica(3), gone(1));
        assert!(!group.engines[0].is_open(&tx));
        assert!(dropped(&group, tx));
        assert_eq!(group.engines[0].clients_at_work(), BTreeMap::new());
    }

    #[test]
    fn a_client_that_speaks_is_not_gone() {
        let mut group = Group4::new();
        let tx = group.begin();
        let replica = |id| ClientId::of(ReplicaId(id));
        say(&mut group, replica(1), gone(1));
        say(&mut group, CLIENT, Ordered::Nothing(vec![]));
        say(&mut group, replica(2), gone(1));
        assert!(group.engines[0].is_open(&tx));
        assert_eq!(group.engines[0].clients_at_work(), [(CLIENT, 1)].into());
    }

    #[test]
    fn what_is_too_old_expires_by_the_time_of_a_tick() {
        let mut group = Group4::new();
        let tx = group.begin();
        let expiry = group.engines[0].next_expiry();
        assert_eq!(expiry, Some(group.now + limits::MAX_TRANSACTION_AGE_MS));
        group.now += limits::MAX_TRANSACTION_AGE_MS;
        say(&mut group, ClientId::of(ReplicaId(1)), Ordered::Tick);
        assert!(group.engines[0].is_open(&tx), "not yet");
        group.now += 1;
        say(&mut group, ClientId::of(ReplicaId(1)), Ordered::Tick);
        assert!(!group.engines[0].is_open(&tx));
        assert_eq!(group.engines[0].next_expiry(), None);
    }
}
