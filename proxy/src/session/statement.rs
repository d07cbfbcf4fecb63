//! One statement, whichever protocol brought it: what the front does itself, and what goes to the database.

use super::prepared::{Prepared, missing};
use super::{Session, Trouble, receipt};
use crate::database::Database;
use crate::wire::{Fault, backend, frame};
use bytes::{Bytes, BytesMut};
use client_shim::Operation;

/// A statement with the values and the shape of answer that the client wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub statement: &'a sql::Statement,
    /// What it was prepared as, with what the client was told of it.
    pub prepared: Option<&'a Prepared>,
    /// Another text to execute instead of the statement's.
    pub text: Option<&'a str>,
    pub types: &'a [u32],
    pub parameters: &'a [Option<Bytes>],
    pub parameter_formats: &'a [i16],
    pub result_formats: &'a [i16],
    pub copy_in: Option<&'a [Bytes]>,
    pub describe_only: bool,
    /// The client wants the description of the rows.
    pub described: bool,
    /// The simple protocol: a RowDescription always, NoData never.
    pub simple: bool,
    /// Settings that PostgreSQL reports with it are the session's from now on.
    pub lasting: bool,
}

impl<'a> Call<'a> {
    /// As the simple protocol calls it.
    pub fn simple(statement: &'a sql::Statement) -> Call<'a> {
        Call {
            statement,
            prepared: None,
            text: None,
            types: &[],
            parameters: &[],
            parameter_formats: &[],
            result_formats: &[],
            copy_in: None,
            describe_only: false,
            described: true,
            simple: true,
            // A lone SELECT of set_config; what SET does depends on LOCAL.
            lasting: !matches!(statement.kind, sql::Kind::Set { .. })
                && sql::setting(statement).is_some(),
        }
    }

    /// The same with another statement in the first one's place.
    pub fn of<'b>(self, statement: &'b sql::Statement) -> Call<'b>
    where
        'a: 'b,
    {
        Call { statement, ..self }
    }

    /// The same answer is wanted of another text.
    pub fn with_text(self, text: &'a str) -> Call<'a> {
        Call {
            text: Some(text),
            // That is another statement than the one that was prepared.
            prepared: None,
            ..self
        }
    }

    /// NoData was already said for a statement of which that is known beforehand.
    pub fn told_no_data(&self) -> bool {
        !self.simple && gives_no_rows(self.statement)
    }

    pub fn operation(&self) -> Operation {
        let order = self.statement.order_columns.as_ref();
        let order = order.and_then(|columns| {
            columns
                .iter()
                .map(|column| u16::try_from(*column).ok())
                .collect()
        });
        Operation {
            sql: self.text.unwrap_or(&self.statement.text).to_owned(),
            parameter_types: self.types.to_vec(),
            parameters: self.parameters.to_vec(),
            parameter_formats: self.parameter_formats.to_vec(),
            result_formats: self.result_formats.to_vec(),
            copy_in: self.copy_in.map(<[Bytes]>::to_vec),
            describe_only: self.describe_only,
            order,
        }
    }
}

/// PostgreSQL analyses such a statement only when it executes it.
pub(super) fn is_utility(statement: &sql::Statement) -> bool {
    use sql::Kind;
    match &statement.kind {
        Kind::Read | Kind::CatalogRead | Kind::Write | Kind::Show { .. } => false,
        Kind::Cursor(cursor) => !matches!(cursor, sql::Cursor::Declare | sql::Cursor::Fetch),
        // A SELECT of set_config is a query for PostgreSQL.
        Kind::Set { .. } | Kind::Reset { .. } => starts_with(statement, &["set", "reset"]),
        // CREATE TABLE AS is analysed early, but PostgreSQL says the same when it is executed.
        _ => true,
    }
}

/// It is known without asking that the statement returns no rows.
pub(super) fn gives_no_rows(statement: &sql::Statement) -> bool {
    is_utility(statement)
}

/// Whether the text begins with one of these words.
fn starts_with(statement: &sql::Statement, words: &[&str]) -> bool {
    let end = statement.text.find(|c: char| !c.is_ascii_alphabetic());
    let first = &statement.text[..end.unwrap_or(statement.text.len())];
    words.iter().any(|word| first.eq_ignore_ascii_case(word))
}

/// Transaction control and what else the front answers by itself: never waits for what follows.
pub(super) fn is_control(statement: &sql::Statement) -> bool {
    use sql::Kind;
    receipt::is_asked(statement)
        || matches!(
            statement.kind,
            Kind::Empty
                | Kind::Begin(_)
                | Kind::Commit { .. }
                | Kind::Rollback { .. }
                | Kind::Savepoint(_)
                | Kind::Release(_)
                | Kind::RollbackTo(_)
                | Kind::SetTransaction(_)
                | Kind::Discard(_)
                | Kind::Prepare(_)
                | Kind::Deallocate(_)
        )
}

/// What may still be said in a failed transaction.
pub(super) fn is_end(statement: &sql::Statement) -> bool {
    use sql::Kind;
    matches!(
        statement.kind,
        Kind::Commit { .. } | Kind::Rollback { .. } | Kind::RollbackTo(_)
    )
}

/// A statement that commits by itself was sent inside of a block.
fn outside_of_blocks(statement: &sql::Statement) -> Fault {
    let mut words = statement.text.split(|c: char| !c.is_ascii_alphabetic());
    let command = match words.next().map(str::to_ascii_uppercase) {
        Some(first) if first == "REINDEX" => {
            let object = words.find(|word| {
                ["schema", "database", "system"].contains(&word.to_ascii_lowercase().as_str())
            });
            format!(
                "{first} {}",
                object.unwrap_or_default().to_ascii_uppercase()
            )
        }
        first => first.unwrap_or_default(),
    };
    let message = format!("{command} cannot run inside a transaction block");
    Fault::error("25001", message)
}

/// The tag of a portal that returned its rows and is executed once more.
pub(super) fn nothing_more(statement: &sql::Statement) -> &'static str {
    let begins = |word| starts_with(statement, &[word]);
    match () {
        () if begins("insert") => "INSERT 0 0",
        () if begins("update") => "UPDATE 0",
        () if begins("delete") => "DELETE 0",
        () if begins("fetch") => "FETCH 0",
        () => "SELECT 0",
    }
}

/// PostgreSQL runs such a statement to its end before it describes the rows: an error comes without their description.
pub(super) fn is_described_late(statement: &sql::Statement) -> bool {
    let query = starts_with(statement, &["select", "values", "table"]);
    let reads = matches!(statement.kind, sql::Kind::Read | sql::Kind::CatalogRead);
    // The empty word: a parenthesis comes first.
    let described_first = query || reads && starts_with(statement, &["with", ""]);
    !described_first
}

/// A CommandComplete.
pub(super) fn complete(tag: &str) -> Bytes {
    let mut out = BytesMut::new();
    backend::command_complete(&mut out, tag);
    out.freeze()
}

impl<D: Database> Session<'_, D> {
    /// Carries out one statement and forwards its answer, all but the last frame, the CommandComplete or
    /// EmptyQueryResponse, which is handed back.
    pub(super) async fn statement(&mut self, call: Call<'_>) -> Result<Bytes, Trouble> {
        use sql::Kind;
        let statement = call.statement;
        if self.block.is_failed() && !is_end(statement) && statement.kind != Kind::Empty {
            return Err(super::transaction::aborted().into());
        }
        self.keys.note(statement, self.block.is_open());
        let tag = match &statement.kind {
            Kind::Empty => {
                let mut out = BytesMut::new();
                backend::empty_query(&mut out);
                return Ok(out.freeze());
            }
            Kind::Begin(modes) => {
                self.begin(*modes)?;
                statement.local_tag().unwrap_or("BEGIN")
            }
            Kind::Commit { chain } => self.commit(*chain).await?,
            Kind::Rollback { chain } => self.rollback(*chain).await?,
            kind @ (Kind::Savepoint(_) | Kind::Release(_) | Kind::RollbackTo(_)) => {
                return self.savepoint(kind, call).await;
            }
            Kind::SetTransaction(modes) => return self.set_transaction(*modes, call).await,
            Kind::Set { name, local } => return self.set(name, *local, call).await,
            Kind::Reset { name, local } => return self.reset(name.as_deref(), *local, call).await,
            Kind::Show { .. } if receipt::is_asked(statement) => return self.receipt(call).await,
            Kind::Show { name } => return self.show(name, call).await,
            Kind::Discard(what) => self.discard(*what).await?,
            Kind::Prepare(template) => {
                self.statements.insert_template(template)?;
                "PREPARE"
            }
            Kind::Execute(execute) => return self.execute_template(execute, call).await,
            Kind::Deallocate(name) => self.deallocate(name.as_deref())?,
            Kind::Cursor(sql::Cursor::Declare) if !self.block.is_open() => {
                let message = "DECLARE CURSOR can only be used in transaction blocks";
                return Err(Fault::error("25P01", message).into());
            }
            Kind::Write if !self.block.is_open() && starts_with(statement, &["lock"]) => {
                let message = "LOCK TABLE can only be used in transaction blocks";
                return Err(Fault::error("25P01", message).into());
            }
            Kind::Maintenance {
                transactional: false,
            } if self.block.is_open() => {
                return Err(outside_of_blocks(statement).into());
            }
            Kind::CopyIn if call.copy_in.is_none() => {
                let data = self.copy_data(call).await?;
                let call = Call {
                    copy_in: Some(&data.chunks),
                    ..call
                };
                let outcome = self.operate(call, false).await?;
                return self.answer(outcome, call).await;
            }
            _ => {
                let unvalidated = self.unvalidated(statement)?;
                let (outcome, keyed) = self.operate_keyed(call, unvalidated).await?;
                let call = keyed.as_ref().map_or(call, |keyed| call.of(keyed));
                let complete = self.answer(outcome, call).await?;
                self.note_settings(statement)?;
                return Ok(complete);
            }
        };
        Ok(complete(tag))
    }

    /// EXECUTE of SQL: the prepared text with the arguments in it, executed as if it had been sent itself.
    async fn execute_template(
        &mut self,
        execute: &sql::Call,
        call: Call<'_>,
    ) -> Result<Bytes, Trouble> {
        if !call.simple {
            // Its description would have to come from the statement that it names.
            return Err(Fault::error(
                "0A000",
                "EXECUTE in the extended protocol is not supported by SteelDB",
            )
            .hint("Bind and execute a prepared statement of the protocol, or send a simple query.")
            .into());
        }
        let text = self.statements.template(&execute.name)?.bind(execute)?;
        let bound = sql::statement(&text)?;
        Box::pin(self.statement(Call::simple(&bound))).await
    }

    /// Whether the master's answer is taken without being confirmed.
    ///
    /// # Errors
    /// 0A000 for a write whose answer nobody could confirm.
    pub(super) fn unvalidated(&mut self, statement: &sql::Statement) -> Result<bool, Fault> {
        use sql::Kind;
        match &statement.kind {
            Kind::Read | Kind::CatalogRead | Kind::Show { .. } => Ok(statement.unvalidated),
            Kind::Cursor(_) => Ok(self.reads_catalogs(statement)),
            // EXPLAIN ANALYZE of a write: its timings are the master's own, and no commit could hold them.
            _ if statement.unvalidated && !self.block.is_explicit() => Err(Fault::error(
                "0A000",
                "EXPLAIN ANALYZE of a statement that writes is not supported outside of a transaction block",
            )
            .hint("Run it between BEGIN and ROLLBACK.")),
            _ => Ok(false),
        }
    }

    /// Whether the cursor was declared over catalogs: then it is open at the master alone.
    fn reads_catalogs(&mut self, statement: &sql::Statement) -> bool {
        let Some(open) = self.block.open() else {
            return false;
        };
        let alone = open.catalog_cursors.has(statement);
        open.catalog_cursors.executed(statement, alone);
        alone
    }

    async fn discard(&mut self, what: sql::Discard) -> Result<&'static str, Trouble> {
        Ok(match what {
            sql::Discard::All => {
                if self.block.is_open() {
                    let message = "DISCARD ALL cannot run inside a transaction block";
                    return Err(Fault::error("25001", message).into());
                }
                self.reset_all().await?;
                self.statements.clear();
                self.portals.clear();
                self.database.forget_sequences();
                "DISCARD ALL"
            }
            sql::Discard::Sequences => {
                self.database.forget_sequences();
                "DISCARD SEQUENCES"
            }
            // Sessions with PostgreSQL live for one transaction: there is nothing else to discard.
            sql::Discard::Plans => "DISCARD PLANS",
            sql::Discard::Temp => "DISCARD TEMP",
        })
    }

    fn deallocate(&mut self, name: Option<&str>) -> Result<&'static str, Trouble> {
        match name {
            Some(name) if !self.statements.remove(name) => Err(missing(name).into()),
            Some(_) => Ok("DEALLOCATE"),
            None => {
                self.statements.clear();
                Ok("DEALLOCATE ALL")
            }
        }
    }

    /// Only the front knows of SERIALIZABLE; PostgreSQL itself says what the other levels run as.
    fn isolation_shown(&mut self) -> Option<String> {
        let default = self.ledger.current().isolation();
        let level = self
            .block
            .open()
            .map_or(default, |open| open.modes.isolation);
        (level == sql::Isolation::Serializable).then(|| level.name().to_owned())
    }

    async fn show(&mut self, name: &str, call: Call<'_>) -> Result<Bytes, Trouble> {
        // Outside of a block PostgreSQL is asked in a read-only transaction, which is none of the client's.
        let known = match (name, self.ledger.current().read_only()) {
            ("transaction_isolation", _) => self.isolation_shown(),
            // Servers may be of different versions: what the client was told at log-in, whoever is the master.
            ("server_version", _) => {
                let mut told = self.ledger.told();
                let version = told.find(|(told, _)| *told == name);
                version.map(|(_, version)| version.to_owned())
            }
            ("transaction_read_only", true) if !self.block.is_open() => Some("on".to_owned()),
            ("transaction_read_only", false) if !self.block.is_open() => Some("off".to_owned()),
            (name, _) => self.ledger.current().show(name),
        };
        if let Some(value) = known {
            let format = call.result_formats.first().copied().unwrap_or(0);
            let (description, row) = frame::show(name, &value, format);
            if call.described {
                self.wire.forward(description).await?;
            }
            self.wire.forward(row).await?;
            return Ok(complete("SHOW"));
        }
        let outcome = self.operate(call, true).await?;
        self.answer(outcome, call).await
    }
}
