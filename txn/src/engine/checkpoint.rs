//! The rules' state after a height, for checkpoints: equal at every correct replica.
//!
//! What follows from the order alone is taken when the height is decided ([`Engine::ordered_state`]), because decisions run ahead; what
//! follows from verdicts comes with [`Action::Final`], because several heights may be final at once. Votes are no part of it: of heights up to there nothing is open
//! any more, and votes that are ordered later do not speak of them.

use super::*;

/// Everything that the rules have to know of the heights up to this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineState {
    pub height: Height,
    /// Consensus time of that height.
    pub time_ms: u64,
    /// The view that holds from the next height on.
    pub view: View,
    epoch: u64,
    change_votes: BTreeSet<ReplicaId>,
    suspicion: Suspicion,
    absence: Absence,
    moving: Option<ReplicaId>,
    open: BTreeMap<TxId, Open>,
    incarnations: BTreeMap<ClientId, u64>,
    times: BTreeMap<Height, u64>,
    settled: Settled,
}

/// What the verdicts up to a height come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Last height with a committed schema change.
    schema_changed: Height,
    /// The same, of those too that only add.
    schema_touched: Height,
    /// Of all verdicts.
    verdicts: Digest,
    /// What sequences gave to what was committed.
    given: Arc<Given>,
}

impl EngineState {
    /// Adds what its height's [`Action::Final`] says.
    pub fn complete(&mut self, settled: Settled) {
        self.settled = settled;
    }

    /// Consensus times of the last heights.
    pub fn times(&self) -> &BTreeMap<Height, u64> {
        &self.times
    }

    /// Transactions that are open.
    pub fn open(&self) -> impl Iterator<Item = &TxId> {
        self.open.keys()
    }

    /// The master epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl Engine {
    /// The part of the state after the last decided height that follows from the order alone.
    pub fn ordered_state(&self) -> EngineState {
        EngineState {
            height: self.decided,
            time_ms: self.times.get(&self.decided).copied().unwrap_or(0),
            // Where members listen is each replica's own business.
            view: View {
                contacts: BTreeMap::new(),
                ..View::clone(self.view())
            },
            epoch: self.epoch,
            change_votes: self.change_votes.clone(),
            suspicion: self.suspicion.clone(),
            absence: self.absence.clone(),
            moving: self.moving,
            open: self.open.clone(),
            incarnations: self.incarnations.clone(),
            times: self.times.clone(),
            settled: Settled::default(),
        }
    }

    /// Begins after a state instead of before height 1.
    ///
    /// # Panics
    /// When something was decided here already.
    pub fn restore(&mut self, state: EngineState) {
        assert_eq!(self.decided, 0, "a replica begins once");
        self.decided = state.height;
        self.last_final = state.height;
        self.views = vec![(state.height + 1, Arc::new(state.view))];
        self.epoch = state.epoch;
        self.change_votes = state.change_votes;
        self.suspicion = state.suspicion;
        self.absence = state.absence;
        self.moving = state.moving;
        self.open = state.open;
        self.incarnations = state.incarnations;
        self.times = state.times;
        self.schema_changed = state.settled.schema_changed;
        self.schema_touched = state.settled.schema_touched;
        self.verdicts = state.settled.verdicts;
        self.given = state.settled.given;
        let kept = self.last_final + 1;
        self.parts = self.parts.split_off(&kept);
        self.told = self.told.split_off(&kept);
    }

    /// What the verdicts up to the last final height come to.
    pub fn settled(&self) -> Settled {
        Settled {
            schema_changed: self.schema_changed,
            schema_touched: self.schema_touched,
            verdicts: self.verdicts,
            given: self.given.clone(),
        }
    }

    /// A height is final: its verdicts join the digest of all verdicts so far.
    pub(super) fn settle(&mut self, height: Height, verdicts: &[(u32, Verdict)]) -> Settled {
        let mut hasher = blake3::Hasher::new_derive_key("steeldb 2026 verdicts up to a height");
        hasher.update(&self.verdicts.0);
        hasher.update(&height.to_be_bytes());
        for (index, verdict) in verdicts {
            hasher.update(&index.to_be_bytes());
            hasher.update(&[u8::from(*verdict == Verdict::Commit)]);
        }
        self.verdicts = Digest(*hasher.finalize().as_bytes());
        self.settled()
    }
}

#[cfg(test)]
mod tests {
    use super::super::group::{CLIENT, Group4, key, view};
    use super::*;

    /// What a replica was told of this height.
    fn settled(group: &Group4, replica: usize, height: Height) -> Settled {
        let mut done = group.done[replica].iter();
        let found = done.find_map(|action| match action {
            Action::Final {
                height: of,
                settled,
                ..
            } if *of == height => Some(settled.clone()),
            _ => None,
        });
        found.expect("it is final")
    }

    /// The states after the last height, which is final everywhere.
    fn states(group: &Group4) -> Vec<EngineState> {
        let state = |replica: usize| {
            let mut state = group.engines[replica].ordered_state();
            state.complete(settled(group, replica, group.height));
            state
        };
        (0..4).map(state).collect()
    }

    /// A group with everything that a state can hold: open transactions, a vote for another master, one for a client that is gone,
    /// a suspicion, a schema change, a commit and an abort.
    fn busy() -> (Group4, TxId) {
        let mut group = Group4::new();
        let changes = group.begin();
        let commit = group.commit(changes, true);
        let height = group.decide(vec![commit]);
        (0..4).for_each(|replica| group.judge(replica, height, 0, Ballot::Commit));
        group.exchange();
        let loses = group.begin();
        let commit = group.commit(loses, false);
        let height = group.decide(vec![commit]);
        (0..4).for_each(|replica| group.judge(replica, height, 0, Ballot::Abort));
        group.exchange();
        let open = group.begin();
        let replica = |id| ClientId::of(ReplicaId(id));
        for (who, what) in [
            (ClientId(CLIENT.0 + 1), Ordered::MasterChange { epoch: 0 }),
            (replica(1), Ordered::MasterChange { epoch: 0 }),
            (
                replica(2),
                Ordered::ClientGone {
                    client: CLIENT,
                    incarnation: 1,
                },
            ),
        ] {
            let placed = group.place(who, what);
            group.decide(vec![placed]);
        }
        (group, open)
    }

    #[test]
    fn a_state_is_equal_at_all_whenever_verdicts_came() {
        let (mut group, open) = busy();
        let commit = group.commit(open, true);
        let height = group.decide(vec![commit]);
        let mut taken: Vec<EngineState> = group.engines.iter().map(Engine::ordered_state).collect();
        // Decisions run ahead of verdicts: what is decided next opens a transaction and moves the epoch, and is final in the same
        // step as the height at which the state is due.
        group.begin();
        for voter in [2, 3] {
            let vote = Ordered::MasterChange { epoch: 0 };
            let placed = group.place(ClientId::of(ReplicaId(voter)), vote);
            group.decide(vec![placed]);
        }
        (0..4).for_each(|replica| group.judge(replica, height, 0, Ballot::Commit));
        group.exchange();
        for (replica, state) in taken.iter_mut().enumerate() {
            assert!(group.engines[replica].final_height() > height);
            state.complete(settled(&group, replica, height));
        }
        assert!(taken.iter().all(|state| *state == taken[0]));
        assert_eq!(taken[0].settled.schema_changed, height);
        assert_eq!(taken[0].settled.schema_touched, height);
        assert_eq!(taken[0].epoch, 0);
        assert_ne!(taken[0], states(&group)[0], "another height");
        let bytes = postcard::to_stdvec(&taken[0]).unwrap();
        assert_eq!(
            postcard::from_bytes::<EngineState>(&bytes).unwrap(),
            taken[0]
        );
    }

    #[test]
    fn other_verdicts_are_another_state() {
        let verdict = |ballot| {
            let mut group = Group4::new();
            let tx = group.begin();
            let commit = group.commit(tx, false);
            let height = group.decide(vec![commit]);
            (0..4).for_each(|replica| group.judge(replica, height, 0, ballot));
            group.exchange();
            states(&group).swap_remove(0)
        };
        let (one, other) = (verdict(Ballot::Commit), verdict(Ballot::Abort));
        assert_ne!(one.settled.verdicts, other.settled.verdicts);
        assert_eq!(one.open, other.open);
    }

    /// Replica 3 is replaced by one that begins with the state; whatever comes then, all do the same.
    #[test]
    fn who_begins_with_a_state_goes_on_as_the_others_do() {
        let (mut group, open) = busy();
        let state = states(&group).swap_remove(0);
        let mut fresh = Engine::new(ReplicaId(3), key(3), view());
        fresh.restore(state);
        group.engines[3] = fresh;
        group.done[3].clear();
        assert!(group.engines[3].is_open(&open));
        // What began before is known: its snapshot's height, and that its client may end it.
        let commit = group.commit(open, false);
        let height = group.decide(vec![commit]);
        assert_eq!(group.judgements(3, height, 0), 1);
        (0..3).for_each(|replica| group.judge(replica, height, 0, Ballot::Commit));
        group.judge(3, height, 0, Ballot::Abstain);
        group.exchange();
        group.order_votes(height, &[0, 1, 2]);
        let committed = Some(vec![(0, Verdict::Commit)]);
        assert_eq!(group.verdicts(3, height), committed);
        // The vote for another master that was ordered before counts with the one that comes now.
        let second = group.place(
            ClientId::of(ReplicaId(2)),
            Ordered::MasterChange { epoch: 0 },
        );
        group.decide(vec![second]);
        assert_eq!(group.engines[3].epoch(), 1);
        // An autocommit write finds the time of the height at which it ran.
        let all = states(&group);
        assert!(all.iter().all(|state| *state == all[0]), "{all:#?}");
    }
}
