//! The synchronization phase after the STOPs: enter the regency, tell its leader where
//! one stands, take up its SYNC (Alg. 3, l. 19-25; Alg. 4).

use crate::crypto::Digest;
use crate::ids::{Regency, ReplicaId};
use crate::message::Message;
use crate::record::{Record, Start};
use crate::settings::{MAX_PIPELINE, mutated};
use crate::stopdata::{LastDecided, OpenVotes, StopData, StopState, Sync};

use super::choice::choose_all;
use super::instance::Accepted;
use super::persist::Held;
use super::{Action, Core};

impl Core {
    /// Installs a regency. Alg. 3, l. 19-25. From here on no vote in a lower one.
    pub(crate) fn enter(&mut self, now: u64, regency: Regency, out: &mut Vec<Action>) {
        self.regency = regency;
        (self.start, self.start_is_claimed) = (None, false);
        for instance in self.pipeline.iter_mut() {
            let writes = mutated!(self.settings, KeepWrites).then(|| instance.writes.clone());
            instance.enter_regency();
            instance.writes.extend(writes.into_iter().flatten());
        }
        self.vouching.enter_regency();
        self.stopping.mine = None;
        self.stopping.states.clear();
        (self.stopping.last, self.stopping.sync) = (None, None);
        self.stopping.unsaid = None;
        // Alg. 3, l. 8 and 24: all timers start again, with more patience.
        self.pool.restart_timers(now);
        self.clock.entered(now);
        let data = Box::new(self.stop_data());
        if mutated!(self.settings, EarlyStopData) {
            self.stopping.mine = Some(data.clone());
            self.send_stopdata(now, out);
        }
        let held = Held::StopData(data);
        self.persist(
            Record::Regency {
                view: self.view.id,
                regency,
                start: None,
            },
            held,
            out,
        );
        self.replay_early(now, out);
    }

    /// This replica's signed state for its regency.
    pub(crate) fn stop_data(&self) -> StopData {
        let decided = self.summary.height();
        let hidden = |height| {
            mutated!(self.settings, HideVotes)
                || mutated!(self.settings, TellFirstOnly) && height > decided + 1
        };
        let votes = self.pipeline.votes();
        let votes = votes.filter(|(height, _)| !hidden(*height));
        let state = StopState {
            view: self.view.id,
            regency: self.regency,
            replica: self.me,
            decided,
            votes: votes
                .filter_map(|(height, votes)| votes.told(height))
                .collect(),
        };
        let signature = state.sign(&self.key);
        StopData {
            state,
            signature,
            last: self.summary.last.clone(),
        }
    }

    /// Tells the leader, or itself.
    pub(crate) fn send_stopdata(&mut self, now: u64, out: &mut Vec<Action>) {
        // A replica that stood further ahead once (see `install`) has forgotten votes: it says nothing before it is there again.
        let tells_all = self.start.is_none() && self.summary.height() >= self.stood_at;
        let Some(data) = self.stopping.mine.clone().filter(|_| tells_all) else {
            return;
        };
        if self.i_lead() {
            self.collect_state(now, *data, out);
        } else {
            let to = self.leader();
            out.push(Action::Send {
                to,
                message: Message::StopData(data),
            });
        }
    }

    /// Alg. 4, l. 26-29.
    pub(crate) fn on_stopdata(
        &mut self,
        now: u64,
        from: ReplicaId,
        data: Box<StopData>,
        out: &mut Vec<Action>,
    ) {
        self.clock.wake(now);
        let regency = data.state.regency;
        let mine = self.is_member() && self.view.leader(regency) == self.me;
        if data.state.replica != from || data.state.view != self.view.id || !mine {
            return;
        }
        if regency > self.regency {
            // The sender saw 2f + 1 STOPs and joined them; we may have lost some.
            self.stopping.want(from, regency);
            self.keep_for_later(from, Message::StopData(data));
            self.count_stops(now, out);
        } else if regency == self.regency && self.is_valid_state(&data) {
            self.collect_state(now, *data, out);
        }
        self.advance(now, out);
    }

    /// A signed state whose claim of a decided height is proven.
    fn is_valid_state(&self, data: &StopData) -> bool {
        let StopData {
            state,
            signature,
            last,
        } = data;
        let signed = mutated!(self.settings, SkipStateSignature)
            || state.is_signed(&self.view, self.regency, signature);
        signed && self.is_plausible(state) && self.is_proven(state, last.as_ref())
    }

    fn is_proven(&self, state: &StopState, last: Option<&LastDecided>) -> bool {
        match last {
            _ if mutated!(self.settings, SkipDecidedProof) => true,
            None => state.decided == 0,
            // Equal to what is decided here: no need to look at the signatures again.
            Some(last) if self.summary.last.as_ref() == Some(last) => state.decided == last.height,
            Some(last) => state.decided == last.height && self.is_proven_then(last),
        }
    }

    /// Proven in the view of its height; of views before the last it is not known which keys they had.
    fn is_proven_then(&self, last: &LastDecided) -> bool {
        self.view_of(last.height)
            .is_some_and(|view| last.is_proven(view))
    }

    /// No larger than a correct replica's.
    pub(crate) fn is_bounded(&self, data: &StopData) -> bool {
        let signers = data
            .last
            .as_ref()
            .map_or(0, |last| last.proof.accepts.len());
        self.is_short(&data.state) && signers <= crate::reconfigure::MAX_REPLICAS
    }

    fn is_short(&self, state: &StopState) -> bool {
        let most = self.settings.max_values + 1;
        state.votes.len() <= MAX_PIPELINE
            && state.votes.iter().all(|votes| votes.writeset.len() <= most)
    }

    /// Bounds, and nothing from the future.
    fn is_plausible(&self, state: &StopState) -> bool {
        let past = |at: Regency| at < state.regency;
        let sound = |votes: &OpenVotes| {
            votes.height > state.decided
                && votes.lock.is_none_or(|(at, _)| past(at))
                && votes.writeset.iter().all(|written| past(written.regency))
        };
        let ascending = |pair: &[OpenVotes]| pair[0].height < pair[1].height;
        self.is_short(state)
            && state.votes.iter().all(sound)
            && state.votes.windows(2).all(ascending)
    }

    /// Alg. 4, l. 29-31: enough states that leave no doubt make the SYNC.
    fn collect_state(&mut self, now: u64, data: StopData, out: &mut Vec<Action>) {
        let StopData {
            state,
            signature,
            last,
        } = data;
        self.peers.seen_at(state.replica, state.decided);
        if self.stopping.sync.is_some() {
            // It says STOPDATA again because it misses the SYNC.
            let (to, sync) = (state.replica, self.stopping.sync.clone());
            let message = sync.map(Message::Sync).filter(|_| to != self.me);
            out.extend(message.map(|message| Action::Send { to, message }));
            return;
        }
        if !self.may_collect(now, out) {
            return;
        }
        let highest = self.stopping.last.as_ref().map_or(0, |last| last.height);
        if state.decided > highest {
            self.stopping.last = last;
        }
        self.stopping
            .states
            .insert(state.replica, (state, signature));
        let sync = Sync {
            regency: self.regency,
            states: self.stopping.states.values().cloned().collect(),
            last: self.stopping.last.clone(),
        };
        let Some(start) = self.outcome(&sync) else {
            return;
        };
        if self.speaks_once() {
            self.stopping.unsaid = Some(Box::new(sync));
            self.begin(now, start, out);
            self.may_propose(now, out);
            return;
        }
        out.push(Action::Broadcast {
            message: Message::Sync(Box::new(sync.clone())),
        });
        self.decide_by_proof(sync.last.as_ref());
        self.stopping.sync = Some(Box::new(sync));
        self.begin(now, start, out);
    }

    /// What a SYNC with valid states says; `None`: too few states, or in doubt.
    fn outcome(&self, sync: &Sync) -> Option<Start> {
        let planted = usize::from(mutated!(self.settings, FewerStates));
        if sync.states.len() + planted < self.view.sync() {
            return None;
        }
        let last = sync.last.as_ref();
        let open = last.map_or(0, |last| last.height) + 1;
        let parent = last.map_or_else(Digest::default, |last| last.digest);
        let states: Vec<&StopState> = sync.states.iter().map(|(state, _)| state).collect();
        let mut bound = choose_all(&self.view, &self.settings, &states, open, parent)?;
        if mutated!(self.settings, DropLockCheck) {
            bound.clear();
        }
        Some(Start {
            open,
            last: last.map(|last| last.digest),
            bound,
        })
    }

    /// Alg. 4, l. 32-45. A SYNC proves by itself that its regency was installed: f + 1
    /// correct replicas signed that they entered it. So it also leads one who missed the STOPs.
    pub(crate) fn on_sync(&mut self, now: u64, from: ReplicaId, sync: Sync, out: &mut Vec<Action>) {
        self.clock.wake(now);
        let known = sync.regency == self.regency && self.start.is_some() && !self.start_is_claimed;
        let leads = self.is_member() && from == self.view.leader(sync.regency);
        if !leads || sync.regency < self.regency || known {
            return;
        }
        // Each replica does the leader's computation again: l. 33-37.
        if !self.is_valid_sync(&sync) {
            return;
        }
        let Some(start) = self.outcome(&sync) else {
            return;
        };
        if sync.regency > self.regency {
            self.enter(now, sync.regency, out);
        }
        // The leader was seen to reach this regency; its proof tells how far others are.
        let open = start.open;
        self.peers.seen_at(from, open - 1);
        for (state, _) in &sync.states {
            if state.decided < open {
                self.peers.seen_at(state.replica, state.decided);
            }
        }
        self.decide_by_proof(sync.last.as_ref());
        self.begin(now, start, out);
        self.catch_up(now, out);
        self.advance(now, out);
    }

    /// A SYNC whose proof is of the open instance closes it to votes (it is below the SYNC's open height), and whoever
    /// decided it may keep the decision to itself. The proof, though, is as good as the ACCEPTs in it: with
    /// the value here, it decides.
    fn decide_by_proof(&mut self, last: Option<&LastDecided>) {
        let Some(last) = last.filter(|last| last.height == self.pipeline.open()) else {
            return;
        };
        for (signer, signature) in &last.proof.accepts {
            let accepted = Accepted {
                regency: last.proof.regency,
                digest: last.digest,
                signature: *signature,
                verified: false,
            };
            self.pipeline.first_mut().accepts.insert(*signer, accepted);
        }
    }

    fn is_valid_sync(&self, sync: &Sync) -> bool {
        let distinct = sync
            .states
            .windows(2)
            .all(|pair| pair[0].0.replica < pair[1].0.replica);
        let height = sync.last.as_ref().map_or(0, |last| last.height);
        let trusting = mutated!(self.settings, SkipStateSignature);
        let distinct = distinct || mutated!(self.settings, SameSignerTwice);
        let proven = match &sync.last {
            None => true,
            Some(last) => self.summary.last.as_ref() == Some(last) || self.is_proven_then(last),
        };
        let proven = proven || mutated!(self.settings, SkipDecidedProof);
        distinct
            && height < u64::MAX
            && sync.states.len() <= self.view.n()
            && sync.states.iter().all(|(state, signature)| {
                state.decided <= height
                    && self.is_plausible(state)
                    && (trusting || state.is_signed(&self.view, sync.regency, signature))
            })
            && proven
    }

    /// The regency begins to work. Alg. 4, l. 38-43.
    fn begin(&mut self, now: u64, start: Start, out: &mut Vec<Action>) {
        (self.start, self.start_is_claimed) = (Some(start.clone()), false);
        let regency = self.regency;
        self.persist(
            Record::Regency {
                view: self.view.id,
                regency,
                start: Some(start),
            },
            Held::Nothing,
            out,
        );
        self.replay_early(now, out);
    }

    /// Without a SYNC, the word of f + 1 peers that the regency's leader is free from some
    /// height on: one of them is correct and holds a valid SYNC that says no less. The
    /// bound instances below it stay closed to this replica, unless the SYNC comes after all.
    pub(crate) fn believe_claims(&mut self, now: u64, out: &mut Vec<Action>) {
        if self.start.is_some() {
            return;
        }
        if let Some(open) = self.peers.free_from(self.regency, self.view.one_correct()) {
            self.begin(now, Start::free(open), out);
            self.start_is_claimed = true;
        }
    }
}
