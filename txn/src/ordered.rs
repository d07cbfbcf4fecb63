//! What a client asks to be ordered: the operations inside of consensus requests.

use crate::{ballot::VotePart, operation::Operation, operation::Step};
use consensus::{ClientId, DecodeError, Height, Signature};
use serde::{Deserialize, Serialize};

/// Names a transaction: the request that began it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TxId {
    pub client: ClientId,
    pub incarnation: u64,
    pub seq: u64,
}

impl std::fmt::Display for TxId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.client, self.incarnation, self.seq)
    }
}

impl TxId {
    /// Marks numbers of autocommit writes among those of transactions, which are sequence numbers of their Begin.
    pub const AUTO: u64 = 1 << 63;

    /// Reads what [`Display`](std::fmt::Display) writes of an ordinary client's transaction.
    pub fn parse(text: &str) -> Option<TxId> {
        let mut parts = text.strip_prefix('c')?.split('.');
        let tx = TxId {
            client: ClientId(parts.next()?.parse().ok()?),
            incarnation: parts.next()?.parse().ok()?,
            seq: parts.next()?.parse().ok()?,
        };
        // One text for each name.
        (parts.next().is_none() && tx.to_string() == text).then_some(tx)
    }

    /// The nonce from which everything random in the transaction is derived: no replica and no master chooses it.
    pub fn nonce(&self) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("steeldb 2026 transaction nonce");
        hasher.update(&self.client.0.to_be_bytes());
        hasher.update(&self.incarnation.to_be_bytes());
        hasher.update(&self.seq.to_be_bytes());
        hasher.finalize().to_hex()[..32].to_string()
    }
}

/// Names and values as `set_config` takes them.
pub type SessionSettings = Vec<(String, String)>;

/// The setting by which a transaction names the role that it acts as. PostgreSQL is not given it: a replica's session logs in as the role.
pub const ROLE: &str = "steel.role";

/// The role of what names none: the owner of everything.
pub const OWNER: &str = "postgres";

/// The role that a transaction with these settings acts as.
pub fn role(settings: &SessionSettings) -> &str {
    let named = settings.iter().rev().find(|(name, _)| name == ROLE);
    named.map_or(OWNER, |(_, role)| role)
}

/// What a transaction is promised; equal at all replicas, because it is ordered under the client's signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Isolation {
    /// It reads the state of its Begin and is judged there: snapshot isolation.
    #[default]
    Snapshot,
    /// If it wrote anything it is judged against the state at its commit's place.
    Serializable,
}

impl Isolation {
    /// The level of a transaction that names none, as PostgreSQL takes it from these settings.
    pub fn of(settings: &SessionSettings) -> Isolation {
        let named = |(name, _): &&(String, String)| name == "default_transaction_isolation";
        match settings.iter().rev().find(named) {
            Some((_, level)) if level.eq_ignore_ascii_case("serializable") => {
                Isolation::Serializable
            }
            _ => Isolation::Snapshot,
        }
    }
}

/// Opens a transaction: its height names the snapshot (DESIGN.md, 1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// The master epoch that the client believes in.
    pub epoch: u64,
    pub settings: SessionSettings,
    pub isolation: Isolation,
    pub read_only: bool,
}

/// Ends a transaction with the evidence of everything that it did (DESIGN.md, 3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    pub tx: TxId,
    pub epoch: u64,
    pub steps: Vec<Step>,
    /// The master's word for all of them ([`crate::word`]).
    pub word: Option<Signature>,
}

/// An autocommit write: executed at the master beforehand, ordered in one round (DESIGN.md, 7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Auto {
    /// Names the session at the master in which it ran; its nonce comes from it.
    pub tx: TxId,
    pub epoch: u64,
    /// The last final height when the master ran it: its time is that batch's.
    pub ran_at: Height,
    pub settings: SessionSettings,
    pub step: Step,
    /// The master's word for the step, where it used sequences: what they gave counts under it alone.
    pub word: Option<Box<Signature>>,
}

/// Executed by all at its place, outside of a transaction block (VACUUM, ANALYZE: what touches no user data).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    pub settings: SessionSettings,
    pub operation: Operation,
}

/// The body of a consensus request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ordered {
    Begin(Begin),
    Commit(Commit),
    Rollback {
        tx: TxId,
    },
    Auto(Auto),
    Exec(Exec),
    /// Signed votes, on their way into the tally.
    Votes(Vec<VotePart>),
    /// A replica found the master of this epoch silent or lying; a client found its word worthless (DESIGN.md, 8).
    MasterChange {
        epoch: u64,
    },
    /// A replica has not been connected to this client for long, which began transactions in this incarnation. f+1 such votes
    /// end them all.
    ClientGone {
        client: ClientId,
        incarnation: u64,
    },
    /// A replica's clock passed the age at which an open transaction expires; consensus time, which comes with this batch, decides.
    Tick,
    /// Every replica digests its tables at this height and answers with them.
    Audit,
    /// Never on the wire: what a replica makes of an administrator's request, which the total order reads itself.
    Reconfigured {
        view: Option<u64>,
        why: String,
    },
    /// Ordered and answered, nothing else: what `bench consensus` sends.
    Nothing(Vec<u8>),
    /// A replica asks all to digest their schema and one table at this height, and to tell each other: the audit in the
    /// background. The how many-th this is of that replica's requests says which table.
    Compare,
    /// A replica asks all to keep the state of this place for it, and to tell it what they hold there: it copies.
    Copy,
}

impl Ordered {
    /// Encodes for a request's body.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("these types have no unserialisable parts")
    }

    /// Decodes a request's body.
    ///
    /// # Errors
    /// When the bytes are not one whole message.
    pub fn decode(bytes: &[u8]) -> Result<Ordered, DecodeError> {
        consensus::decode(bytes)
    }
}
