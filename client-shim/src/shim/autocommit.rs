//! Autocommit writes: one ordered round (DESIGN.md, 7).

use super::{Committed, Shim};
use crate::cancellation::Cancellation;
use crate::error::ShimError;
use crate::inner::MasterAnswer;
use crate::transaction::{MALFORMED, NO_WORD, aborted, doomed};
use consensus::Signature;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;
use txn::client::{Answer, ClientMessage, Outcome, Turn, UNCONFIRMED};
use txn::ordered::SessionSettings;
use txn::word::Account;
use txn::{Auto, Evidence, Exec, Isolation, Operation, Ordered, Step, TxId};

/// How often an autocommit write is run unseen before its client is told.
const ATTEMPTS: u32 = 18;

/// From this attempt on it asks for a turn whatever the replicas say of its conflicts: the words are one replica's.
const LAST_TURN: u32 = 14;

/// How an autocommit write is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Alone,
    /// As a transaction of its own. That is judged at the very snapshot at which the master ran it: what differs there is the
    /// master's doing, and is held against it.
    AsTransaction,
    /// Others commit between its run and its place in the order: it asks for a turn, in which they wait (decision 34).
    InTurn,
}

impl Way {
    fn of(attempt: u32) -> Way {
        match attempt {
            0..=3 => Way::Alone,
            4 | 11..=13 => Way::AsTransaction,
            _ => Way::InTurn,
        }
    }

    /// The pause before it. In a turn what is under way comes to its end meanwhile.
    fn pause(attempt: u32) -> Duration {
        let millis = match attempt {
            6 => 0,
            7..=10 => 25 << (attempt - 7),
            15..=17 => 50 << (attempt - LAST_TURN - 1),
            _ => 2 << attempt.min(7),
        };
        Duration::from_millis(millis)
    }
}

/// Tells the master that nobody waits for an autocommit write any more, unless it was ordered.
struct Running<'a> {
    shim: &'a Shim,
    tx: TxId,
    ordered: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let inner = &self.shim.0;
        inner.forget_operation(self.tx, 0);
        if !self.ordered {
            inner.send(inner.master(), &ClientMessage::AutoForget { tx: self.tx });
        }
    }
}

impl Shim {
    /// Runs one write in a transaction of its own. An SQL error is an outcome whose frames end in an ErrorResponse.
    ///
    /// # Errors
    /// 40001 when it was aborted again and again, 08007 when no quorum tells what became of it, 57014 when `cancelled`
    /// resolved between two runs. A run is cancelled at the master as long as it is not ordered; afterwards its client
    /// waits for the truth.
    pub async fn auto(
        &self,
        settings: SessionSettings,
        operation: Operation,
        cancelled: impl Future<Output = ()> + Send,
    ) -> Result<Outcome, ShimError> {
        self.auto_cancellable(settings, operation, &mut Cancellation::new(cancelled))
            .await
    }

    pub(super) async fn auto_cancellable<F: Future<Output = ()> + Send>(
        &self,
        settings: SessionSettings,
        operation: Operation,
        cancelled: &mut Cancellation<F>,
    ) -> Result<Outcome, ShimError> {
        let (mut last, mut number) = (None, None);
        let mut conflicts = true;
        self.1.set(None);
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                tokio::select! {
                    () = tokio::time::sleep(Way::pause(attempt)) => {}
                    () = cancelled.comes() => return Err(ShimError::cancelled()),
                }
            }
            let way = Way::of(attempt);
            let done = if way == Way::AsTransaction {
                self.as_transaction(&settings, &operation, cancelled).await
            } else {
                let turn =
                    (way == Way::InTurn && (conflicts || attempt >= LAST_TURN)).then(|| Turn {
                        statement: *number.get_or_insert_with(|| self.0.fresh()),
                        last: attempt + 1 == ATTEMPTS || Way::of(attempt + 1) != Way::InTurn,
                    });
                self.auto_once(turn, &settings, &operation, cancelled).await
            };
            match done {
                Ok(outcome) => return Ok(outcome),
                Err(error) if error.sqlstate == "40001" => {
                    // Nobody came between a snapshot and what it says there: a turn would not help.
                    conflicts &= way != Way::AsTransaction || error.message != UNCONFIRMED;
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        let last = last.unwrap_or_else(|| aborted(None));
        let detail = last.detail.clone().unwrap_or_default();
        Err(last.detail(format!("Run {ATTEMPTS} times. {detail}")))
    }

    async fn auto_once<F: Future<Output = ()> + Send>(
        &self,
        turn: Option<Turn>,
        settings: &SessionSettings,
        operation: &Operation,
        cancelled: &mut Cancellation<F>,
    ) -> Result<Outcome, ShimError> {
        let inner = &self.0;
        let epoch = *inner.epoch.borrow();
        let settings = self.2.carried(settings.clone());
        let tx = TxId {
            client: inner.me,
            incarnation: inner.incarnation,
            seq: TxId::AUTO | inner.fresh(),
        };
        let mut running = Running {
            shim: self,
            tx,
            ordered: false,
        };
        let message = ClientMessage::AutoOperation {
            tx,
            epoch,
            min_height: inner.seen.load(Ordering::Relaxed),
            turn,
            settings: settings.clone(),
            operation: operation.clone(),
        };
        let (outcome, mut evidence, ran_at, word) =
            self.at_master(tx, epoch, &message, cancelled).await?;
        evidence.result = txn::result::digest(&outcome.frames, operation.order.as_deref());
        let sequences = evidence.sequences.clone();
        let failure = outcome.frames.iter().find_map(txn::result::sqlstate);
        if failure.as_ref().is_some_and(|sqlstate| is_local(sqlstate)) {
            // Timing, cancels and local trouble are the master's own; nobody else can confirm them.
            return Ok(outcome);
        }
        let step = Step {
            operation: operation.clone(),
            evidence,
        };
        if !step.evidence.sequences.is_empty() {
            let account = Account::of(tx, epoch, std::slice::from_ref(&step));
            if !inner.is_word(epoch, &account, word) {
                return Err(inner.complain(epoch, NO_WORD));
            }
        }
        running.ordered = true;
        let auto = Ordered::Auto(Auto {
            tx,
            epoch,
            ran_at,
            settings,
            step,
            word: word.map(Box::new),
        });
        let reply = self.invoke(&auto).await?;
        match reply.answer {
            Answer::Committed => {
                self.2.note(&sequences);
                // One that failed is confirmed too; nobody wants a receipt of it.
                if failure.is_none() {
                    let (height, index) = (reply.height, reply.index);
                    self.1.set(Some(Committed { tx, height, index }));
                }
                Ok(outcome)
            }
            _ => Err(aborted(reply.reason)),
        }
    }

    async fn as_transaction<F: Future<Output = ()> + Send>(
        &self,
        settings: &SessionSettings,
        operation: &Operation,
        cancelled: &mut Cancellation<F>,
    ) -> Result<Outcome, ShimError> {
        let mut transaction = self.begin(settings.clone(), Isolation::of(settings), false);
        let cancel = transaction.cancel();
        let outcome = {
            let run = transaction.execute(operation.clone(), false);
            tokio::pin!(run);
            loop {
                tokio::select! {
                    outcome = &mut run => break outcome?,
                    () = cancelled.comes() => cancel.now(),
                }
            }
        };
        match outcome.frames.iter().find_map(txn::result::sqlstate) {
            Some(sqlstate) if &*sqlstate == b"40001" => return Err(aborted(None)),
            // Nobody else can confirm it; see above.
            Some(sqlstate) if is_local(&sqlstate) => return Ok(outcome),
            _ => {}
        }
        transaction.commit().await?;
        Ok(outcome)
    }

    async fn at_master<F: Future<Output = ()> + Send>(
        &self,
        tx: TxId,
        epoch: u64,
        message: &ClientMessage,
        cancelled: &mut Cancellation<F>,
    ) -> Result<(Outcome, Evidence, u64, Option<Signature>), ShimError> {
        let inner = &self.0;
        let mut answer = inner.expect_operation(tx, 0);
        let mut epochs = inner.epoch.subscribe();
        if *epochs.borrow_and_update() > epoch {
            return Err(ShimError::retry("the master replica changed"));
        }
        let mut links = inner.links_changed();
        inner.send(inner.master_of(epoch), message);
        let silence = inner.silence();
        tokio::pin!(silence);
        let mut errand = inner.errand(epoch, message);
        loop {
            tokio::select! {
                found = &mut answer => {
                    return match found {
                        Ok(MasterAnswer::Outcome { outcome, evidence, ran_at, word }) => Ok((outcome, *evidence, ran_at, word)),
                        Ok(MasterAnswer::Doomed { reason, .. }) => Err(doomed(reason)),
                        Ok(MasterAnswer::Malformed) => Err(inner.complain(epoch, MALFORMED)),
                        Err(_) => Err(aborted(None)),
                    };
                }
                () = cancelled.comes() => {
                    inner.send(inner.master_of(epoch), &ClientMessage::Cancel { tx });
                }
                _ = epochs.changed() => {
                    if *epochs.borrow() > epoch {
                        return Err(ShimError::retry("the master replica changed"));
                    }
                }
                silent = &mut silence => return Err(ShimError::silent(silent)),
                () = errand.due() => errand.send(),
                _ = links.changed() => {
                    inner.send(inner.master_of(epoch), message);
                }
            }
        }
    }

    /// Has a statement executed by all replicas at its place in the order, outside of a transaction block.
    ///
    /// # Errors
    /// As [`Shim::invoke`].
    pub async fn exec(
        &self,
        settings: SessionSettings,
        operation: Operation,
    ) -> Result<Outcome, ShimError> {
        let reply = self
            .invoke(&Ordered::Exec(Exec {
                settings,
                operation,
            }))
            .await?;
        let Answer::Executed { result } = reply.answer else {
            return Err(ShimError::new(
                "XX000",
                "a replica answered something else than an execution",
            ));
        };
        Ok(Outcome {
            frames: reply.frames,
            result,
            transaction: b'I',
        })
    }
}

/// SQLSTATEs that say something about the moment, the machine or the statement, not about the data.
fn is_local(sqlstate: &[u8]) -> bool {
    // 0A000: what is not supported was not carried out, whatever the data.
    matches!(
        sqlstate,
        b"40001" | b"40P01" | b"55P03" | b"57014" | b"0A000"
    ) || sqlstate.starts_with(b"53")
        || sqlstate.starts_with(b"58")
        || sqlstate.starts_with(b"57P")
        || sqlstate.starts_with(b"XX")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_aborted_again_and_again_asks_for_a_turn_and_blames_a_liar() {
        let ways: Vec<Way> = (0..ATTEMPTS).map(Way::of).collect();
        let count = |way: Way| ways.iter().filter(|of| **of == way).count();
        assert_eq!(ways[..4], [Way::Alone; 4], "conflicts of the moment");
        assert_eq!(ways[5..11], [Way::InTurn; 6]);
        // So many differences replace a master (`txn::blame`).
        assert_eq!(count(Way::AsTransaction), 4);
        assert_eq!(*ways.last().unwrap(), Way::InTurn);
        let pauses: Duration = (1..ATTEMPTS).map(Way::pause).sum();
        assert!(pauses < Duration::from_secs(3), "{pauses:?}");
    }
}
