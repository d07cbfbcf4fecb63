//! SHOW steel.receipt: the receipt of what this session committed last (DESIGN.md, 10).

use super::block::Block;
use super::statement::{Call, complete};
use super::{Session, Trouble};
use crate::database::Database;
use crate::wire::{Fault, frame};
use bytes::Bytes;
use client_shim::ShimError;

const NAME: &str = "steel.receipt";

/// Whether the statement asks for a receipt.
pub(super) fn is_asked(statement: &sql::Statement) -> bool {
    matches!(&statement.kind, sql::Kind::Show { name } if name == NAME)
}

/// The description of its answer: one column of text.
pub(super) fn described() -> Bytes {
    frame::show(NAME, "", 0).0
}

impl<D: Database> Session<'_, D> {
    /// Answered by the front with what the replicas sign.
    pub(super) async fn receipt(&mut self, call: Call<'_>) -> Result<Bytes, Trouble> {
        // What is open is not committed, and the receipt of something earlier would be taken for its own.
        if matches!(&self.block, Block::Open(open) if open.explicit || open.touched) {
            let message = "SHOW steel.receipt cannot run inside a transaction block";
            return Err(Fault::error("25001", message)
                .hint("COMMIT first: the receipt is that of the last committed transaction.")
                .into());
        }
        let (running, cancelled) = self.seat.running();
        let limit = super::execute::expiry(self.ledger.current().statement_timeout());
        let asked = async {
            tokio::select! {
                receipt = self.database.receipt() => receipt,
                () = cancelled => Err(ShimError::cancelled()),
                () = limit => Err(ShimError::new("57014", super::execute::TIMED_OUT)),
            }
        };
        let receipt = self.wire.during(asked).await?;
        drop(running);
        let format = call.result_formats.first().copied().unwrap_or(0);
        let (description, row) = frame::show(NAME, &receipt?, format);
        if call.described {
            self.description = Some(description.clone());
            self.wire.forward(description).await?;
        }
        self.wire.forward(row).await?;
        Ok(complete("SHOW"))
    }
}
