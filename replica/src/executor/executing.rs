//! What is executed by all at its place, outside of a transaction: maintenance.

use super::Note;
use super::jobs::{Bench, JUDGING_BUDGET, error_frame};
use super::opening::{act_as, first_error, quiet, statement};
use super::roles;
use bytes::Bytes;
use consensus::{ClientId, Height};
use pgsession::{Error, Statement};
use std::sync::Arc;
use txn::ordered::role;
use txn::{Exec, Ordered};

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
        let executed = self.run_exec(height, index, client, exec).await;
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

    async fn run_exec(
        &self,
        height: Height,
        index: u32,
        client: ClientId,
        exec: &Exec,
    ) -> Result<Vec<Bytes>, Error> {
        let refused = |sqlstate: &str, message: &str| Ok(vec![error_frame(sqlstate, message)]);
        match sql::statement(&exec.operation.sql) {
            Ok(found) if !matches!(found.kind, sql::Kind::Maintenance { .. }) => {
                return refused(
                    "0A000",
                    "only maintenance statements are executed in the order",
                );
            }
            Ok(found) if found.text != exec.operation.sql => {
                return refused(
                    "0A000",
                    "the statement is not in the form that replicas execute",
                );
            }
            Ok(_) => {}
            Err(refusal) => return refused(refusal.sqlstate, &refusal.message),
        }
        let role = role(&exec.settings);
        let mut session = self.pool.get_as(role).await?;
        if let Some(error) = first_error(session.run(vec![act_as(client, role)]).await?) {
            self.give_back(session).await;
            return Ok(vec![error.frame]);
        }
        self.tell(Note::AdoptingIn {
            height,
            index,
            pid: session.pid(),
        });
        let settings = exec.settings.iter();
        let mut statements: Vec<_> = settings
            .filter(|(name, _)| !name.starts_with("steel."))
            .map(|(name, value)| set_config(name, value))
            .collect();
        // Behind the client's own, which may be shorter: everything that is ordered behind waits for it.
        statements.push(quiet(format!(
            "SELECT pg_catalog.set_config(name, least(nullif(setting::int, 0), {})::text, false) \
               FROM pg_catalog.pg_settings WHERE name = 'statement_timeout'",
            JUDGING_BUDGET.as_millis()
        )));
        statements.push(statement(&exec.operation));
        match session.run(statements).await {
            Ok(mut outcomes) => {
                let last = outcomes.pop().unwrap_or_default();
                self.give_back(session).await;
                Ok(last.frames)
            }
            // It could not even be sent: that is the statement's fault, and equal everywhere.
            Err(error @ (Error::TooLarge { .. } | Error::Invalid(_))) => {
                refused(error.sqlstate(), &error.to_string())
            }
            Err(error) => Err(error),
        }
    }
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
