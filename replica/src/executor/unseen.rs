//! Keys that a transaction's snapshot cannot see (DESIGN.md, "READ COMMITTED applications"). PostgreSQL checks unique and
//! foreign keys against the newest state, so a statement can fail on a row that its transaction will never find, however it
//! looks. An application that takes 23505 for "it is there, I update it" is led astray; 40001 has it begin again.

use super::closing;
use super::jobs::error_frame_of;
use super::opening::{first_error, quiet, refusal};
use super::pool::Pool;
use bytes::Bytes;
use pgsession::{Error, ErrorFields, Outcome, Session, Statement};

/// Whether an error may be of this kind. What client code raises itself is its own business.
fn concerns(error: &ErrorFields) -> bool {
    matches!(error.sqlstate.as_str(), "23505" | "23503")
        && error.field(b'F').is_some_and(|file| file != "pl_exec.c")
}

/// The error to answer instead of an operation's, if that is of a row which its transaction cannot see. The session is in the
/// failed transaction that the error left, and is left so: only what the client has to roll back anyway, to its
/// innermost savepoint, is rolled back in between.
///
/// # Errors
/// When the session is lost.
pub async fn instead(
    session: &mut Session,
    pool: &Pool,
    error: &ErrorFields,
    savepoint: &Savepoint,
) -> Result<Option<Bytes>, Error> {
    if !concerns(error) || session.transaction() != b'E' {
        return Ok(None);
    }
    let user = session.user().clone();
    let Some(query) = in_newest(pool, &user, error, savepoint).await else {
        return Ok(None);
    };
    // The savepoint brings the view of the snapshot back; the last statement fails, as the client's did.
    let mut outcomes = session
        .run(vec![
            quiet(format!("ROLLBACK TO SAVEPOINT {}", savepoint.quoted)),
            Statement::new(query.as_str()),
            refusal("25P02", "the statement before this one failed", ""),
        ])
        .await?;
    outcomes.truncate(2);
    if outcomes.iter().all(|o| o.error.is_none()) && is_there(outcomes.last()) == Some(false) {
        return Ok(Some(frame(error)));
    }
    Ok(None)
}

/// The innermost savepoint of a transaction.
#[derive(Clone, Debug)]
pub struct Savepoint {
    /// Its name as SQL.
    pub quoted: String,
    /// It is the one right after the snapshot.
    pub first: bool,
}

/// The query that finds the row in the state of now, if it does. Asked read-only: an index may be made of a client's functions.
async fn in_newest(
    pool: &Pool,
    user: &str,
    error: &ErrorFields,
    savepoint: &Savepoint,
) -> Option<String> {
    let mut session = pool.get_as(user).await.ok()?;
    let named = [b's', b't', b'n', b'D'].map(|code| error.field(code).map(Bytes::from));
    let [schema, table, name, detail] = named;
    // The transaction itself may have deleted what is missing, before a savepoint that hides it no more.
    let unlocked = error.sqlstate == "23503" && !savepoint.first;
    let ask = Statement {
        sql: "SELECT steel.key_query($1, $2, $3, $4, $5, $6)".into(),
        parameter_types: vec![25, 25, 25, 25, 25, 16],
        parameters: vec![
            Some(error.sqlstate.clone().into()),
            schema,
            table,
            name,
            detail,
            Some(unlocked.to_string().into()),
        ],
        cached: true,
        ..Statement::default()
    };
    let query = session.run(vec![ask]).await.ok()?.pop()?.scalar()?;
    let outcomes = session
        .run(vec![
            quiet("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"),
            Statement::new(query.as_str()),
            quiet("ROLLBACK"),
        ])
        .await
        .ok()?;
    let cleaned = session.run(closing::clean_of_read().into()).await.ok()?;
    let found = is_there(outcomes.get(1)) == Some(true);
    if first_error(outcomes).is_none() {
        pool.put_clean(session, &cleaned);
    }
    found.then_some(query)
}

fn is_there(outcome: Option<&Outcome>) -> Option<bool> {
    Some(outcome?.scalar()? == "t")
}

fn frame(error: &ErrorFields) -> Bytes {
    let detail = error.detail.as_deref().unwrap_or_default();
    let detail = format!("{} ({}). {detail}", error.message, error.sqlstate);
    error_frame_of(&[
        (b'S', "ERROR"),
        (b'V', "ERROR"),
        (b'C', "40001"),
        (
            b'M',
            "could not serialize access: a key depends on a row that came after the transaction began",
        ),
        (b'D', &detail),
        (b'H', "Run the transaction again."),
    ])
}
