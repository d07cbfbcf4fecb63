//! `ToOrder`: verified requests that wait for their place, fairly among clients and
//! within bounds of bytes (Alg. 2, l. 21-25; the predicate *fair* of l. 4).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::batch::{Batch, Entry};
use crate::ids::ClientId;
use crate::request::{Request, Verified};
use crate::settings::{Settings, mutated};
use crate::window::{Place, Windows};

use super::Reason;
use super::turns::Wait;

/// What an entry costs beside its operation, roughly.
pub(super) const OVERHEAD: usize = 256;

/// One client's waiting requests.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// By (incarnation, seq).
    pub(super) requests: BTreeMap<(u64, u64), Verified<Request>>,
    bytes: usize,
    /// None of this client's requests was ordered since then though some waited.
    pub(super) unserved: Wait,
    /// The newest of this client's requests that was ordered while others waited.
    newest_ordered: (u64, u64),
    /// An older one than that waits: a leader that has it orders it first, so
    /// the leader misses it, or does not want it.
    pub(super) overtaken: Option<Wait>,
    /// The most that a fair leader orders of others' before it is this client's turn, as far as is known here.
    pub(super) turns: u64,
    /// When they were last forwarded.
    pub(super) forwarded: Option<u64>,
}

impl Queue {
    /// Since when the leader owes this client something.
    fn owed_since(&self) -> u64 {
        let unserved = self.unserved.since;
        self.overtaken
            .map_or(unserved, |overtaken| overtaken.since.min(unserved))
    }

    /// It begins to wait.
    fn begin(&mut self, wait: Wait) {
        (self.unserved, self.turns) = (wait, 0);
    }

    fn settle(&mut self, wait: Wait) {
        let oldest = self.requests.keys().next();
        if oldest.is_some_and(|oldest| *oldest < self.newest_ordered) {
            self.overtaken.get_or_insert(wait);
        } else {
            (self.overtaken, self.forwarded) = (None, None);
        }
    }
}

/// All clients' waiting requests.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    pub(super) clients: BTreeMap<ClientId, Queue>,
    bytes: usize,
    len: usize,
    /// Requests that were decided since this replica began, of whomever.
    pub(super) ordered: u64,
    /// The newest decision that [`excuse`](Pool::excuse) knows of.
    pub(super) excused_until: u64,
    /// Where the next batch begins.
    pub(super) turn: Option<Bound<ClientId>>,
}

impl Pool {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a request; false when the very same is there.
    pub fn add(
        &mut self,
        now: u64,
        settings: &Settings,
        request: Verified<Request>,
    ) -> Result<bool, Reason> {
        let name = (request.incarnation, request.seq);
        let cost = request.op.len() + OVERHEAD;
        let bounded = !mutated!(settings, UnboundedPending);
        let wait = self.wait_from(now);
        let queue = self.clients.entry(request.client).or_default();
        if let Some(there) = queue.requests.get_mut(&name) {
            return match (there.auth.is_signature(), request.auth.is_signature()) {
                _ if there.digest() == request.digest() => Ok(false),
                // The client was told to sign. Its word that others can verify takes the place of the one that
                // perhaps only this replica can; what it asks must be the same, or it would be another request.
                (false, true) if there.op == request.op => {
                    *there = request;
                    Ok(true)
                }
                (true, false) if there.op == request.op => Ok(false),
                _ => Err(Reason::Conflict),
            };
        }
        if queue.requests.is_empty() {
            queue.begin(wait);
            queue.forwarded = None;
        }
        // An older request takes the room of the client's newest ones: what the order
        // comes to first is always held, whatever else the client sent to whom.
        while bounded
            && !queue.requests.is_empty()
            && (queue.requests.len() >= settings.max_pending_requests_per_client
                || queue.bytes + cost > settings.max_pending_bytes_per_client)
        {
            if queue
                .requests
                .keys()
                .next_back()
                .is_none_or(|newest| *newest < name)
            {
                return Err(Reason::TooMuchPending);
            }
            if let Some((_, newest)) = queue.requests.pop_last() {
                let freed = newest.op.len() + OVERHEAD;
                queue.bytes -= freed;
                self.bytes -= freed;
                self.len -= 1;
            }
        }
        if bounded && self.bytes + cost > settings.max_pending_bytes {
            if queue.requests.is_empty() {
                self.clients.remove(&request.client);
            }
            return Err(Reason::TooMuchPending);
        }
        queue.bytes += cost;
        self.bytes += cost;
        self.len += 1;
        queue.requests.insert(name, request);
        Ok(true)
    }

    pub fn get(&self, entry: &Entry) -> Option<&Verified<Request>> {
        self.clients
            .get(&entry.client)?
            .requests
            .get(&(entry.incarnation, entry.seq))
            .filter(|request| request.digest() == entry.digest)
    }

    /// Whether the very same bytes wait, with the same authenticator.
    pub fn has(&self, request: &Request) -> bool {
        let queue = self.clients.get(&request.client);
        queue
            .and_then(|queue| queue.requests.get(&(request.incarnation, request.seq)))
            .is_some_and(|there| **there == *request)
    }

    /// Whether a request waits under this name that `request` would not replace.
    pub fn holds(&self, request: &Request) -> bool {
        let queue = self.clients.get(&request.client);
        queue
            .and_then(|queue| queue.requests.get(&(request.incarnation, request.seq)))
            .is_some_and(|there| there.auth.is_signature() || !request.auth.is_signature())
    }

    /// Whether a request waits under (incarnation, seq) of a client.
    pub fn holds_name(&self, client: ClientId, name: (u64, u64)) -> bool {
        let queue = self.clients.get(&client);
        queue.is_some_and(|queue| queue.requests.contains_key(&name))
    }

    /// Drops the requests that `dropped` names, and returns their names. What is left of their clients waits from now on.
    pub fn drop_where(
        &mut self,
        now: u64,
        dropped: impl Fn(&Verified<Request>) -> bool,
    ) -> Vec<(ClientId, u64, u64)> {
        self.drop_of(now, |_| true, dropped)
    }

    /// The same among those that clients wait for since `before` or longer.
    pub fn drop_overdue(
        &mut self,
        now: u64,
        before: u64,
        dropped: impl Fn(&Verified<Request>) -> bool,
    ) -> Vec<(ClientId, u64, u64)> {
        self.drop_of(now, |queue| queue.owed_since() <= before, dropped)
    }

    fn drop_of(
        &mut self,
        now: u64,
        of: impl Fn(&Queue) -> bool,
        dropped: impl Fn(&Verified<Request>) -> bool,
    ) -> Vec<(ClientId, u64, u64)> {
        let wait = self.wait_from(now);
        let (mut names, bytes, len) = (Vec::new(), &mut self.bytes, &mut self.len);
        self.clients.retain(|client, queue| {
            let waiting = queue.requests.len();
            if of(queue) {
                queue.requests.retain(|(incarnation, seq), request| {
                    let goes = dropped(request);
                    if goes {
                        let cost = request.op.len() + OVERHEAD;
                        (queue.bytes, *bytes, *len) = (queue.bytes - cost, *bytes - cost, *len - 1);
                        names.push((*client, *incarnation, *seq));
                    }
                    !goes
                });
            }
            if queue.requests.len() < waiting {
                queue.begin(wait);
                queue.settle(wait);
            }
            !queue.requests.is_empty()
        });
        names
    }

    /// Drops what a decided batch ordered, and what it made stale.
    pub fn decided(
        &mut self,
        now: u64,
        batch: &Batch,
        renewed: &BTreeSet<ClientId>,
        windows: &Windows,
    ) {
        self.ordered += batch.entries.len() as u64;
        let wait = self.wait_from(now);
        for entry in &batch.entries {
            let Some(queue) = self.clients.get_mut(&entry.client) else {
                continue;
            };
            if let Some(request) = queue.requests.remove(&(entry.incarnation, entry.seq)) {
                let cost = request.op.len() + OVERHEAD;
                queue.bytes -= cost;
                self.bytes -= cost;
                self.len -= 1;
            }
            queue.begin(wait);
            queue.newest_ordered = queue.newest_ordered.max((entry.incarnation, entry.seq));
            queue.settle(wait);
            if queue.requests.is_empty() {
                self.clients.remove(&entry.client);
            }
        }
        for client in renewed {
            self.drop_unplaced(*client, windows);
        }
    }

    /// Drops what a jump ahead ordered or made stale; the others' timers start again.
    pub fn jumped(&mut self, now: u64, windows: &Windows) {
        for client in self.clients.keys().copied().collect::<Vec<_>>() {
            self.drop_unplaced(client, windows);
        }
        self.restart_timers(now);
    }

    fn drop_unplaced(&mut self, client: ClientId, windows: &Windows) {
        let Some(queue) = self.clients.get_mut(&client) else {
            return;
        };
        let (bytes, len) = (queue.bytes, queue.requests.len());
        queue.requests.retain(|(incarnation, seq), _| {
            windows.place(client, *incarnation, *seq) == Place::Free
        });
        queue.bytes = queue.requests.values().map(|r| r.op.len() + OVERHEAD).sum();
        self.bytes -= bytes - queue.bytes;
        self.len -= len - queue.requests.len();
        if queue.requests.is_empty() {
            self.clients.remove(&client);
        }
    }

    /// Since when the leader owes something to the client that waits longest.
    pub fn waiting_since(&self) -> Option<u64> {
        self.clients.values().map(Queue::owed_since).min()
    }

    /// Forgets what waits of all other clients.
    pub fn retain_clients(&mut self, keep: impl Fn(ClientId) -> bool) {
        let (bytes, len) = (&mut self.bytes, &mut self.len);
        self.clients.retain(|client, queue| {
            let kept = keep(*client);
            if !kept {
                *bytes -= queue.bytes;
                *len -= queue.requests.len();
            }
            kept
        });
    }

    /// Restarts all timers. Alg. 3, l. 8 and 24.
    pub fn restart_timers(&mut self, now: u64) {
        let wait = self.wait_from(now);
        for queue in self.clients.values_mut() {
            queue.begin(wait);
            queue.forwarded = None;
            queue.overtaken = queue.overtaken.map(|_| wait);
        }
    }

    /// Requests of clients that wait since `before` or longer and were not forwarded
    /// since then; at most `max_bytes` of operations, but at least one. Alg. 3, l. 2. Said again
    /// each time, since a FORWARD may be lost and its client may know no other replica.
    pub fn take_overdue(
        &mut self,
        now: u64,
        before: u64,
        max_bytes: usize,
    ) -> Vec<Verified<Request>> {
        let (mut requests, mut bytes, ordered) = (Vec::new(), 0, self.ordered);
        for queue in self.clients.values_mut() {
            if queue.owed_since() > before || queue.forwarded.is_some_and(|at| at > before) {
                continue;
            }
            if queue.forwarded.replace(now).is_none() {
                queue.had_now_by_all(ordered);
            }
            let starved = queue.unserved.since <= before;
            let owed = queue
                .requests
                .iter()
                .filter(|(name, _)| starved || **name < queue.newest_ordered);
            for (_, request) in owed {
                bytes += request.op.len() + OVERHEAD;
                if bytes > max_bytes && !requests.is_empty() {
                    return requests;
                }
                requests.push(request.clone());
            }
        }
        requests
    }
}

#[cfg(test)]
pub(crate) mod tests;
