//! A leader that is slow rather than dead: it serves everybody, each time just before the time-outs give it up.
//!
//! **What is measured.** Only time that is the leader's alone: it has the request, for this replica handed it over
//! itself, it may propose, and this replica has nothing that it could write. So neither a client that keeps its requests from the leader
//! nor a long queue nor a slow quorum counts against it (Prime's turnaround time: Amir et al., *Prime: Byzantine Replication
//! Under Attack*, 2011).
//!
//! **How.** While work waits and the leader brings nothing for longer than is allowed, or passes over what waits long, this replica is *wary*:
//! it hands the leader what it holds, a trial, and adds up how long the leader then owes a proposal of it. Then the next trial. Everything that
//! is handed over counts, so there is nothing to gain from serving only some of it.
//!
//! **What is allowed.** Twice the round trip to all but the f farthest peers, measured without the leader's help (see
//! `trips`), and [`watch_slack_ms`](crate::Settings::watch_slack_ms). What goes beyond it is summed up over the trials, what stays below is taken
//! off (a cumulative sum test: Page, 1954). When the sum is as long as the wait that the time-outs bear once, the leader has used that up in
//! instalments, and is given up as they would.
//!
//! A leader that says *nothing* meanwhile is given up sooner: after the grace that a broken link has, and four times the allowance.
//!
//! **No flapping.** A replica that has given up a leader for this allows the next one twice as much, and takes that back only after a minute in which half of it
//! would have been enough.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::batch::Entry;
use crate::ids::{ClientId, Height, Regency};
use crate::message::Message;
use crate::proof::Decided;
use crate::record::Record;
use crate::request::Request;
use crate::settings::mutated;

use super::{Action, Core};

/// The most that one step of this core's time counts for: a busy core is called every 20 ms, and a replica that stood still itself
/// blames nobody for it.
const STEP_MS: u64 = 60;
/// The most requests of a trial, and the most bytes: a leader takes them in within the slack.
const TRIAL_REQUESTS: usize = 256;
const TRIAL_BYTES: usize = 256 << 10;
/// Larger ones travel long; they are left to the time-outs.
const LARGEST: usize = 64 << 10;
/// So many good trials in a row end the wariness.
const GOOD: u32 = 8;
/// What was allowed in addition is taken back after so long.
const CALM_MS: u64 = 60_000;
/// 2^6 times the allowance is beyond every time-out.
const MOST_DOUBLINGS: u32 = 6;
/// A STOP may be lost while the slow leader goes on; it is said again at this interval.
const REPEAT_MS: u64 = 1_000;

/// (client, incarnation, number).
type Name = (ClientId, u64, u64);

/// What the leader was handed, and how long it has owed a proposal of it since.
#[derive(Debug)]
struct Trial {
    left: BTreeSet<Name>,
    handed_at: u64,
    owed: u64,
    /// It proposed others in their place: from then on all time counts.
    passed_over: bool,
    looked_at: u64,
}

/// What this replica thinks of its leader's pace.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// View and regency that this is about.
    of: (u64, Regency),
    last: u64,
    /// Whether the leader owed a proposal since `last`.
    owes: bool,
    /// How long it has done so without a break.
    idle: u64,
    /// When this replica wrote what is in flight.
    written: BTreeMap<Height, u64>,
    wary: bool,
    good: u32,
    /// While it is not wary: a request, and since when it is passed over by batches with room.
    sample: Option<(Name, u64)>,
    trial: Option<Trial>,
    tried_at: u64,
    last_handed: Option<ClientId>,
    /// The cumulative sum of what was beyond the allowance.
    excess: u64,
    /// The same against half of the allowance.
    strict: u64,
    doublings: u32,
    calm_since: u64,
    /// When this replica last said STOP for it.
    accused_at: Option<u64>,
}

impl Watch {
    /// Time passes; a regency that begins is judged by itself.
    fn count(&mut self, now: u64, here: (u64, Regency)) {
        let step = now.saturating_sub(self.last).min(STEP_MS);
        self.last = now;
        if self.of != here {
            let ended_so = self.accused_at.is_some() && self.of.0 == here.0;
            let doublings = self.doublings + u32::from(ended_so);
            let doublings = if self.of.0 == here.0 { doublings } else { 0 };
            *self = Self {
                of: here,
                last: now,
                calm_since: now,
                doublings: doublings.min(MOST_DOUBLINGS),
                ..Self::default()
            };
            return;
        }
        self.idle = if self.owes { self.idle + step } else { 0 };
        let owes = self.owes;
        if let Some(trial) = self
            .trial
            .as_mut()
            .filter(|trial| owes || trial.passed_over)
        {
            trial.owed += step;
        }
    }

    /// A trial is over.
    fn settle(&mut self, owed: u64, allowed: u64) {
        self.excess = (self.excess + owed).saturating_sub(allowed);
        self.strict = (self.strict + owed).saturating_sub(allowed / 2);
        self.good = if owed <= allowed { self.good + 1 } else { 0 };
        if self.good >= GOOD && self.excess == 0 {
            (self.wary, self.good) = (false, 0);
        }
    }

    /// The sum, with what the trial under way adds.
    fn sum(&self, allowed: u64) -> u64 {
        let owed = self.trial.as_ref().map_or(0, |trial| trial.owed);
        self.excess + owed.saturating_sub(allowed)
    }

    /// Takes a doubling back when half of what is allowed was enough for long.
    fn calm_down(&mut self, now: u64, bears: u64) {
        if self.strict >= bears {
            (self.strict, self.calm_since) = (0, now);
        } else if self.doublings > 0 && now >= self.calm_since + CALM_MS {
            self.doublings -= 1;
            (self.strict, self.calm_since) = (0, now);
        }
    }
}

impl Core {
    /// Looks at the leader's pace; after every input. `out` holds what the input caused from `before` on.
    pub(crate) fn watch_leader(&mut self, now: u64, before: usize, out: &mut Vec<Action>) {
        self.watch.count(now, (self.view.id, self.regency));
        if mutated!(self.settings, NeverWatch) {
            return;
        }
        for action in &out[before..] {
            match action {
                Action::Persist {
                    record: Record::Write { height, .. },
                    ..
                } => _ = self.watch.written.insert(*height, now),
                Action::Decide(decided) => self.judge(now, decided),
                _ => {}
            }
        }
        self.forget_what_left(now);
        self.watch.owes = self.leader_owes();
        if self.watch.accused_at.is_some() {
            self.accuse_again(now, out);
            return;
        }
        let bears = 2 * self.clock.stage();
        self.watch.calm_down(now, bears);
        let may_be_late = self.watch.wary || self.watch.idle >= self.settings.watch_slack_ms;
        let Some(allowed) = may_be_late.then(|| self.allowed(now)).flatten() else {
            return;
        };
        // Half of a doubled allowance is looked at too.
        self.watch.wary |= self.watch.idle >= allowed >> self.watch.doublings.min(1);
        self.hand_over(now, out);
        if self.watch.sum(allowed) >= bears || self.is_gone(now, allowed) {
            self.watch.accused_at = Some(now);
            self.stop(now, self.regency + 1, out);
        }
    }

    /// The leader may propose, work waits here, and there is nothing of it that this replica could write. One that is behind
    /// the others blames nobody.
    fn leader_owes(&self) -> bool {
        let (open, regency) = (self.pipeline.first(), self.regency);
        let height = open.height;
        let start = self.start.as_ref();
        let free = start.is_some_and(|start| height >= start.free_from());
        let behind = || self.peers.decided_by(self.view.one_correct()) >= height;
        free && self.is_member()
            && !self.i_lead()
            && !self.pool.is_empty()
            && open.votes.wrote_in(regency).is_none()
            && !behind()
    }

    /// The leader owes what it was handed and has said nothing at all since, for a time in which the others answer several times: its machine
    /// is gone or its process stands still, though its link does not tell.
    fn is_gone(&self, now: u64, allowed: u64) -> bool {
        let bears = self.settings.link_grace_ms.max(4 * allowed);
        let owed = self.watch.trial.as_ref().map_or(0, |trial| trial.owed);
        owed >= bears && self.peers.silent_for(now, self.leader()) >= bears
    }

    /// How late a leader may be on average; `None`: the peers are not measured yet.
    fn allowed(&self, now: u64) -> Option<u64> {
        let peers = self.peers.all.keys().copied();
        let reach = self.trips.reach(now, peers, self.view.f())?;
        let once = reach.saturating_mul(2) + self.settings.watch_slack_ms;
        Some(once.saturating_mul(1 << self.watch.doublings))
    }

    /// What a decided batch says of its proposer.
    fn judge(&mut self, now: u64, decided: &Decided) {
        let batch = Composition::of(decided, self);
        let written_at = self.watch.written.remove(&decided.height);
        // Of those below nothing more is heard.
        self.watch.written = self.watch.written.split_off(&decided.height);
        if !self.watch.wary {
            self.watch.wary = self.passes_over_the_sample(now, &batch, decided);
        }
        let Some(trial) = &mut self.watch.trial else {
            return;
        };
        for entry in &decided.batch.entries {
            let name = (entry.client, entry.incarnation, entry.seq);
            trial.left.remove(&name);
        }
        let handed_at = trial.handed_at;
        let excused = trial.left.iter().all(|name| batch.excuses(name));
        let left = !trial.left.is_empty();
        let Some(allowed) = self.allowed(now) else {
            return;
        };
        let knew = written_at.is_some_and(|at| at >= handed_at + allowed);
        let Some(trial) = self.watch.trial.as_mut().filter(|_| left) else {
            return;
        };
        if excused {
            trial.owed = 0;
        } else {
            // It was composed when the leader had what it leaves out.
            trial.passed_over |= knew;
        }
    }

    /// It proposes in time, but does it propose what waits here? One request at a time is looked at, the newest of each client
    /// in turn.
    fn passes_over_the_sample(&mut self, now: u64, batch: &Composition, decided: &Decided) -> bool {
        let mut entries = decided.batch.entries.iter();
        let waiting = self.watch.sample.filter(|((client, incarnation, seq), _)| {
            let ordered =
                |e: &Entry| (e.client, e.incarnation, e.seq) == (*client, *incarnation, *seq);
            self.pool.holds_name(*client, (*incarnation, *seq)) && !entries.any(ordered)
        });
        if let Some((name, since)) = waiting.filter(|_| !batch.full) {
            self.watch.sample = Some((name, since));
            let waits = now.saturating_sub(since);
            let allowed = (waits >= self.settings.watch_slack_ms).then(|| self.allowed(now));
            return allowed
                .flatten()
                .is_some_and(|allowed| waits >= 2 * allowed);
        }
        let after = self.watch.sample.map(|((client, ..), _)| client);
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let clients = &self.pool.clients;
        let mut turns = clients.range((start, Bound::Unbounded)).chain(clients);
        let newest = turns.next().and_then(|(client, queue)| {
            let (incarnation, seq) = *queue.requests.keys().next_back()?;
            Some((*client, incarnation, seq))
        });
        self.watch.sample = newest.map(|name| (name, now));
        false
    }

    /// Ends a trial of which nothing is left, and forgets what does not wait any more for whatever reason.
    fn forget_what_left(&mut self, now: u64) {
        let Some(trial) = &mut self.watch.trial else {
            return;
        };
        if now >= trial.looked_at + STEP_MS {
            trial.looked_at = now;
            let pool = &self.pool;
            trial.left.retain(|(client, incarnation, seq)| {
                pool.holds_name(*client, (*incarnation, *seq))
            });
        }
        if !trial.left.is_empty() {
            return;
        }
        let owed = trial.owed;
        self.watch.trial = None;
        if let Some(allowed) = self.allowed(now) {
            self.watch.settle(owed, allowed);
        }
    }

    /// Hands the leader what waits here: clients in turn, each with its oldest requests.
    fn hand_over(&mut self, now: u64, out: &mut Vec<Action>) {
        let watch = &self.watch;
        let crowded = 2 * self.pool.bytes() >= self.settings.max_pending_bytes;
        // While instances are in flight it may owe nothing and still pass over what waits. One whose pool is as full could not
        // take them.
        let waits = !self.pool.is_empty() && self.is_member() && !self.i_lead();
        if !watch.wary || watch.trial.is_some() || watch.tried_at == now || !waits || crowded {
            return;
        }
        self.watch.tried_at = now;
        let mut unbacked = Vec::new();
        let requests = self.choose_trial(&mut unbacked);
        if !unbacked.is_empty() {
            self.ask_backers(unbacked, out);
        }
        if requests.is_empty() || mutated!(self.settings, NeverForward) {
            return;
        }
        let name = |request: &Request| (request.client, request.incarnation, request.seq);
        self.watch.trial = Some(Trial {
            left: requests.iter().map(name).collect(),
            handed_at: now,
            owed: 0,
            passed_over: false,
            looked_at: now,
        });
        let to = self.leader();
        let message = Message::Forward { requests };
        out.push(Action::Send { to, message });
    }

    /// A vector is handed over when so many hold it that a correct leader could propose it; the others are `unbacked`, as far
    /// as nobody was asked about them.
    fn choose_trial(&mut self, unbacked: &mut Vec<Entry>) -> Vec<Request> {
        let clients = &self.pool.clients;
        let start = self
            .watch
            .last_handed
            .map_or(Bound::Unbounded, Bound::Excluded);
        let turns = clients.range((start, Bound::Unbounded)).chain(clients);
        let most = TRIAL_BYTES.min(self.settings.max_transfer_bytes);
        // No more than a leader whose share of this client is full takes in the place of newer ones.
        let each = (TRIAL_REQUESTS / clients.len().max(1))
            .min(self.settings.max_pending_requests_per_client / 2)
            .max(1);
        let (mut requests, mut bytes) = (Vec::new(), 0);
        for (client, queue) in turns.take(clients.len()) {
            for request in queue.requests.values().take(each) {
                let size = request.op.len() + super::pool::OVERHEAD;
                // Later ones wait for it, so none of them is asked for.
                if request.op.len() > LARGEST {
                    break;
                }
                if bytes + size > most || requests.len() >= TRIAL_REQUESTS {
                    return requests;
                }
                if !self.is_backed(request) {
                    let asks = unbacked.len() < TRIAL_REQUESTS && !self.asked_backers(request);
                    unbacked.extend(asks.then(|| Entry::of(request)));
                    continue;
                }
                bytes += size;
                requests.push((**request).clone());
            }
            self.watch.last_handed = Some(*client);
        }
        requests
    }

    fn accuse_again(&mut self, now: u64, out: &mut Vec<Action>) {
        if self
            .watch
            .accused_at
            .is_some_and(|at| now >= at + REPEAT_MS)
        {
            self.watch.accused_at = Some(now);
            self.repeat_stop(None, out);
        }
    }
}

/// How a decided batch was put together, and whom that leaves out rightly.
struct Composition {
    full: bool,
    /// Nobody had a second turn before everyone's first.
    in_turn: bool,
    /// Each client's first request in it.
    first: BTreeMap<ClientId, (u64, u64)>,
}

impl Composition {
    fn of(decided: &Decided, core: &Core) -> Self {
        let Decided {
            batch, requests, ..
        } = decided;
        let bytes: usize = requests.iter().map(|request| request.op.len()).sum();
        let last = batch.entries.last();
        let mut first = BTreeMap::new();
        for entry in &batch.entries {
            let name = (entry.incarnation, entry.seq);
            let least = first.entry(entry.client).or_insert(name);
            *least = name.min(*least);
        }
        Self {
            full: batch.entries.len() >= core.settings.max_batch_requests
                || bytes + LARGEST > core.settings.max_batch_bytes
                || last.is_some_and(|last| core.view.administers(last.client)),
            in_turn: first.len() == batch.entries.len(),
            first,
        }
    }

    /// Whether a fair leader that had this request may have left it out.
    fn excuses(&self, (client, incarnation, seq): &Name) -> bool {
        match self.first.get(client) {
            // One incarnation in a batch.
            Some(first) if first.0 < *incarnation => true,
            Some(first) => self.full && *first < (*incarnation, *seq),
            None => self.full && self.in_turn,
        }
    }
}
