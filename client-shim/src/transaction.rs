//! An open transaction: operations at the master, evidence gathered, a commit that all replicas judge.

use crate::anew::{Begun, Name};
use crate::drawn::Drawn;
use crate::error::ShimError;
use crate::inner::{Inner, MasterAnswer};
use crate::shim::{Committed, Last};
use consensus::Signature;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use txn::client::{Answer, ClientMessage, Outcome, Reason};
use txn::ordered::SessionSettings;
use txn::word::Account;
use txn::{Begin, Commit, Isolation, Operation, Ordered, SequenceValues, Step, TxId};

/// Characters of a statement that the timeline tells.
const TOLD: usize = 100;

/// Between two questions to a master that does not know that it is one.
const UNTIL_IT_KNOWS: Duration = Duration::from_millis(5);

/// What is said of a master's answer that is not made of messages.
pub(crate) const NO_WORD: &str = "the master does not stand for its answers";
pub(crate) const MALFORMED: &str = "the master's answer is not made of whole messages";

/// An open transaction. Dropped without an end, it is rolled back in the background.
pub struct Transaction {
    inner: Arc<Inner>,
    last: Last,
    drawn: Drawn,
    /// What its operations took from sequences, by the master's word; nobody else's before the commit.
    used: Vec<SequenceValues>,
    name: Name,
    begin: Begin,
    begun: Option<Begun>,
    steps: Vec<Step>,
    /// The same steps, for which the master gives its word, and its last word.
    account: Account,
    word: Option<Signature>,
    /// Operations sent to the master, those left out of `steps` included.
    sent: u32,
    failed: bool,
    ended: bool,
}

/// Cancels what runs in a transaction.
#[derive(Clone)]
pub struct Cancel(Name);

impl Cancel {
    /// Asks the master to cancel; the operation then ends with 57014, if it has not ended by itself.
    pub fn now(&self) {
        self.0.cancel();
    }
}

/// Why an operation has no answer.
enum Lost {
    /// The master changed, or is about to.
    Moved,
    /// Who is master by the word of f+1 replicas has not heard of it yet.
    Behind,
    Over(ShimError),
}

impl From<ShimError> for Lost {
    fn from(error: ShimError) -> Lost {
        Lost::Over(error)
    }
}

impl Transaction {
    pub(crate) fn begin(
        inner: Arc<Inner>,
        (last, drawn): (Last, Drawn),
        settings: SessionSettings,
        isolation: Isolation,
        read_only: bool,
    ) -> Transaction {
        let begin = Begin {
            epoch: *inner.epoch.borrow(),
            settings: drawn.carried(settings),
            isolation,
            read_only,
        };
        let (name, begun) = Name::begin(inner.clone(), &begin);
        let account = Account::new(name.tx(), begin.epoch);
        Transaction {
            inner,
            last,
            drawn,
            used: Vec::new(),
            name,
            begin,
            begun: Some(begun),
            steps: Vec::new(),
            account,
            word: None,
            sent: 0,
            failed: false,
            ended: false,
        }
    }

    /// What names it in the order; another one after its first operation, if the master changed before that.
    pub fn id(&self) -> TxId {
        self.name.tx()
    }

    /// Whether the last operation failed, so that PostgreSQL ignores commands until the end or a `ROLLBACK TO`.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// Whether nothing was sent to the master yet.
    pub fn is_untouched(&self) -> bool {
        self.sent == 0
    }

    /// A handle that cancels what runs in this transaction.
    pub fn cancel(&self) -> Cancel {
        Cancel(self.name.clone())
    }

    /// Runs one operation at the master. An SQL error is an outcome whose frames end in an ErrorResponse.
    ///
    /// # Errors
    /// When the transaction is over: 40001 when the master changed or gave the session up, 53300 when its Begin was
    /// refused. Nothing of it will be committed.
    pub async fn execute(
        &mut self,
        operation: Operation,
        unvalidated: bool,
    ) -> Result<Outcome, ShimError> {
        if self.ended {
            return Err(ShimError::retry("the transaction is over"));
        }
        if self.steps.len() >= txn::limits::STEPS_PER_TRANSACTION {
            self.give_up();
            let most = txn::limits::STEPS_PER_TRANSACTION;
            let error = ShimError::new(
                "54000",
                format!("a transaction has {most} statements at most"),
            );
            return Err(error.hint("Commit in between. Preparing a statement counts as one."));
        }
        let step = self.sent;
        self.sent += 1;
        let result = self.ask(step, &operation).await;
        let (outcome, mut evidence) = match result {
            Ok((outcome, evidence, word)) => {
                self.word = word;
                (outcome, evidence)
            }
            Err(error) => {
                self.give_up();
                return Err(error);
            }
        };
        self.failed = outcome.transaction == b'E';
        self.used.extend(evidence.sequences.iter().cloned());
        let erred = outcome.frames.iter().any(|f| f.first() == Some(&b'E'));
        // What the client saw, not what the master says it sent (DESIGN.md, 3).
        evidence.result = txn::result::digest(&outcome.frames, operation.order.as_deref());
        // A failure moves the transaction's state, so it is replayed whatever failed; an answer from the catalogs that did not
        // fail leaves no trace. One that changed something (by a function) runs everywhere.
        evidence.unvalidated = unvalidated && !erred && !evidence.leaves_something();
        self.account.add(&operation, &evidence);
        self.steps.push(Step {
            operation,
            evidence,
        });
        Ok(outcome)
    }

    /// Asks the master; the first operation again in the next epoch if this one ends before it is answered.
    async fn ask(
        &mut self,
        step: u32,
        operation: &Operation,
    ) -> Result<(Outcome, txn::Evidence, Option<Signature>), ShimError> {
        let asked = Instant::now();
        loop {
            let tx = self.name.tx();
            let answer = self.inner.expect_operation(tx, step);
            let message = ClientMessage::Operation {
                tx,
                step,
                operation: operation.clone(),
            };
            tracing::trace!(target: "timeline", at = "operation", %tx, step, sql = %operation.sql.chars().take(TOLD).collect::<String>());
            let result = self.answer(step, answer, &message).await;
            tracing::trace!(target: "timeline", at = "answer", %tx, step);
            self.inner.forget_operation(tx, step);
            match result {
                Ok(found) => return Ok(found),
                Err(Lost::Over(error)) => return Err(error),
                Err(Lost::Behind) if asked.elapsed() < self.inner.settings.patience => {
                    tokio::time::sleep(UNTIL_IT_KNOWS).await;
                }
                Err(Lost::Behind) => {
                    return Err(ShimError::retry(
                        "could not serialize access: the new master is far behind the other replicas",
                    ));
                }
                // Nothing was shown of it, so nobody can tell it from one that began later.
                Err(Lost::Moved) if step == 0 => {
                    self.begun = Some(self.name.begin_anew(&mut self.begin).await?);
                    self.account = Account::new(self.name.tx(), self.begin.epoch);
                }
                Err(Lost::Moved) => {
                    return Err(ShimError::retry(
                        "could not serialize access: the master replica changed",
                    ));
                }
            }
        }
    }

    async fn answer(
        &mut self,
        step: u32,
        answer: oneshot::Receiver<MasterAnswer>,
        message: &ClientMessage,
    ) -> Result<(Outcome, txn::Evidence, Option<Signature>), Lost> {
        let epoch = self.begin.epoch;
        let mut epochs = self.inner.epoch.subscribe();
        if *epochs.borrow_and_update() > epoch {
            // It was idle while the master changed: the old one has no say any more, so nobody would answer.
            return Err(Lost::Moved);
        }
        let mut links = self.inner.links_changed();
        self.inner.send(self.inner.master_of(epoch), message);
        let inner = self.inner.clone();
        let silence = inner.silence();
        tokio::pin!(answer, silence);
        let mut errand = inner.errand(epoch, message);
        loop {
            let begun = async {
                match &mut self.begun {
                    Some(begun) => begun.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                found = &mut answer => {
                    return match found {
                        Ok(MasterAnswer::Outcome { outcome, evidence, word, .. }) => Ok((outcome, *evidence, word)),
                        Ok(MasterAnswer::Doomed { epoch: named, .. }) if named > epoch => Err(Lost::Moved),
                        Ok(MasterAnswer::Doomed { epoch: named, .. }) if named < epoch => Err(Lost::Behind),
                        Ok(MasterAnswer::Doomed { reason, .. }) => Err(doomed(reason).into()),
                        Ok(MasterAnswer::Malformed) => Err(inner.complain(epoch, MALFORMED).into()),
                        Err(_) => Err(ShimError::retry("the operation was given up").into()),
                    };
                }
                reply = begun => {
                    self.begun = None;
                    match reply {
                        Ok(Ok(reply)) if reply.answer == Answer::Moved => return Err(Lost::Moved),
                        Ok(Ok(reply)) if reply.answer == Answer::Refused => {
                            return Err(ShimError::new("53300", "too many open transactions")
                                .hint("End other transactions, or use fewer connections.").into());
                        }
                        Ok(Err(why)) => return Err(ShimError::new("53400", format!("the replicas do not accept a transaction: {why}")).into()),
                        Ok(Ok(_)) | Err(_) => {}
                    }
                }
                changed = epochs.changed() => {
                    if changed.is_err() || *epochs.borrow() > epoch {
                        return Err(Lost::Moved);
                    }
                }
                silent = &mut silence => return Err(ShimError::silent(silent).into()),
                () = errand.due() => errand.send(),
                _ = links.changed() => {
                    // The master may be back after a broken link; it knows a step that it answered already.
                    if step + 1 == self.sent {
                        self.inner.send(self.inner.master_of(epoch), message);
                    }
                }
            }
        }
    }

    /// Has everything that the transaction did judged by all replicas, and waits for their verdict.
    ///
    /// # Errors
    /// 40001 or the SQLSTATE of a deferred constraint when the verdict is ABORT, 08007 when no quorum tells it.
    pub async fn commit(mut self) -> Result<(), ShimError> {
        if self.ended {
            return Err(ShimError::retry("the transaction is over"));
        }
        if !self.steps.is_empty() && !self.has_word() {
            // Nothing could be shown against a master that lied.
            self.give_up();
            return Err(self.inner.complain(self.begin.epoch, NO_WORD));
        }
        self.ended = true;
        self.last.set(None);
        let commit = Ordered::Commit(Commit {
            tx: self.name.tx(),
            epoch: self.begin.epoch,
            steps: std::mem::take(&mut self.steps),
            word: self.word,
        });
        let seq = self.inner.next_seq();
        tracing::trace!(target: "timeline", at = "commit", tx = %self.name.tx(), seq);
        let receiver = self.inner.order(seq, &commit);
        let answered = self.inner.answered(seq, receiver).await;
        tracing::trace!(target: "timeline", at = "committed", tx = %self.name.tx());
        match answered {
            Some(Ok(reply)) if reply.answer == Answer::Committed => {
                let (tx, height, index) = (self.name.tx(), reply.height, reply.index);
                self.last.set(Some(Committed { tx, height, index }));
                self.drawn.note(&std::mem::take(&mut self.used));
                Ok(())
            }
            Some(Ok(reply)) => Err(aborted(reply.reason)),
            Some(Err(why)) => {
                self.ended = false;
                self.give_up();
                Err(ShimError::new(
                    "53400",
                    format!("the replicas do not accept the commit: {why}"),
                ))
            }
            None => Err(ShimError::unknown_outcome()),
        }
    }

    /// Whether its end must be a commit of all replicas, for it changed something.
    pub fn leaves_something(&self) -> bool {
        self.steps
            .iter()
            .any(|step| step.evidence.leaves_something())
    }

    /// Whether the master signed what this client was answered.
    fn has_word(&self) -> bool {
        self.inner
            .is_word(self.begin.epoch, &self.account, self.word)
    }

    /// Ends the transaction without effects.
    pub async fn rollback(mut self) {
        self.give_up();
    }

    fn give_up(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        // Ordered in the background: the client need not wait for what has no effect.
        let seq = self.inner.next_seq();
        let receiver = self
            .inner
            .order(seq, &Ordered::Rollback { tx: self.name.tx() });
        let inner = self.inner.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                inner.answered(seq, receiver).await;
            });
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        // Empty after a commit.
        self.drawn.doubt(&self.used);
        self.give_up();
    }
}

pub(crate) fn doomed(reason: Reason) -> ShimError {
    let mut error = ShimError::new(&reason.sqlstate, reason.message);
    if !reason.detail.is_empty() {
        error = error.detail(reason.detail);
    }
    if error.sqlstate == "40001" {
        error = error.hint("The transaction might succeed if retried.");
    }
    error
}

pub(crate) fn aborted(reason: Option<Reason>) -> ShimError {
    match reason {
        Some(reason) => doomed(reason),
        None => ShimError::retry(
            "could not serialize access: the replicas decided to abort the transaction",
        ),
    }
}
