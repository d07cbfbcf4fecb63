//! Queries with SKIP LOCKED: which rows they get is the master's choice, and all take exactly those.
//!
//! The master runs the locking query by itself, takes down the keys of its rows as [`Claims`], and then executes what everybody
//! executes: the statement as a plain lock of these rows. A follower finds the same rows by the same query at the same state, or
//! does not judge COMMIT. So a lying master can pass over rows that nobody has locked, which is what timing can do too, and
//! nothing else: not name a row that is not there or does not match, and not have a statement fail by naming nonsense.

use super::closing;
use super::jobs::error_frame;
use super::judge::{Report, local, reason};
use super::opening::{Opening, quiet, statement};
use super::pool::Pool;
use super::provision;
use bytes::Bytes;
use pgsession::{Describe, Error, Outcome, Session, Statement};
use sql::{Query, Skipping};
use std::collections::BTreeSet;
use std::sync::Arc;
use txn::limits::CLAIMED_ROWS;
use txn::{Claims, Operation, Step};

/// Before the locking query, so that one that failed can be run again.
const SAVEPOINT: &str = "steel_claim";
/// Runs of the locking query, when rows that it met were changed since its snapshot.
const RUNS: usize = 6;
/// How long the look at the newest state waits for a table that the transaction itself may have locked whole.
const LOOK: &str = "SET LOCAL lock_timeout = '100ms'";
/// PostgreSQL's own limit.
const KEY_COLUMNS: usize = 32;

/// The key's columns, whether their text under the session's settings says all of the value, and whether children share the table's
/// name but not its key.
const KEY_OF: &str = "SELECT (t.typcategory IN ('S', 'B', 'E', 'U') OR t.oid IN (20, 21, 23, 26, 1700) \
        OR pg_catalog.current_setting('extra_float_digits')::int >= 1 \
        AND pg_catalog.current_setting('DateStyle') LIKE 'ISO%' \
        AND pg_catalog.current_setting('IntervalStyle') = 'postgres')::text, \
    (c.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhparent = c.oid))::text, a.attname FROM pg_catalog.pg_index i \
    CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY k(attribute, place) \
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attribute \
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
    JOIN pg_catalog.pg_class c ON c.oid = i.indrelid \
    WHERE i.indrelid = pg_catalog.to_regclass($1) AND i.indisprimary AND k.place <= i.indnkeyatts \
    ORDER BY k.place";

const NO_KEY: &str = "SKIP LOCKED of a table without a primary key is not supported by SteelDB: the keys of the rows that it took are what replicas agree on. Add a primary key";
const SETTINGS: &str = "SKIP LOCKED of a table with such a primary key is not supported by SteelDB under these settings: the text of its keys must say all of them. Set extra_float_digits to 1, DateStyle to ISO and IntervalStyle to postgres";
const CHILDREN: &str = "SKIP LOCKED of a table that others inherit from is not supported by SteelDB: they may have rows of the same key. Name the child";

/// What came of the locking query at the master.
pub enum Claim {
    /// These rows are locked; the statement is executed as [`executed`] says.
    Taken(Claims),
    /// PostgreSQL refused: the statement's own error, or the query's.
    Failed(Box<Outcome>),
    /// SteelDB refuses; an ErrorResponse.
    Refused(Bytes),
}

/// Where the newest state can be seen, for a transaction that has an older snapshot.
pub struct Newest {
    pub pool: Arc<Pool>,
    pub opening: Opening,
}

/// The query of an operation that skips, if it is one that is executed.
pub fn skipping(operation: &Operation) -> Option<Skipping> {
    match operation.describe_only {
        true => None,
        false => sql::skipping(&operation.sql),
    }
}

/// Runs the locking query at the master.
///
/// # Errors
/// When the session is lost, or the query's answer too large.
pub async fn claim(
    session: &mut Session,
    operation: &Operation,
    skipping: &Skipping,
    newest: Option<&Newest>,
) -> Result<Claim, Error> {
    let lookup = Statement {
        sql: KEY_OF.into(),
        parameter_types: vec![25],
        parameters: vec![Some(skipping.table().to_owned().into())],
        cached: true,
        ..Statement::default()
    };
    let savepoint = quiet(format!("SAVEPOINT {SAVEPOINT}"));
    let mut outcomes = session.run(vec![savepoint, lookup]).await?;
    if let Some(failed) = outcomes.iter().position(|o| o.error.is_some()) {
        return Ok(Claim::Failed(Box::new(outcomes.swap_remove(failed))));
    }
    let columns = outcomes[1].values().filter_map(|row| texts(&row));
    let columns: Vec<_> = columns.collect();
    let says = |place: usize, what: &str| columns.iter().any(|column| column[place] == what);
    let why = if columns.is_empty() {
        Some(NO_KEY)
    } else if says(0, "false") {
        Some(SETTINGS)
    } else {
        says(1, "true").then_some(CHILDREN)
    };
    if let Some(why) = why {
        return refuse(session, operation, why).await;
    }
    let key: Vec<String> = columns.into_iter().filter_map(|mut c| c.pop()).collect();
    let mut within: Option<Vec<Vec<String>>> = None;
    for _ in 0..RUNS {
        let query = skipping.claim(&key, within.as_deref());
        let outcome = one(session, of_query(&query, operation)).await?;
        let Some(error) = &outcome.error else {
            let mut rows = keys_of(&outcome, key.len());
            // A join may name one row several times.
            rows.sort_unstable();
            rows.dedup();
            if rows.len() > CLAIMED_ROWS {
                let message = format!(
                    "a query with SKIP LOCKED took more than {CLAIMED_ROWS} rows: limit it"
                );
                return Ok(Claim::Refused(error_frame("53400", &message)));
            }
            return Ok(Claim::Taken(Claims { key, rows }));
        };
        match (error.sqlstate.as_str(), newest) {
            // A row was locked and changed by others between the snapshot and now. One PostgreSQL at READ COMMITTED would look
            // at its newest version and go on; here it is passed over like one that is locked still.
            ("40001", Some(newest)) => {
                let Some(free) = newest
                    .unlocked(&query_of(skipping, &key), operation, key.len())
                    .await
                else {
                    return Ok(Claim::Failed(Box::new(outcome)));
                };
                one(session, back()).await?;
                within = Some(free);
            }
            // A name that is not there: the statement's mistake, or a part of the statement around.
            (state, _) if state.starts_with("42") && state != "42501" => {
                let message = format!(
                    "SKIP LOCKED in a query that cannot stand for itself is not supported by SteelDB ({}): select from the table alone, and pass values as parameters",
                    error.message
                );
                return refuse(session, operation, &message).await;
            }
            _ => return Ok(Claim::Failed(Box::new(outcome))),
        }
    }
    let message =
        "could not serialize access: the rows of a query with SKIP LOCKED change too fast";
    Ok(Claim::Refused(error_frame("40001", message)))
}

/// What leads from the claim to the statement.
pub fn release() -> Statement {
    quiet(format!("RELEASE SAVEPOINT {SAVEPOINT}"))
}

fn back() -> Statement {
    quiet(format!("ROLLBACK TO SAVEPOINT {SAVEPOINT}"))
}

fn query_of(skipping: &Skipping, key: &[String]) -> Query {
    skipping.claim(key, None)
}

/// If PostgreSQL itself refuses the statement, its error is the better one.
async fn refuse(
    session: &mut Session,
    operation: &Operation,
    message: &str,
) -> Result<Claim, Error> {
    let parsed = Statement {
        describe: Describe::Statement,
        ..statement(operation)
    };
    let mut outcomes = session.run(vec![back(), release(), parsed]).await?;
    match outcomes.pop().filter(|outcome| outcome.error.is_some()) {
        Some(outcome) => Ok(Claim::Failed(Box::new(outcome))),
        None => Ok(Claim::Refused(error_frame("0A000", message))),
    }
}

impl Newest {
    /// Keys of the rows that the query would lock at the newest state. They are free again afterwards: who wants them locks
    /// them in its own session.
    async fn unlocked(
        &self,
        query: &Query,
        operation: &Operation,
        width: usize,
    ) -> Option<Vec<Vec<String>>> {
        let mut session = self.pool.get_as(self.opening.role()).await.ok()?;
        let opening = Opening {
            isolation: "READ COMMITTED",
            read_only: false,
            ..self.opening.clone()
        };
        let mut statements = opening.statements();
        statements.push(quiet(LOOK));
        statements.push(of_query(query, operation));
        statements.push(quiet("ROLLBACK"));
        let outcomes = session.run(statements).await.ok()?;
        let cleaned = session.run(closing::clean().into()).await.ok()?;
        self.pool.put_clean(session, &cleaned);
        let failed = outcomes.iter().any(|outcome| outcome.error.is_some());
        let looked = outcomes.get(outcomes.len().checked_sub(2)?)?;
        (!failed).then(|| keys_of(looked, width))
    }
}

/// The statement of an operation as everybody executes it, the master too.
pub fn executed(operation: &Operation, claims: Option<&Claims>, token: &str) -> Statement {
    let Some(skipping) = skipping(operation) else {
        return statement(&provision::sealed(operation, token));
    };
    let claims = claims.map(|claims| (&claims.key[..], &claims.rows[..]));
    Statement {
        sql: skipping.replay(claims).into(),
        // It names rows, so nobody meets it again.
        cached: false,
        ..statement(operation)
    }
}

/// The query by which a follower finds the claimed rows, if there are any claims.
///
/// # Errors
/// ABORT for claims that are none: the master gave its word for them.
pub fn check(step: &Step) -> Result<Option<Statement>, Report> {
    let Some(claims) = &step.evidence.claims else {
        return Ok(None);
    };
    let wide = |row: &Vec<String>| row.len() == claims.key.len();
    let mut texts = claims.rows.iter().flatten().chain(&claims.key);
    let whole = (1..=KEY_COLUMNS).contains(&claims.key.len())
        && claims.rows.len() <= CLAIMED_ROWS
        && claims.rows.iter().all(wide)
        && !texts.any(|text| text.contains('\0'));
    match skipping(&step.operation).filter(|_| whole) {
        Some(skipping) => {
            let query = skipping.check(&claims.key, &claims.rows);
            Ok(Some(of_query(&query, &step.operation)))
        }
        None => Err(Report::differs(reason(
            "40001",
            "rows are claimed that no query of the statement can have taken",
            "",
        ))),
    }
}

/// Whether a follower found the claimed rows; else what it judges. `what` names the statement and the replica.
pub fn found(outcome: &Outcome, claims: &Claims, what: &str) -> Option<Report> {
    if let Some(error) = &outcome.error {
        if local(&error.sqlstate) {
            return Some(Report::interrupted_by(error));
        }
        if error.sqlstate == "40001" {
            return Some(Report::abort(reason("40001", error.message.clone(), what)));
        }
    }
    let found = keys_of(outcome, claims.key.len());
    let same = outcome.error.is_none() && set(&found) == set(&claims.rows);
    (!same).then(|| {
        Report::differs(reason(
            "40001",
            "could not confirm the transaction: rows were claimed that its query does not find",
            what,
        ))
    })
}

fn set(rows: &[Vec<String>]) -> BTreeSet<&[String]> {
    rows.iter().map(|row| &row[..]).collect()
}

async fn one(session: &mut Session, statement: Statement) -> Result<Outcome, Error> {
    Ok(session
        .run(vec![statement])
        .await?
        .pop()
        .unwrap_or_default())
}

/// A part of an operation, with the parameters that it uses. Its answer comes as text.
fn of_query(query: &Query, operation: &Operation) -> Statement {
    let numbers = || query.parameters.iter().copied();
    let format = |number: usize| match operation.parameter_formats.len() {
        0 => 0,
        1 => operation.parameter_formats[0],
        _ => operation
            .parameter_formats
            .get(number)
            .copied()
            .unwrap_or(0),
    };
    Statement {
        sql: query.text.as_str().into(),
        parameter_types: numbers()
            .map(|n| operation.parameter_types.get(n).copied().unwrap_or(0))
            .collect(),
        parameters: numbers()
            .map(|n| operation.parameters.get(n).cloned().flatten())
            .collect(),
        parameter_formats: numbers().map(format).collect(),
        ..Statement::default()
    }
}

/// The last `width` columns of each row.
fn keys_of(outcome: &Outcome, width: usize) -> Vec<Vec<String>> {
    let last = |row: Vec<Option<Bytes>>| texts(&row[row.len().checked_sub(width)?..]);
    outcome.values().filter_map(last).collect()
}

/// `None` if one is NULL, which no key is.
fn texts(values: &[Option<Bytes>]) -> Option<Vec<String>> {
    let text = |value: &Option<Bytes>| String::from_utf8(value.as_ref()?.to_vec()).ok();
    values.iter().map(text).collect()
}
