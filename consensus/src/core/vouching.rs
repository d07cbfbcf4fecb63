//! Requests with MAC vectors that this replica cannot verify: who vouches for them, when they are refused, and which
//! clients must sign.
//!
//! A faulty client can make a vector that is right for the leader and wrong for others, who then refuse the leader's
//! proposal and depose it, again and again (Clement et al., "Making Byzantine fault tolerant systems tolerate Byzantine
//! faults", NSDI 2009: the Big MAC attack). Here
//!
//! - **f + 1 that vouch** for a request hold a correct one, so it is verified: VOUCH is said only of what a replica verified
//!   itself or f + 1 others vouched for, and by induction a correct replica's own MAC was right. A value that SYNC bound was
//!   written by a correct replica, so its bodies need nobody's word.
//! - **Enough will vouch, or enough refuse.** If f + 1 correct replicas verified it, all hear them. If not, f + 1 correct ones (of
//!   2f + 1 at least) say REFUSE after a short wait, and f + 1 REFUSEs end the regency at once. Whoever hears f + 1 says REFUSE too,
//!   before its STOP on the same links: so whoever hears 2f + 1 STOPs because of them has heard f + 1 REFUSEs,
//!   and lists the client as one that must sign *before* it can lead. One client key costs one regency.
//! - **A listed client signs.** Its vectors are neither pooled nor proposed, unless f + 1 forward them. It is listed by a
//!   replica that saw a wrong MAC of it (on its own link, or proposed), and by one that f + 1 told so. A faulty leader can
//!   forge a proposal in a correct client's name: that costs the leader its regency and makes the client sign.
//! - **A request that few can verify deposes nobody.** A replica sends its second-stage STOP for a vector only if 2f + 1 members,
//!   itself included, vouch for it: then f + 1 correct ones have forwarded it, and a correct leader could propose it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::batch::Entry;
use crate::crypto::Digest;
use crate::ids::{ClientId, Height, Regency, ReplicaId};
use crate::message::Message;
use crate::request::{Request, RequestError, Verified};

use super::{Action, Core, Reason};

/// Those who did not vouch yet are asked again after this time (milliseconds), and refusals said again.
const ASK_AGAIN_MS: u64 = 40;
/// Forwarded requests of one peer that wait for more forwarders.
const FORWARDED: usize = 1_024;

/// A body that a proposal waits for and that this replica cannot verify.
#[derive(Debug)]
struct Doubt {
    entry: Entry,
    body: Request,
    vouchers: BTreeSet<ReplicaId>,
    since: u64,
    asked: u64,
    refused: bool,
    /// The MAC was wrong, not merely missing.
    wrong: bool,
}

/// What is known of requests with MAC vectors beyond this replica's own MACs.
#[derive(Debug, Default)]
pub(crate) struct Vouching {
    /// By digest; a batch's entries bound them.
    doubts: BTreeMap<Digest, Doubt>,
    /// What waits here for too long, and who else vouches for it; the pool bounds it.
    backing: BTreeMap<Digest, (Entry, BTreeSet<ReplicaId>)>,
    /// Forwarded by whom, although it cannot be verified or its client must sign; [`FORWARDED`] of each peer.
    forwarded: BTreeMap<ReplicaId, VecDeque<Digest>>,
    /// Clients of the view whose vectors are not taken.
    must_sign: BTreeSet<ClientId>,
    /// Peers whom a client's vector did not convince, though it did this replica.
    complaints: BTreeMap<ClientId, BTreeSet<ReplicaId>>,
    /// What each replica refused in this regency; two batches' entries of each.
    refusals: BTreeMap<ReplicaId, BTreeMap<(Height, Digest), ClientId>>,
}

impl Vouching {
    /// Whether the body of this entry is here and waits for vouchers.
    pub fn doubts(&self, digest: &Digest) -> bool {
        self.doubts.contains_key(digest)
    }

    /// Whether a client's vectors are not taken any more.
    pub fn must_sign(&self, client: ClientId) -> bool {
        self.must_sign.contains(&client)
    }

    fn refusers(&self, name: &(Height, Digest)) -> usize {
        let said = self.refusals.values();
        said.filter(|refused| refused.contains_key(name)).count()
    }

    /// A regency begins: what was refused in the last one is over.
    pub fn enter_regency(&mut self) {
        self.doubts.clear();
        self.refusals.clear();
    }

    /// A view begins: vectors of the old one say nothing, nor do complaints of them. Who had to sign with the key
    /// that it still has must go on.
    pub fn enter_view(&mut self, keeps_key: impl Fn(ClientId) -> bool) {
        let must_sign = std::mem::take(&mut self.must_sign);
        *self = Self {
            must_sign: must_sign.into_iter().filter(|c| keeps_key(*c)).collect(),
            ..Self::default()
        };
    }
}

impl Core {
    /// A client's request did not convince the runtime, on that client's own link.
    pub(crate) fn on_unverified(
        &mut self,
        now: u64,
        (client, incarnation, seq): (ClientId, u64, u64),
        error: RequestError,
        out: &mut Vec<Action>,
    ) {
        match error {
            RequestError::BadMac(_) => self.list(now, client, out),
            RequestError::NoMac(_) => {}
            _ => return,
        }
        out.push(must_sign(client, incarnation, seq));
    }

    /// From now on the client must sign. What waits of it with a vector goes.
    fn list(&mut self, now: u64, client: ClientId, out: &mut Vec<Action>) {
        if self.view.client_key(client).is_none() || !self.vouching.must_sign.insert(client) {
            return;
        }
        self.drop_vectors(now, |of| of == client, out);
    }

    /// Drops pooled requests with vectors of these clients, who are told to sign them.
    pub(crate) fn drop_vectors(
        &mut self,
        now: u64,
        of: impl Fn(ClientId) -> bool,
        out: &mut Vec<Action>,
    ) {
        let dropped = self.pool.drop_where(now, |request| {
            of(request.client) && !request.auth.is_signature()
        });
        for (client, incarnation, seq) in dropped {
            out.push(must_sign(client, incarnation, seq));
        }
    }

    /// A body that a proposal waits for could not be verified.
    pub(crate) fn doubt(
        &mut self,
        now: u64,
        body: Request,
        error: RequestError,
        out: &mut Vec<Action>,
    ) {
        let wrong = matches!(error, RequestError::BadMac(_));
        if !wrong && !matches!(error, RequestError::NoMac(_)) {
            return;
        }
        let request = Verified::vouched(body);
        let entry = Entry::of(&request);
        if self.is_certified(&entry) {
            self.pipeline.fill(&request);
            return;
        }
        if wrong {
            self.list(now, entry.client, out);
        }
        let doubt = Doubt {
            entry,
            body: request.into_inner(),
            vouchers: BTreeSet::new(),
            since: now,
            asked: now,
            refused: false,
            wrong,
        };
        self.vouching.doubts.entry(entry.digest).or_insert(doubt);
        self.ask_vouchers(&[entry], wrong, out);
    }

    /// A correct replica wrote the value that SYNC bound, so it, or f + 1 who vouched, verified every entry.
    fn is_certified(&self, entry: &Entry) -> bool {
        self.pipeline.iter().any(|instance| {
            let bound = self.bound_at(instance.height);
            bound
                .and_then(|digest| instance.batch(&digest))
                .is_some_and(|batch| batch.entries.contains(entry))
        })
    }

    fn ask_vouchers(&self, entries: &[Entry], doubted: bool, out: &mut Vec<Action>) {
        if entries.is_empty() {
            return;
        }
        out.push(Action::Broadcast {
            message: Message::AskVouch {
                entries: entries.to_vec(),
                doubted,
            },
        });
    }

    /// Says which of these this replica holds verified.
    pub(crate) fn on_ask_vouch(
        &mut self,
        now: u64,
        from: ReplicaId,
        mut entries: Vec<Entry>,
        doubted: bool,
        out: &mut Vec<Action>,
    ) {
        entries.truncate(self.settings.max_batch_requests);
        entries.retain(|entry| self.holds(entry));
        if entries.is_empty() {
            return;
        }
        let digests = entries.iter().map(|entry| entry.digest).collect();
        out.push(Action::Send {
            to: from,
            message: Message::Vouch { digests },
        });
        if !doubted {
            return;
        }
        // f + 1 whom a client's vectors did not convince: one of them saw a wrong MAC.
        for client in entries.into_iter().map(|entry| entry.client) {
            let complaints = self.vouching.complaints.entry(client).or_default();
            complaints.insert(from);
            if complaints.len() >= self.view.one_correct() {
                self.list(now, client, out);
            }
        }
    }

    /// Whether this replica has the request, verified.
    fn holds(&self, entry: &Entry) -> bool {
        let Entry {
            client,
            incarnation,
            seq,
            digest,
        } = entry;
        let mut open = self.pipeline.iter();
        self.pool.get(entry).is_some()
            || open.any(|instance| {
                let body = instance.body(client.0, *incarnation, *seq, digest);
                body.is_some()
            })
    }

    pub(crate) fn on_vouch(
        &mut self,
        now: u64,
        from: ReplicaId,
        digests: Vec<Digest>,
        out: &mut Vec<Action>,
    ) {
        for digest in digests.iter().take(self.settings.max_batch_requests) {
            self.note_backer(from, digest);
            let Some(doubt) = self.vouching.doubts.get_mut(digest) else {
                continue;
            };
            doubt.vouchers.insert(from);
            if doubt.vouchers.len() >= self.view.one_correct()
                && let Some(doubt) = self.vouching.doubts.remove(digest)
            {
                self.pipeline.fill(&Verified::vouched(doubt.body));
            }
        }
        self.advance(now, out);
    }

    /// Asks again, and refuses what too few vouch for.
    pub(crate) fn tick_vouching(&mut self, now: u64, out: &mut Vec<Action>) {
        let pipeline = &self.pipeline;
        let open = |doubt: &Doubt| pipeline.iter().any(|i| i.waits_for(&doubt.entry));
        self.vouching.doubts.retain(|_, doubt| open(doubt));
        let patience = self.settings.vouch_patience_ms;
        let (mut wrong, mut missing, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for doubt in self.vouching.doubts.values_mut() {
            doubt.refused |= now >= doubt.since + patience;
            if now < doubt.asked + ASK_AGAIN_MS {
                continue;
            }
            doubt.asked = now;
            if doubt.wrong {
                wrong.push(doubt.entry);
            } else {
                missing.push(doubt.entry);
            }
            if doubt.refused {
                refused.push(doubt.entry);
            }
        }
        self.ask_vouchers(&wrong, true, out);
        self.ask_vouchers(&missing, false, out);
        let mut by_height: BTreeMap<Height, Vec<Entry>> = BTreeMap::new();
        for entry in refused {
            let mut open = self.pipeline.iter();
            if let Some(instance) = open.find(|instance| instance.waits_for(&entry)) {
                by_height.entry(instance.height).or_default().push(entry);
            }
        }
        for (height, entries) in by_height {
            if self.is_member() {
                self.refuse(now, height, entries, out);
            }
        }
    }

    /// This replica will not write a proposal with these.
    fn refuse(&mut self, now: u64, height: Height, entries: Vec<Entry>, out: &mut Vec<Action>) {
        self.note_refusals(self.me, height, &entries);
        out.push(Action::Broadcast {
            message: Message::Refuse {
                view: self.view.id,
                regency: self.regency,
                height,
                entries,
            },
        });
        self.count_refusals(now, out);
    }

    pub(crate) fn on_refuse(
        &mut self,
        now: u64,
        from: ReplicaId,
        (view, regency, height): (u64, Regency, Height),
        entries: &[Entry],
        out: &mut Vec<Action>,
    ) {
        if !self.is_member() || (view, regency) != (self.view.id, self.regency) {
            return;
        }
        self.note_refusals(from, height, entries);
        self.count_refusals(now, out);
        self.advance(now, out);
    }

    fn note_refusals(&mut self, from: ReplicaId, height: Height, entries: &[Entry]) {
        let decided = self.summary.height();
        let most = 2 * self.settings.max_batch_requests;
        let refused = self.vouching.refusals.entry(from).or_default();
        refused.retain(|(height, _), _| *height > decided);
        for entry in entries {
            if height > decided && refused.len() < most {
                refused.insert((height, entry.digest), entry.client);
            }
        }
    }

    /// f + 1 REFUSEs of an entry: a correct replica will not write it, so this regency leads nowhere.
    fn count_refusals(&mut self, now: u64, out: &mut Vec<Action>) {
        let said = self.vouching.refusals.values().flatten();
        let known: BTreeMap<_, _> = said.map(|(name, client)| (*name, *client)).collect();
        let enough = self.view.one_correct();
        let refused = known
            .into_iter()
            .filter(|(name, _)| self.vouching.refusers(name) >= enough);
        let refused: Vec<((Height, Digest), ClientId)> = refused.collect();
        if refused.is_empty() {
            return;
        }
        let mine = self.vouching.refusals.entry(self.me).or_default();
        let mut joined: BTreeMap<Height, Vec<Entry>> = BTreeMap::new();
        for (name, client) in &refused {
            if mine.insert(*name, *client).is_none() {
                // What it refuses is known by its digest; the rest only names it.
                let entry = Entry {
                    client: *client,
                    incarnation: 0,
                    seq: 0,
                    digest: name.1,
                };
                joined.entry(name.0).or_default().push(entry);
            }
        }
        for (height, entries) in joined {
            out.push(Action::Broadcast {
                message: Message::Refuse {
                    view: self.view.id,
                    regency: self.regency,
                    height,
                    entries,
                },
            });
        }
        for (_, client) in refused {
            self.list(now, client, out);
        }
        self.stop(now, self.regency + 1, out);
    }

    /// Requests with vectors that a peer forwarded and that did not convince this replica, or whose client must sign: f + 1
    /// that forward it vouch for it.
    pub(crate) fn forwarded(
        &mut self,
        from: ReplicaId,
        request: Request,
    ) -> Option<Verified<Request>> {
        let request = Verified::vouched(request);
        let digest = request.digest();
        let of_peer = self.vouching.forwarded.entry(from).or_default();
        if !of_peer.contains(&digest) {
            if of_peer.len() >= FORWARDED {
                of_peer.pop_front();
            }
            of_peer.push_back(digest);
        }
        let said = self.vouching.forwarded.values();
        let forwarders = said.filter(|of_peer| of_peer.contains(&digest)).count();
        (forwarders >= self.view.one_correct()).then_some(request)
    }

    /// A peer that forwards a request vouches for it.
    pub(crate) fn note_backer(&mut self, from: ReplicaId, digest: &Digest) {
        if let Some((_, backers)) = self.vouching.backing.get_mut(digest) {
            backers.insert(from);
        }
    }

    /// Whether 2f + 1 members, this one included, hold it verified, or can: f + 1 correct ones do, so a correct leader could
    /// propose it.
    pub(crate) fn is_backed(&self, request: &Verified<Request>) -> bool {
        let backed = self.vouching.backing.get(&request.digest());
        let backers = backed.map_or(0, |(_, backers)| backers.len());
        request.auth.is_signature() || backers + 1 >= self.view.install()
    }

    /// Whether peers were asked if they hold it.
    pub(crate) fn asked_backers(&self, request: &Verified<Request>) -> bool {
        self.vouching.backing.contains_key(&request.digest())
    }

    /// Asks who else holds what is being forwarded, so that it may count at the second stage.
    pub(crate) fn ask_backers(&mut self, entries: Vec<Entry>, out: &mut Vec<Action>) {
        let (pool, backing) = (&self.pool, &mut self.vouching.backing);
        backing.retain(|_, (entry, _)| pool.get(entry).is_some());
        for entry in &entries {
            let new = || (*entry, BTreeSet::new());
            backing.entry(entry.digest).or_insert_with(new);
        }
        for some in entries.chunks(self.settings.max_batch_requests.max(1)) {
            self.ask_vouchers(some, false, out);
        }
    }

    /// Drops what waits since `before` with a vector that fewer than 2f + 1 vouch for, before a leader is stopped for it.
    pub(crate) fn drop_unproven(&mut self, now: u64, before: u64, out: &mut Vec<Action>) {
        let mut pool = std::mem::take(&mut self.pool);
        let dropped = pool.drop_overdue(now, before, |request| !self.is_backed(request));
        self.pool = pool;
        for (client, incarnation, seq) in dropped {
            out.push(must_sign(client, incarnation, seq));
        }
    }
}

fn must_sign(client: ClientId, incarnation: u64, seq: u64) -> Action {
    Action::Reject {
        client,
        incarnation,
        seq,
        reason: Reason::MustSign,
    }
}
