//! SET and RESET: PostgreSQL checks them, the front remembers them.

use super::statement::{Call, complete};
use super::{Session, Trouble};
use crate::database::Database;
use crate::settings::{Change, is_kept};
use crate::wire::{Fault, backend};
use bytes::Bytes;

impl<D: Database> Session<'_, D> {
    pub(super) async fn set(
        &mut self,
        name: &str,
        local: bool,
        call: Call<'_>,
    ) -> Result<Bytes, Trouble> {
        if name == "client_encoding" {
            let value = sql::setting(call.statement).and_then(|pairs| pairs.into_iter().next());
            utf8_only(value.as_ref().map_or("", |(_, value)| value))?;
            return Ok(complete("SET"));
        }
        if local && !self.block.is_open() {
            backend::warning(
                &mut self.wire.out,
                "25P01",
                "SET LOCAL can only be used in transaction blocks",
            );
        }
        // The followers need it for what comes after it in the block; a time-out is for the master alone.
        let unvalidated = is_kept(name) || !self.block.is_open();
        let call = Call {
            lasting: !local,
            ..call
        };
        let evidence = self.block.open().map(|open| open.evidence);
        let outcome = self.operate(call, unvalidated).await?;
        let complete = self.answer(outcome, call).await?;
        if let (Some(open), Some(evidence)) = (self.block.open(), evidence) {
            // No reason to have the transaction judged.
            open.evidence = evidence;
            if local {
                open.local.push(name.to_owned());
            }
        }
        if !local {
            self.note_settings(call.statement)?;
        }
        Ok(complete)
    }

    /// What a statement that PostgreSQL carried out means for the transactions to come.
    pub(super) fn note_settings(&mut self, statement: &sql::Statement) -> Result<(), Trouble> {
        match sql::setting(statement) {
            Some(pairs) => Ok(self.ledger.change(&Change::Set(pairs))?),
            None => Ok(()),
        }
    }

    pub(super) async fn reset(
        &mut self,
        name: Option<&str>,
        local: bool,
        call: Call<'_>,
    ) -> Result<Bytes, Trouble> {
        match name {
            None => self.reset_all().await?,
            Some("client_encoding") => {}
            Some(name) => self.reset_one(name, local, call).await?,
        }
        Ok(complete(call.statement.local_tag().unwrap_or("RESET")))
    }

    /// RESET ALL by name: PostgreSQL's own would also undo what SteelDB set for the transaction.
    pub(super) async fn reset_all(&mut self) -> Result<(), Trouble> {
        let mut names = self.ledger.current().names();
        names.extend(
            self.block
                .open()
                .into_iter()
                .flat_map(|open| open.local.clone()),
        );
        names.sort_unstable();
        names.dedup();
        for name in names {
            let quoted: Vec<_> = name
                .split('.')
                .map(|part| format!("\"{}\"", part.replace('"', "\"\"")))
                .collect();
            let text = format!("RESET {}", quoted.join("."));
            let statement = sql::statement(&text)?;
            self.reset_one(&name, false, Call::simple(&statement))
                .await?;
        }
        Ok(())
    }

    async fn reset_one(&mut self, name: &str, local: bool, call: Call<'_>) -> Result<(), Trouble> {
        // Back to the startup packet's value, which PostgreSQL's sessions never heard of as such.
        let startup = self.ledger.at_startup(name).map(str::to_owned);
        let text = startup.map(|value| set_config(name, &value, local));
        let call = match &text {
            Some(text) => call.with_text(text),
            None => call,
        };
        let call = Call {
            described: false,
            lasting: !local,
            prepared: None,
            ..call
        };
        let unvalidated = is_kept(name) || !self.block.is_open();
        let evidence = self.block.open().map(|open| open.evidence);
        let mut outcome = self.operate(call, unvalidated).await?;
        outcome.frames.retain(|found| found.first() != Some(&b'D'));
        self.answer(outcome, call).await?;
        if let (Some(open), Some(evidence)) = (self.block.open(), evidence) {
            open.evidence = evidence;
        }
        if !local {
            self.ledger.change(&Change::Reset(name.to_owned()))?;
        }
        Ok(())
    }
}

/// A call of `set_config` with literals.
pub(crate) fn set_config(name: &str, value: &str, local: bool) -> String {
    format!(
        "SELECT pg_catalog.set_config({}, {}, {local})",
        literal(name),
        literal(value)
    )
}

/// A string literal that reads the same whatever `standard_conforming_strings` says.
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// # Errors
/// 0A000 for every other encoding.
pub(crate) fn utf8_only(encoding: &str) -> Result<(), Fault> {
    let plain: String = encoding
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    if ["utf8", "unicode", "default"].contains(&plain.to_ascii_lowercase().as_str()) {
        return Ok(());
    }
    Err(Fault::error(
        "0A000",
        format!("client_encoding \"{encoding}\" is not supported"),
    )
    .hint("SteelDB speaks UTF8 only: set client_encoding, or PGCLIENTENCODING, to UTF8."))
}
