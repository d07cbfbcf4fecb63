//! Receipts of committed transactions (DESIGN.md, 10).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use consensus::{Height, ReplicaId};
use tokio::time::{Instant, timeout_at};
use txn::TxId;
use txn::client::ClientMessage;
use txn::receipt::{Receipt, Refusal, Wanted};

use super::Shim;
use crate::drawn::Drawn;
use crate::error::ShimError;
use crate::gather::Gather;
use crate::inner::Answers;

/// How long each round of asking may take. The first one asks as few as can be enough, the others ask all: one that lags signs when
/// it has caught up.
const ROUNDS: [Duration; 4] = [
    Duration::from_millis(400),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// Where a transaction was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its name.
    pub tx: TxId,
    /// Its batch.
    pub height: Height,
    /// Its place there.
    pub index: u32,
}

/// What a session committed last; shared with its open transaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Last(Arc<Mutex<Option<Committed>>>);

impl Last {
    /// Nothing, from the moment at which something else is tried.
    pub fn set(&self, committed: Option<Committed>) {
        *self.0.lock().unwrap_or_else(|e| e.into_inner()) = committed;
    }

    fn get(&self) -> Option<Committed> {
        *self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Shim {
    /// A handle for one session: it remembers for itself what was committed last, and what sequences gave it.
    pub fn session(&self) -> Shim {
        Shim(self.0.clone(), Last::default(), Drawn::default())
    }

    /// What was committed last through this handle; nothing after a commit that failed.
    pub fn last_committed(&self) -> Option<Committed> {
        self.1.get()
    }

    /// The receipt of what was committed last through this handle.
    ///
    /// # Errors
    /// 55000 when there is nothing; otherwise as [`Shim::receipt_of`].
    pub async fn receipt(&self) -> Result<Receipt, ShimError> {
        let Some(Committed { tx, height, index }) = self.last_committed() else {
            return Err(none());
        };
        let receipt = self.receipt_of(Wanted::Place { height, index }).await?;
        if receipt.fact.tx == tx {
            return Ok(receipt);
        }
        // A quorum answered that it is there, and f+1 replicas sign that another one is.
        Err(ShimError::new(
            "XX000",
            "the replicas signed a receipt of another transaction",
        ))
    }

    /// The receipt of any committed transaction that the replicas know still.
    ///
    /// # Errors
    /// 55000 when they know of none, 57P03 when too few of them sign in time.
    pub async fn receipt_of(&self, wanted: Wanted) -> Result<Receipt, ShimError> {
        let inner = &self.0;
        let id = inner.fresh();
        let (sender, mut answers) = Answers::channel();
        inner.waiting().receipts.insert(id, sender);
        let _forget = Forget { shim: self, id };
        let mut gather = Gather::new(wanted);
        for (round, wait) in ROUNDS.into_iter().enumerate() {
            gather.ask_again();
            for replica in self.to_ask(round, id) {
                inner.send(replica, &ClientMessage::Receipt { id, wanted });
            }
            let until = Instant::now() + wait;
            while let Ok(Some((from, given))) = timeout_at(until, answers.recv()).await {
                let view = inner.view();
                if let Some(receipt) = gather.add(&view, from, given) {
                    return Ok(receipt);
                }
                if let Some(refusal) = gather.hopeless(&view) {
                    return Err(refused(refusal));
                }
                if round == 0 && gather.is_in_trouble() {
                    break;
                }
            }
        }
        Err(
            ShimError::new("57P03", "too few replicas signed the receipt in time")
                .hint("The transaction is committed. Ask again when `steeldb status` shows that the replicas answer."),
        )
    }

    /// As many as can be enough at first, another set each time; then all.
    fn to_ask(&self, round: usize, id: u64) -> Vec<ReplicaId> {
        let mut replicas = self.0.connected();
        if round == 0 && !replicas.is_empty() {
            let first = (id % replicas.len() as u64) as usize;
            replicas.rotate_left(first);
            replicas.truncate(self.0.view().one_correct());
        }
        replicas
    }
}

struct Forget<'a> {
    shim: &'a Shim,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shim.0.waiting().receipts.remove(&self.id);
    }
}

fn none() -> ShimError {
    ShimError::new("55000", "there is no receipt: no transaction of this session is the last one that was committed")
        .detail("Receipts are given of transactions that ended in COMMIT and of autocommit statements that write; none after one that failed.")
}

fn refused(refusal: Refusal) -> ShimError {
    ShimError::new(
        "55000",
        format!("there is no receipt of this transaction: {refusal}"),
    )
}
