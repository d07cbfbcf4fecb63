//! Descriptions: asked without executing anything.
//!
//! A client that is told wrong types sends other values than it means, and reads others than there are. So outside of blocks a
//! quorum describes; in a block the master does, and the others compare it at the commit. Until then the client goes by one
//! replica's word: if the block ends otherwise, the statement is described again before it is next executed.

use super::portal::{Bound, Progress};
use super::prepared::{Prepared, Said};
use super::statement::{self, Call};
use super::{Session, Trouble};
use crate::database::Database;
use crate::wire::{Fault, backend, frame};
use bytes::Bytes;
use std::sync::Arc;

/// What PostgreSQL says of a statement.
struct Description {
    parameters: Vec<u32>,
    /// RowDescription; `None` where there are no rows.
    rows: Option<Bytes>,
}

impl<D: Database> Session<'_, D> {
    /// PostgreSQL has a look at the statement, as it does at every Parse.
    pub(super) async fn check(&mut self, prepared: &Prepared) -> Result<(), Trouble> {
        if !prepared.is_checked() && !self.block.is_failed() {
            // Only an error is told, and the shim has errors confirmed.
            self.description(prepared, true).await?;
        }
        Ok(())
    }

    /// Before an execution: what the client was told must be true. `described`: it is told anew how rows are to be read.
    pub(super) async fn reassure(
        &mut self,
        prepared: &Prepared,
        described: bool,
    ) -> Result<(), Trouble> {
        let block = self.block.number();
        if self.block.is_failed() {
            return Ok(());
        }
        if !described && prepared.is_doubtful(block) {
            self.told_description(prepared).await?;
        } else if described && prepared.has_doubtful_parameters(block) {
            let (description, said) = self.said_description(prepared).await?;
            prepared.tell_parameters(&description.parameters, said)?;
        }
        Ok(())
    }

    /// Whether nobody but the master could describe the statement: other majors have other catalogs.
    fn is_masters_alone(&mut self, statement: &sql::Statement) -> bool {
        match &statement.kind {
            sql::Kind::CatalogRead | sql::Kind::Show { .. } => true,
            sql::Kind::Cursor(_) => match self.block.open() {
                Some(open) => open.catalog_cursors.has(statement),
                None => statement.unvalidated,
            },
            _ => statement.unvalidated,
        }
    }

    /// Who says now how the statement's rows are to be read.
    pub(super) fn said_by(&mut self, statement: &sql::Statement) -> Said {
        if self.is_masters_alone(statement) {
            return Said::Confirmed;
        }
        match self.block.open() {
            Some(open) => {
                open.tells = true;
                Said::InBlock(open.number)
            }
            None => Said::Confirmed,
        }
    }

    /// What the client is told from now on.
    async fn told_description(&mut self, prepared: &Prepared) -> Result<Description, Trouble> {
        let (description, said) = self.said_description(prepared).await?;
        prepared.tell(&description.parameters, description.rows.as_ref(), said)?;
        Ok(description)
    }

    /// What is said of the statement, and who says so.
    async fn said_description(
        &mut self,
        prepared: &Prepared,
    ) -> Result<(Description, Said), Trouble> {
        let unvalidated = self.is_masters_alone(&prepared.statement);
        let description = self.description(prepared, unvalidated).await?;
        Ok((description, self.said_by(&prepared.statement)))
    }

    /// ParameterDescription, then RowDescription or NoData; before them the ParseComplete, if it is still owed.
    pub(super) async fn describe_statement(
        &mut self,
        prepared: &Prepared,
        parsed: bool,
    ) -> Result<(), Trouble> {
        let description = self.told_description(prepared).await?;
        if parsed {
            backend::parse_complete(&mut self.wire.out);
        }
        backend::parameter_description(&mut self.wire.out, description.parameters);
        self.rows(description.rows).await
    }

    pub(super) async fn describe_portal(&mut self, name: &str) -> Result<(), Trouble> {
        let portal = self.portals.get(name)?;
        if !matches!(portal.progress, Progress::Fresh) {
            let known = portal.description.clone();
            return self.rows(known).await;
        }
        let bound: Arc<Bound> = portal.bound.clone();
        if statement::gives_no_rows(&bound.prepared.statement) {
            return self.rows(None).await;
        }
        let description = self.told_description(&bound.prepared).await?;
        let rows = match description.rows {
            Some(rows) => Some(
                frame::with_formats(&rows, &bound.result_formats)
                    .ok_or_else(|| Fault::protocol(mismatch(&rows, &bound.result_formats)))?,
            ),
            None => None,
        };
        self.rows(rows).await
    }

    async fn rows(&mut self, rows: Option<Bytes>) -> Result<(), Trouble> {
        match rows {
            Some(rows) => self.wire.forward(rows).await?,
            None => backend::no_data(&mut self.wire.out),
        }
        Ok(())
    }

    /// `unvalidated`: by the master alone.
    async fn description(
        &mut self,
        prepared: &Prepared,
        unvalidated: bool,
    ) -> Result<Description, Trouble> {
        // What is doubtful is asked as it was asked before.
        let types = match prepared.has_doubtful_parameters(self.block.number()) {
            true => prepared.types.clone(),
            false => prepared.parameter_types(),
        };
        let mut description = Description {
            parameters: types.clone(),
            rows: None,
        };
        // Data definition may hold parameters in a query of its own: PostgreSQL knows them.
        let known = statement::gives_no_rows(&prepared.statement);
        if known && (prepared.statement.kind != sql::Kind::Ddl || self.block.is_failed()) {
            return Ok(description);
        }
        if self.block.is_failed() {
            return Err(super::transaction::aborted().into());
        }
        if super::receipt::is_asked(&prepared.statement) {
            description.rows = Some(super::receipt::described());
            prepared.set_checked();
            return Ok(description);
        }
        let call = Call {
            types: &types,
            describe_only: true,
            ..Call::simple(&prepared.statement)
        };
        let outcome = self.operate(call, unvalidated).await?;
        let mut failed = false;
        for found in outcome.frames {
            match frame::kind(&found) {
                b't' => description.parameters = frame::parameter_types(&found),
                b'T' => description.rows = Some(found),
                b'E' => {
                    failed = true;
                    self.error(found, call).await?;
                }
                b'N' => self.notice(found, call).await?,
                _ => {}
            }
        }
        if failed {
            return Err(Trouble::Reported);
        }
        prepared.set_checked();
        Ok(description)
    }
}

fn mismatch(rows: &Bytes, formats: &[i16]) -> String {
    let columns = rows
        .get(5..7)
        .map_or(0, |count| u16::from_be_bytes([count[0], count[1]]));
    format!(
        "bind message has {} result formats but query has {columns} columns",
        formats.len()
    )
}
