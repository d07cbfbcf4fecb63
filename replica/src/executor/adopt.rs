//! Adoption: the agreed write set is applied instead of executing (DESIGN.md, 5).

use super::capture;
use super::opening::{first_error, quiet};
use consensus::Height;
use pgsession::{Error, ErrorFields, Outcome, Session, Statement};
use std::collections::BTreeMap;
use std::sync::Mutex;
use txn::{Event, SequenceUse, SequenceValues, Step, WriteSet};

/// Tables whose columns are remembered.
const KNOWN_TABLES: usize = 4_096;
/// Rows of one statement; more are cut.
const ROWS_AT_ONCE: usize = 5_000;

/// Why a write set could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Session(#[from] Error),
    #[error("PostgreSQL refuses the agreed write set: {0}")]
    Refused(Box<ErrorFields>),
    #[error(
        "table {table} of this replica has diverged: {found} of {wanted} agreed rows were there to change"
    )]
    Diverged {
        table: String,
        wanted: usize,
        found: usize,
    },
    #[error("the agreed statement cannot be run again: {0}")]
    Inadmissible(String),
}

impl Failure {
    /// The data are at fault: the others applied the same, and trying again changes nothing.
    pub fn is_divergence(&self) -> bool {
        match self {
            Failure::Session(_) => false,
            Failure::Refused(error) => {
                !super::judge::local(&error.sqlstate) && error.sqlstate != "40001"
            }
            Failure::Diverged { .. } | Failure::Inadmissible(_) => true,
        }
    }
}

/// How a table's rows are found and written.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Columns that are written: not generated ones.
    columns: Vec<String>,
    key: Vec<String>,
    /// `ONLY` where the rows are the table's own: children, which report for themselves, may hold the same key.
    only: &'static str,
}

/// What is remembered of tables until the schema changes.
#[derive(Default)]
pub struct Shapes(Mutex<BTreeMap<String, Shape>>);

impl Shapes {
    pub fn forget(&self) {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).clear();
    }

    pub(super) async fn of(&self, session: &mut Session, table: &str) -> Result<Shape, Failure> {
        let known = self
            .0
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .get(table)
            .cloned();
        if let Some(shape) = known {
            return Ok(shape);
        }
        let query = Statement {
            sql: "SELECT quote_ident(a.attname), COALESCE(i.indisprimary, false),
                         (SELECT c.relkind <> 'p' FROM pg_catalog.pg_class c WHERE c.oid = a.attrelid)
                    FROM pg_catalog.pg_attribute a
                    LEFT JOIN pg_catalog.pg_index i
                      ON i.indrelid = a.attrelid AND i.indisprimary AND a.attnum = ANY (i.indkey)
                   WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
                   ORDER BY a.attnum"
                .into(),
            parameter_types: vec![25],
            parameters: vec![Some(table.to_owned().into())],
            ..Statement::default()
        };
        let outcome = checked(session.run(vec![query]).await?)?
            .pop()
            .unwrap_or_default();
        let text = |value: &Option<bytes::Bytes>| {
            value
                .as_ref()
                .map_or(String::new(), |v| String::from_utf8_lossy(v).into_owned())
        };
        let plain = outcome.values().any(|row| text(&row[2]) == "t");
        let rows: Vec<(String, bool)> = outcome
            .values()
            .map(|row| (text(&row[0]), text(&row[1]) == "t"))
            .collect();
        let shape = Shape {
            columns: rows.iter().map(|(name, _)| name.clone()).collect(),
            key: rows
                .iter()
                .filter(|(_, key)| *key)
                .map(|(name, _)| name.clone())
                .collect(),
            only: if plain { "ONLY" } else { "" },
        };
        let mut known = self.0.lock().unwrap_or_else(|e| e.into_inner());
        if known.len() < KNOWN_TABLES {
            known.insert(table.to_owned(), shape.clone());
        }
        Ok(shape)
    }
}

/// Where an adoption is noted.
#[derive(Clone, Copy)]
pub struct Mark<'a> {
    pub token: &'a str,
    pub height: Height,
    pub index: u32,
}

/// Applies the rows of a transaction, and notes it, in one transaction. The session is one of the clients' role: a CHECK
/// or a domain may call a client's function, which must not run as the superuser.
///
/// # Errors
/// When the rows do not fit this replica's tables; nothing is changed then.
pub async fn rows(
    session: &mut Session,
    shapes: &Shapes,
    write_sets: &[WriteSet],
    mark: Mark<'_>,
) -> Result<(), Failure> {
    let mut begin = vec![Statement::new("BEGIN ISOLATION LEVEL READ COMMITTED")];
    // The form in which the capture triggers wrote the rows, whatever the role's own defaults are.
    begin.extend(
        [
            "SET LOCAL search_path = pg_catalog, pg_temp",
            "SET LOCAL DateStyle = 'ISO, MDY'",
            "SET LOCAL IntervalStyle = 'postgres'",
            "SET LOCAL TimeZone = 'UTC'",
        ]
        .map(quiet),
    );
    begin.push(Statement {
        sql: "SELECT steel.begin_apply($1)".into(),
        parameter_types: vec![25],
        parameters: vec![Some(mark.token.to_owned().into())],

        ..Statement::default()
    });
    checked(session.run(begin).await?)?;
    let done = in_transaction(session, shapes, write_sets, &mark).await;
    let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
    checked(session.run(vec![Statement::new(end)]).await?)?;
    done
}

async fn in_transaction(
    session: &mut Session,
    shapes: &Shapes,
    write_sets: &[WriteSet],
    mark: &Mark<'_>,
) -> Result<(), Failure> {
    let mut changes = Changes::default();
    for event in write_sets.iter().flat_map(|w| &w.events) {
        if !matches!(event, Event::Rows { .. } | Event::SetValue { .. }) {
            apply(session, shapes, std::mem::take(&mut changes)).await?;
        }
        match event {
            Event::Rows {
                table, old, new, ..
            } => {
                let (gone, come) = changes.entry(table).or_default();
                gone.extend(old);
                come.extend(new);
            }
            Event::Truncate { table } => {
                checked(
                    session
                        .run(vec![quiet(format!("TRUNCATE {table}"))])
                        .await?,
                )?;
            }
            Event::SetValue {
                sequence,
                value,
                called,
            } => {
                let set = Statement {
                    sql: "SELECT pg_catalog.setval($1::regclass, $2, $3)".into(),
                    parameter_types: vec![25, 20, 16],
                    parameters: vec![
                        Some(sequence.clone().into()),
                        Some(value.to_string().into()),
                        Some(called.to_string().into()),
                    ],
                    cached: true,
                    ..Statement::default()
                };
                checked(session.run(vec![set]).await?)?;
            }
            Event::Schema { tag, object, .. } => {
                return Err(Failure::Inadmissible(format!(
                    "{tag} {object} is not carried by rows"
                )));
            }
        }
    }
    apply(session, shapes, changes).await?;
    checked(session.run(vec![mark_statement(mark)]).await?)?;
    Ok(())
}

/// Old and new rows of each table.
type Changes<'a> = BTreeMap<&'a str, (Vec<&'a String>, Vec<&'a String>)>;

/// Events are reported as statements end, so a trigger's change of a row comes before the insert that fired it: only the net
/// of all is what was there before and is there after. All that goes goes first, or a row could meet its own key.
async fn apply(
    session: &mut Session,
    shapes: &Shapes,
    changes: Changes<'_>,
) -> Result<(), Failure> {
    let mut comes = Vec::with_capacity(changes.len());
    for (table, (old, new)) in changes {
        let shape = shapes.of(session, table).await?;
        let (gone, come) = net(&old, &new);
        for rows in gone.chunks(ROWS_AT_ONCE) {
            delete(session, table, &shape, rows).await?;
        }
        comes.push((table, shape, come));
    }
    for (table, shape, come) in comes {
        for rows in come.chunks(ROWS_AT_ONCE) {
            insert(session, table, &shape, rows).await?;
        }
    }
    Ok(())
}

/// What changes leave behind: a row in between is both new and old, and was never there to see.
fn net(old: &[&String], new: &[&String]) -> (Vec<String>, Vec<String>) {
    let mut between: BTreeMap<&String, usize> = BTreeMap::new();
    for &row in new {
        *between.entry(row).or_default() += 1;
    }
    let mut both: BTreeMap<&String, usize> = BTreeMap::new();
    let gone = old.iter().filter(|row| match between.get_mut(**row) {
        Some(left) if *left > 0 => {
            *left -= 1;
            *both.entry(row).or_default() += 1;
            false
        }
        _ => true,
    });
    let gone = gone.map(|row| (*row).clone()).collect();
    let come = new.iter().filter(|row| match both.get_mut(**row) {
        Some(left) if *left > 0 => {
            *left -= 1;
            false
        }
        _ => true,
    });
    (gone, come.map(|row| (*row).clone()).collect())
}

/// Moves sequences on to what was given, in a session of the superuser and behind the rows, which set some of them by hand. Where they
/// stand is each replica's own: what cannot be followed is no divergence.
///
/// # Errors
/// When the session is lost.
pub async fn advance(session: &mut Session, steps: &[Step]) -> Result<(), Failure> {
    let advances = advances(steps);
    if advances.is_empty() {
        return Ok(());
    }
    for outcome in session.run(advances).await? {
        if let Some(error) = outcome.error {
            tracing::warn!(%error, "a sequence does not move on to what was given");
        }
    }
    Ok(())
}

/// The statement that notes an item as applied, within its own transaction. What holds the token is never kept under a name: a client's
/// function could have put a statement of its own there.
pub fn mark_statement(mark: &Mark<'_>) -> Statement {
    Statement {
        sql: "SELECT steel.mark($1, $2, $3)".into(),
        parameter_types: vec![25, 20, 23],
        parameters: vec![
            Some(mark.token.to_owned().into()),
            Some(mark.height.to_string().into()),
            Some(mark.index.to_string().into()),
        ],

        ..Statement::default()
    }
}

/// For values that the group has agreed on: they are taken wherever they lie.
pub const AGREED: u64 = i64::MAX as u64;

/// The statement that hands recorded sequence values to the next operation. `window`: draws by which each may lie ahead.
pub fn replay(token: &str, sequences: &[SequenceValues], window: u64) -> Statement {
    Statement {
        sql: "SELECT steel.replay($1, $2::jsonb, $3)".into(),
        parameter_types: vec![25, 25, 20],
        parameters: vec![
            Some(token.to_owned().into()),
            Some(capture::replay_json(sequences).into()),
            Some(window.to_string().into()),
        ],

        ..Statement::default()
    }
}

fn advances(steps: &[Step]) -> Vec<Statement> {
    let mut furthest: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    // What failed was given to nobody, and nobody has compared it; but what it set stays set.
    for step in steps {
        for values in &step.evidence.sequences {
            for what in &values.uses {
                match *what {
                    SequenceUse::Set { .. } => _ = furthest.remove(&*values.sequence),
                    SequenceUse::Given { first, count } if !step.evidence.failed => {
                        let last = first.saturating_add_unsigned(count.saturating_sub(1));
                        let ends = furthest.entry(&values.sequence);
                        let (low, high) = ends.or_insert((first, last));
                        (*low, *high) = ((*low).min(first), (*high).max(last));
                    }
                    SequenceUse::Given { .. } | SequenceUse::Cycled | SequenceUse::Anew => {}
                }
            }
        }
    }
    furthest
        .into_iter()
        .flat_map(|(sequence, (low, high))| [low, high].map(|value| advance_to(sequence, value)))
        .collect()
}

/// The superuser's statement that moves a sequence on to a value, never back.
pub(super) fn advance_to(sequence: &str, value: i64) -> Statement {
    Statement {
        // One that was made by what failed was drawn from, and is not there.
        sql: "SELECT steel.advance(s, $2) FROM to_regclass($1) s WHERE s IS NOT NULL".into(),
        parameter_types: vec![25, 20],
        parameters: vec![
            Some(sequence.to_owned().into()),
            Some(value.to_string().into()),
        ],
        cached: true,
        ..Statement::default()
    }
}

/// Adds rows, given as text.
pub(super) async fn insert(
    session: &mut Session,
    table: &str,
    shape: &Shape,
    rows: &[String],
) -> Result<(), Failure> {
    let columns = shape.columns.join(", ");
    let values: Vec<String> = shape.columns.iter().map(|c| format!("(r).{c}")).collect();
    // OFFSET 0 keeps the row's text from being parsed once per column.
    let sql = format!(
        "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {} FROM (SELECT x::{table} AS r FROM unnest($1::text[]) x OFFSET 0) s",
        values.join(", ")
    );
    let sql = if shape.columns.is_empty() {
        format!("INSERT INTO {table} SELECT FROM unnest($1::text[]) x")
    } else {
        sql
    };
    changed(session, table, sql, rows).await
}

async fn delete(
    session: &mut Session,
    table: &str,
    shape: &Shape,
    rows: &[String],
) -> Result<(), Failure> {
    let only = shape.only;
    let sql = if shape.key.is_empty() {
        // Without a key equal rows cannot be told apart: as many of them go as are named.
        format!(
            "WITH want AS (SELECT x, row_number() OVER (PARTITION BY x) AS n FROM unnest($1::text[]) x),
                  have AS (SELECT tableoid AS o, ctid AS c, t::text AS x, row_number() OVER (PARTITION BY t::text) AS n
                             FROM {only} {table} t WHERE t::text = ANY ($1::text[]))
             DELETE FROM {only} {table} t USING want JOIN have USING (x, n) WHERE t.ctid = have.c AND t.tableoid = have.o"
        )
    } else {
        let same: Vec<String> = shape
            .key
            .iter()
            .map(|k| format!("t.{k} = (s.r).{k}"))
            .collect();
        format!(
            "DELETE FROM {only} {table} t USING (SELECT x::{table} AS r FROM unnest($1::text[]) x OFFSET 0) s WHERE {}",
            same.join(" AND ")
        )
    };
    changed(session, table, sql, rows).await
}

async fn changed(
    session: &mut Session,
    table: &str,
    sql: String,
    rows: &[String],
) -> Result<(), Failure> {
    let change = Statement {
        sql: sql.into(),
        parameter_types: vec![1009],
        parameters: vec![Some(super::opening::array(rows).into())],
        cached: rows.len() == 1,
        ..Statement::default()
    };
    let outcome = checked(session.run(vec![change]).await?)?
        .pop()
        .unwrap_or_default();
    let tag = outcome.tag.unwrap_or_default();
    let found: usize = tag
        .rsplit(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    if found != rows.len() {
        return Err(Failure::Diverged {
            table: table.to_owned(),
            wanted: rows.len(),
            found,
        });
    }
    Ok(())
}

pub(super) fn checked(outcomes: Vec<Outcome>) -> Result<Vec<Outcome>, Failure> {
    if outcomes.iter().all(|o| o.error.is_none()) {
        return Ok(outcomes);
    }
    match first_error(outcomes) {
        Some(error) => Err(Failure::Refused(Box::new(error))),
        None => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::net;

    #[test]
    fn a_row_that_was_changed_twice_goes_and_comes_once() {
        let rows = |rows: &[&str]| rows.iter().map(|row| (*row).to_owned()).collect::<Vec<_>>();
        let check = |old: &[&str], new: &[&str], gone: &[&str], come: &[&str]| {
            let (old, new) = (rows(old), rows(new));
            let (old, new): (Vec<_>, Vec<_>) = (old.iter().collect(), new.iter().collect());
            assert_eq!(net(&old, &new), (rows(gone), rows(come)));
        };
        check(&["a", "b"], &["b", "c"], &["a"], &["c"]);
        check(&["a"], &["b"], &["a"], &["b"]);
        check(&["a", "a"], &["a", "b"], &["a"], &["b"]);
        check(&["b", "a"], &["c", "b"], &["a"], &["c"]);
        check(&["a"], &["a"], &[], &[]);
    }
}
