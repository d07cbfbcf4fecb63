//! The session behind an open transaction, and what runs in it.

use super::judge::reason;
use super::lasting::Savepoints;
use super::opening::Opening;
use consensus::{ClientId, Height, ReplicaId, Signature};
use ed25519_dalek::SigningKey;
use pgsession::Session;
use std::collections::{BTreeSet, VecDeque};
use tokio::time::Instant;
use txn::client::{Outcome, Reason};
use txn::given::{Given, Repeat, Taken};
use txn::word::Account;
use txn::{Evidence, Operation, Step, TxId, WriteSet};

/// What the master did for one operation.
pub struct Done {
    pub operation: Operation,
    pub evidence: Evidence,
    pub write_set: WriteSet,
}

/// The last answer, for a client whose link broke before it came.
pub struct LastAnswer {
    pub step: u32,
    pub outcome: Outcome,
    pub evidence: Evidence,
    pub ran_at: Height,
    pub word: Option<Signature>,
}

/// What a lent session is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    Opening,
    /// A client's operation, at the master.
    Operation,
    /// An ordered item.
    Judging(Height, u32),
    Applying(Height, u32),
    /// Being rolled back to its savepoint for something ordered earlier.
    Yielding(Height, u32),
}

/// Where the session is.
#[expect(
    clippy::large_enum_variant,
    reason = "sessions move in and out at every operation"
)]
pub enum Place {
    /// Here, idle in its transaction.
    Home(Session),
    /// Lent to a job.
    Away(Work),
    /// It does not exist: lost with a restart, given up, or never opened.
    Gone,
}

/// A transaction at this replica.
pub struct TxSession {
    pub client: ClientId,
    pub place: Place,
    /// PostgreSQL's process, while there is a session.
    pub pid: i32,
    pub opening: Opening,
    /// An autocommit write at the master.
    pub auto: bool,
    /// Operations ran in it as a client's, at the master.
    pub speculative: bool,
    pub done: Vec<Done>,
    /// What these took from sequences.
    pub taken: Taken,
    pub savepoints: Savepoints,
    pub last: Option<LastAnswer>,
    /// What was answered in it so far, which the master gives its word for.
    pub account: Option<Account>,
    /// Operations that wait for the session.
    pub queue: VecDeque<(u32, Operation)>,
    /// Last final height when an autocommit write started.
    pub ran_at: Height,
    /// When its client last heard of it.
    pub idle_since: Instant,
    /// The step that runs now, or ran last.
    pub running_step: u32,
    /// Who brought its operations here for its client.
    pub bringers: BTreeSet<ReplicaId>,
    /// It is over; what comes for it is answered with this.
    pub doom: Option<Reason>,
    /// The item that it is judged as, once its commit is ordered.
    pub item: Option<(Height, u32)>,
    /// It judged COMMIT and holds its locks.
    pub holds: bool,
    /// Something ordered earlier asked for its locks while it ran.
    pub preempted: bool,
    /// It ran something since its snapshot: the operations are to run from the savepoint.
    pub lapsed: bool,
    /// A cancel is under way; the session is not used before it arrived.
    pub cancelling: bool,
    /// What came back meanwhile.
    pub after_cancel: Option<Box<(Height, u32, super::judge::Report)>>,
    pub ran_meanwhile: Option<Box<(Operation, Result<super::operation::Ran, pgsession::Error>)>>,
}

impl TxSession {
    pub fn new(client: ClientId, opening: Opening, auto: bool) -> TxSession {
        TxSession {
            client,
            place: Place::Gone,
            pid: 0,
            opening,
            auto,
            speculative: false,
            done: Vec::new(),
            taken: Taken::default(),
            savepoints: Savepoints::default(),
            last: None,
            account: None,
            queue: VecDeque::new(),
            ran_at: 0,
            idle_since: Instant::now(),
            running_step: 0,
            bringers: BTreeSet::new(),
            doom: None,
            item: None,
            holds: false,
            preempted: false,
            lapsed: false,
            cancelling: false,
            after_cancel: None,
            ran_meanwhile: None,
        }
    }

    /// Takes the session for a job.
    pub fn lend(&mut self, work: Work) -> Option<Session> {
        match std::mem::replace(&mut self.place, Place::Away(work)) {
            Place::Home(session) => Some(session),
            other => {
                self.place = other;
                None
            }
        }
    }

    /// Takes down what an operation took from sequences; or a value of that which was given before, and nothing then.
    pub fn takes(&mut self, evidence: &Evidence, given: &Given) -> Option<Repeat> {
        let repeat = self.taken.add(evidence, Some(given)).err()?;
        self.taken = Taken::default();
        for done in &self.done {
            // Looked at when it ran.
            let _ = self.taken.add(&done.evidence, None);
        }
        Some(repeat)
    }

    /// Takes down what an operation came to; the master's word for everything since the transaction began.
    pub fn note(&mut self, tx: TxId, epoch: u64, done: Done, key: &SigningKey) -> Signature {
        let fresh = || Account::new(tx, epoch);
        let account = self.account.get_or_insert_with(fresh);
        account.add(&done.operation, &done.evidence);
        let word = account.sign(key);
        self.done.push(done);
        word
    }

    /// It is over, since something that is ordered needs what it has locked.
    pub fn give_way(&mut self) {
        let why = "could not serialize access: a transaction that was ordered earlier needs what this one has locked";
        self.preempted = false;
        self.doom.get_or_insert(reason("40001", why, ""));
    }

    pub fn work(&self) -> Option<Work> {
        match self.place {
            Place::Away(work) => Some(work),
            Place::Home(_) | Place::Gone => None,
        }
    }

    /// The write sets of the ordered steps, if they are the operations that this replica ran for the client, with the
    /// results that it sent (DESIGN.md: every replica checks that the ordered operations are those that it ran).
    pub fn confirms(&self, steps: &[Step]) -> Result<Vec<WriteSet>, String> {
        if self.done.len() != steps.len() {
            return Err(format!(
                "{} operations were run, {} are ordered",
                self.done.len(),
                steps.len()
            ));
        }
        let mut write_sets = Vec::with_capacity(steps.len());
        for (number, (done, step)) in self.done.iter().zip(steps).enumerate() {
            let (own, ordered) = (&done.evidence, &step.evidence);
            let same = done.operation == step.operation
                && (own.result == ordered.result || ordered.is_uncompared())
                && own.write == ordered.write
                && own.sequences == ordered.sequences
                && own.claims == ordered.claims
                && own.schema_change == ordered.schema_change
                && own.adds_only == ordered.adds_only
                && own.failed == ordered.failed;
            if !same {
                return Err(format!(
                    "operation {} is ordered otherwise than it ran",
                    number + 1
                ));
            }
            write_sets.push(done.write_set.clone());
        }
        Ok(write_sets)
    }
}
