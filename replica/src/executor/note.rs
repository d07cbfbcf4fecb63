//! What jobs tell the executor.

use bytes::Bytes;
use consensus::{ClientId, Height, ReplicaId};
use pgsession::{Error, ErrorFields, Session};
use tokio::sync::OwnedRwLockWriteGuard;
use txn::client::ReplicaMessage;
use txn::{Operation, TxId};

use super::{adopt, copy, judge, operation};

/// What a job tells the executor.
pub enum Note {
    Opened {
        tx: TxId,
        session: Option<Session>,
        refused: Option<ErrorFields>,
        error: Option<Error>,
    },
    AutoStarted {
        tx: TxId,
        pid: i32,
    },
    Ran {
        tx: TxId,
        session: Session,
        operation: Operation,
        ran: Result<operation::Ran, Error>,
    },
    JudgingIn {
        height: Height,
        index: u32,
        tx: TxId,
        pid: i32,
    },
    Judged {
        height: Height,
        index: u32,
        tx: TxId,
        session: Option<Session>,
        report: judge::Report,
    },
    Yielded {
        height: Height,
        index: u32,
        tx: TxId,
        session: Session,
        error: Option<Error>,
    },
    Ended {
        height: Height,
        index: u32,
        tx: TxId,
        error: Option<String>,
    },
    AdoptingIn {
        height: Height,
        index: u32,
        pid: i32,
    },
    Adopted {
        height: Height,
        index: u32,
        tx: TxId,
        error: Option<adopt::Failure>,
    },
    Executed {
        height: Height,
        index: u32,
        frames: Vec<Bytes>,
        error: Option<Error>,
    },
    AuditOpened {
        height: Height,
        index: u32,
    },
    Audited {
        client: ClientId,
        message: ReplicaMessage,
    },
    Compared {
        height: Height,
        digested: Result<super::contents::Contents, String>,
    },
    /// A state is kept for a replica that copies it, or is not.
    CopyKept {
        asker: ReplicaId,
        height: Height,
        kept: Result<copy::source::Progress, String>,
    },
    /// The copy of this replica ended.
    Copied(copy::receive::Copied),
    /// A part of a receipt is signed, or refused.
    ReceiptMade {
        client: ClientId,
        message: ReplicaMessage,
    },
    Cancelled {
        tx: TxId,
    },
    Blocked(Vec<(i32, i32)>),
    Gate(OwnedRwLockWriteGuard<()>),
    /// Own votes are durable.
    VotesDurable(txn::VotePart),
    /// A reply's decision is durable.
    ReplyDurable {
        client: ClientId,
        message: Bytes,
    },
    ReadDone {
        client: ClientId,
        id: u64,
    },
    Health(Result<(), String>),
}
