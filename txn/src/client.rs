//! What clients and replicas say to each other.

use crate::{
    errand::Errand,
    operation::Evidence,
    operation::Operation,
    ordered::SessionSettings,
    ordered::TxId,
    receipt::{Given, Wanted},
    tally::Verdict,
};
use bytes::Bytes;
use consensus::{Digest, Height, Request, Signature, View};
use serde::{Deserialize, Serialize};

/// Why a transaction is ABORT whose answers or rows came out otherwise at other replicas, which saw what its master did.
pub const UNCONFIRMED: &str =
    "could not confirm the transaction: a replica's judgement differs from the master's answers";

/// What an autocommit write asks for that was aborted again and again: for a while nothing else is to begin at the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// The client's number of the statement, the same at each of its runs.
    pub statement: u64,
    /// If this run is aborted too the turn is over.
    pub last: bool,
}

/// From a client to a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientMessage {
    /// To be ordered; sent to all replicas.
    Request(Request),
    /// An operation of an open transaction, to the master, number `step` of it (from 0).
    Operation {
        tx: TxId,
        step: u32,
        operation: Operation,
    },
    /// An autocommit write, to the master: run it at once and keep its locks until its verdict.
    AutoOperation {
        tx: TxId,
        epoch: u64,
        /// Not before this height is final at the master: the client has seen it, and so will those who judge.
        min_height: Height,
        turn: Option<Turn>,
        settings: SessionSettings,
        operation: Operation,
    },
    /// The client gave up this autocommit write before it was ordered.
    AutoForget { tx: TxId },
    /// A read outside of the order.
    Read {
        id: u64,
        /// Not before this height is final at the replica.
        min_height: Height,
        /// What `now()` says in it (consensus milliseconds), and the seed of what is random.
        time_ms: u64,
        nonce: String,
        settings: SessionSettings,
        operation: Operation,
        /// Send the answer itself, not only its digest.
        whole: bool,
    },
    /// PostgreSQL's parameters and this replica's view of the cluster.
    Info { id: u64 },
    /// Cancel what runs in this transaction at the master.
    Cancel { tx: TxId },
    /// Cancel this read.
    CancelRead { id: u64 },
    /// Several to be ordered, each with its client's word for it: what a host of many clients sends at once.
    Requests(Vec<Request>),
    /// From an administrator: set PostgreSQL's data aside and make them anew from the history.
    Rebuild,
    /// Sign what became of this transaction.
    Receipt { id: u64, wanted: Wanted },
    /// Bring this to the master, of which its client has heard nothing; sent to all replicas.
    Errand(Errand),
}

/// The state of a replica, for `status` and for clients that look for the master.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    pub replica: u16,
    pub regency: u64,
    pub leader: u16,
    pub epoch: u64,
    pub master: u16,
    /// Last decided height.
    pub decided: Height,
    /// Last final and applied height.
    pub applied: Height,
    pub open_transactions: u64,
    pub connected: Vec<u16>,
    /// Milliseconds to each peer and back, the median of the last measurements.
    pub round_trips: Vec<(u16, u64)>,
    /// (commits, aborts, adoptions) since start.
    pub verdicts: (u64, u64, u64),
    pub server_version: String,
    pub postgres_pid: u32,
    pub last_error: Option<String>,
    /// Why PostgreSQL's data are being made anew, while they are.
    pub rebuilding: Option<String>,
    /// When (milliseconds of the replica's clock) and why they were begun anew last.
    pub rebuilt: Option<(u64, String)>,
    /// Consensus time of the last final batch, milliseconds.
    pub time_ms: u64,
    /// PostgreSQL's reported parameters for a new session.
    pub parameters: Vec<(String, String)>,
}

/// Why a transaction ended in an ABORT, as one replica saw it: for people, never compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Five characters.
    pub sqlstate: String,
    pub message: String,
    pub detail: String,
}

/// What a request's reply says; equal at all correct replicas for a request of the order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Answer {
    /// `Begin`: the snapshot's height.
    Begun,
    /// `Begin` refused by the order (too many open transactions): SQLSTATE 53300.
    Refused,
    /// `Begin` of an epoch that is over, or about to end: to be begun again in the next one.
    Moved,
    /// `Commit`, `Auto`.
    Committed,
    Aborted,
    /// `Rollback`, `Votes`, `MasterChange`, `Nothing`.
    Done,
    /// `Reconfigured`: the view that holds from the next height on, or why nothing changed.
    Reconfigured {
        view: Option<u64>,
        why: String,
    },
    /// `Exec`: executed; the frames are the replica's own (compared by their digest).
    Executed {
        result: Digest,
    },
}

impl From<Verdict> for Answer {
    fn from(verdict: Verdict) -> Answer {
        match verdict {
            Verdict::Commit => Answer::Committed,
            Verdict::Abort => Answer::Aborted,
        }
    }
}

/// The answer to an ordered request. Sent when final and durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    pub incarnation: u64,
    pub seq: u64,
    pub height: Height,
    pub index: u32,
    /// Consensus time of the batch.
    pub time_ms: u64,
    /// The master epoch after this item.
    pub epoch: u64,
    pub answer: Answer,
    /// Not compared: this replica's reason for an ABORT.
    pub reason: Option<Reason>,
    /// Not compared by bytes: frames of an `Exec`.
    pub frames: Vec<Bytes>,
}

/// The outcome of an operation or of a read at one replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Backend messages for the client, verbatim, whole frames.
    pub frames: Vec<Bytes>,
    /// Digest of the outcome as the replica computed it.
    pub result: Digest,
    /// `I`, `T` or `E`, as in ReadyForQuery.
    pub transaction: u8,
}

/// From a replica to a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplicaMessage {
    Reply(Reply),
    /// The request was not accepted for ordering; nothing was done.
    Rejected {
        incarnation: u64,
        seq: u64,
        reason: String,
    },
    /// The request's MAC vector does not do here; nothing was done. The client is to sign the same request.
    MustSign {
        incarnation: u64,
        seq: u64,
    },
    /// The master's provisional answer.
    Operation {
        tx: TxId,
        step: u32,
        outcome: Outcome,
        /// `result` in it is the master's own; the client replaces it by the digest of what it received.
        evidence: Evidence,
        /// Last final height at the master when the operation ended (for `Auto`: `ran_at`).
        ran_at: Height,
        /// The master's word for all that it answered in the transaction so far; none for `Auto`, which is judged at
        /// another state than it ran at.
        word: Option<Signature>,
    },
    /// The transaction cannot go on here: the master changed, it restarted, or the session was given up.
    Doomed {
        tx: TxId,
        reason: Reason,
        epoch: u64,
    },
    /// An unordered read's answer.
    Read {
        id: u64,
        height: Height,
        digest: Digest,
        /// SQLSTATE when it failed.
        failed: Option<String>,
        /// Absent when only the digest was asked for.
        outcome: Option<Outcome>,
    },
    Info {
        id: u64,
        status: ReplicaStatus,
    },
    /// The tables of this replica at the audit's height: (name, rows, digest), sorted.
    Audit {
        incarnation: u64,
        seq: u64,
        height: Height,
        tables: Vec<(String, u64, Digest)>,
        error: Option<String>,
    },
    /// The membership changed; sent to all clients, and to one that connects. Without the clients' keys.
    View(Box<View>),
    /// The epoch moved; sent to all clients.
    Epoch {
        epoch: u64,
        height: Height,
    },
    /// Answers to several requests at once.
    Replies(Vec<Reply>),
    /// This replica's part of a receipt.
    Receipt {
        id: u64,
        given: Given,
    },
    /// What the master has told this replica of an operation that it brought: an encoded `Operation` or `Doomed`.
    Brought {
        tx: TxId,
        message: Bytes,
    },
}
