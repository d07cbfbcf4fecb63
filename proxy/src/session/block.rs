//! The transaction block of a session, with PostgreSQL's states.

use crate::database::Database;
use crate::settings::Settings;
use client_shim::{Isolation, ShimError};
use pgwire::messages::response::TransactionStatus;

pub(super) enum Block<T> {
    Idle,
    Open(Box<Open<T>>),
}

pub(super) struct Open<T> {
    /// From 1; of this session.
    pub number: u64,
    /// Its master said how rows of prepared statements are to be read, which its commit confirms.
    pub tells: bool,
    pub transaction: State<T>,
    /// Begun by BEGIN; else it ends with the string or the Sync that it belongs to.
    pub explicit: bool,
    /// After an error: everything is refused until ROLLBACK, COMMIT or ROLLBACK TO.
    pub failed: bool,
    /// Something was sent to the master.
    pub touched: bool,
    /// Something was done that the replicas have to judge; else nothing is lost by a quiet rollback.
    pub evidence: bool,
    pub modes: Modes,
    /// The session's settings as they were before.
    pub before: Settings,
    pub savepoints: Vec<Savepoint>,
    /// Cursors over catalogs, which the master alone has open.
    pub catalog_cursors: sql::CatalogCursors,
    /// Names that SET LOCAL touched: RESET ALL has to know them.
    pub local: Vec<String>,
}

pub(super) enum State<T> {
    Live(T),
    /// It ended under the client's feet, for this reason; only its end is awaited.
    Over(ShimError),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Modes {
    pub isolation: sql::Isolation,
    pub read_only: bool,
}

impl Modes {
    /// Begins a transaction with these modes and settings.
    pub fn begin<D: Database>(self, database: &D, settings: &Settings) -> D::Transaction {
        database.begin(settings.carried(), self.promised(), self.read_only)
    }

    /// Whether the replicas have to be told of the change.
    pub fn differs(self, other: Modes) -> bool {
        (self.promised(), self.read_only) != (other.promised(), other.read_only)
    }

    /// Every level but SERIALIZABLE is snapshot isolation.
    fn promised(self) -> Isolation {
        match self.isolation {
            sql::Isolation::Serializable => Isolation::Serializable,
            _ => Isolation::Snapshot,
        }
    }
}

pub(super) struct Savepoint {
    pub name: String,
    pub settings: Settings,
    /// Portals numbered from here on were made after it.
    pub portals: u64,
}

impl<T> Block<T> {
    pub fn status(&self) -> TransactionStatus {
        match self {
            Block::Open(open) if open.failed => TransactionStatus::Error,
            Block::Open(open) if open.explicit => TransactionStatus::Transaction,
            // An implicit block never outlives the message that is being answered.
            _ => TransactionStatus::Idle,
        }
    }

    pub fn open(&mut self) -> Option<&mut Open<T>> {
        match self {
            Block::Open(open) => Some(open),
            Block::Idle => None,
        }
    }

    /// Zero outside of a block.
    pub fn number(&self) -> u64 {
        match self {
            Block::Open(open) => open.number,
            Block::Idle => 0,
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(self, Block::Open(_))
    }

    pub fn is_explicit(&self) -> bool {
        matches!(self, Block::Open(open) if open.explicit)
    }

    pub fn is_failed(&self) -> bool {
        matches!(self, Block::Open(open) if open.failed)
    }

    /// Leaves the session idle.
    pub fn take(&mut self) -> Option<Open<T>> {
        match std::mem::replace(self, Block::Idle) {
            Block::Open(open) => Some(*open),
            Block::Idle => None,
        }
    }
}
