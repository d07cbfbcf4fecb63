//! The front height moves towards being final.

use super::*;

impl Engine {
    /// The executor ran an item's operations. `holds`: its session is alive and holds the locks of what it wrote.
    pub fn judged(
        &mut self,
        now_ms: u64,
        height: Height,
        index: u32,
        ballot: Ballot,
        holds: bool,
        out: &mut Vec<Action>,
    ) {
        if let Some(item) = self.item_mut(height, index) {
            if item.lapsed && !item.voted {
                item.lapsed = false;
                if let Kind::Voted { tx, begun, .. } = item.kind {
                    let ordered = item.placed.ordered.clone();
                    out.push(Action::Judge {
                        height,
                        index,
                        tx,
                        ordered,
                        begun,
                        again: true,
                    });
                }
            } else if !item.voted {
                item.judged = Some(ballot);
                item.holds = holds && ballot == Ballot::Commit;
            }
        }
        self.progress(now_ms, out);
    }

    /// Takes back a judgement that was not voted on yet, because something ordered earlier needs this session's locks.
    /// False when it was voted on already: then nothing ordered earlier can need them, since all of it was judged.
    pub fn retract(&mut self, height: Height, index: u32) -> bool {
        match self.item_mut(height, index) {
            Some(item) if !item.voted => {
                item.judged = None;
                item.holds = false;
                true
            }
            _ => false,
        }
    }

    /// The executor obeyed a verdict, or executed an item.
    pub fn applied(&mut self, now_ms: u64, height: Height, index: u32, out: &mut Vec<Action>) {
        let mut adopted = false;
        let mut schema = None;
        if let Some(item) = self.item_mut(height, index) {
            if item.applied {
                return;
            }
            item.applied = true;
            adopted = item.verdict == Some(Verdict::Commit) && !item.is_direct();
            schema = match item.kind {
                Kind::Voted {
                    schema_change: true,
                    adds_only,
                    ..
                } if item.verdict == Some(Verdict::Commit) => Some(adds_only),
                _ => None,
            };
        }
        self.answer(height, index, out);
        if let Some(adds_only) = schema {
            self.schema_touched = height;
            if !adds_only {
                self.schema_changed = height;
                self.doom_older(height, out);
            }
        }
        if adopted {
            self.lapse_after(height, index, out);
        }
        self.progress(now_ms, out);
    }

    /// The snapshots of a height's `Begin`s are taken.
    pub fn snapshots_taken(&mut self, now_ms: u64, height: Height, out: &mut Vec<Action>) {
        if let Some(state) = self.state_mut(height) {
            state.snapshots_taken = true;
        }
        self.progress(now_ms, out);
    }

    /// Snapshots do not cover catalogs: what began before a committed schema change cannot go on (40001), unless that only adds. Then
    /// what the older transaction ran before it is what everybody runs after it, and where it is not the digests tell.
    fn doom_older(&mut self, height: Height, out: &mut Vec<Action>) {
        for (tx, open) in &self.open {
            if open.begun < height {
                out.push(Action::Drop {
                    tx: *tx,
                    doom: Doom::SchemaChanged,
                });
            }
        }
    }

    /// An item's effects came by adoption: what was judged behind it without being voted on did not see its locks.
    fn lapse_after(&mut self, height: Height, index: u32, out: &mut Vec<Action>) {
        let Some(state) = self.state_mut(height) else {
            return;
        };
        for (later, item) in state.items.iter_mut().enumerate().skip(index as usize + 1) {
            let Kind::Voted { tx, begun, .. } = item.kind else {
                continue;
            };
            if !item.dispatched || item.voted || item.verdict.is_some() {
                continue;
            }
            if item.judged.is_none() {
                item.lapsed = true;
            } else {
                item.judged = None;
                item.holds = false;
                out.push(Action::Judge {
                    height,
                    index: later as u32,
                    tx,
                    ordered: item.placed.ordered.clone(),
                    begun,
                    again: true,
                });
            }
        }
    }

    /// Does everything that can be done now.
    pub(super) fn progress(&mut self, now_ms: u64, out: &mut Vec<Action>) {
        loop {
            self.dispatch(now_ms, out);
            self.cast(out);
            self.apply(out);
            if !self.finish(out) {
                return;
            }
        }
    }

    fn dispatch(&mut self, now_ms: u64, out: &mut Vec<Action>) {
        let (schema_changed, schema_touched) = (self.schema_changed, self.schema_touched);
        let given = &self.given;
        let Some(state) = self.queue.front_mut() else {
            return;
        };
        state.started_at.get_or_insert(now_ms);
        let height = state.height;
        let mut earlier_applied = true;
        for at in 0..state.items.len() {
            let index = at as u32;
            let item = &state.items[at];
            // What is judged at its place reads what everything ordered earlier left; barriers run alone.
            let alone = item.is_barrier() || matches!(item.kind, Kind::Voted { begun: None, .. });
            let ready = !item.dispatched && !item.applied && (earlier_applied || !alone);
            let fate = match ready && item.verdict.is_none() {
                true => state.taken.fate(given, &state.items, index),
                false => Fate::Fresh,
            };
            let item = &mut state.items[at];
            if ready {
                match item.kind {
                    Kind::Voted {
                        tx,
                        begun,
                        schema_change,
                        adds_only,
                        ran_from,
                    } => {
                        // Privileges are reported without their objects: a GRANT on all tables gives more now than at the master.
                        let sees_more = schema_change && !adds_only && ran_from < schema_touched;
                        let older = begun.is_some_and(|begun| begun < schema_changed);
                        if (older || sees_more) && !item.by_order {
                            // Equal at all: every earlier schema change is final here, as barriers are.
                            item.verdict = Some(Verdict::Abort);
                            item.by_order = true;
                        }
                        if let (None, Fate::Repeats(repeat)) = (item.verdict, &fate) {
                            item.verdict = Some(Verdict::Abort);
                            item.by_order = true;
                            out.push(Action::Repeated {
                                height,
                                index,
                                ordered: item.placed.ordered.clone(),
                                begun,
                                repeat: repeat.clone(),
                            });
                        }
                        if item.verdict.is_none() && fate != Fate::Waits {
                            item.dispatched = true;
                            let ordered = item.placed.ordered.clone();
                            out.push(Action::Judge {
                                height,
                                index,
                                tx,
                                ordered,
                                begun,
                                again: false,
                            });
                        }
                    }
                    Kind::Executed => {
                        item.dispatched = true;
                        out.push(Action::Execute {
                            height,
                            index,
                            client: item.placed.client,
                            incarnation: item.placed.incarnation,
                            seq: item.placed.seq,
                            ordered: item.placed.ordered.clone(),
                        });
                    }
                    Kind::Order | Kind::Begin(_) => {}
                }
            }
            earlier_applied &= item.applied;
            if !item.applied && item.is_barrier() {
                return;
            }
        }
    }

    /// Verdicts are obeyed in index order; own sessions commit one behind the other without waiting, an adoption waits
    /// for everything before it and lets nothing pass.
    fn apply(&mut self, out: &mut Vec<Action>) {
        let Some(state) = self.queue.front_mut() else {
            return;
        };
        let height = state.height;
        let mut all_applied = true;
        for (index, item) in state.items.iter_mut().enumerate() {
            if item.applied {
                continue;
            }
            if !item.apply_sent {
                let (Kind::Voted { tx, .. }, Some(verdict)) = (&item.kind, item.verdict) else {
                    return;
                };
                // A run that is under way ends first: its session is not ours to touch.
                if item.dispatched && item.judged.is_none() {
                    return;
                }
                if !item.is_direct() && !all_applied {
                    return;
                }
                item.apply_sent = true;
                out.push(Action::Apply {
                    height,
                    index: index as u32,
                    tx: *tx,
                    ordered: item.placed.ordered.clone(),
                    verdict,
                    own: item.judged.filter(|b| *b != Ballot::Commit || item.holds),
                    client: item.placed.client,
                });
            }
            if !item.is_direct() {
                return;
            }
            all_applied = false;
        }
    }

    /// Takes the snapshots of a height of which everything is applied, then leaves it.
    fn finish(&mut self, out: &mut Vec<Action>) -> bool {
        let Some(state) = self.queue.front() else {
            return false;
        };
        if !state.items.iter().all(|item| item.applied) {
            return false;
        }
        if !state.snapshots_asked {
            let begins: Vec<_> = state
                .items
                .iter()
                .filter_map(|item| match item.kind {
                    Kind::Begin(tx) if self.needs_snapshot(&tx) => {
                        Some((tx, item.placed.ordered.clone()))
                    }
                    _ => None,
                })
                .collect();
            let none = begins.is_empty();
            let (height, time_ms) = (state.height, state.time_ms);
            if let Some(state) = self.queue.front_mut() {
                state.snapshots_asked = true;
                state.snapshots_taken = none;
            }
            if !none {
                out.push(Action::Snapshots {
                    height,
                    time_ms,
                    begins,
                });
            }
        }
        if !self.queue.front().is_some_and(|s| s.snapshots_taken) {
            return false;
        }
        let Some(state) = self.queue.pop_front() else {
            return false;
        };
        self.last_final = state.height;
        let low = self.last_final.saturating_sub(limits::VOTES_KEPT_HEIGHTS);
        self.parts = self.parts.split_off(&low);
        self.told = self.told.split_off(&(self.last_final + 1));
        while self.views.get(1).is_some_and(|(since, _)| *since <= low) {
            self.views.remove(0);
        }
        let verdicts: Vec<(u32, Verdict)> = state
            .items
            .iter()
            .enumerate()
            .filter_map(|(i, item)| Some((i as u32, item.verdict?)))
            .collect();
        self.commit_taken(&state);
        let settled = self.settle(state.height, &verdicts);
        out.push(Action::Final {
            height: state.height,
            time_ms: state.time_ms,
            verdicts,
            settled,
        });
        true
    }

    /// A transaction that is over, or whose end is decided and final already, needs no snapshot any more.
    fn needs_snapshot(&self, tx: &TxId) -> bool {
        self.open.contains_key(tx)
            || self.queue.iter().any(|state| {
                state.items.iter().any(|item| {
                    item.verdict.is_none()
                        && matches!(&item.kind, Kind::Voted { tx: t, .. } if t == tx)
                })
            })
    }

    fn answer(&mut self, height: Height, index: u32, out: &mut Vec<Action>) {
        let epoch = self.epoch;
        let Some(state) = self.state_mut(height) else {
            return;
        };
        let time_ms = state.time_ms;
        let Some(item) = state.items.get(index as usize) else {
            return;
        };
        if let (Kind::Voted { .. }, Some(verdict)) = (&item.kind, item.verdict) {
            out.push(Action::Answer {
                client: item.placed.client,
                incarnation: item.placed.incarnation,
                seq: item.placed.seq,
                height,
                index,
                time_ms,
                epoch,
                answer: verdict.into(),
            });
        }
    }
}
