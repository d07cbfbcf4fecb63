//! Gathering the signatures of a receipt, sans-I/O: bad ones are dropped, equal facts are counted.

use std::collections::{BTreeMap, BTreeSet};

use consensus::{ReplicaId, Signature, View, ViewCertificate};
use txn::receipt::{Fact, Given, Receipt, Refusal, Wanted};

/// What the replicas gave so far.
#[derive(Debug)]
pub(crate) struct Gather {
    wanted: Wanted,
    candidates: Vec<Candidate>,
    /// Who will not sign, by this round.
    refused: BTreeMap<ReplicaId, Refusal>,
    /// Who signed nonsense.
    false_ones: BTreeSet<ReplicaId>,
}

/// A fact that somebody vouches for.
#[derive(Debug)]
struct Candidate {
    fact: Fact,
    signatures: BTreeMap<ReplicaId, Signature>,
    /// How its view came about, as each signer tells it: at most one of them need be true.
    chains: Vec<(View, Vec<ViewCertificate>)>,
}

impl Gather {
    pub fn new(wanted: Wanted) -> Gather {
        Gather {
            wanted,
            candidates: Vec::new(),
            refused: BTreeMap::new(),
            false_ones: BTreeSet::new(),
        }
    }

    /// Everybody is asked anew: who refused may think otherwise by now.
    pub fn ask_again(&mut self) {
        self.refused.clear();
    }

    /// A replica's part. `view` is the membership as this client knows it. Returns the receipt once enough of them vouch alike.
    pub fn add(&mut self, view: &View, from: ReplicaId, given: Given) -> Option<Receipt> {
        let signed = match given {
            Given::Signed(signed) => *signed,
            Given::Refused(refusal) => {
                self.refused.insert(from, refusal);
                return None;
            }
        };
        let key = view.replica_key(from)?;
        if !self.is_asked(&signed.fact) || !signed.fact.is_signed(key, &signed.signature) {
            self.false_ones.insert(from);
            return None;
        }
        // It, or this client, will have followed the membership when it is asked again.
        if signed.fact.view != view.id {
            return None;
        }
        self.refused.remove(&from);
        let known = self.candidates.iter().position(|c| c.fact == signed.fact);
        let at = known.unwrap_or_else(|| {
            self.candidates.push(Candidate {
                fact: signed.fact,
                signatures: BTreeMap::new(),
                chains: Vec::new(),
            });
            self.candidates.len() - 1
        });
        let candidate = &mut self.candidates[at];
        candidate.signatures.insert(from, signed.signature);
        candidate.chains.push((signed.genesis, signed.views));
        candidate.receipt(view)
    }

    fn is_asked(&self, fact: &Fact) -> bool {
        match self.wanted {
            Wanted::Place { height, index } => (fact.header.height, fact.index) == (height, index),
            Wanted::Transaction(tx) => fact.tx == tx,
        }
    }

    /// Somebody asked was of no use.
    pub fn is_in_trouble(&self) -> bool {
        !self.refused.is_empty() || !self.false_ones.is_empty()
    }

    /// So many refuse for good that no receipt can come about: what they say.
    pub fn hopeless(&self, view: &View) -> Option<Refusal> {
        let for_good = |refusal: &Refusal| *refusal != Refusal::Busy;
        let refusing = self.refused.iter();
        let refusing = refusing.filter(|(id, why)| view.replicas.contains_key(id) && for_good(why));
        let refusals: Vec<Refusal> = refusing.map(|(_, why)| *why).collect();
        let left = view.n() - refusals.len();
        refusals
            .last()
            .copied()
            .filter(|_| left < view.one_correct())
    }
}

impl Candidate {
    fn receipt(&self, view: &View) -> Option<Receipt> {
        // Views may change while signatures come in: only those count that the view of now would verify.
        let counted = self.signatures.iter().filter(|(replica, signature)| {
            let key = view.replica_key(**replica);
            key.is_some_and(|key| self.fact.is_signed(key, signature))
        });
        let signatures: Vec<_> = counted.map(|(id, s)| (*id, *s)).collect();
        if signatures.len() < view.one_correct() {
            return None;
        }
        // f+1 vouch for the digest of the genesis view, so whoever tells it cannot choose another one.
        self.chains.iter().find_map(|(genesis, views)| {
            let receipt = Receipt {
                fact: self.fact.clone(),
                signatures: signatures.clone(),
                views: views.clone(),
            };
            let verified = receipt.verify(genesis).ok()?;
            (verified.replicas == view.replicas).then_some(receipt)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus::{
        Batch, ClientId, Decided, Digest, Entry, Proof, PublicKey, Request, SigningKey,
    };
    use txn::ordered::{Commit, Ordered};
    use txn::receipt::{Signed, cluster_digest};
    use txn::{Evidence, Operation, Step, TxId};

    const CLIENT: ClientId = ClientId(70_000);
    const PLACE: Wanted = Wanted::Place {
        height: 5,
        index: 0,
    };

    fn key(replica: u16) -> SigningKey {
        SigningKey::from_bytes(&[replica as u8 + 1; 32])
    }

    fn view() -> View {
        View {
            f: 1,
            replicas: (0..4)
                .map(|i| (ReplicaId(i), PublicKey::of(&key(i))))
                .collect(),
            ..View::default()
        }
    }

    fn fact() -> Fact {
        let commit = Ordered::Commit(Commit {
            tx: TxId {
                client: CLIENT,
                incarnation: 1,
                seq: 1,
            },
            epoch: 0,
            word: None,
            steps: vec![Step {
                operation: Operation::text("UPDATE t SET a = 1"),
                evidence: Evidence {
                    result: Digest([1; 32]),
                    write: Digest([2; 32]),
                    sequences: Vec::new(),
                    claims: None,
                    schema_change: false,
                    adds_only: false,
                    failed: false,
                    unvalidated: false,
                },
            }],
        });
        let client_key = SigningKey::from_bytes(&[99; 32]);
        let request = Request::sign(&client_key, CLIENT, 1, 2, commit.encode());
        let entry = Entry {
            client: CLIENT,
            incarnation: 1,
            seq: 2,
            digest: request.digest(),
        };
        let decided = Decided {
            height: 5,
            regency: 0,
            batch: Batch {
                after: Digest([3; 32]),
                time_ms: 9,
                entries: vec![entry],
            },
            requests: vec![request],
            proof: Proof {
                regency: 0,
                accepts: Vec::new(),
            },
        };
        Fact::of(cluster_digest(&view()), 0, 0, &decided, 0).unwrap()
    }

    fn signed(by: &SigningKey, fact: Fact) -> Given {
        Given::Signed(Box::new(Signed {
            signature: fact.sign(by),
            fact,
            genesis: view(),
            views: Vec::new(),
        }))
    }

    #[test]
    fn two_equal_facts_of_four_replicas_are_a_receipt() {
        let mut gather = Gather::new(PLACE);
        let mut add =
            |replica| gather.add(&view(), ReplicaId(replica), signed(&key(replica), fact()));
        assert_eq!(add(3), None);
        assert_eq!(add(3), None, "one replica counts once");
        let receipt = add(1).unwrap();
        assert_eq!(receipt.verify(&view()), Ok(view()));
        assert_eq!(receipt.signatures.len(), 2);
    }

    #[test]
    fn liars_spoil_nothing() {
        let mut gather = Gather::new(PLACE);
        let mut other = fact();
        other.writes.0[0] ^= 1;
        let mut elsewhere = fact();
        elsewhere.header.height = 6;
        let lies = [
            signed(&key(2), fact()),
            signed(&key(0), elsewhere),
            signed(&key(0), other),
        ];
        for lie in lies {
            assert_eq!(gather.add(&view(), ReplicaId(0), lie), None);
        }
        assert!(gather.is_in_trouble());
        assert_eq!(
            gather.add(&view(), ReplicaId(1), signed(&key(1), fact())),
            None
        );
        let receipt = gather.add(&view(), ReplicaId(2), signed(&key(2), fact()));
        let signers: Vec<u16> = receipt
            .unwrap()
            .signatures
            .iter()
            .map(|(r, _)| r.0)
            .collect();
        assert_eq!(signers, [1, 2]);
    }

    #[test]
    fn a_genesis_that_is_not_the_one_vouched_for_is_not_believed() {
        let mut gather = Gather::new(PLACE);
        let with_other_genesis = |replica: u16| {
            let Given::Signed(mut signed) = signed(&key(replica), fact()) else {
                unreachable!()
            };
            signed.genesis.f = 0;
            Given::Signed(signed)
        };
        let mut add = |replica, given| gather.add(&view(), ReplicaId(replica), given);
        assert_eq!(add(0, with_other_genesis(0)), None);
        assert_eq!(add(1, with_other_genesis(1)), None);
        assert!(add(2, signed(&key(2), fact())).is_some());
    }

    #[test]
    fn it_is_hopeless_only_when_too_few_are_left() {
        let mut gather = Gather::new(PLACE);
        for (replica, why) in [
            (0, Refusal::Unknown),
            (1, Refusal::NotCommitted),
            (2, Refusal::Busy),
        ] {
            gather.add(&view(), ReplicaId(replica), Given::Refused(why));
            assert_eq!(gather.hopeless(&view()), None);
        }
        gather.add(&view(), ReplicaId(3), Given::Refused(Refusal::NotCommitted));
        assert_eq!(gather.hopeless(&view()), Some(Refusal::NotCommitted));
        gather.ask_again();
        assert_eq!(gather.hopeless(&view()), None);
    }
}
