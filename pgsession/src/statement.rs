//! One statement to run, with its parameters.

use std::sync::Arc;

use bytes::Bytes;

use crate::Error;

/// Which description is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Describe {
    /// None: only rows and the command tag come back.
    #[default]
    None,
    /// The portal's RowDescription or NoData, then the statement is executed.
    Portal,
    /// ParameterDescription and RowDescription or NoData; the statement is **not** executed.
    Statement,
}

/// One SQL statement for [`Session::run`](crate::Session::run).
#[derive(Clone, Debug, Default)]
pub struct Statement {
    /// Exactly one statement (the extended protocol takes no more).
    pub sql: Arc<str>,
    /// Type OIDs of the parameters; 0 or a missing one lets the server infer it.
    pub parameter_types: Vec<u32>,
    /// Parameter values; `None` is NULL.
    pub parameters: Vec<Option<Bytes>>,
    /// Formats of the parameters as in Bind: none (all text), one for all, or one each.
    pub parameter_formats: Vec<i16>,
    /// Formats of the result columns as in Bind.
    pub result_formats: Vec<i16>,
    /// Which description comes back.
    pub describe: Describe,
    /// Payloads for `COPY … FROM STDIN`, CopyDone follows by itself. With `None` such a COPY fails.
    pub copy_in: Option<Vec<Bytes>>,
    /// Keep a named prepared statement for the next time that the same text and types come.
    pub cached: bool,
}

impl Statement {
    /// A statement without parameters, its results in text, its row description included.
    pub fn new(sql: impl Into<Arc<str>>) -> Self {
        Statement {
            sql: sql.into(),
            describe: Describe::Portal,
            ..Statement::default()
        }
    }

    /// Refuses what cannot be put into protocol messages, before a byte is sent.
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_sql(&self.sql)?;
        let counted = [
            ("parameter types", self.parameter_types.len()),
            ("parameters", self.parameters.len()),
            ("parameter formats", self.parameter_formats.len()),
            ("result formats", self.result_formats.len()),
        ];
        for (what, count) in counted {
            if count > usize::from(u16::MAX) {
                return Err(Error::Invalid(format!(
                    "{count} {what}, the protocol carries at most 65535"
                )));
            }
        }
        let bound: usize = self.parameters.iter().flatten().map(|v| v.len() + 4).sum();
        check_size("parameters", bound)?;
        for chunk in self.copy_in.iter().flatten() {
            check_size("COPY payload", chunk.len())?;
        }
        Ok(())
    }
}

/// PostgreSQL refuses messages of 1 GiB and more; the slack covers what stands around the data.
const MAX_MESSAGE: usize = (1 << 30) - (1 << 20);

fn check_size(what: &str, bytes: usize) -> Result<(), Error> {
    if bytes > MAX_MESSAGE {
        return Err(Error::Invalid(format!(
            "{what} of {bytes} bytes, a message carries at most {MAX_MESSAGE}"
        )));
    }
    Ok(())
}

pub(crate) fn check_sql(sql: &str) -> Result<(), Error> {
    check_size("SQL text", sql.len())?;
    if sql.as_bytes().contains(&0) {
        return Err(Error::Invalid("SQL text contains a NUL character".into()));
    }
    Ok(())
}
