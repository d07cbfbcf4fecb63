//! One operation: sent to where its kind belongs, watched while it runs, its answer forwarded.

use super::block::{Block, State};
use super::statement::{Call, is_described_late};
use super::{Session, Trouble};
use crate::database::{Autocommit, Database, Transaction as _};
use crate::wire::{Closed, frame};
use bytes::Bytes;
use client_shim::{Operation, Outcome, ShimError};
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

impl<D: Database> Session<'_, D> {
    /// Runs the call's operation, in the open block or on its own. `unvalidated`: answered by the master alone.
    ///
    /// # Errors
    /// When nothing but an error is known of it. An SQL error is an outcome.
    pub(super) async fn operate(
        &mut self,
        call: Call<'_>,
        unvalidated: bool,
    ) -> Result<Outcome, Trouble> {
        let operation = call.operation();
        if self.block.is_open() {
            return self.in_block(operation, unvalidated).await;
        }
        let how = match &call.statement.kind {
            _ if unvalidated || operation.describe_only => Autocommit::Read { unvalidated },
            // A function that catches every error would hide that it wanted to write.
            sql::Kind::Read if call.statement.calls_user => Autocommit::Write,
            sql::Kind::Read => Autocommit::Read { unvalidated: false },
            sql::Kind::CatalogRead | sql::Kind::Show { .. } => {
                Autocommit::Read { unvalidated: true }
            }
            sql::Kind::Cursor(_) => Autocommit::Read { unvalidated: false },
            sql::Kind::Maintenance { .. } => Autocommit::Exec,
            _ => Autocommit::Write,
        };
        if how == Autocommit::Write && self.ledger.current().read_only() {
            // PostgreSQL says by itself what a read-only transaction may not do.
            self.open(false, sql::Modes::default());
            return self.in_block(operation, unvalidated).await;
        }
        self.alone(how, operation).await
    }

    async fn alone(&mut self, how: Autocommit, operation: Operation) -> Result<Outcome, Trouble> {
        let settings = self.ledger.current();
        let limit = settings.statement_timeout();
        let (running, cancelled) = self.seat.running();
        let stop = async {
            tokio::select! {
                () = cancelled => {}
                () = expiry(limit) => {}
            }
        };
        let started = Instant::now();
        let work = self
            .database
            .autocommit(how, settings.carried(), operation, stop);
        let outcome = self.wire.during(work).await?;
        drop(running);
        let late = limit.is_some_and(|limit| started.elapsed() >= limit);
        let mut outcome = outcome.map_err(|error| timed_out(error, late))?;
        blame_timeout(&mut outcome, late);
        Ok(outcome)
    }

    async fn in_block(
        &mut self,
        operation: Operation,
        unvalidated: bool,
    ) -> Result<Outcome, Trouble> {
        let limit = self.ledger.current().statement_timeout();
        let Block::Open(open) = &mut self.block else {
            return Err(super::transaction::aborted().into());
        };
        let State::Live(transaction) = &mut open.transaction else {
            return Err(super::transaction::aborted().into());
        };
        open.touched = true;
        open.evidence |= !unvalidated;
        let cancel = transaction.canceller();
        let (running, cancelled) = self.seat.running();
        let started = Instant::now();
        let work = transaction.execute(operation, unvalidated);
        let outcome = self
            .wire
            .during(stoppable(work, cancelled, limit, &cancel))
            .await;
        drop(running);
        match outcome {
            Ok(Ok(mut outcome)) => {
                open.failed = outcome.transaction == b'E';
                blame_timeout(
                    &mut outcome,
                    limit.is_some_and(|limit| started.elapsed() >= limit),
                );
                Ok(outcome)
            }
            Ok(Err(error)) => {
                let late = limit.is_some_and(|limit| started.elapsed() >= limit);
                let error = timed_out(error, late);
                open.transaction = State::Over(error.clone());
                Err(error.into())
            }
            Err(closed) => {
                // Nobody waits for it any more.
                cancel();
                Err(closed.into())
            }
        }
    }

    /// Forwards an outcome in the shape that the client asked for; the CommandComplete is handed back, because a commit
    /// may have to come before it.
    ///
    /// # Errors
    /// [`Trouble::Reported`] after an ErrorResponse.
    pub(super) async fn answer(
        &mut self,
        outcome: Outcome,
        call: Call<'_>,
    ) -> Result<Bytes, Trouble> {
        let mut complete = Bytes::new();
        let mut failed = false;
        self.description = None;
        let rows = outcome.frames.iter().find(|f| frame::kind(f) == b'T');
        if let (Some(prepared), Some(rows), false) = (call.prepared, rows, call.described)
            && (self.block.is_open() || only_reads(call.statement))
            && prepared.contradicts(rows)
        {
            // As PostgreSQL says before it executes anything. What is committed already is not taken back by an error.
            return Err(super::prepared::changed().into());
        }
        let undescribed = call.simple
            && is_described_late(call.statement)
            && outcome
                .frames
                .iter()
                .any(|found| frame::kind(found) == b'E');
        for found in outcome.frames {
            if frame::kind(&found) == b'T' {
                self.description = Some(found.clone());
            }
            match frame::kind(&found) {
                b'T' | b'n' if !call.described || call.told_no_data() => {}
                b'n' if call.simple => {}
                b'T' if undescribed => {}
                // The client was told before it sent its data.
                b't' | b'G' => {}
                b'C' | b'I' => complete = found,
                // The client hears of it before the next ReadyForQuery.
                b'S' => self.ledger.reported(&found, call.lasting),
                b'E' => {
                    failed = true;
                    self.error(found, call).await?;
                }
                b'N' => self.notice(found, call).await?,
                _ => self.wire.forward(found).await?,
            }
        }
        if failed {
            Err(Trouble::Reported)
        } else {
            Ok(complete)
        }
    }

    /// Forwards a notice, if the client wants to hear it.
    pub(super) async fn notice(&mut self, found: Bytes, call: Call<'_>) -> Result<(), Closed> {
        let severity = frame::field(&found, b'V').unwrap_or_default();
        if self.ledger.current().hides(severity) {
            return Ok(());
        }
        self.error(found, call).await
    }

    /// Forwards an error or a notice, its position given in the client's own text.
    pub(super) async fn error(&mut self, found: Bytes, call: Call<'_>) -> Result<(), Closed> {
        let moved = frame::relocated(found, |position| call.statement.client_position(position));
        self.wire.forward(moved).await
    }
}

/// Nothing of it is committed outside of a block.
fn only_reads(statement: &sql::Statement) -> bool {
    matches!(statement.kind, sql::Kind::Read | sql::Kind::CatalogRead) && !statement.calls_user
}

pub(super) async fn expiry(limit: Option<Duration>) {
    match limit {
        Some(limit) => sleep_until(Instant::now() + limit).await,
        None => std::future::pending().await,
    }
}

/// Waits for `work`; when it is to be stopped, asks the database to, once, and goes on waiting for what it says.
async fn stoppable<T>(
    work: impl Future<Output = T>,
    cancelled: impl Future<Output = ()>,
    limit: Option<Duration>,
    cancel: &impl Fn(),
) -> T {
    tokio::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = cancelled => {}
        () = expiry(limit) => {}
    }
    cancel();
    work.await
}

pub(super) const TIMED_OUT: &str = "canceling statement due to statement timeout";

fn timed_out(error: ShimError, late: bool) -> ShimError {
    match error.sqlstate.as_str() {
        "57014" if late => ShimError::new("57014", TIMED_OUT),
        _ => error,
    }
}

/// The master was asked to cancel, as a user would ask; the client set a time-out.
fn blame_timeout(outcome: &mut Outcome, late: bool) {
    for found in outcome.frames.iter_mut().filter(|_| late) {
        if frame::kind(found) == b'E' && frame::field(found, b'C') == Some("57014") {
            *found = frame::with_field(found, b'M', TIMED_OUT);
        }
    }
}
