//! The schema: the dump's statements, one after another, as a client would send them.

use serde_json::Value;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::precheck::{Step, head};
use super::source::Sequence;
use super::{Target, provision, sql_error};
use crate::failure::Failure;
use crate::progress::Progress;

/// How often a statement is tried again that was aborted.
const TRIES: usize = 10;

/// Objects of clients, but for the schema `public`: what an import may not find.
const OBJECTS: &str = "SELECT pg_catalog.min(what), pg_catalog.count(*) FROM (
      SELECT 'schema ' || pg_catalog.quote_ident(n.nspname) AS what FROM pg_catalog.pg_namespace n
       WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'steel', 'public')
      UNION ALL
      SELECT 'relation ' || c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
      UNION ALL
      SELECT 'function ' || p.oid::pg_catalog.regprocedure::text FROM pg_catalog.pg_proc p
        JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace AND n.nspname = 'public'
       WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.objid = p.oid AND e.deptype = 'e')
      UNION ALL
      SELECT 'type ' || t.oid::pg_catalog.regtype::text FROM pg_catalog.pg_type t
        JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace AND n.nspname = 'public'
       WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.objid = t.oid AND e.deptype = 'e')
         AND t.typelem = 0
    ) AS found";

/// # Errors
/// When the cluster's database has objects of anybody.
pub async fn refuse_occupied(client: &Client) -> Result<(), Failure> {
    let row = client
        .query_one(OBJECTS, &[])
        .await
        .map_err(|error| sql_error("the cluster cannot be asked what it holds", &error))?;
    let (first, count): (Option<String>, i64) = (row.get(0), row.get(1));
    match first {
        None => Ok(()),
        Some(first) => Err(Failure::new("the cluster is not empty")
            .cause(format!("{count} objects are there, among them {first}"))
            .next("import into a new cluster; what an interrupted import has left is dropped by --begin-anew")),
    }
}

/// Drops everything that belongs to the role `postgres`: what an interrupted import has left. Roles and extensions stay, and are
/// made what they should be.
pub async fn drop_all(client: &Client) -> Result<(), Failure> {
    let failed = |error| sql_error("what the interrupted import left cannot be dropped", &error);
    let schemas = client
        .query(
            "SELECT pg_catalog.quote_ident(nspname) FROM pg_catalog.pg_namespace
              WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'steel', 'public')",
            &[],
        )
        .await
        .map_err(failed)?;
    for row in schemas {
        let drop = format!("DROP SCHEMA {} CASCADE", row.get::<_, String>(0));
        client.batch_execute(&drop).await.map_err(failed)?;
    }
    let objects = client.query(IN_PUBLIC, &[]).await.map_err(failed)?;
    for row in objects {
        client
            .batch_execute(&row.get::<_, String>(0))
            .await
            .map_err(failed)?;
    }
    Ok(())
}

/// Statements that drop what is in `public` and is no part of an extension; each may take others along.
const IN_PUBLIC: &str = "SELECT 'DROP ' || kind || ' IF EXISTS ' || name || ' CASCADE' FROM (
      SELECT 1 AS turn, CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind,
             c.oid::pg_catalog.regclass::text AS name, c.oid, c.relnamespace AS namespace
        FROM pg_catalog.pg_class c
       WHERE c.relkind IN ('r', 'p', 'v', 'm') OR c.relkind = 'S' AND NOT EXISTS
             (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('a', 'i'))
      UNION ALL
      SELECT 2, CASE p.prokind WHEN 'a' THEN 'AGGREGATE' WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END,
             p.oid::pg_catalog.regprocedure::text, p.oid, p.pronamespace FROM pg_catalog.pg_proc p
      UNION ALL
      SELECT 3, CASE t.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, t.oid::pg_catalog.regtype::text, t.oid, t.typnamespace
        FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_class k ON k.oid = t.typrelid
       WHERE t.typtype IN ('d', 'e', 'r') OR t.typtype = 'c' AND k.relkind = 'c'
    ) AS found
    JOIN pg_catalog.pg_namespace n ON n.oid = namespace AND n.nspname = 'public'
   WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.objid = found.oid AND e.deptype = 'e')
   ORDER BY turn, name";

/// Runs a section's statements. `skipping`: one that fails because of what was left out is skipped too; these are returned.
pub async fn run(
    client: &Client,
    steps: &[Step],
    skipping: bool,
    progress: &Progress,
    what: &str,
) -> Result<Vec<String>, Failure> {
    let mut skipped = Vec::new();
    for (place, step) in steps.iter().enumerate() {
        let Step::Execute(text) = step else { continue };
        progress.share(what, place as u64, steps.len() as u64);
        match execute(client, text).await {
            Ok(()) => {}
            Err(error) if skipping && may_be_skipped(&error) => {
                skipped.push(format!("{}: {}", head(text), reason(&error)));
            }
            Err(error) => {
                return Err(sql_error(
                    &format!("a statement of the schema failed: {}", head(text)),
                    &error,
                ));
            }
        }
    }
    Ok(skipped)
}

/// Runs what comes before the rows. Extensions come after the schemas that they live in, and before anything that uses them.
pub async fn run_pre(
    client: &Client,
    target: &Target,
    steps: &[Step],
    extensions: &[Value],
    skipping: bool,
    progress: &Progress,
) -> Result<Vec<String>, Failure> {
    let is_schema = |step: &Step| match step {
        Step::Execute(text) => ["CREATE SCHEMA ", "SET ", "SELECT pg_catalog.set_config("]
            .iter()
            .any(|begin| text.starts_with(begin)),
        Step::Otherwise | Step::Refused => false,
    };
    let (schemas, others): (Vec<Step>, Vec<Step>) = steps.iter().cloned().partition(is_schema);
    let mut skipped = run(client, &schemas, skipping, progress, "schemas").await?;
    provision::carry_out(&target.operator.shim, &target.administrator, extensions).await?;
    skipped.extend(run(client, &others, skipping, progress, "tables").await?);
    Ok(skipped)
}

/// Puts the sequences where they stood.
pub async fn set_sequences(client: &Client, sequences: &[Sequence]) -> Result<(), Failure> {
    for sequence in sequences {
        let set = format!(
            "SELECT pg_catalog.setval('{}'::pg_catalog.regclass, {}, {})",
            sequence.name.replace('\'', "''"),
            sequence.last,
            sequence.called
        );
        execute(client, &set).await.map_err(|error| {
            sql_error(&format!("sequence {} cannot be set", sequence.name), &error)
        })?;
    }
    Ok(())
}

/// One statement in a transaction of its own; aborted ones are tried again.
async fn execute(client: &Client, text: &str) -> Result<(), tokio_postgres::Error> {
    let mut tries = 0;
    loop {
        let done = client.batch_execute(text).await;
        tries += 1;
        match done {
            Err(error)
                if error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE) && tries < TRIES => {}
            done => return done,
        }
    }
}

/// The error of a statement whose object was left out, or that only a superuser may run.
fn may_be_skipped(error: &tokio_postgres::Error) -> bool {
    let skipped = [
        SqlState::UNDEFINED_TABLE,
        SqlState::UNDEFINED_FUNCTION,
        SqlState::UNDEFINED_OBJECT,
        SqlState::UNDEFINED_COLUMN,
        SqlState::INVALID_SCHEMA_NAME,
        SqlState::INSUFFICIENT_PRIVILEGE,
    ];
    error.code().is_some_and(|code| skipped.contains(code))
}

fn reason(error: &tokio_postgres::Error) -> String {
    error
        .as_db_error()
        .map_or_else(|| error.to_string(), |error| error.message().to_owned())
}
