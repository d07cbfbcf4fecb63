//! One operation of a client at the master: what it answers, and what it did.

use super::capture;
use super::claiming::{self, Claim, Newest};
use super::jobs::error_frame;
use super::journal::{self, Journal};
use super::judge;
use super::opening::{first_error, refusal};
use consensus::Digest;
use pgsession::{Error, ErrorFields, Session};
use txn::client::Outcome;
use txn::{Evidence, Operation, WriteSet};

/// What an operation came to at the master.
pub struct Ran {
    pub outcome: Outcome,
    pub evidence: Evidence,
    pub write_set: WriteSet,
    /// PostgreSQL's error.
    pub error: Option<ErrorFields>,
    /// What it did to the transaction's savepoints.
    pub savepoint: Option<sql::Kind>,
}

impl Ran {
    /// The operation did not run: an error stands in its place.
    pub fn refused(frame: bytes::Bytes) -> Ran {
        Ran::failed(vec![frame], None)
    }

    /// It came to an error before it changed anything.
    fn failed(frames: Vec<bytes::Bytes>, error: Option<ErrorFields>) -> Ran {
        let result = txn::result::digest(&frames, None);
        Ran {
            outcome: Outcome {
                frames,
                result,
                transaction: b'E',
            },
            evidence: Evidence {
                result,
                write: Digest([0; 32]),
                sequences: Vec::new(),
                schema_change: false,
                adds_only: false,
                failed: true,
                unvalidated: false,
                claims: None,
            },
            write_set: WriteSet::default(),
            error,
            savepoint: None,
        }
    }
}

/// Runs a client's operation, and tells what it did. `newest`: where a transaction with a snapshot of its own looks for rows that
/// a query with SKIP LOCKED may take.
///
/// # Errors
/// When the session is lost.
pub async fn run(
    session: &mut Session,
    operation: &Operation,
    token: &str,
    newest: Option<&Newest>,
) -> Result<Ran, Error> {
    if let Err(reason) = judge::admissible(operation, true) {
        return Ok(Ran::refused(error_frame(&reason.sqlstate, &reason.message)));
    }
    match execute(session, operation, token, newest).await {
        Err(error @ (Error::TooLarge { .. } | Error::Invalid(_))) if !session.is_broken() => Ok(
            Ran::refused(error_frame(error.sqlstate(), &error.to_string())),
        ),
        ran => ran,
    }
}

async fn execute(
    session: &mut Session,
    operation: &Operation,
    token: &str,
    newest: Option<&Newest>,
) -> Result<Ran, Error> {
    let mut statements = Vec::new();
    let mut claims = None;
    if let Some(skipping) = claiming::skipping(operation) {
        match claiming::claim(session, operation, &skipping, newest).await? {
            Claim::Taken(rows) => claims = Some(rows),
            Claim::Failed(outcome) => return Ok(Ran::failed(outcome.frames, outcome.error)),
            Claim::Refused(frame) => return Ok(Ran::refused(frame)),
        }
        statements.push(claiming::release());
    }
    statements.push(claiming::executed(operation, claims.as_ref(), token));
    let mut outcomes = session.run(statements).await?;
    let outcome = outcomes.pop().unwrap_or_default();
    let captured = match capture::of(&outcome, Journal::Unasked) {
        Err(capture::Fault::Journal(journal::Fault::Doubtful)) => {
            let answer = session.run(vec![journal::ask()]).await?.pop();
            capture::of(&outcome, Journal::of(&answer.unwrap_or_default()))
        }
        told => told,
    };
    let captured = match captured {
        Err(capture::Fault::Journal(_)) => {
            // What it wrote goes with it: this error is PostgreSQL's own, and rolls the statement back.
            let refusal = refusal(
                "0A000",
                "RESET ALL within a function that changes rows is not supported",
                "RESET the settings by their names.",
            );
            let error = first_error(session.run(vec![refusal]).await?)
                .ok_or(Error::Protocol("a refusal that is none".into()))?;
            return Ok(Ran::refused(error.frame));
        }
        told => told.map_err(|fault| Error::Protocol(fault.to_string()))?,
    };
    let savepoint = match outcome.tag.as_deref() {
        Some("SAVEPOINT" | "RELEASE" | "ROLLBACK") => sql::statement(&operation.sql).ok(),
        _ => None,
    };
    let savepoint = savepoint.map(|statement| statement.kind);
    let result = txn::result::digest(&outcome.frames, operation.order.as_deref());
    let evidence = Evidence {
        result,
        write: captured.write_set.digest(),
        sequences: captured.sequences,
        schema_change: captured.write_set.schema_change(),
        adds_only: captured.write_set.adds_only(),
        failed: outcome.error.is_some(),
        unvalidated: false,
        claims,
    };
    Ok(Ran {
        outcome: Outcome {
            frames: outcome.frames,
            result,
            transaction: outcome.transaction,
        },
        evidence,
        write_set: captured.write_set,
        error: outcome.error,
        savepoint,
    })
}
