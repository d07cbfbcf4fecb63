//! Votes come in, by the exchange and by the order; votes go out.

use super::*;

/// Items in a row whose votes had to be ordered, after which the leader does not wait for the last voter any more.
const STAYED_OUT: u32 = 3;

impl Engine {
    /// A vote of the exchange: a peer's, or this replica's own once it is durable. Forged ones are dropped.
    pub fn vote(&mut self, now_ms: u64, part: VotePart, out: &mut Vec<Action>) {
        if self.keep(&part) {
            self.count(now_ms, &part);
            self.progress(now_ms, out);
        }
    }

    /// Keeps a part for the tally and for peers; false when it is forged, out of bounds or known.
    fn keep(&mut self, part: &VotePart) -> bool {
        let low = self.last_final.saturating_sub(limits::VOTES_KEPT_HEIGHTS);
        if part.height <= low || part.height > self.decided + limits::EARLY_VOTES_HEIGHTS {
            return false;
        }
        let held = self.parts.get(&part.height);
        let same_voter = |p: &&VotePart| p.voter == part.voter;
        if held.is_some_and(|held| {
            held.contains(part)
                || held.iter().filter(same_voter).count() >= limits::PARTS_PER_HEIGHT
        }) {
            return false;
        }
        if !part.verify(self.view_at(part.height)) {
            return false;
        }
        self.parts
            .entry(part.height)
            .or_default()
            .push(part.clone());
        true
    }

    /// Votes that came before their batch was decided here.
    pub(super) fn early_votes(&mut self, now_ms: u64, height: Height) {
        for part in self.votes_of(height) {
            self.count(now_ms, &part);
        }
    }

    fn count(&mut self, now_ms: u64, part: &VotePart) {
        let group = Group::of(self.view_at(part.height));
        let mut delays = Vec::new();
        for (index, ballot) in part.items() {
            let Some(item) = self.item_mut(part.height, index) else {
                continue;
            };
            if !item.is_voted_kind() || item.by_order {
                continue;
            }
            let verdict = item.tally.see(group, part.voter, ballot);
            if item.tally.seen() >= group.n - group.f {
                let quorum_at = *item.quorum_at.get_or_insert(now_ms);
                if verdict.is_some() {
                    delays.push(now_ms.saturating_sub(quorum_at));
                }
            }
            item.verdict = item.verdict.or(verdict);
        }
        for delay in delays {
            self.learn(Some(delay));
        }
    }

    /// A vote at its place in the order. Whether it is valid depends on the signature alone, so every correct replica
    /// tallies the same votes.
    pub(super) fn ordered_vote(&mut self, part: &VotePart) {
        // A vote on a height that is final here cannot change anything.
        if part.height <= self.last_final || part.height >= self.decided {
            return;
        }
        let known = self
            .parts
            .get(&part.height)
            .is_some_and(|held| held.contains(part));
        if !known && !part.verify(self.view_at(part.height)) {
            return;
        }
        let group = Group::of(self.view_at(part.height));
        let mut tallied = 0;
        for (index, ballot) in part.items() {
            if let Some(item) = self.item_mut(part.height, index)
                && item.is_voted_kind()
                && !item.by_order
            {
                let verdict = item.tally.order(group, part.voter, ballot);
                if item.verdict.is_none() && verdict.is_some() {
                    tallied += 1;
                }
                item.verdict = item.verdict.or(verdict);
            }
        }
        if tallied > 0 {
            self.learn(None);
        }
    }

    /// Casts what is judged: always a prefix of the height, and nothing behind an item whose effects this replica does
    /// not hold, because the judgement of what follows would have missed them (see [`Engine::applied`]).
    pub(super) fn cast(&mut self, out: &mut Vec<Action>) {
        let Some(height) = self.queue.front().map(|state| state.height) else {
            return;
        };
        let (me, view) = (self.me, self.view_at(height).id);
        let Some(state) = self.queue.front_mut() else {
            return;
        };
        let mut ballots: Vec<(u32, Ballot)> = Vec::new();
        let mut first = 0;
        for (index, item) in state.items.iter_mut().enumerate() {
            let index = index as u32;
            if item.applied || item.by_order {
                continue;
            }
            if item.is_barrier() && !item.is_voted_kind() {
                break;
            }
            let Some(ballot) = item.judged else {
                break;
            };
            if !item.voted {
                item.voted = true;
                if ballots.is_empty() {
                    first = index;
                }
                ballots.push((index - first, ballot));
            }
            let effects_settled = match item.verdict {
                Some(Verdict::Abort) => true,
                Some(Verdict::Commit) | None => ballot == Ballot::Commit && item.holds,
            };
            if !effects_settled {
                break;
            }
        }
        if !ballots.is_empty() {
            let key = self.key_at(height);
            let part = VotePart::sign(key, view, me, height, first, ballots);
            out.push(Action::Cast(part));
        }
    }

    /// Time passes: asks for the ordering of votes that did not become unanimous, and for votes that are missing.
    pub fn timer(&mut self, now_ms: u64, out: &mut Vec<Action>) {
        let wait = self.patience();
        let front = self.queue.front().map_or(0, |state| state.height);
        let (needed, fetch_after) = match self.is_leaving() {
            // Nobody orders votes for it any more, and it has little time.
            true => (usize::MAX, limits::LEAVER_FETCH_MS),
            false => (self.view_at(front).sync(), 2 * limits::VOTE_PATIENCE_MS),
        };
        let mut order = None;
        let mut fetch = None;
        if let Some(state) = self.queue.front_mut() {
            for item in &mut state.items {
                if item.verdict.is_some() || !item.is_voted_kind() {
                    continue;
                }
                let Some(quorum_at) = item.quorum_at else {
                    continue;
                };
                let due = item.ordering_asked.map_or(quorum_at + wait, |asked| {
                    asked + 4 * limits::VOTE_PATIENCE_MS
                });
                if now_ms >= due {
                    item.ordering_asked = Some(now_ms);
                    order = Some(state.height);
                }
            }
            let unfinished = state
                .items
                .iter()
                .any(|i| i.verdict.is_none() && i.is_voted_kind() && i.tally.seen() < needed);
            let since = state.votes_fetched_at.or(state.started_at);
            if unfinished && since.is_some_and(|s| now_ms >= s + fetch_after) {
                state.votes_fetched_at = Some(now_ms);
                fetch = Some(state.height);
            }
        }
        if let Some(height) = order {
            out.push(Action::OrderVotes(self.votes_of(height)));
        }
        if let Some(height) = fetch {
            out.push(Action::FetchVotes { height });
        }
    }

    /// The newest view does not name this replica: it votes on what was ordered before, and learns verdicts from others alone. So does one that
    /// joins, until it comes to the view that names it.
    fn is_leaving(&self) -> bool {
        !self.view().replicas.contains_key(&self.me)
    }

    /// How long the leader waits for the last votes: about as long as they usually take, and not at all once they have
    /// stayed out several times. Others wait longer, in case that the leader does not ask.
    fn patience(&self) -> u64 {
        if !self.leading {
            return limits::VOTE_PATIENCE_MS;
        }
        if !self.all_connected || self.stayed_out >= STAYED_OUT {
            return 0;
        }
        (4 * self.last_vote_ms).clamp(limits::VOTE_GRACE_MS, limits::VOTE_PATIENCE_MS / 2)
    }

    /// A verdict was found: learn how late the last vote of all usually is.
    fn learn(&mut self, unanimous_after: Option<u64>) {
        match unanimous_after {
            Some(delay) => {
                self.stayed_out = 0;
                self.last_vote_ms = (7 * self.last_vote_ms + delay).div_ceil(8);
            }
            None => self.stayed_out = self.stayed_out.saturating_add(1),
        }
    }

    /// When [`Engine::timer`] is to be called next (ms).
    pub fn next_deadline(&self) -> Option<u64> {
        let state = self.queue.front()?;
        let wait = self.patience();
        let mut next: Option<u64> = None;
        let mut earliest = |at: u64| next = Some(next.map_or(at, |n| n.min(at)));
        for item in &state.items {
            if item.verdict.is_some() || !item.is_voted_kind() {
                continue;
            }
            if let Some(quorum_at) = item.quorum_at {
                earliest(item.ordering_asked.map_or(quorum_at + wait, |asked| {
                    asked + 4 * limits::VOTE_PATIENCE_MS
                }));
            }
        }
        let fetch_after = match self.is_leaving() {
            true => limits::LEAVER_FETCH_MS,
            false => 2 * limits::VOTE_PATIENCE_MS,
        };
        let open = |item: &Item| item.verdict.is_none() && item.is_voted_kind();
        if let Some(since) = state.votes_fetched_at.or(state.started_at)
            && state.items.iter().any(open)
        {
            earliest(since + fetch_after);
        }
        next
    }
}
