//! A transaction that has shown its client nothing yet is begun again unseen when the master changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;
use txn::client::{ClientMessage, Reply};
use txn::{Begin, Ordered, TxId};

use crate::error::ShimError;
use crate::inner::Inner;

/// How long a Begin is held for the next epoch: open transactions are waited for, then replicas vote.
const HELD: Duration = Duration::from_millis(txn::limits::MAX_DRAIN_MS as u64 + 10_000);

/// The answer to a Begin that is on its way.
pub(crate) type Begun = oneshot::Receiver<Result<Reply, String>>;

/// What names a transaction for now, shared with those who would cancel it.
#[derive(Clone)]
pub(crate) struct Name {
    inner: Arc<Inner>,
    seq: Arc<AtomicU64>,
    cancelled: Arc<Notify>,
}

impl Name {
    /// Orders a Begin.
    pub fn begin(inner: Arc<Inner>, begin: &Begin) -> (Name, Begun) {
        let name = Name {
            inner,
            seq: Arc::default(),
            cancelled: Arc::default(),
        };
        let begun = name.order(begin);
        (name, begun)
    }

    pub fn tx(&self) -> TxId {
        TxId {
            client: self.inner.me,
            incarnation: self.inner.incarnation,
            seq: self.seq.load(Ordering::Relaxed),
        }
    }

    /// Asks the master to cancel what runs in it, and ends the wait for the next epoch.
    pub fn cancel(&self) {
        let message = ClientMessage::Cancel { tx: self.tx() };
        self.inner.send(self.inner.master(), &message);
        self.cancelled.notify_waiters();
    }

    /// Waits until the epoch of `begin` is over, then begins in the next one.
    ///
    /// # Errors
    /// 57014 when it was cancelled meanwhile, 40001 when no new master is there in time.
    pub async fn begin_anew(&self, begin: &mut Begin) -> Result<Begun, ShimError> {
        let mut epochs = self.inner.epoch.subscribe();
        let old = begin.epoch;
        let next = timeout(HELD, epochs.wait_for(|epoch| *epoch > old));
        let epoch = tokio::select! {
            () = self.cancelled.notified() => return Err(ShimError::cancelled()),
            next = next => match next {
                Ok(Ok(epoch)) => *epoch,
                Ok(Err(_)) | Err(_) => {
                    let what = "could not serialize access: the master replica is about to change";
                    return Err(ShimError::retry(what));
                }
            },
        };
        begin.epoch = epoch;
        Ok(self.order(begin))
    }

    fn order(&self, begin: &Begin) -> Begun {
        let seq = self.inner.next_seq();
        self.seq.store(seq, Ordering::Relaxed);
        tracing::trace!(target: "timeline", at = "begin", tx = %self.tx());
        self.inner.order(seq, &Ordered::Begin(begin.clone()))
    }
}
