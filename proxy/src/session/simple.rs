//! The simple protocol: one string, one or several statements, PostgreSQL's implicit transaction around several.

use super::statement::Call;
use super::{Session, Trouble};
use crate::database::Database;
use crate::wire::{Closed, backend};

impl<D: Database> Session<'_, D> {
    /// Query: runs the string to its end or to its first error.
    pub(super) async fn query(&mut self, sql: String) -> Result<(), Closed> {
        if let Err(trouble) = self.string(&sql).await {
            self.fail(trouble).await?;
        }
        self.ready().await
    }

    async fn string(&mut self, sql: &str) -> Result<(), Trouble> {
        self.settle_before_query().await?;
        // A simple query uses the unnamed statement and portal itself.
        self.statements.remove("");
        self.portals.remove("");
        let mut statements = sql::split(sql)?;
        statements.retain(
            |statement| !matches!(statement, Ok(statement) if statement.kind == sql::Kind::Empty),
        );
        if statements.is_empty() {
            self.end_implicit().await?;
            backend::empty_query(&mut self.wire.out);
            return Ok(());
        }
        let last = statements.len() - 1;
        for (place, statement) in statements.into_iter().enumerate() {
            let statement = statement?;
            if last > 0 && !self.block.is_open() && !matches!(statement.kind, sql::Kind::Begin(_)) {
                self.open(false, sql::Modes::default());
            }
            let complete = self.statement(Call::simple(&statement)).await?;
            if place == last {
                // The client hears of the last statement's completion only when it is committed.
                self.end_implicit().await?;
            }
            self.wire.forward(complete).await?;
        }
        Ok(())
    }
}
