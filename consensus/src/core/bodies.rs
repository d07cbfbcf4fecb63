//! Bodies travel from the clients to every replica; proposals carry digests. What is
//! missing is asked from the proposer first, then from the others in turn.

use crate::batch::{Batch, Entry};
use crate::crypto::Digest;
use crate::ids::{ClientId, Height, ReplicaId};
use crate::message::Message;
use crate::request::{Request, RequestError, Verified};

use crate::window::Place;

use super::{Action, Core};

/// Bodies that did not come are asked from the next replica after this time (milliseconds).
const ASK_AGAIN_MS: u64 = 50;

impl Core {
    /// Collects a value's bodies from the pool and notes when to ask for the rest.
    pub(crate) fn collect_bodies(
        &mut self,
        now: u64,
        height: Height,
        digest: Digest,
        batch: Batch,
    ) {
        let pool = &self.pool;
        let Some(instance) = self.pipeline.get_mut(height) else {
            return;
        };
        let candidate = instance.add_candidate(digest, batch, |entry| pool.get(entry).cloned());
        let vouching = &self.vouching;
        let missing = candidate.missing.keys();
        // Of a client whose vectors are not pooled, none is under way.
        let unpooled = missing
            .map(|(client, ..)| ClientId(*client))
            .any(|client| vouching.must_sign(client));
        if !candidate.is_complete() && instance.ask_bodies_at().is_none() {
            // The clients' own copies are usually under way.
            instance.asked = 0;
            let grace = if unpooled {
                0
            } else {
                self.settings.body_grace_ms
            };
            instance.set_ask_at(Some(now + grace));
        }
        #[cfg(feature = "mutation")]
        self.planted_fill(height, &digest);
    }

    /// Asks one replica for what is still missing.
    pub(crate) fn ask_bodies(&mut self, now: u64, out: &mut Vec<Action>) {
        let whom = |turn| self.whom_to_ask(turn);
        let asked: Vec<_> = self.pipeline.iter().map(|i| whom(i.asked)).collect();
        for (instance, to) in self.pipeline.iter_mut().zip(asked) {
            if instance.ask_bodies_at().is_none_or(|at| now < at) {
                continue;
            }
            let open = instance.candidates.values();
            let missing = open.flat_map(|c| c.missing.values().map(|at| c.batch.entries[*at]));
            let missing = missing.filter(|entry| !self.vouching.doubts(&entry.digest));
            let entries: Vec<Entry> = missing.take(self.settings.max_batch_requests).collect();
            if entries.is_empty() {
                instance.set_ask_at(None);
                continue;
            }
            instance.asked += 1;
            instance.set_ask_at(Some(now + ASK_AGAIN_MS));
            let height = instance.height;
            out.push(Action::Send {
                to,
                message: Message::FetchBodies { height, entries },
            });
        }
    }

    /// The leader at first, then everyone in turn.
    fn whom_to_ask(&self, turn: usize) -> ReplicaId {
        let first = self.leader();
        let peers = self.peers.all.keys().copied();
        let others: Vec<_> = peers.filter(|peer| *peer != first).collect();
        match turn % (others.len() + 1) {
            0 if first != self.me => first,
            0 => others.first().copied().unwrap_or(first),
            at => others[at - 1],
        }
    }

    pub(crate) fn on_fetch_bodies(
        &self,
        from: ReplicaId,
        height: Height,
        entries: &[Entry],
        out: &mut Vec<Action>,
    ) {
        let (mut requests, mut bytes) = (Vec::new(), 0);
        for entry in entries.iter().take(self.settings.max_batch_requests) {
            let pooled = self.pool.get(entry).map(|request| &**request);
            let open = self.pipeline.get(height);
            let Some(body) = pooled.or_else(|| {
                open?.body(entry.client.0, entry.incarnation, entry.seq, &entry.digest)
            }) else {
                continue;
            };
            bytes += body.op.len();
            if bytes > self.settings.max_transfer_bytes && !requests.is_empty() {
                break;
            }
            requests.push(body.clone());
        }
        if !requests.is_empty() {
            out.push(Action::Send {
                to: from,
                message: Message::Bodies { height, requests },
            });
        }
    }

    /// Bodies that a proposal waits for; only those are verified, the rest is not looked at.
    pub(crate) fn on_bodies(
        &mut self,
        now: u64,
        height: Height,
        requests: Vec<Request>,
        out: &mut Vec<Action>,
    ) {
        let Some(instance) = self.pipeline.get(height) else {
            return;
        };
        let wanted = requests.into_iter().filter(|request| {
            let name = (request.client.0, request.incarnation, request.seq);
            let open = instance.candidates.values();
            let mut entries = open.filter_map(|c| Some(c.batch.entries[*c.missing.get(&name)?]));
            entries.any(|entry| entry.names(request))
        });
        let wanted: Vec<Request> = wanted.take(self.settings.max_batch_requests).collect();
        let copies = wanted.clone();
        for (body, verified) in copies.into_iter().zip(self.judged(wanted)) {
            match verified {
                Ok(request) => {
                    self.pipeline.fill(&request);
                }
                Err(error) => self.doubt(now, body, error, out),
            }
        }
        if let Some(instance) = self.pipeline.get_mut(height) {
            let mut values = instance.candidates.values();
            let incomplete = values.any(|candidate| !candidate.is_complete());
            if incomplete && instance.ask_bodies_at().is_some() {
                // One message holds only so much: ask for the rest at once.
                instance.set_ask_at(Some(now + self.settings.body_grace_ms));
            }
        }
        self.advance(now, out);
    }

    /// Whether `requests` are their clients', as far as this replica can tell.
    fn judged(&mut self, requests: Vec<Request>) -> Vec<Result<Verified<Request>, RequestError>> {
        #[cfg(feature = "mutation")]
        if crate::settings::mutated!(self.settings, SkipRequestSignature) {
            let unchecked = requests.into_iter().map(Verified::unchecked);
            return unchecked.map(Ok).collect();
        }
        self.verifier.verify_batch(requests, &self.view)
    }

    /// Requests that another replica waits for. Alg. 2, l. 18-20. They count only with
    /// their clients' signatures, or MACs that are right here, or when f + 1 forward them; what is known already is not
    /// verified again.
    pub(crate) fn on_forward(
        &mut self,
        now: u64,
        from: ReplicaId,
        requests: Vec<Request>,
        out: &mut Vec<Action>,
    ) {
        let requests: Vec<Request> = requests
            .into_iter()
            .take(self.settings.max_pending_requests_per_client)
            .collect();
        for request in requests.iter().filter(|r| !r.auth.is_signature()) {
            if self.pool.holds(request) {
                self.note_backer(from, &request.digest());
            }
        }
        let new = requests.into_iter().filter(|request| {
            let Request {
                client,
                incarnation,
                seq,
                ..
            } = *request;
            let place = self.summary.windows.place(client, incarnation, seq);
            place == Place::Free && !self.pool.holds(request)
        });
        let new: Vec<Request> = new.collect();
        let copies = new.clone();
        for (copy, verified) in copies.into_iter().zip(self.judged(new)) {
            let vector = !copy.auth.is_signature();
            let vouched = match verified {
                Ok(request) if vector && self.vouching.must_sign(copy.client) => {
                    self.pipeline.fill(&request);
                    self.forwarded(from, copy)
                }
                Ok(request) => Some(request),
                Err(RequestError::BadMac(_)) => self.forwarded(from, copy),
                Err(_) => None,
            };
            if let Some(request) = vouched {
                // One that finds no room is its client's and sender's to repeat.
                let _refused = self.admit_vouched(now, request);
            }
        }
        self.after_admission(now, out);
    }

    pub(crate) fn on_fetch_batch(
        &self,
        from: ReplicaId,
        height: Height,
        digest: Digest,
        out: &mut Vec<Action>,
    ) {
        let instance = self.pipeline.get(height);
        if let Some(batch) = instance.and_then(|i| i.batch(&digest)).cloned() {
            out.push(Action::Send {
                to: from,
                message: Message::BatchOf { height, batch },
            });
        }
    }

    /// A value that SYNC bound an instance to.
    pub(crate) fn on_batch_of(
        &mut self,
        now: u64,
        height: Height,
        batch: Batch,
        out: &mut Vec<Action>,
    ) {
        let bound = self.bound_at(height);
        let short = batch.entries.len() <= self.settings.max_batch_requests;
        if let Some(digest) = bound.filter(|digest| short && batch.digest() == *digest) {
            self.collect_bodies(now, height, digest, batch);
            self.advance(now, out);
        }
    }

    /// The digest that an instance in flight is bound to by this regency's SYNC: by what it leaves bound, or because what it proves
    /// decided stands on that.
    pub(crate) fn bound_at(&self, height: Height) -> Option<Digest> {
        let start = self.start.as_ref()?;
        let mut at = height.max(start.open.saturating_sub(1));
        let mut bound = start.bound_at(at)?;
        while at > height {
            bound = self.pipeline.get(at)?.batch(&bound)?.after;
            at -= 1;
        }
        Some(bound)
    }

    /// Asks for bound values that are unknown.
    pub(crate) fn ask_batch(&self, out: &mut Vec<Action>) {
        for instance in self.pipeline.iter() {
            let height = instance.height;
            let bound = self.bound_at(height);
            if let Some(digest) = bound.filter(|digest| instance.batch(digest).is_none()) {
                out.push(Action::Broadcast {
                    message: Message::FetchBatch { height, digest },
                });
            }
        }
    }
}
