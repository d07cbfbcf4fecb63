//! How a session enters a transaction: what every replica does alike before the first operation.

use bytes::Bytes;
use consensus::ClientId;
use pgsession::{Describe, Error, ErrorFields, Outcome, Session, Statement};
use std::sync::Arc;
use txn::ordered::{SessionSettings, role};
use txn::{Isolation, Operation};

/// The savepoint right after the snapshot: rolling back to it keeps the snapshot and frees the locks.
pub const SAVEPOINT: &str = "steel_start";

/// What a transaction is opened with; equal at all replicas but for `mode`.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Whose it is.
    pub client: ClientId,
    /// PostgreSQL's level for the session.
    pub isolation: &'static str,
    /// What the client was promised.
    pub promised: Isolation,
    pub read_only: bool,
    /// What `now()` says, consensus milliseconds.
    pub time_ms: u64,
    pub nonce: String,
    /// `record` at the master, `replay` elsewhere (see the schema `steel`).
    pub mode: &'static str,
    pub settings: SessionSettings,
}

impl Opening {
    /// The role that its session logs in as ([`Pool::get_as`](super::pool::Pool::get_as)).
    pub fn role(&self) -> &str {
        role(&self.settings)
    }

    /// BEGIN, the statement that takes the snapshot, and the savepoint. What `currval` would tell of whoever had the session before
    /// is forgotten first: an error is better than another client's number.
    pub fn statements(&self) -> Vec<Statement> {
        let access = if self.read_only {
            "READ ONLY"
        } else {
            "READ WRITE"
        };
        vec![
            quiet("DISCARD SEQUENCES"),
            // Never kept: if it were gone, what follows in the pipeline would run outside of a transaction.
            Statement::new(format!("BEGIN ISOLATION LEVEL {} {access}", self.isolation)),
            self.begin_tx(self.mode),
            quiet(format!("SAVEPOINT {SAVEPOINT}")),
        ]
    }

    /// Back to the state right after the snapshot, without its locks, to run as a follower does.
    pub fn again(&self) -> Vec<Statement> {
        // `begin_tx` once more: the seed of random() is not undone by a rollback.
        vec![
            quiet(format!("ROLLBACK TO SAVEPOINT {SAVEPOINT}")),
            self.begin_tx("replay"),
        ]
    }

    fn begin_tx(&self, mode: &str) -> Statement {
        let (names, values): (Vec<_>, Vec<_>) = self.settings.iter().cloned().unzip();
        let text = |s: String| Some(Bytes::from(s));
        Statement {
            sql: "SELECT steel.act_as($6, $7), steel.begin_tx(pg_catalog.to_timestamp($1 / 1000.0), $2, $3, $4, $5), \
                         steel.open_journal()"
                .into(),
            parameter_types: vec![20, 25, 25, 1009, 1009, 20, 25],
            parameters: vec![
                text(self.time_ms.to_string()),
                text(self.nonce.clone()),
                text(mode.to_owned()),
                text(array(&names)),
                text(array(&values)),
                text(self.client.0.to_string()),
                text(self.role().to_owned()),
            ],
            cached: true,
            ..Statement::default()
        }
    }

    /// Opens the transaction. An SQL error (a setting that PostgreSQL refuses) leaves it open and failed.
    ///
    /// # Errors
    /// When the session is lost.
    pub async fn open(&self, session: &mut Session) -> Result<Option<ErrorFields>, Error> {
        let outcomes = session.run(self.statements()).await?;
        Ok(first_error(outcomes))
    }
}

/// A statement without parameters whose description nobody needs, prepared once.
pub fn quiet(sql: impl Into<Arc<str>>) -> Statement {
    Statement {
        sql: sql.into(),
        cached: true,
        ..Statement::default()
    }
}

/// Fails unless the session is one of this role, and the client may act as it (V35).
pub fn act_as(client: ClientId, role: &str) -> Statement {
    Statement {
        sql: "SELECT steel.act_as($1, $2)".into(),
        parameter_types: vec![20, 25],
        parameters: vec![
            Some(client.0.to_string().into()),
            Some(role.to_owned().into()),
        ],
        cached: true,
        ..Statement::default()
    }
}

/// A statement that fails with this error, and its transaction with it.
pub fn refusal(sqlstate: &str, message: &str, hint: &str) -> Statement {
    let text = |value: &str| Some(Bytes::copy_from_slice(value.as_bytes()));
    Statement {
        sql: "SELECT steel.refuse($1, $2, $3)".into(),
        parameter_types: vec![25, 25, 25],
        parameters: vec![text(sqlstate), text(message), text(hint)],
        cached: true,
        ..Statement::default()
    }
}

pub fn first_error(outcomes: Vec<Outcome>) -> Option<ErrorFields> {
    outcomes.into_iter().find_map(|o| o.error)
}

/// The statement of an operation. How its rows are to be read is part of the answer, so it is compared too.
pub fn statement(operation: &Operation) -> Statement {
    Statement {
        sql: operation.sql.as_str().into(),
        parameter_types: operation.parameter_types.clone(),
        parameters: operation.parameters.clone(),
        parameter_formats: operation.parameter_formats.clone(),
        result_formats: operation.result_formats.clone(),
        describe: match operation.describe_only {
            true => Describe::Statement,
            false => Describe::Portal,
        },
        copy_in: operation.copy_in.clone(),
        // What is only described is asked anew: a server keeps the types of a statement that it has prepared, whatever becomes of
        // the tables, and others may have prepared it at another time.
        cached: !operation.describe_only
            && (!operation.parameters.is_empty() || !operation.parameter_types.is_empty()),
    }
}

/// A text array literal.
pub fn array(items: &[String]) -> String {
    let quoted: Vec<String> = items
        .iter()
        .map(|item| format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\"")))
        .collect();
    format!("{{{}}}", quoted.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn array_elements_keep_quotes_and_backslashes() {
        let items = [
            "a".to_owned(),
            "b,\"c\"".to_owned(),
            "d\\e".to_owned(),
            String::new(),
        ];
        assert_eq!(array(&items), r#"{"a","b,\"c\"","d\\e",""}"#);
    }
}
