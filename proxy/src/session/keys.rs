//! A LIMIT over one table takes the rows that a server finds first, which another server may find later: the table's
//! primary key at the end of ORDER BY makes it the same rows everywhere (see `sql`, `roworder`).
//!
//! The front asks the master for keys and remembers them. A wrong answer does no harm that the digests would not find: a
//! column that is not there is an error, and one that is no key leaves the order open.

use super::statement::Call;
use super::{Session, Trouble};
use crate::database::Database;
use crate::limits;
use crate::wire::{Fault, backend, frame};
use bytes::Bytes;
use client_shim::Outcome;
use sql::{Doubt, Kind, Statement};
use std::collections::BTreeMap;

/// The columns of a table's primary key, the most significant first; none where the session's role may not read all of them. The
/// parameter is the table's name as a statement has it.
const KEY: &str = "SELECT a.attname FROM pg_catalog.pg_index i
 JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
 WHERE i.indisprimary AND i.indrelid = pg_catalog.to_regclass($1)
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute k WHERE k.attrelid = i.indrelid AND k.attnum = ANY (i.indkey)
                      AND NOT pg_catalog.has_column_privilege(k.attrelid, k.attnum, 'SELECT'))
 ORDER BY pg_catalog.array_position(i.indkey::pg_catalog.int2[], a.attnum)";

/// PostgreSQL's type `text`.
const TEXT: u32 = 25;

/// Primary keys by the names that the session's statements use.
#[derive(Debug, Default)]
pub(super) struct Keys {
    columns: BTreeMap<String, Vec<String>>,
    /// The open transaction changed for itself where names are looked up.
    redirected: bool,
}

impl Keys {
    /// Forgets what a statement may make wrong: names mean something else, or tables change.
    pub fn note(&mut self, statement: &Statement, in_block: bool) {
        let redirects = match &statement.kind {
            Kind::Ddl | Kind::Discard(_) => {
                self.columns.clear();
                false
            }
            Kind::Set { name, .. } => name == "search_path" || name == "role",
            Kind::Reset { name, .. } => name.as_deref().is_none_or(|name| name == "search_path"),
            Kind::Commit { .. } | Kind::Rollback { .. } | Kind::RollbackTo(_) => self.redirected,
            _ => sql::setting(statement).is_some(),
        };
        if redirects {
            self.columns.clear();
            self.redirected = in_block;
        }
    }

    fn of(&self, table: &str) -> Option<&[String]> {
        self.columns.get(table).map(Vec::as_slice)
    }
}

impl<D: Database> Session<'_, D> {
    /// As [`Session::operate`]; with the statement that was executed instead, if one was.
    pub(super) async fn operate_keyed(
        &mut self,
        call: Call<'_>,
        unvalidated: bool,
    ) -> Result<(Outcome, Option<Statement>), Trouble> {
        let statement = call.statement;
        if statement.body_limits && !call.describe_only {
            self.warn_of_limit(
                "the rows that LIMIT takes in a function's body may differ between replicas, which aborts what writes by them",
            );
        }
        let as_it_is = unvalidated || call.describe_only || call.text.is_some();
        if as_it_is || (statement.limits.is_empty() && statement.doubt != Some(Doubt::Limit)) {
            return Ok((self.operate(call, unvalidated).await?, None));
        }
        let keyed = self.keyed(statement).await?;
        if keyed.doubt == Some(Doubt::Limit) && keyed.kind == Kind::Write {
            self.warn_of_limit(
                "the rows that LIMIT takes may differ between replicas, which aborts the statement",
            );
        }
        let changed = keyed.text != statement.text;
        let outcome = self.operate(call.of(&keyed), false).await?;
        if !changed || !names_no_column(&outcome) {
            return Ok((outcome, Some(keyed)));
        }
        // Perhaps the key changed since it was asked for.
        self.keys.columns.clear();
        if self.block.is_open() {
            let message = "the primary key of a table changed while the transaction was open";
            return Err(Fault::error("40001", message)
                .hint("Run the transaction again.")
                .into());
        }
        let keyed = self.keyed(statement).await?;
        let outcome = self.operate(call.of(&keyed), false).await?;
        Ok((outcome, Some(keyed)))
    }

    fn warn_of_limit(&mut self, message: &str) {
        if !self.ledger.current().hides("NOTICE") {
            backend::notice(&mut self.wire.out, message, Doubt::Limit.advice());
        }
    }

    async fn keyed(&mut self, statement: &Statement) -> Result<Statement, Trouble> {
        for limit in &statement.limits {
            if self.keys.of(&limit.table).is_none() {
                let key = self.primary_key(&limit.table).await?;
                if self.keys.columns.len() >= limits::KEYS {
                    self.keys.columns.clear();
                }
                self.keys.columns.insert(limit.table.clone(), key);
            }
        }
        Ok(statement.keyed(|table| self.keys.of(table)))
    }

    /// Its columns; none when there is no such table or key. The statement itself tells what else is wrong with the name.
    async fn primary_key(&mut self, table: &str) -> Result<Vec<String>, Trouble> {
        let asked = sql::statement(KEY)?;
        let parameters = [Some(Bytes::copy_from_slice(table.as_bytes()))];
        let call = Call {
            types: &[TEXT],
            parameters: &parameters,
            ..Call::simple(&asked)
        };
        let outcome = self.operate(call, true).await?;
        let rows = outcome
            .frames
            .iter()
            .filter(|found| frame::kind(found) == b'D');
        Ok(rows
            .filter_map(|row| frame::text_column(row, 0))
            .map(str::to_owned)
            .collect())
    }
}

fn names_no_column(outcome: &Outcome) -> bool {
    let mut errors = outcome
        .frames
        .iter()
        .filter(|found| frame::kind(found) == b'E');
    errors.any(|found| frame::field(found, b'C') == Some("42703"))
}
