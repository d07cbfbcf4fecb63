//! What the signers of a receipt vouch for.

use consensus::{Decided, Digest, Height, PublicKey, Signature, SigningKey, View};
use serde::{Deserialize, Serialize};

use crate::operation::Step;
use crate::ordered::{Ordered, TxId};
use crate::tally::Verdict;

/// Goes before everything that is signed here, and before nothing else that an identity signs.
const DOMAIN: &[u8] = b"steeldb/1/receipt";
const DOMAIN_CLUSTER: &[u8] = b"steeldb/1/receipt/cluster";
const DOMAIN_STATEMENTS: &[u8] = b"steeldb/1/receipt/statements";
const DOMAIN_OPERATIONS: &[u8] = b"steeldb/1/receipt/operations";
const DOMAIN_RESULTS: &[u8] = b"steeldb/1/receipt/results";
const DOMAIN_WRITES: &[u8] = b"steeldb/1/receipt/writes";
/// Stands for a result that nobody confirmed, and for a write of nothing.
const NOTHING: Digest = Digest([0; 32]);

/// How a transaction was ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    /// A Begin and a Commit.
    Transaction,
    /// One statement on its own.
    Autocommit,
}

/// A decided batch: its place in the one history that all replicas have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Its number.
    pub height: Height,
    /// [`View::id`] of the view that decided it.
    pub view: u64,
    /// Its consensus time, Unix milliseconds.
    pub time_ms: u64,
    /// [`consensus::Batch::digest`]; it covers the time, the requests and `previous`.
    pub digest: Digest,
    /// The same of the height before: headers are a hash chain.
    pub previous: Digest,
}

/// A committed transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// [`cluster_digest`] of the view in which the cluster began.
    pub cluster: Digest,
    /// [`View::id`] of the view in which it is signed.
    pub view: u64,
    /// Where it was ordered.
    pub header: Header,
    /// Its place in that batch.
    pub index: u32,
    /// Its name.
    pub tx: TxId,
    /// How it was ordered.
    pub sort: Sort,
    /// Always COMMIT.
    pub verdict: Verdict,
    /// The digest by which the batch names the request; it pins all bytes that were ordered.
    pub request: Digest,
    /// Operations.
    pub steps: u32,
    /// Those of them that the master answered alone (catalogs, EXPLAIN): their results are not covered.
    pub unvalidated: u32,
    /// Of the operations' texts, as they were executed.
    pub statements: Digest,
    /// Of the operations: texts, parameters, formats, COPY data.
    pub operations: Digest,
    /// Of the result digests that the client claimed and the replicas confirmed.
    pub results: Digest,
    /// Of the write digests, likewise.
    pub writes: Digest,
}

/// Names a cluster: the digest of the view in which it began, its members' addresses apart.
pub fn cluster_digest(genesis: &View) -> Digest {
    let unmoved = View {
        contacts: Default::default(),
        ..genesis.clone()
    };
    Digest::of(DOMAIN_CLUSTER, &[&encoded(&unmoved)])
}

fn encoded(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("these types have no unserialisable parts")
}

/// The digest of a list.
fn list(domain: &[u8], items: impl Iterator<Item = impl AsRef<[u8]>>) -> Digest {
    let items: Vec<_> = items.collect();
    let parts: Vec<&[u8]> = items.iter().map(AsRef::as_ref).collect();
    Digest::of(domain, &parts)
}

/// What [`Fact::statements`] is of statements with these texts.
pub fn statements_digest<'a>(texts: impl Iterator<Item = &'a str>) -> Digest {
    list(DOMAIN_STATEMENTS, texts)
}

impl Fact {
    /// The fact that the item at `index` of a decision is committed, which the caller has to know. `view` is the one in which it
    /// is to be signed. None when no transaction stands there, or one that its client may not name.
    pub fn of(
        cluster: Digest,
        view: u64,
        decided_in: u64,
        decided: &Decided,
        index: u32,
    ) -> Option<Fact> {
        let request = decided.requests.get(index as usize)?;
        let (tx, sort, steps) = match Ordered::decode(&request.op).ok()? {
            Ordered::Commit(commit) => (commit.tx, Sort::Transaction, commit.steps),
            Ordered::Auto(auto) => (auto.tx, Sort::Autocommit, vec![auto.step]),
            _ => return None,
        };
        if tx.client != request.client {
            return None;
        }
        let of = |step: &Step| match step.evidence.is_uncompared() {
            true => NOTHING.0,
            false => step.evidence.result.0,
        };
        Some(Fact {
            cluster,
            view,
            header: Header {
                height: decided.height,
                view: decided_in,
                time_ms: decided.batch.time_ms,
                digest: decided.batch.digest(),
                previous: decided.batch.after,
            },
            index,
            tx,
            sort,
            verdict: Verdict::Commit,
            request: request.digest(),
            steps: steps.len() as u32,
            unvalidated: steps.iter().filter(|s| s.evidence.is_uncompared()).count() as u32,
            statements: statements_digest(steps.iter().map(|step| step.operation.sql.as_str())),
            operations: list(
                DOMAIN_OPERATIONS,
                steps.iter().map(|step| encoded(&step.operation)),
            ),
            results: list(DOMAIN_RESULTS, steps.iter().map(of)),
            writes: list(DOMAIN_WRITES, steps.iter().map(|s| s.evidence.write.0)),
        })
    }

    /// Whether statements with these texts, in this order, are all that was executed.
    pub fn executed<'a>(&self, texts: impl Iterator<Item = &'a str>) -> bool {
        statements_digest(texts) == self.statements
    }

    /// Whether none of its operations changed a row. At most [`crate::limits::STEPS_PER_TRANSACTION`] are looked at: no
    /// transaction has more.
    pub fn wrote_nothing(&self) -> bool {
        let steps = (self.steps as usize).min(crate::limits::STEPS_PER_TRANSACTION);
        self.writes == list(DOMAIN_WRITES, std::iter::repeat_n(NOTHING.0, steps))
    }

    fn signed_bytes(&self) -> Vec<u8> {
        [DOMAIN, &encoded(self)].concat()
    }

    /// A replica vouches, with its identity.
    pub fn sign(&self, key: &SigningKey) -> Signature {
        Signature::sign(key, &self.signed_bytes())
    }

    /// Whether the owner of a key vouches.
    pub fn is_signed(&self, key: &PublicKey, signature: &Signature) -> bool {
        key.verify_strict(&self.signed_bytes(), signature)
    }
}
