//! Time: when to say things again, when to forward, when to give a leader up.

use crate::batch::Entry;
use crate::ids::ReplicaId;
use crate::message::Message;
use crate::request::Verified;
use crate::settings::{Settings, mutated};

use super::instance::Instance;
use super::{Action, Core};

/// Granularity of all timers while there is work (milliseconds).
const TICK_MS: u64 = 20;
/// So many decisions in a regency take back one doubling of the time-outs.
const CALM: u32 = 8;

/// All that a core knows of time.
#[derive(Debug)]
pub(crate) struct Clock {
    /// The runtime's clock as last read; proposals are stamped with it.
    wall: u64,
    /// Added to it for the timers, which never go back even if that clock does.
    ahead: u64,
    base_ms: u64,
    max_ms: u64,
    status_ms: u64,
    next_tick: u64,
    busy: bool,
    /// When the open instance (without waiting requests) could last not complain.
    open_since: Option<u64>,
    last_progress: u64,
    said_at: u64,
    status_at: u64,
    entered_at: u64,
    /// Doublings of the time-outs.
    backoff: u32,
    calm: u32,
    /// Whom decisions were asked of, and when.
    pub asked: Option<(ReplicaId, u64)>,
    pub asked_last: Option<ReplicaId>,
    /// No question before this time: the last one brought nothing.
    pub ask_after: u64,
}

impl Clock {
    pub fn new(settings: &Settings, now: u64) -> Self {
        Self {
            wall: now,
            ahead: 0,
            base_ms: settings.request_timeout_ms,
            max_ms: settings.max_timeout_ms,
            status_ms: settings.status_ms,
            next_tick: now,
            busy: false,
            open_since: None,
            last_progress: now,
            said_at: now,
            status_at: now.saturating_sub(settings.status_ms),
            entered_at: now,
            backoff: 0,
            calm: 0,
            asked: None,
            asked_last: None,
            ask_after: 0,
        }
    }

    /// Reads the runtime's clock; returns the time for the timers.
    pub fn read(&mut self, wall: u64) -> u64 {
        self.ahead = self.ahead.saturating_add(self.wall.saturating_sub(wall));
        self.wall = wall;
        wall.saturating_add(self.ahead)
    }

    /// The runtime's clock.
    pub fn wall(&self) -> u64 {
        self.wall
    }

    /// A deadline of the timers on the runtime's clock.
    pub fn on_wall(&self, deadline: u64) -> u64 {
        deadline.saturating_sub(self.ahead)
    }

    pub fn next_tick(&self) -> u64 {
        self.next_tick
    }

    pub fn last_progress(&self) -> u64 {
        self.last_progress
    }

    /// Something came in: look at the timers soon.
    pub fn wake(&mut self, now: u64) {
        if !self.busy {
            self.busy = true;
            self.next_tick = self.next_tick.min(now + TICK_MS);
        }
    }

    /// A height was decided.
    pub fn progress(&mut self, now: u64) {
        self.last_progress = now;
        self.open_since = None;
        self.calm += 1;
        if self.calm >= CALM {
            self.calm = 0;
            self.backoff = self.backoff.saturating_sub(1);
        }
    }

    /// A regency was installed: more patience than before.
    pub fn entered(&mut self, now: u64) {
        self.entered_at = now;
        self.open_since = None;
        self.calm = 0;
        self.backoff = (self.backoff + 1).min(32);
    }

    /// A view begins: nothing is known of its leaders.
    pub fn renew(&mut self, now: u64) {
        (self.entered_at, self.open_since) = (now, None);
        (self.backoff, self.calm) = (0, 0);
    }

    /// One stage of the request time-out.
    pub(crate) fn stage(&self) -> u64 {
        let doubled = self.base_ms.saturating_mul(1 << self.backoff.min(32));
        doubled.min(self.max_ms.max(self.base_ms))
    }
}

impl Core {
    pub(crate) fn on_tick(&mut self, now: u64, out: &mut Vec<Action>) {
        self.ask_bodies(now, out);
        self.tick_vouching(now, out);
        if now >= self.clock.next_tick {
            self.suspect(now, out);
            self.ask_round_trips(now, out);
            self.say_again(now, out);
            self.catch_up(now, out);
            self.clock.busy = self.has_work();
            let pause = if self.clock.busy {
                TICK_MS
            } else {
                self.clock.status_ms
            };
            self.clock.next_tick = now + pause;
        }
        self.advance(now, out);
    }

    fn has_work(&self) -> bool {
        !self.pool.is_empty()
            || self.pipeline.iter().any(Instance::is_open)
            || self.start.is_none()
            || self.stopping.wanted_by(self.me) > self.regency
            || self.peers.furthest() > self.summary.height()
    }

    /// Messages are lost when links break: what brought no progress is repeated.
    fn say_again(&mut self, now: u64, out: &mut Vec<Action>) {
        let every = self.settings.resend_ms;
        let stuck = self.has_work()
            && now >= self.clock.last_progress.max(self.clock.entered_at) + every
            && now >= self.clock.said_at + every;
        if stuck {
            self.clock.said_at = now;
            self.repeat_stop(None, out);
            self.repeat_votes(None, out);
            self.send_stopdata(now, out);
            self.ask_batch(out);
            if now >= self.clock.entered_at + 2 * every {
                self.believe_claims(now, out);
            }
        }
        if stuck || now >= self.clock.status_at + self.clock.status_ms {
            self.clock.status_at = now;
            out.push(Action::Broadcast {
                message: self.my_status(),
            });
        }
    }

    /// Alg. 3, l. 1-4. Time is counted per client, from when it last had a request ordered
    /// (or began to wait), and only once its turn should have come (see [`turns`](super::turns)): load alone deposes nobody, while a leader
    /// that starves one client is deposed for it.
    fn suspect(&mut self, now: u64, out: &mut Vec<Action>) {
        if !self.is_member() {
            return;
        }
        let stage = if mutated!(self.settings, NoBackoff) {
            self.settings.request_timeout_ms
        } else {
            self.clock.stage()
        };
        let (until, most) = (self.clock.last_progress, self.settings.max_timeout_ms);
        self.pool.excuse(until, stage, most);
        let waits = self.waiting_since(now);
        let next = self.regency + 1;
        let unreachable = self.peers.down_for(now, self.leader());
        if unreachable.is_some_and(|down| down >= self.settings.link_grace_ms)
            && (waits.is_some() || self.start.is_none())
        {
            // The leader cannot be reached. This is one vote: it takes f + 1 replicas that
            // lost it to make others join, so one broken link deposes nobody.
            self.stop(now, next, out);
        }
        if waits.is_some_and(|since| now >= since + stage) {
            self.forward(now, now - stage, out);
        }
        if self.start.is_none() {
            if now >= self.clock.entered_at + stage {
                self.stop(now, next, out);
            }
            return;
        }
        let Some(since) = waits else { return };
        if now >= since + 2 * stage && !mutated!(self.settings, NeverStop) {
            self.drop_unproven(now, now - 2 * stage, out);
            if self
                .waiting_since(now)
                .is_some_and(|since| now >= since + 2 * stage)
            {
                self.stop(now, next, out);
            }
        }
    }

    /// Tells the others what waits here. Also while this replica waits for a SYNC: it may be alone in its regency, if those
    /// who wanted it too lost power and with it their wish, and then the others must learn that something waits.
    fn forward(&mut self, now: u64, before: u64, out: &mut Vec<Action>) {
        let most = self.settings.max_transfer_bytes;
        let requests = self.pool.take_overdue(now, before, most);
        if requests.is_empty() || mutated!(self.settings, NeverForward) {
            return;
        }
        let vectors = requests.iter().filter(|r| !r.auth.is_signature());
        let vectors: Vec<Entry> = vectors.map(Entry::of).collect();
        let requests = requests.into_iter().map(Verified::into_inner).collect();
        out.push(Action::Broadcast {
            message: Message::Forward { requests },
        });
        self.ask_backers(vectors, out);
    }

    /// Since when something waits: a client's request, or an instance that is open here
    /// although no request waits (as after a restart).
    fn waiting_since(&mut self, now: u64) -> Option<u64> {
        let mut votes = self.pipeline.iter().map(|instance| &instance.votes);
        let open = votes.any(|votes| !votes.writeset.is_empty()) && self.start.is_some();
        self.clock.open_since = match (open, self.clock.open_since) {
            (false, _) => None,
            (true, since) => Some(since.unwrap_or(now)),
        };
        let pool = self.pool.waiting_since();
        [pool, self.clock.open_since].into_iter().flatten().min()
    }
}
