//! How long a client may have to wait though the leader is fair: until it is its turn.
//!
//! A fair leader orders one request of each client before a second one of anybody (see [`fairness`](super::fairness)), so as many requests
//! as clients wait may be decided before a client is served, and with thousands of clients on busy processors that takes longer than any
//! time-out. So a client's time does not count up to the newest decision, as long as fewer requests were decided than twice the clients that wait:
//! load alone deposes nobody. A leader that starves a client has used that up soon, since it serves the others; one that decides too slowly is the
//! [`watch`](super::watch)'s to find, and the time since the newest decision counts as ever.
//!
//! The leader may not have the request at all. It is forwarded when the first time-out is over, and only from then on is it
//! sure that a fair leader has it, so the turns are counted anew.

use super::pool::{Pool, Queue};

/// Since when the leader owes something.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wait {
    /// Milliseconds of this core's time, moved on by what is excused.
    pub since: u64,
    /// Requests that had been decided when the turns began to be counted.
    from: u64,
    /// How much of it was excused, in milliseconds.
    excused: u64,
}

impl Wait {
    /// Does not count `step`, unless the turns or the patience is used up.
    fn excuse(&mut self, step: u64, ordered: u64, turns: u64, most: u64) -> bool {
        let excused = ordered - self.from < turns && self.excused < most;
        if excused {
            self.since += step;
            self.excused += step;
        }
        excused
    }
}

impl Queue {
    /// Everybody was told of what waits: from now on it has its turn.
    pub(super) fn had_now_by_all(&mut self, ordered: u64) {
        for wait in [Some(&mut self.unserved), self.overtaken.as_mut()]
            .into_iter()
            .flatten()
        {
            wait.from = ordered;
        }
    }
}

impl Pool {
    pub(super) fn wait_from(&self, now: u64) -> Wait {
        Wait {
            since: now,
            from: self.ordered,
            excused: 0,
        }
    }

    /// A decision came at `until`. The time since the one before does not count for clients whose turn may not have come yet, unless that was a
    /// pause of more than `gap`; nobody is kept waiting by this for longer than `most`. All in milliseconds.
    pub fn excuse(&mut self, until: u64, gap: u64, most: u64) {
        let turns = 2 * self.clients.len() as u64;
        for queue in self.clients.values_mut() {
            queue.turns = queue.turns.max(turns);
        }
        let last = std::mem::replace(&mut self.excused_until, until);
        if until <= last || until > last + gap {
            return;
        }
        for queue in self.clients.values_mut() {
            // What began to wait meanwhile has waited less.
            let step = |since: u64| until.saturating_sub(since.max(last));
            let (ordered, turns) = (self.ordered, queue.turns);
            let excuse = |wait: &mut Wait| {
                let step = step(wait.since);
                wait.excuse(step, ordered, turns, most)
            };
            let unserved = excuse(&mut queue.unserved);
            if queue.overtaken.as_mut().is_none_or(excuse) && unserved {
                queue.forwarded = queue.forwarded.map(|at| at + step(at));
            }
        }
    }
}
