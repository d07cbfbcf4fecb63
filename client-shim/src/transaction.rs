//! An open transaction: operations at the master, evidence gathered, a commit that all replicas judge.

use crate::error::ShimError;
use crate::inner::{Inner, MasterAnswer};
use crate::shim::{Committed, Last};
use std::sync::Arc;
use tokio::sync::oneshot;
use txn::client::{Answer, ClientMessage, Outcome, Reason, Reply};
use txn::ordered::SessionSettings;
use txn::{Begin, Commit, Operation, Ordered, Step, TxId};

/// Characters of a statement that the timeline tells.
const TOLD: usize = 100;

/// An open transaction. Dropped without an end, it is rolled back in the background.
pub struct Transaction {
    inner: Arc<Inner>,
    last: Last,
    tx: TxId,
    epoch: u64,
    begun: Option<oneshot::Receiver<Result<Reply, String>>>,
    steps: Vec<Step>,
    /// Operations sent to the master, those left out of `steps` included.
    sent: u32,
    failed: bool,
    ended: bool,
}

/// Cancels what runs in a transaction.
#[derive(Clone)]
pub struct Cancel {
    inner: Arc<Inner>,
    tx: TxId,
}

impl Cancel {
    /// Asks the master to cancel; the operation then ends with 57014, if it has not ended by itself.
    pub fn now(&self) {
        self.inner
            .send(self.inner.master(), &ClientMessage::Cancel { tx: self.tx });
    }
}

impl Transaction {
    pub(crate) fn begin(
        inner: Arc<Inner>,
        last: Last,
        settings: SessionSettings,
        read_only: bool,
    ) -> Transaction {
        let seq = inner.next_seq();
        let tx = TxId {
            client: inner.me,
            incarnation: inner.incarnation,
            seq,
        };
        let epoch = *inner.epoch.borrow();
        let begin = Ordered::Begin(Begin {
            epoch,
            settings,
            read_only,
        });
        tracing::trace!(target: "timeline", at = "begin", %tx);
        let begun = Some(inner.order(seq, &begin));
        Transaction {
            inner,
            last,
            tx,
            epoch,
            begun,
            steps: Vec::new(),
            sent: 0,
            failed: false,
            ended: false,
        }
    }

    /// What names it in the order.
    pub fn id(&self) -> TxId {
        self.tx
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
        Cancel {
            inner: self.inner.clone(),
            tx: self.tx,
        }
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
        let step = self.sent;
        self.sent += 1;
        let answer = self.inner.expect_operation(self.tx, step);
        let message = ClientMessage::Operation {
            tx: self.tx,
            step,
            operation: operation.clone(),
        };
        tracing::trace!(target: "timeline", at = "operation", tx = %self.tx, step, sql = %operation.sql.chars().take(TOLD).collect::<String>());
        let result = self.answer(step, answer, &message).await;
        tracing::trace!(target: "timeline", at = "answer", tx = %self.tx, step);
        self.inner.forget_operation(self.tx, step);
        let (outcome, mut evidence) = match result {
            Ok(found) => found,
            Err(error) => {
                self.give_up();
                return Err(error);
            }
        };
        self.failed = outcome.transaction == b'E';
        let erred = outcome.frames.iter().any(|f| f.first() == Some(&b'E'));
        // What the client saw, not what the master says it sent (DESIGN.md, 3).
        evidence.result = txn::result::digest(&outcome.frames, operation.order.as_deref());
        // A failure moves the transaction's state, so it is replayed whatever failed; a description or an answer from
        // the catalogs that did not fail leaves no trace.
        evidence.unvalidated = unvalidated && !erred;
        if erred || !operation.describe_only {
            self.steps.push(Step {
                operation,
                evidence,
            });
        }
        Ok(outcome)
    }

    async fn answer(
        &mut self,
        step: u32,
        answer: oneshot::Receiver<MasterAnswer>,
        message: &ClientMessage,
    ) -> Result<(Outcome, txn::Evidence), ShimError> {
        let mut epochs = self.inner.epoch.subscribe();
        let mut links = self.inner.links_changed();
        self.inner.send(self.inner.master_of(self.epoch), message);
        let inner = self.inner.clone();
        let silence = inner.silence();
        tokio::pin!(answer, silence);
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
                        Ok(MasterAnswer::Outcome { outcome, evidence, .. }) => Ok((outcome, evidence)),
                        Ok(MasterAnswer::Doomed(reason)) => Err(doomed(reason)),
                        Err(_) => Err(ShimError::retry("the operation was given up")),
                    };
                }
                reply = begun => {
                    self.begun = None;
                    match reply {
                        Ok(Ok(reply)) if reply.answer == Answer::Refused => {
                            return Err(ShimError::new("53300", "too many open transactions")
                                .hint("End other transactions, or use fewer connections."));
                        }
                        Ok(Err(why)) => return Err(ShimError::new("53400", format!("the replicas do not accept a transaction: {why}"))),
                        Ok(Ok(_)) | Err(_) => {}
                    }
                }
                changed = epochs.changed() => {
                    if changed.is_err() || *epochs.borrow() > self.epoch {
                        return Err(ShimError::retry("could not serialize access: the master replica changed"));
                    }
                }
                silent = &mut silence => return Err(ShimError::silent(silent)),
                _ = links.changed() => {
                    // The master may be back after a broken link; it knows a step that it answered already.
                    if step + 1 == self.sent {
                        self.inner.send(self.inner.master_of(self.epoch), message);
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
        self.ended = true;
        self.last.set(None);
        let commit = Ordered::Commit(Commit {
            tx: self.tx,
            epoch: self.epoch,
            steps: std::mem::take(&mut self.steps),
        });
        let seq = self.inner.next_seq();
        tracing::trace!(target: "timeline", at = "commit", tx = %self.tx, seq);
        let receiver = self.inner.order(seq, &commit);
        let answered = self.inner.answered(seq, receiver).await;
        tracing::trace!(target: "timeline", at = "committed", tx = %self.tx);
        match answered {
            Some(Ok(reply)) if reply.answer == Answer::Committed => {
                let (tx, height, index) = (self.tx, reply.height, reply.index);
                self.last.set(Some(Committed { tx, height, index }));
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
        let receiver = self.inner.order(seq, &Ordered::Rollback { tx: self.tx });
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
