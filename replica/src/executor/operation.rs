//! One operation of a client at the master: what it answers, and what it did.

use super::capture;
use super::jobs::error_frame;
use super::journal::{self, Journal};
use super::judge;
use super::opening::{first_error, refusal, statement};
use super::provision;
use consensus::Digest;
use pgsession::{Error, ErrorFields, Session};
use txn::client::Outcome;
use txn::{Evidence, Operation, WriteSet};

/// What an operation came to at the master.
pub struct Ran {
    pub outcome: Outcome,
    pub evidence: Evidence,
    pub write_set: WriteSet,
    pub failed: bool,
    /// PostgreSQL's error.
    pub error: Option<ErrorFields>,
    /// What it did to the transaction's savepoints.
    pub savepoint: Option<sql::Kind>,
}

impl Ran {
    /// The operation did not run: an error stands in its place.
    pub fn refused(frame: bytes::Bytes) -> Ran {
        let frames = vec![frame];
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
                unvalidated: false,
            },
            write_set: WriteSet::default(),
            failed: true,
            error: None,
            savepoint: None,
        }
    }
}

/// Runs a client's operation, and tells what it did.
///
/// # Errors
/// When the session is lost.
pub async fn run(session: &mut Session, operation: &Operation, token: &str) -> Result<Ran, Error> {
    if let Err(reason) = judge::admissible(operation, true) {
        return Ok(Ran::refused(error_frame(&reason.sqlstate, &reason.message)));
    }
    let mut outcomes = match session
        .run(vec![statement(&provision::sealed(operation, token), true)])
        .await
    {
        Ok(outcomes) => outcomes,
        Err(error @ (Error::TooLarge { .. } | Error::Invalid(_))) if !session.is_broken() => {
            return Ok(Ran::refused(error_frame(
                error.sqlstate(),
                &error.to_string(),
            )));
        }
        Err(error) => return Err(error),
    };
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
        unvalidated: false,
    };
    Ok(Ran {
        outcome: Outcome {
            frames: outcome.frames,
            result,
            transaction: outcome.transaction,
        },
        evidence,
        write_set: captured.write_set,
        failed: outcome.error.is_some(),
        error: outcome.error,
        savepoint,
    })
}
