//! One client's session: messages in, in order; operations to the database; answers out.
//!
//! Everything happens in one task. While an operation runs the client is only read ahead (see [`Wire::during`]), so a
//! pipelining client is served message by message without losing its pace, and a client that vanishes is noticed.

mod block;
mod copy;
mod describe;
mod execute;
mod extended;
mod held;
mod keys;
mod portal;
mod prepared;
mod receipt;
mod set;
mod simple;
mod statement;
mod transaction;

use crate::cancel::Seat;
use crate::database::Database;
use crate::settings::Ledger;
use crate::wire::{Closed, Fault, Frontend, Wire, backend, frontend};
use block::Block;
use bytes::Bytes;
use held::Held;
use keys::Keys;
use portal::Portals;
use prepared::Statements;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::timeout;

pub(crate) use set::{set_config, utf8_only};

/// Why something could not be carried through.
#[derive(Debug)]
enum Trouble {
    /// The client has to be told.
    Fault(Box<Fault>),
    /// PostgreSQL's own error has been forwarded.
    Reported,
    Closed(Closed),
}

impl From<Closed> for Trouble {
    fn from(closed: Closed) -> Trouble {
        Trouble::Closed(closed)
    }
}

impl<E: Into<Fault>> From<E> for Trouble {
    fn from(fault: E) -> Trouble {
        Trouble::Fault(Box::new(fault.into()))
    }
}

pub(crate) struct Session<'a, D: Database> {
    wire: &'a mut Wire,
    database: D,
    seat: Seat,
    ledger: Ledger,
    block: Block<D::Transaction>,
    /// How many there were.
    blocks: u64,
    statements: Statements,
    portals: Portals,
    held: Held,
    keys: Keys,
    /// An error in the extended protocol: everything up to the next Sync is skipped.
    skipping: bool,
    /// The RowDescription of the answer that was forwarded last.
    description: Option<Bytes>,
    /// Permits for COPY data, one for a piece of it, shared by all sessions.
    copying: Arc<Semaphore>,
}

impl<'a, D: Database> Session<'a, D> {
    pub fn new(
        wire: &'a mut Wire,
        database: D,
        seat: Seat,
        ledger: Ledger,
        copying: Arc<Semaphore>,
    ) -> Session<'a, D> {
        Session {
            wire,
            database,
            seat,
            ledger,
            block: Block::Idle,
            blocks: 0,
            statements: Statements::default(),
            portals: Portals::default(),
            held: Held::Nothing,
            keys: Keys::default(),
            skipping: false,
            description: None,
            copying,
        }
    }

    /// Serves the client until it says goodbye.
    ///
    /// # Errors
    /// When it vanishes or breaks the protocol. Whatever is open is rolled back when the session is dropped.
    pub async fn serve(mut self) -> Result<(), Closed> {
        self.ready().await?;
        loop {
            match self.next().await? {
                Ok(Frontend::Terminate) => return Ok(()),
                Ok(Frontend::Sync) => self.sync().await?,
                _ if self.skipping => {}
                Ok(message) => self.message(message).await?,
                Err((kind, fault)) => self.malformed(kind, fault).await?,
            }
        }
    }

    /// The client's next message, awaited no longer than the client itself set.
    async fn next(&mut self) -> Result<Result<Frontend, (u8, Fault)>, Closed> {
        let in_transaction = self.block.is_open();
        let next = self.wire.next();
        match self.ledger.current().idle_timeout(in_transaction) {
            None => next.await,
            Some(limit) => timeout(limit, next).await.unwrap_or_else(|_| {
                let (sqlstate, message) = match in_transaction {
                    true => (
                        "25P03",
                        "terminating connection due to idle-in-transaction timeout",
                    ),
                    false => (
                        "57P05",
                        "terminating connection due to idle-session timeout",
                    ),
                };
                Err(Fault::fatal(sqlstate, message).into())
            }),
        }
    }

    async fn message(&mut self, message: Frontend) -> Result<(), Closed> {
        match message {
            Frontend::Query(sql) => self.query(sql).await,
            Frontend::FunctionCall => {
                let fault = Fault::error("0A000", "the function call protocol is not supported")
                    .hint("Call the function in a SELECT.");
                self.fail(fault.into()).await?;
                self.ready().await
            }
            // The rest of a COPY that has already failed.
            Frontend::CopyData(_) | Frontend::CopyDone | Frontend::CopyFail(_) => Ok(()),
            message => {
                if let Err(trouble) = self.extended(message).await {
                    self.held = Held::Nothing;
                    self.fail(trouble).await?;
                    self.skipping = true;
                }
                Ok(())
            }
        }
    }

    /// A message that came whole, but whose body is not what it should be.
    async fn malformed(&mut self, kind: u8, fault: Fault) -> Result<(), Closed> {
        self.held = Held::Nothing;
        self.fail(fault.into()).await?;
        if frontend::is_extended(kind) {
            self.skipping = true;
            Ok(())
        } else {
            self.ready().await
        }
    }

    /// An error: the client is told, and the transaction feels it.
    async fn fail(&mut self, trouble: Trouble) -> Result<(), Closed> {
        match trouble {
            Trouble::Closed(closed) => return Err(closed),
            Trouble::Reported => {}
            Trouble::Fault(fault) if fault.fatal => return Err(Closed::Fatal(fault)),
            Trouble::Fault(fault) => backend::error(&mut self.wire.out, *fault),
        }
        self.abort().await;
        Ok(())
    }

    async fn ready(&mut self) -> Result<(), Closed> {
        let idle = !self.block.is_open();
        self.ledger.settle(idle, &mut self.wire.out);
        backend::ready_for_query(&mut self.wire.out, self.block.status());
        self.wire.flush().await
    }
}
