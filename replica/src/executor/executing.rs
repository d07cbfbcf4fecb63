//! What is executed by all at its place, outside of a transaction: maintenance, and barriers.
//!
//! A barrier commits several times by itself. What it finds is noted before it runs (`steel.begin_barrier`), so that a run that was
//! interrupted, by local trouble or by a kill of the server, is taken back and tried again, and one that failed leaves nothing:
//! an invalid index of a failed CREATE INDEX CONCURRENTLY is dropped.

use super::Note;
use super::jobs::{Bench, error_frame};
use super::judge::local;
use super::opening::{first_error, statement};
use super::roles;
use bytes::Bytes;
use consensus::{ClientId, Height};
use pgsession::{Error, Statement};
use sql::Barrier;
use std::sync::Arc;
use std::time::Duration;
use txn::{Exec, Ordered};

/// Runs of one barrier that local trouble interrupts, and the time between two. After the last the replica stops: the others have
/// done it.
const RUNS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(200);

impl Bench {
    /// Executes an `Exec` at its place.
    pub async fn exec(self, height: Height, index: u32, client: ClientId, ordered: Arc<Ordered>) {
        let Ordered::Exec(exec) = &*ordered else {
            return;
        };
        if let Some(why) = roles::refused_request(client, &ordered) {
            let frames = vec![error_frame(&why.sqlstate, &why.message)];
            return self.tell(Note::Executed {
                height,
                index,
                frames,
                error: None,
            });
        }
        let executed = match sql::barrier(&exec.operation.sql).filter(|_| exec.barrier) {
            Some(barrier) => self.barrier(height, index, exec, barrier).await,
            None => self
                .run_exec(height, index, exec)
                .await
                .map(|(frames, _)| frames),
        };
        let (frames, error) = match executed {
            Ok(frames) => (frames, None),
            Err(error) => (vec![error_frame("XX000", &error.to_string())], Some(error)),
        };
        self.tell(Note::Executed {
            height,
            index,
            frames,
            error,
        });
    }

    /// Its frames, and the SQLSTATE if it failed.
    async fn run_exec(
        &self,
        height: Height,
        index: u32,
        exec: &Exec,
    ) -> Result<(Vec<Bytes>, Option<String>), Error> {
        let refused = |sqlstate: &str, message: &str| {
            Ok((
                vec![error_frame(sqlstate, message)],
                Some(sqlstate.to_owned()),
            ))
        };
        match sql::statement(&exec.operation.sql) {
            Ok(found) if !matches!(found.kind, sql::Kind::Maintenance { .. }) => {
                return refused(
                    "0A000",
                    "only maintenance statements are executed in the order",
                );
            }
            Ok(_) => {}
            Err(refusal) => return refused(refusal.sqlstate, &refusal.message),
        }
        let mut session = self.pool.get().await?;
        self.tell(Note::AdoptingIn {
            height,
            index,
            pid: session.pid(),
        });
        let mut statements: Vec<_> = exec
            .settings
            .iter()
            .map(|(name, value)| set_config(name, value))
            .collect();
        statements.push(statement(&exec.operation, true));
        let mut outcomes = session.run(statements).await?;
        let last = outcomes.pop().unwrap_or_default();
        self.give_back(session).await;
        Ok((last.frames, last.error.map(|error| error.sqlstate)))
    }

    async fn barrier(
        &self,
        height: Height,
        index: u32,
        exec: &Exec,
        barrier: Barrier,
    ) -> Result<Vec<Bytes>, Error> {
        let creates = barrier == Barrier::CreateIndex;
        for _ in 0..RUNS {
            let ended = self
                .at_barrier(
                    "SELECT steel.begin_barrier($1, $2, $3)",
                    height,
                    index,
                    Some(creates),
                )
                .await?;
            let (frames, failed) = match ended.as_deref() {
                Some("t") => (vec![complete(tag(barrier))], None),
                _ => self.run_exec(height, index, exec).await?,
            };
            if let Some(sqlstate) = failed.filter(|sqlstate| local(sqlstate)) {
                tracing::warn!(height, %sqlstate, "a statement outside of transactions is run again");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            self.at_barrier("SELECT steel.end_barrier($1, $2)", height, index, None)
                .await?;
            return Ok(frames);
        }
        Err(Error::Protocol(format!(
            "local trouble kept a statement outside of transactions from its end {RUNS} times"
        )))
    }

    /// Calls a function about this place in a session of the superuser.
    async fn at_barrier(
        &self,
        sql: &str,
        height: Height,
        index: u32,
        creates: Option<bool>,
    ) -> Result<Option<String>, Error> {
        let mut parameter_types = vec![20, 23];
        let mut parameters: Vec<Option<Bytes>> = vec![
            Some(height.to_string().into()),
            Some(index.to_string().into()),
        ];
        if let Some(creates) = creates {
            parameter_types.push(16);
            parameters.push(Some(creates.to_string().into()));
        }
        let call = Statement {
            sql: sql.into(),
            parameter_types,
            parameters,
            ..Statement::default()
        };
        let mut own = self.control.get().await?;
        let outcomes = own.run(vec![call]).await?;
        self.control.put(own);
        let answer = outcomes.first().and_then(|outcome| outcome.scalar());
        match first_error(outcomes) {
            Some(error) => Err(Error::Protocol(error.to_string())),
            None => Ok(answer),
        }
    }
}

fn tag(barrier: Barrier) -> &'static str {
    match barrier {
        Barrier::CreateIndex => "CREATE INDEX",
        Barrier::DropIndex => "DROP INDEX",
        Barrier::Reindex => "REINDEX",
        Barrier::Detach => "ALTER TABLE",
    }
}

/// CommandComplete.
fn complete(tag: &str) -> Bytes {
    let mut frame = vec![b'C'];
    frame.extend_from_slice(&(tag.len() as u32 + 5).to_be_bytes());
    frame.extend_from_slice(tag.as_bytes());
    frame.push(0);
    frame.into()
}

fn set_config(name: &str, value: &str) -> Statement {
    Statement {
        sql: "SELECT pg_catalog.set_config($1, $2, false)".into(),
        parameter_types: vec![25, 25],
        parameters: vec![Some(name.to_owned().into()), Some(value.to_owned().into())],
        cached: true,
        ..Statement::default()
    }
}
