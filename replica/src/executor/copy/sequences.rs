//! Where the sequences of users stand.

use super::super::audit;
use pgsession::{Session, Statement};
use txn::copy::Position;

/// Sequences of users, their direction and place.
const SEQUENCES: &str = "SELECT pg_catalog.format('SELECT %L::text, last_value, is_called, %L::boolean FROM %s',
            c.oid::regclass, s.seqincrement > 0, c.oid::regclass)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid
   WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'steel') ORDER BY 1";

/// # Errors
/// What PostgreSQL says, or what is no position.
pub async fn positions(session: &mut Session) -> Result<Vec<Position>, String> {
    let queries = audit::query(session, SEQUENCES).await?;
    let mut positions = Vec::with_capacity(queries.len());
    for queries in queries.chunks(256) {
        let asked = queries.iter().map(|query| Statement::new(query.as_str()));
        let asked = asked.collect();
        let outcomes = session.run(asked).await.map_err(|e| e.to_string())?;
        for outcome in outcomes {
            if let Some(error) = &outcome.error {
                return Err(error.to_string());
            }
            let row = outcome.values().next().unwrap_or_default();
            let text = |at: usize| {
                let value = row.get(at).and_then(Option::as_ref);
                value.map_or(String::new(), |v| String::from_utf8_lossy(v).into_owned())
            };
            positions.push(Position {
                sequence: text(0),
                last: text(1)
                    .parse()
                    .map_err(|_| format!("{} has no place", text(0)))?,
                called: text(2) == "t",
                ascending: text(3) == "t",
            });
        }
    }
    Ok(positions)
}
