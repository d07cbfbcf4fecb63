//! A batch is decided: what follows from the order alone.

use super::*;

impl Engine {
    /// Feeds the next decided batch. `recorded` is what the log knows of it when it is replayed, else empty.
    ///
    /// # Panics
    /// When heights are skipped: the consensus core delivers them without gaps.
    pub fn decided(
        &mut self,
        now_ms: u64,
        height: Height,
        time_ms: u64,
        placed: Vec<Placed>,
        recorded: &Recorded,
        out: &mut Vec<Action>,
    ) {
        assert_eq!(height, self.decided + 1, "the total order has no gaps");
        self.decided = height;
        self.times.insert(height, time_ms);
        while self.times.len() as u64 > limits::AUTO_WINDOW + 1 {
            self.times.pop_first();
        }
        self.expire(time_ms, out);
        let mut state = HeightState {
            height,
            time_ms,
            items: Vec::with_capacity(placed.len()),
            started_at: None,
            snapshots_asked: false,
            snapshots_taken: false,
            votes_fetched_at: None,
            taken: TakenOf::default(),
            horizon: 0,
        };
        for (index, placed) in placed.into_iter().enumerate() {
            let index = index as u32;
            self.incarnation(&placed, out);
            self.suspicion.active(placed.client, time_ms);
            self.absence.spoke(placed.client);
            let mut item = self.place(height, index, time_ms, placed, out);
            if self.is_unsigned(height, &item) {
                item.verdict = Some(Verdict::Abort);
                item.by_order = true;
            }
            state.taken.place(height, index, &mut item, out);
            if item.is_voted_kind() && !item.by_order {
                if let Some(verdict) = recorded.verdicts.get(&index) {
                    item.verdict = Some(*verdict);
                }
                if let Some(ballot) = recorded.ballots.get(&index) {
                    item.judged = Some(*ballot);
                    item.voted = true;
                    item.dispatched = true;
                }
            }
            state.items.push(item);
        }
        self.drained(height, out);
        state.horizon = self.horizon();
        self.queue.push_back(state);
        self.early_votes(now_ms, height);
        self.believe(height);
        self.progress(now_ms, out);
    }

    /// One request at its place.
    fn place(
        &mut self,
        height: Height,
        index: u32,
        time_ms: u64,
        placed: Placed,
        out: &mut Vec<Action>,
    ) -> Item {
        let ordered = placed.ordered.clone();
        let mut answer = None;
        let item = match &*ordered {
            Ordered::Begin(begin) => {
                let tx = TxId {
                    client: placed.client,
                    incarnation: placed.incarnation,
                    seq: placed.seq,
                };
                if begin.epoch != self.epoch || self.moving.is_some() {
                    answer = Some(Answer::Moved);
                    Item::new(placed, Kind::Order)
                } else if self.admits(placed.client) {
                    self.open.insert(
                        tx,
                        Open {
                            begun: height,
                            time_ms,
                            isolation: begin.isolation,
                        },
                    );
                    answer = Some(Answer::Begun);
                    Item::new(placed, Kind::Begin(tx))
                } else {
                    answer = Some(Answer::Refused);
                    Item::new(placed, Kind::Order)
                }
            }
            Ordered::Commit(commit) => {
                let mut changes = commit.steps.iter().filter(|s| s.evidence.schema_change);
                let schema_change = changes.clone().next().is_some();
                let adds_only = changes.all(|s| s.evidence.adds_only);
                // Only its own client may end a transaction, and only in the epoch in which it began: an epoch
                // change removes everything that is open.
                let open = (commit.tx.client == placed.client && commit.epoch == self.epoch)
                    .then(|| self.open.remove(&commit.tx))
                    .flatten();
                // A snapshot is a state between two batches, so a transaction that left nothing is serial there. One
                // that wrote is serial at its place alone: there it is judged, whatever it saw before.
                let wrote = commit.steps.iter().any(|s| s.evidence.leaves_something());
                let begun = match &open {
                    Some(open) if wrote && open.isolation == Isolation::Serializable => None,
                    Some(open) => Some(open.begun),
                    None => Some(0),
                };
                let ran_from = open.as_ref().map_or(0, |open| open.begun);
                let kind = Kind::Voted {
                    tx: commit.tx,
                    begun,
                    schema_change,
                    adds_only,
                    ran_from,
                };
                let mut item = Item::new(placed, kind);
                if open.is_none() || commit.steps.len() > limits::STEPS_PER_TRANSACTION {
                    item.verdict = Some(Verdict::Abort);
                    item.by_order = true;
                }
                item
            }
            Ordered::Auto(auto) => {
                let kind = Kind::Voted {
                    tx: auto.tx,
                    begun: None,
                    schema_change: auto.step.evidence.schema_change,
                    adds_only: auto.step.evidence.adds_only,
                    ran_from: auto.ran_at,
                };
                // Its number is not a transaction's, whose session it would be judged in.
                let valid = auto.tx.client == placed.client
                    && auto.tx.seq & TxId::AUTO != 0
                    && auto.epoch == self.epoch
                    && auto.ran_at < height
                    && auto.ran_at + limits::AUTO_WINDOW >= height;
                let mut item = Item::new(placed, kind);
                if !valid {
                    item.verdict = Some(Verdict::Abort);
                    item.by_order = true;
                }
                item
            }
            Ordered::Rollback { tx } => {
                if tx.client == placed.client && self.open.remove(tx).is_some() {
                    out.push(Action::Drop {
                        tx: *tx,
                        doom: Doom::RolledBack,
                    });
                }
                answer = Some(Answer::Done);
                Item::new(placed, Kind::Order)
            }
            Ordered::Votes(parts) => {
                for part in parts {
                    self.ordered_vote(part);
                }
                answer = Some(Answer::Done);
                Item::new(placed, Kind::Order)
            }
            Ordered::MasterChange { epoch } => {
                self.master_change(height, time_ms, placed.client, *epoch, out);
                answer = Some(Answer::Done);
                Item::new(placed, Kind::Order)
            }
            Ordered::ClientGone {
                client,
                incarnation,
            } => {
                self.client_gone(placed.client, *client, *incarnation, out);
                answer = Some(Answer::Done);
                Item::new(placed, Kind::Order)
            }
            Ordered::Exec(_) | Ordered::Audit | Ordered::Compare | Ordered::Copy => {
                Item::new(placed, Kind::Executed)
            }
            Ordered::Reconfigured { view, why } => {
                answer = Some(Answer::Reconfigured {
                    view: *view,
                    why: why.clone(),
                });
                Item::new(placed, Kind::Order)
            }
            Ordered::Nothing(_) | Ordered::Tick => {
                answer = Some(Answer::Done);
                Item::new(placed, Kind::Order)
            }
        };
        if let Some(answer) = answer {
            out.push(Action::Answer {
                client: item.placed.client,
                incarnation: item.placed.incarnation,
                seq: item.placed.seq,
                height,
                index,
                time_ms,
                epoch: self.epoch,
                answer,
            });
        }
        item
    }

    fn admits(&self, client: ClientId) -> bool {
        if self.open.len() >= limits::OPEN_TRANSACTIONS {
            return false;
        }
        let low = TxId {
            client,
            incarnation: 0,
            seq: 0,
        };
        let high = TxId {
            client,
            incarnation: u64::MAX,
            seq: u64::MAX,
        };
        self.open.range(low..=high).count() < limits::OPEN_TRANSACTIONS_PER_CLIENT
    }

    /// A client that starts anew cannot end what it left open.
    fn incarnation(&mut self, placed: &Placed, out: &mut Vec<Action>) {
        let known = self.incarnations.entry(placed.client).or_insert(0);
        if placed.incarnation <= *known {
            return;
        }
        *known = placed.incarnation;
        self.end_before(
            placed.client,
            placed.incarnation,
            Doom::ClientRestarted,
            out,
        );
    }

    /// Ends what a client left open in incarnations before this one.
    pub(super) fn end_before(
        &mut self,
        client: ClientId,
        incarnation: u64,
        doom: Doom,
        out: &mut Vec<Action>,
    ) {
        let first = |incarnation| TxId {
            client,
            incarnation,
            seq: 0,
        };
        let left = self.open.range(first(0)..first(incarnation));
        for tx in left.map(|(tx, _)| *tx).collect::<Vec<_>>() {
            self.open.remove(&tx);
            out.push(Action::Drop { tx, doom });
        }
    }

    /// Consensus time alone expires transactions, never a local clock.
    fn expire(&mut self, time_ms: u64, out: &mut Vec<Action>) {
        let oldest = time_ms.saturating_sub(limits::MAX_TRANSACTION_AGE_MS);
        let expired: Vec<TxId> = self
            .open
            .iter()
            .filter(|(_, open)| open.time_ms < oldest)
            .map(|(tx, _)| *tx)
            .collect();
        for tx in expired {
            self.open.remove(&tx);
            out.push(Action::Drop {
                tx,
                doom: Doom::Expired,
            });
        }
    }

    /// f+1 replicas that found the master of this epoch silent or lying move the epoch: one of them is correct. What clients
    /// find, replicas take up or not.
    fn master_change(
        &mut self,
        height: Height,
        time_ms: u64,
        client: ClientId,
        epoch: u64,
        out: &mut Vec<Action>,
    ) {
        if epoch == self.epoch && self.suspicion.suspects(client, time_ms) {
            out.push(Action::Suspected { epoch });
        }
        let members = self.view().replicas.keys();
        let mut voters = members.filter(|replica| ClientId::of(**replica) == client);
        let Some(voter) = voters.next().copied().filter(|_| epoch == self.epoch) else {
            return;
        };
        self.change_votes.insert(voter);
        if self.change_votes.len() >= self.view().one_correct() {
            self.move_epoch(height, self.next_epoch(), out);
        }
    }

    /// The decision at `height` made a new view: it holds from the next height on. Its master is the one before if it
    /// is a member still; where its place has moved the epoch moves too, so that an epoch has one master.
    pub fn view_changed(&mut self, height: Height, view: View, out: &mut Vec<Action>) {
        let before = self.master();
        self.views.push((height + 1, Arc::new(view)));
        let view = self.view().clone();
        let members = &view.replicas;
        let voters = std::mem::take(&mut self.change_votes);
        self.change_votes = voters
            .into_iter()
            .filter(|voter| members.contains_key(voter))
            .collect();
        self.moving = self.moving.filter(|to| members.contains_key(to));
        if self.master() == before {
            return;
        }
        let next = self.epoch_of(before).unwrap_or_else(|| self.next_epoch());
        self.move_epoch(height, next, out);
    }

    pub(super) fn move_epoch(&mut self, height: Height, epoch: u64, out: &mut Vec<Action>) {
        self.epoch = epoch;
        self.moving = None;
        self.change_votes.clear();
        self.suspicion.clear();
        for tx in std::mem::take(&mut self.open).into_keys() {
            out.push(Action::Drop {
                tx,
                doom: Doom::MasterChanged,
            });
        }
        out.push(Action::EpochChanged {
            epoch: self.epoch,
            height,
        });
    }
}
