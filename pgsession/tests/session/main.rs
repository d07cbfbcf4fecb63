//! Sessions against a real PostgreSQL.
// Helpers of tests may unwrap as the tests themselves may.
#![allow(clippy::unwrap_used)]

mod copies;
mod kept;
mod notices;
mod pipelines;
mod server;

use pgsession::{Outcome, Session, Statement};

pub fn kinds(outcome: &Outcome) -> String {
    outcome.frames.iter().map(|f| char::from(f[0])).collect()
}

pub fn sqlstate(outcome: &Outcome) -> Option<&str> {
    outcome.error.as_ref().map(|e| e.sqlstate.as_str())
}

pub fn cached(sql: &str) -> Statement {
    Statement {
        cached: true,
        ..Statement::new(sql)
    }
}

pub async fn run(session: &mut Session, sql: &[&str]) -> Vec<Outcome> {
    let statements = sql.iter().map(|s| Statement::new(*s)).collect();
    session.run(statements).await.unwrap()
}

pub async fn one(session: &mut Session, statement: Statement) -> Outcome {
    session.run(vec![statement]).await.unwrap().remove(0)
}
