//! One VP-Consensus instance as a replica sees it: the values that it knows and the
//! votes that it received. What it must never forget is in [`VoteState`].
//! Several are in flight, see `pipeline`.

use std::collections::BTreeMap;

use crate::batch::{Batch, Entry};
use crate::crypto::{Digest, Signature};
use crate::ids::{Height, Regency, ReplicaId};
use crate::record::{Value, VoteState};
use crate::request::{Request, Verified};

/// A value whose bodies are not all here, or that is not written yet.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub batch: Batch,
    pub bodies: Vec<Option<Verified<Request>>>,
    /// Positions without a body, by (client, incarnation, seq).
    pub missing: BTreeMap<(u32, u64, u64), usize>,
}

/// An ACCEPT; its signature is looked at only when a quorum of them could decide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepted {
    pub regency: Regency,
    pub digest: Digest,
    pub signature: Signature,
    pub verified: bool,
}

/// One instance that is not decided here.
#[derive(Debug)]
pub(crate) struct Instance {
    pub height: Height,
    pub votes: VoteState,
    /// The leader's first proposal in this regency; later ones are not looked at, unless it was refused.
    pub proposal: Option<Digest>,
    pub candidates: BTreeMap<Digest, Candidate>,
    /// Newest WRITE of each replica in this regency.
    pub writes: BTreeMap<ReplicaId, Digest>,
    /// Newest ACCEPT of each replica, in any regency.
    pub accepts: BTreeMap<ReplicaId, Accepted>,
    /// This replica's WRITE of this regency, once durable.
    pub my_write: Option<Digest>,
    /// The proposal of this regency does not satisfy γ where it stands.
    pub refused: bool,
    #[cfg(feature = "mutation")]
    pub old_writes: BTreeMap<(Regency, Digest), std::collections::BTreeSet<ReplicaId>>,
    /// When to ask for missing bodies, and whom next.
    ask_at: Option<u64>,
    pub asked: usize,
}

impl Candidate {
    /// A value with the bodies that `known` has.
    fn new(batch: Batch, known: impl Fn(&Entry) -> Option<Verified<Request>>) -> Self {
        let bodies: Vec<_> = batch.entries.iter().map(known).collect();
        let absent = batch.entries.iter().zip(&bodies).enumerate();
        let missing = absent
            .filter(|(_, (_, body))| body.is_none())
            .map(|(at, (entry, _))| ((entry.client.0, entry.incarnation, entry.seq), at))
            .collect();
        Self {
            batch,
            bodies,
            missing,
        }
    }

    /// Takes a body if it is one that is missing.
    pub fn fill(&mut self, request: &Verified<Request>) -> bool {
        let name = (request.client.0, request.incarnation, request.seq);
        match self.missing.get(&name) {
            Some(&at) if self.batch.entries[at].digest == request.digest() => {
                self.missing.remove(&name);
                self.bodies[at] = Some(request.clone());
                true
            }
            _ => false,
        }
    }

    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }
}

impl Instance {
    pub fn new(height: Height, votes: VoteState) -> Self {
        Self {
            height,
            votes,
            proposal: None,
            candidates: BTreeMap::new(),
            writes: BTreeMap::new(),
            accepts: BTreeMap::new(),
            my_write: None,
            refused: false,
            #[cfg(feature = "mutation")]
            old_writes: BTreeMap::new(),
            ask_at: None,
            asked: 0,
        }
    }

    /// Whether anything happened in it that a decision should follow.
    pub fn is_open(&self) -> bool {
        self.proposal.is_some()
            || !self.writes.is_empty()
            || !self.accepts.is_empty()
            || !self.votes.writeset.is_empty()
    }

    /// Forgets what belonged to the regency before; votes and ACCEPTs stay.
    pub fn enter_regency(&mut self) {
        self.proposal = None;
        self.candidates.clear();
        self.writes.clear();
        self.my_write = None;
        self.refused = false;
        self.ask_at = None;
    }

    /// Starts to collect the bodies of a value; `known` has some of them.
    pub fn add_candidate(
        &mut self,
        digest: Digest,
        batch: Batch,
        known: impl Fn(&Entry) -> Option<Verified<Request>>,
    ) -> &Candidate {
        self.candidates
            .entry(digest)
            .or_insert_with(|| Candidate::new(batch, known))
    }

    /// A value of which everything is here.
    pub fn add_complete(&mut self, digest: Digest, value: Value) {
        let bodies = value.bodies.into_iter().map(Some).collect();
        let candidate = Candidate {
            batch: value.batch,
            bodies,
            missing: BTreeMap::new(),
        };
        self.candidates.insert(digest, candidate);
    }

    /// Whether a value misses the body of this entry.
    pub fn waits_for(&self, entry: &Entry) -> bool {
        let name = (entry.client.0, entry.incarnation, entry.seq);
        let mut open = self.candidates.values();
        open.any(|c| {
            let at = c.missing.get(&name);
            at.is_some_and(|at| c.batch.entries[*at].digest == entry.digest)
        })
    }

    /// Gives a body to whichever value misses it.
    pub fn fill(&mut self, request: &Verified<Request>) -> bool {
        self.candidates
            .values_mut()
            .fold(false, |taken, candidate| candidate.fill(request) | taken)
    }

    /// The batch behind a digest.
    pub fn batch(&self, digest: &Digest) -> Option<&Batch> {
        self.votes
            .values
            .get(digest)
            .map(|value| &value.batch)
            .or_else(|| {
                self.candidates
                    .get(digest)
                    .map(|candidate| &candidate.batch)
            })
    }

    /// Whether the value is here with all its bodies.
    pub fn is_complete(&self, digest: &Digest) -> bool {
        self.votes.values.contains_key(digest)
            || self
                .candidates
                .get(digest)
                .is_some_and(Candidate::is_complete)
    }

    /// Moves a complete candidate to the values that this replica keeps.
    pub fn keep(&mut self, digest: &Digest) -> Option<&Value> {
        if !self.votes.values.contains_key(digest) {
            let candidate = self.candidates.remove(digest)?;
            let bodies = candidate.bodies.into_iter().collect::<Option<Vec<_>>>()?;
            self.votes.values.insert(
                *digest,
                Value {
                    batch: candidate.batch,
                    bodies,
                },
            );
        }
        self.votes.values.get(digest)
    }

    /// A body of any value that is known here.
    pub fn body(
        &self,
        client: u32,
        incarnation: u64,
        seq: u64,
        digest: &Digest,
    ) -> Option<&Request> {
        let wanted = |request: &&Verified<Request>| {
            request.client.0 == client
                && request.incarnation == incarnation
                && request.seq == seq
                && request.digest() == *digest
        };
        let kept = self
            .votes
            .values
            .values()
            .flat_map(|value| value.bodies.iter());
        let open = self
            .candidates
            .values()
            .flat_map(|c| c.bodies.iter().flatten());
        kept.chain(open).find(wanted).map(|request| &**request)
    }

    /// When to ask for bodies, if some are missing.
    pub fn ask_bodies_at(&self) -> Option<u64> {
        self.ask_at
    }

    pub fn set_ask_at(&mut self, at: Option<u64>) {
        self.ask_at = at;
    }

    /// The (regency, digest) that ACCEPTs of so many replicas name that they are enough.
    pub fn accepted_by(&self, enough: impl Fn(&[ReplicaId]) -> bool) -> Option<(Regency, Digest)> {
        let mut signers: BTreeMap<(Regency, Digest), Vec<ReplicaId>> = BTreeMap::new();
        for (signer, accept) in &self.accepts {
            let name = (accept.regency, accept.digest);
            signers.entry(name).or_default().push(*signer);
        }
        signers
            .into_iter()
            .find_map(|(name, signers)| enough(&signers).then_some(name))
    }
}
