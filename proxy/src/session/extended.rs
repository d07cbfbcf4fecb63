//! The extended protocol: Parse, Bind, Describe, Execute, Close, Flush, Sync.

use super::held::{Execution, Held};
use super::portal::{Bound, Progress, Rest};
use super::prepared::{Prepared, Said};
use super::statement::{self, Call};
use super::{Session, Trouble, receipt, transaction};
use crate::database::Database;
use crate::wire::frontend::{Bind, Parse};
use crate::wire::{Closed, Fault, Frontend, Target, backend, frame};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;

impl<D: Database> Session<'_, D> {
    /// One message of the extended protocol, Sync apart.
    pub(super) async fn extended(&mut self, message: Frontend) -> Result<(), Trouble> {
        let Some(message) = self.join(message).await? else {
            return Ok(());
        };
        match message {
            Frontend::Parse(parse) => self.parse(parse).await,
            Frontend::Bind(bind) => self.bind(bind),
            Frontend::Describe(Target::Statement(name)) => {
                let prepared = self.statements.get(&name)?;
                self.describe_statement(&prepared, false).await
            }
            Frontend::Describe(Target::Portal(name)) => {
                let portal = self.portals.get(&name)?;
                if matches!(portal.progress, Progress::Fresh)
                    && !statement::gives_no_rows(&portal.bound.prepared.statement)
                {
                    self.held = Held::Describe(name);
                    return Ok(());
                }
                self.describe_portal(&name).await
            }
            Frontend::Execute { portal, max_rows } => self.execute(portal, max_rows, false).await,
            Frontend::Close(target) => {
                self.close(target);
                backend::close_complete(&mut self.wire.out);
                Ok(())
            }
            // Flush: whatever was held has been done by now.
            _ => Ok(self.wire.flush().await?),
        }
    }

    /// Settles what was held back, in the light of the message that follows it. Answers the message if it is still to be done.
    async fn join(&mut self, message: Frontend) -> Result<Option<Frontend>, Trouble> {
        match (std::mem::take(&mut self.held), message) {
            (Held::Parse(name), Frontend::Bind(bind)) if bind.statement == name => {
                // Its execution will show whether PostgreSQL accepts it.
                backend::parse_complete(&mut self.wire.out);
                Ok(Some(Frontend::Bind(bind)))
            }
            (Held::Parse(name), Frontend::Describe(Target::Statement(other))) if other == name => {
                let prepared = self.statements.get(&name)?;
                // PostgreSQL's answer to both.
                let described = self.describe_statement(&prepared, true).await;
                if described.is_err() {
                    self.statements.remove(&name);
                }
                described.map(|()| None)
            }
            (Held::Describe(name), Frontend::Execute { portal, max_rows }) if portal == name => {
                self.execute(portal, max_rows, true).await.map(|()| None)
            }
            (Held::Execute(mut execution), Frontend::Close(target)) => {
                self.close(target);
                backend::close_complete(&mut execution.after);
                self.held = Held::Execute(execution);
                Ok(None)
            }
            (held, message) => {
                self.settle(held, true).await?;
                Ok(Some(message))
            }
        }
    }

    /// Does what was held back. `more`: other messages follow before the Sync.
    async fn settle(&mut self, held: Held, more: bool) -> Result<(), Trouble> {
        match held {
            Held::Nothing => Ok(()),
            Held::Parse(name) => {
                let prepared = self.statements.get(&name)?;
                if let Err(trouble) = self.check(&prepared).await {
                    self.statements.remove(&name);
                    return Err(trouble);
                }
                backend::parse_complete(&mut self.wire.out);
                Ok(())
            }
            Held::Describe(name) => self.describe_portal(&name).await,
            Held::Execute(execution) => {
                if more && !self.block.is_open() {
                    self.open(false, sql::Modes::default());
                }
                self.perform(*execution).await
            }
        }
    }

    /// Sync: the implicit transaction ends, and with it the skipping after an error.
    pub(super) async fn sync(&mut self) -> Result<(), Closed> {
        let held = std::mem::take(&mut self.held);
        if !std::mem::take(&mut self.skipping) {
            let done = match self.settle(held, false).await {
                Ok(()) => self.end_implicit().await,
                Err(trouble) => Err(trouble),
            };
            if let Err(trouble) = done {
                self.fail(trouble).await?;
            }
        }
        if !self.block.is_open() {
            self.portals.clear();
        }
        self.ready().await
    }

    /// Everything of the extended protocol that a simple query comes upon is done before it.
    pub(super) async fn settle_before_query(&mut self) -> Result<(), Trouble> {
        let held = std::mem::take(&mut self.held);
        self.settle(held, true).await
    }

    async fn parse(&mut self, parse: Parse) -> Result<(), Trouble> {
        if parse.name.is_empty() {
            // Gone even if its successor is refused.
            self.statements.remove("");
        }
        let statement = match sql::statement(&parse.sql) {
            Ok(statement) => statement,
            Err(refusal) => {
                // Where PostgreSQL would not even parse it, the place is told.
                sql::split(&parse.sql)?;
                return Err(refusal.into());
            }
        };
        if self.block.is_failed()
            && !statement::is_end(&statement)
            && statement.kind != sql::Kind::Empty
        {
            return Err(transaction::aborted().into());
        }
        let prepared = Prepared::new(statement, parse.types);
        let prepared = self.statements.insert(parse.name.clone(), prepared)?;
        if prepared.is_checked() {
            backend::parse_complete(&mut self.wire.out);
        } else {
            self.held = Held::Parse(parse.name);
        }
        Ok(())
    }

    fn bind(&mut self, bind: Bind) -> Result<(), Trouble> {
        let prepared = self.statements.get(&bind.statement)?;
        let statement = &prepared.statement;
        if self.block.is_failed()
            && !statement::is_end(statement)
            && statement.kind != sql::Kind::Empty
        {
            return Err(transaction::aborted().into());
        }
        let bound = Bound {
            types: prepared.parameter_types(),
            prepared,
            parameters: bind.parameters,
            parameter_formats: bind.parameter_formats,
            result_formats: bind.result_formats,
        };
        self.portals.insert(bind.portal, bound)?;
        backend::bind_complete(&mut self.wire.out);
        Ok(())
    }

    fn close(&mut self, target: Target) {
        match target {
            // Closing what is not there is no error.
            Target::Statement(name) => {
                self.statements.remove(&name);
            }
            Target::Portal(name) => self.portals.remove(&name),
        }
    }

    async fn execute(
        &mut self,
        name: String,
        max_rows: i32,
        described: bool,
    ) -> Result<(), Trouble> {
        let max_rows = usize::try_from(max_rows).ok().filter(|max| *max > 0);
        let portal = self.portals.get(&name)?;
        let bound = portal.bound.clone();
        let statement = &bound.prepared.statement;
        if self.block.is_failed()
            && !statement::is_end(statement)
            && statement.kind != sql::Kind::Empty
        {
            return Err(transaction::aborted().into());
        }
        match &portal.progress {
            Progress::Fresh => {}
            Progress::Suspended(_) => {
                let rest = self.portals.resume(&name)?;
                return self.hand_out(&name, rest, max_rows).await;
            }
            Progress::Done if portal.description.is_some() => {
                backend::command_complete(&mut self.wire.out, statement::nothing_more(statement));
                return Ok(());
            }
            Progress::Done => {
                return Err(
                    Fault::error("55000", format!("portal \"{name}\" cannot be run")).into(),
                );
            }
        }
        self.reassure(&bound.prepared, described).await?;
        let copy_in = match statement.kind {
            sql::Kind::CopyIn => Some(self.copy_data(bound.call()).await?),
            _ => None,
        };
        let execution = Execution {
            portal: name,
            max_rows,
            described,
            copy_in,
            after: BytesMut::new(),
            bound: bound.clone(),
        };
        // VACUUM and its like commit at once, whatever follows.
        let at_once = matches!(statement.kind, sql::Kind::Maintenance { .. })
            || statement::is_control(statement);
        if self.block.is_open() || at_once {
            return self.perform(execution).await;
        }
        self.held = Held::Execute(Box::new(execution));
        Ok(())
    }

    async fn perform(&mut self, execution: Execution) -> Result<(), Trouble> {
        let bound: Arc<Bound> = execution.bound;
        self.description = None;
        let prepared = &bound.prepared;
        let told = execution.described.then_some(prepared.as_ref());
        let call = Call {
            described: execution.described,
            copy_in: execution
                .copy_in
                .as_ref()
                .map(|data| data.chunks.as_slice()),
            ..bound.call()
        };
        let returns_rows = !statement::gives_no_rows(&bound.prepared.statement)
            // A receipt is one row, whatever the limit.
            && !receipt::is_asked(&bound.prepared.statement);
        if let Some(max_rows) = execution.max_rows.filter(|_| returns_rows) {
            let done = self.perform_in_parts(&execution.portal, call, max_rows, told);
            done.await?;
        } else {
            let complete = self.statement(call).await;
            self.note_told(told, complete.is_err());
            self.wire.forward(complete?).await?;
            self.finish(&execution.portal);
        }
        prepared.set_checked();
        self.wire.out.extend_from_slice(&execution.after);
        Ok(())
    }

    /// The client has heard how rows of this statement are to be read. What comes before an error nobody compares.
    fn note_told(&mut self, told: Option<&Prepared>, failed: bool) {
        let (Some(prepared), Some(rows)) = (told, self.description.clone()) else {
            return;
        };
        let said = match failed {
            true => Said::Alone,
            false => self.said_by(&prepared.statement),
        };
        prepared.tell_rows(&rows, said);
    }

    fn finish(&mut self, name: &str) {
        // The statement may have ended the transaction, and the portal with it.
        if let Ok(portal) = self.portals.get(name) {
            portal.description = self.description.take();
            portal.progress = Progress::Done;
        }
    }

    /// Runs the whole statement and hands out the first rows.
    async fn perform_in_parts(
        &mut self,
        name: &str,
        call: Call<'_>,
        max_rows: usize,
        told: Option<&Prepared>,
    ) -> Result<(), Trouble> {
        let unvalidated = self.unvalidated(call.statement)?;
        let (mut outcome, keyed) = self.operate_keyed(call, unvalidated).await?;
        let call = keyed.as_ref().map_or(call, |keyed| call.of(keyed));
        let mut rest = Rest::default();
        outcome.frames.retain(|found| match frame::kind(found) {
            b'D' => {
                rest.rows.push_back(found.clone());
                false
            }
            _ => true,
        });
        let complete = self.answer(outcome, call).await;
        self.note_told(told, complete.is_err());
        rest.complete = complete?;
        self.note_settings(call.statement)?;
        self.finish(name);
        self.hand_out(name, rest, Some(max_rows)).await
    }

    /// Hands out rows, then says whether there may be more: as in PostgreSQL, a number of rows that is just the limit
    /// does not tell.
    async fn hand_out(
        &mut self,
        name: &str,
        mut rest: Rest,
        max_rows: Option<usize>,
    ) -> Result<(), Trouble> {
        let count = rest.rows.len().min(max_rows.unwrap_or(usize::MAX));
        for row in rest.rows.drain(..count) {
            self.wire.forward(row).await?;
        }
        if max_rows.is_some_and(|max| count == max) {
            rest.resumed = true;
            self.portals.suspend(name, rest)?;
            backend::portal_suspended(&mut self.wire.out);
        } else {
            let complete: Bytes = match rest.resumed {
                true => frame::with_rows(&rest.complete, count),
                false => rest.complete,
            };
            self.wire.forward(complete).await?;
        }
        Ok(())
    }
}
