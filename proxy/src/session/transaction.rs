//! BEGIN to COMMIT: how a block opens, fails, ends, and goes back to a savepoint, as in PostgreSQL.

use super::block::{Block, Modes, Open, Savepoint, State};
use super::statement::Call;
use super::{Session, Trouble};
use crate::database::{Database, Transaction as _};
use crate::limits;
use crate::wire::{Fault, backend};
use bytes::Bytes;

/// What PostgreSQL says to everything but an end of the block.
pub(super) fn aborted() -> Fault {
    Fault::error(
        "25P02",
        "current transaction is aborted, commands ignored until end of transaction block",
    )
}

fn outside(command: &str) -> Fault {
    Fault::error(
        "25P01",
        format!("{command} can only be used in transaction blocks"),
    )
}

impl<D: Database> Session<'_, D> {
    /// Opens a block with `Begin` on its way to the order.
    pub(super) fn open(&mut self, explicit: bool, modes: sql::Modes) {
        let modes = Modes {
            isolation: modes
                .isolation
                .unwrap_or_else(|| self.ledger.current().isolation()),
            read_only: modes
                .read_only
                .unwrap_or_else(|| self.ledger.current().read_only()),
        };
        let before = self.ledger.current().clone();
        let transaction = modes.begin(&self.database, &before);
        self.blocks += 1;
        self.block = Block::Open(Box::new(Open {
            number: self.blocks,
            tells: false,
            transaction: State::Live(transaction),
            explicit,
            failed: false,
            touched: false,
            evidence: false,
            modes,
            before,
            savepoints: Vec::new(),
            catalog_cursors: sql::CatalogCursors::default(),
            local: Vec::new(),
        }));
    }

    /// BEGIN: answered at once, the order catches up with the first statement.
    pub(super) fn begin(&mut self, modes: sql::Modes) -> Result<(), Trouble> {
        match &mut self.block {
            Block::Idle => self.open(true, modes),
            Block::Open(open) => {
                if std::mem::replace(&mut open.explicit, true) {
                    backend::warning(
                        &mut self.wire.out,
                        "25001",
                        "there is already a transaction in progress",
                    );
                }
                self.modes(modes)?;
            }
        }
        Ok(())
    }

    /// SET TRANSACTION, and what a BEGIN inside of a block asks for.
    fn modes(&mut self, wanted: sql::Modes) -> Result<(), Trouble> {
        let Block::Open(open) = &mut self.block else {
            return Ok(());
        };
        let modes = Modes {
            isolation: wanted.isolation.unwrap_or(open.modes.isolation),
            read_only: wanted.read_only.unwrap_or(open.modes.read_only),
        };
        if open.touched && modes.isolation != open.modes.isolation {
            let message = "SET TRANSACTION ISOLATION LEVEL must be called before any query";
            return Err(Fault::error("25001", message).into());
        }
        if open.touched && open.modes.read_only && !modes.read_only {
            let message = "transaction read-write mode must be set before any query";
            return Err(Fault::error("25001", message).into());
        }
        let before = std::mem::replace(&mut open.modes, modes);
        if !open.touched && before.differs(modes) {
            // Nothing has happened in it: another one takes its place.
            open.transaction = State::Live(modes.begin(&self.database, &open.before));
        }
        Ok(())
    }

    pub(super) async fn set_transaction(
        &mut self,
        wanted: sql::Modes,
        call: Call<'_>,
    ) -> Result<Bytes, Trouble> {
        let Some(open) = self.block.open() else {
            let message = "SET TRANSACTION can only be used in transaction blocks";
            backend::warning(&mut self.wire.out, "25P01", message);
            return Ok(super::statement::complete("SET"));
        };
        let at_work = open.touched && wanted.read_only == Some(true) && !open.modes.read_only;
        self.modes(wanted)?;
        if at_work {
            let text = "SET TRANSACTION READ ONLY";
            let outcome = self.operate(call.with_text(text), false).await?;
            return self.answer(outcome, call).await;
        }
        Ok(super::statement::complete("SET"))
    }

    /// COMMIT: of a failed transaction it is a rollback.
    pub(super) async fn commit(&mut self, chain: bool) -> Result<&'static str, Trouble> {
        if !self.block.is_explicit() {
            if chain {
                return Err(outside("COMMIT AND CHAIN").into());
            }
            backend::warning(
                &mut self.wire.out,
                "25P01",
                "there is no transaction in progress",
            );
        }
        let modes = self.block.open().map(|open| open.modes);
        let committed = self.end(true).await?;
        self.chain(chain, modes);
        Ok(if committed { "COMMIT" } else { "ROLLBACK" })
    }

    pub(super) async fn rollback(&mut self, chain: bool) -> Result<&'static str, Trouble> {
        if !self.block.is_explicit() {
            if chain {
                return Err(outside("ROLLBACK AND CHAIN").into());
            }
            backend::warning(
                &mut self.wire.out,
                "25P01",
                "there is no transaction in progress",
            );
        }
        let modes = self.block.open().map(|open| open.modes);
        self.end(false).await?;
        self.chain(chain, modes);
        Ok("ROLLBACK")
    }

    fn chain(&mut self, chain: bool, modes: Option<Modes>) {
        if let Some(modes) = modes.filter(|_| chain) {
            let modes = sql::Modes {
                isolation: Some(modes.isolation),
                read_only: Some(modes.read_only),
                deferrable: None,
            };
            self.open(true, modes);
        }
    }

    /// An implicit block ends with the string or the Sync that it belongs to.
    pub(super) async fn end_implicit(&mut self) -> Result<(), Trouble> {
        if self.block.is_open() && !self.block.is_explicit() {
            self.end(true).await?;
        }
        Ok(())
    }

    /// Ends the block, if there is one. Answers whether it was committed.
    async fn end(&mut self, commit: bool) -> Result<bool, Trouble> {
        let Some(open) = self.block.take() else {
            return Ok(commit);
        };
        self.portals.clear();
        let transaction = match open.transaction {
            State::Live(transaction) if commit && !open.failed => transaction,
            State::Live(transaction) => {
                if open.touched {
                    transaction.rollback().await;
                }
                self.ledger.restore(&open.before);
                return Ok(false);
            }
            State::Over(_) => {
                self.ledger.restore(&open.before);
                return Ok(false);
            }
        };
        // The settings that it made live at the front, so a transaction that did nothing else ends quietly.
        if (open.evidence || transaction.leaves_something())
            && let Err(error) = transaction.commit().await
        {
            self.ledger.restore(&open.before);
            return Err(error.into());
        }
        if open.tells {
            self.statements.confirm(open.number);
        }
        Ok(true)
    }

    /// After an error: an implicit block is gone, an explicit one waits for its end.
    pub(super) async fn abort(&mut self) {
        match &mut self.block {
            Block::Idle => {}
            Block::Open(open) if open.explicit => open.failed = true,
            Block::Open(_) => {
                // Nothing can fail in a rollback that the client should hear of.
                let _ = self.end(false).await;
            }
        }
    }

    /// Savepoints are operations: every replica keeps them too.
    pub(super) async fn savepoint(
        &mut self,
        kind: &sql::Kind,
        call: Call<'_>,
    ) -> Result<Bytes, Trouble> {
        let command = match kind {
            sql::Kind::Savepoint(_) => "SAVEPOINT",
            sql::Kind::Release(_) => "RELEASE SAVEPOINT",
            _ => "ROLLBACK TO SAVEPOINT",
        };
        let Some(open) = self.block.open().filter(|open| open.explicit) else {
            return Err(outside(command).into());
        };
        if let State::Over(reason) = &open.transaction {
            // No savepoint brings it back: the client has to hear again why.
            return Err(reason.clone().into());
        }
        if matches!(kind, sql::Kind::Savepoint(_)) && open.savepoints.len() >= limits::SAVEPOINTS {
            return Err(Fault::error("54000", "too many savepoints")
                .hint("RELEASE those that are not needed.")
                .into());
        }
        let outcome = self.operate(call, false).await?;
        let complete = self.answer(outcome, call).await?;
        let (settings, portals) = (self.ledger.current().clone(), self.portals.next_number());
        let Some(open) = self.block.open() else {
            return Ok(complete);
        };
        let place = |name: &str| {
            open.savepoints
                .iter()
                .rposition(|savepoint| savepoint.name == name)
        };
        match kind {
            sql::Kind::Savepoint(name) => open.savepoints.push(Savepoint {
                name: name.clone(),
                settings,
                portals,
            }),
            sql::Kind::Release(name) => {
                let place = place(name);
                open.savepoints
                    .truncate(place.unwrap_or(open.savepoints.len()));
            }
            sql::Kind::RollbackTo(name) => {
                open.failed = false;
                if let Some(place) = place(name) {
                    open.savepoints.truncate(place + 1);
                    let savepoint = &open.savepoints[place];
                    self.ledger.restore(&savepoint.settings);
                    self.portals.drop_from(savepoint.portals);
                }
            }
            _ => {}
        }
        Ok(complete)
    }
}
