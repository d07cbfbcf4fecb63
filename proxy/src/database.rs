//! What the front asks of the database behind it: the client shim, and in tests a scripted one.

use client_shim::{Isolation, Operation, Outcome, Shim, ShimError};
use std::future::Future;

/// Names and values as `set_config` takes them, in order.
pub type SessionSettings = Vec<(String, String)>;

/// How a statement outside of a transaction is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Autocommit {
    /// Outside of the order. `unvalidated`: answered by the master alone (catalogs, SHOW, descriptions).
    Read { unvalidated: bool },
    /// In one ordered round.
    Write,
    /// By all replicas at its place, outside of a transaction block (VACUUM and its like).
    Exec,
}

/// A replicated PostgreSQL; cheap to clone.
pub trait Database: Clone + Send + Sync + 'static {
    type Transaction: Transaction;

    /// The parameters that PostgreSQL reports of a new session.
    fn parameters(&self) -> impl Future<Output = Result<SessionSettings, ShimError>> + Send;

    /// A handle for one session.
    fn session(&self) -> Self {
        self.clone()
    }

    /// The session asked to have forgotten what sequences gave it: DISCARD SEQUENCES.
    fn forget_sequences(&self) {}

    /// The text of the receipt of what this session committed last.
    ///
    /// # Errors
    /// 55000 when there is nothing, or nothing since a commit failed.
    fn receipt(&self) -> impl Future<Output = Result<String, ShimError>> + Send {
        let none = ShimError::new("0A000", "this database gives no receipts");
        std::future::ready(Err(none))
    }

    /// Begins a transaction without waiting for its place in the order.
    fn begin(
        &self,
        settings: SessionSettings,
        isolation: Isolation,
        read_only: bool,
    ) -> Self::Transaction;

    /// Runs one statement outside of a transaction. An SQL error is an outcome; dropping the future gives the statement
    /// up. When `cancelled` resolves while the statement can still be stopped, it ends with 57014.
    fn autocommit(
        &self,
        how: Autocommit,
        settings: SessionSettings,
        operation: Operation,
        cancelled: impl Future<Output = ()> + Send,
    ) -> impl Future<Output = Result<Outcome, ShimError>> + Send;
}

/// An open transaction; dropping it rolls it back.
pub trait Transaction: Send + 'static {
    /// Runs one statement. An SQL error is an outcome; an `Err` means that the transaction is over.
    fn execute(
        &mut self,
        operation: Operation,
        unvalidated: bool,
    ) -> impl Future<Output = Result<Outcome, ShimError>> + Send;

    fn commit(self) -> impl Future<Output = Result<(), ShimError>> + Send;

    fn rollback(self) -> impl Future<Output = ()> + Send;

    /// Whether it changed something that only a commit confirms.
    fn leaves_something(&self) -> bool;

    /// Asks the database to cancel what runs in this transaction.
    fn canceller(&self) -> impl Fn() + Send + Sync + 'static;
}

impl Database for Shim {
    type Transaction = client_shim::Transaction;

    async fn parameters(&self) -> Result<SessionSettings, ShimError> {
        Shim::parameters(self).await
    }

    fn session(&self) -> Shim {
        Shim::session(self)
    }

    fn forget_sequences(&self) {
        Shim::forget_sequences(self);
    }

    async fn receipt(&self) -> Result<String, ShimError> {
        Ok(Shim::receipt(self).await?.to_text())
    }

    fn begin(
        &self,
        settings: SessionSettings,
        isolation: Isolation,
        read_only: bool,
    ) -> client_shim::Transaction {
        Shim::begin(self, settings, isolation, read_only)
    }

    async fn autocommit(
        &self,
        how: Autocommit,
        settings: SessionSettings,
        operation: Operation,
        cancelled: impl Future<Output = ()> + Send,
    ) -> Result<Outcome, ShimError> {
        match how {
            Autocommit::Read { unvalidated } => {
                self.read(settings, operation, unvalidated, cancelled).await
            }
            // Once ordered it cannot be called back, and the shim knows when that is.
            Autocommit::Write => self.auto(settings, operation, cancelled).await,
            Autocommit::Exec => self.exec(settings, operation).await,
        }
    }
}

impl Transaction for client_shim::Transaction {
    async fn execute(
        &mut self,
        operation: Operation,
        unvalidated: bool,
    ) -> Result<Outcome, ShimError> {
        client_shim::Transaction::execute(self, operation, unvalidated).await
    }

    async fn commit(self) -> Result<(), ShimError> {
        client_shim::Transaction::commit(self).await
    }

    async fn rollback(self) {
        client_shim::Transaction::rollback(self).await;
    }

    fn leaves_something(&self) -> bool {
        client_shim::Transaction::leaves_something(self)
    }

    fn canceller(&self) -> impl Fn() + Send + Sync + 'static {
        let cancel = self.cancel();
        move || cancel.now()
    }
}
