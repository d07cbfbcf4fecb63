//! A database of one PostgreSQL: every transaction has a session of its own, as at a replica.

use crate::server::Server;
use bytes::Bytes;
use client_shim::{Isolation, Operation, Outcome, ShimError};
use pgsession::{Describe, Session, Statement, Target};
use proxy::{Autocommit, Database, Proxy, ProxyConfig, SessionSettings, Transaction};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use tokio::sync::{oneshot, watch};

#[derive(Clone)]
pub struct Single(pub Target);

/// A front before a server of its own.
pub struct Front {
    pub server: Server,
    pub address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl Front {
    pub async fn start() -> Front {
        let server = Server::start();
        server
            .session()
            .await
            .execute("CREATE ROLE postgres SUPERUSER LOGIN")
            .await
            .unwrap();
        let target = Target {
            user: "postgres".into(),
            token: None,
            ..server.target()
        };
        let config = ProxyConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            ..ProxyConfig::default()
        };
        let proxy = Proxy::bind(config, Single(target)).await.unwrap();
        let address = proxy.local_addr();
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(proxy.run(async move {
            let _ = stopped.await;
        }));
        Front {
            server,
            address,
            _stop: stop,
        }
    }
}

fn lost(error: pgsession::Error) -> ShimError {
    ShimError::new("08006", error.to_string())
}

fn statement(operation: Operation) -> Statement {
    Statement {
        sql: operation.sql.into(),
        parameter_types: operation.parameter_types,
        parameters: operation.parameters,
        parameter_formats: operation.parameter_formats,
        result_formats: operation.result_formats,
        describe: if operation.describe_only {
            Describe::Statement
        } else {
            Describe::Portal
        },
        copy_in: operation.copy_in,
        cached: false,
    }
}

fn outcome(found: pgsession::Outcome) -> Outcome {
    Outcome {
        frames: found.frames,
        result: consensus::Digest([0; 32]),
        transaction: found.transaction,
    }
}

impl Single {
    async fn open(&self, settings: &SessionSettings, access: &str) -> Result<Session, ShimError> {
        let mut session = Session::connect(&self.0).await.map_err(lost)?;
        let mut statements = vec![Statement::new(format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ {access}"
        ))];
        for (name, value) in settings {
            let text = |value: &str| Some(Bytes::copy_from_slice(value.as_bytes()));
            statements.push(Statement {
                parameters: vec![text(name), text(value)],
                ..Statement::new("SELECT pg_catalog.set_config($1, $2, true)")
            });
        }
        statements.push(Statement::new("SAVEPOINT test_start"));
        session.run(statements).await.map_err(lost)?;
        Ok(session)
    }
}

impl Database for Single {
    type Transaction = One;

    async fn parameters(&self) -> Result<SessionSettings, ShimError> {
        let session = Session::connect(&self.0).await.map_err(lost)?;
        Ok(session.parameters().clone().into_iter().collect())
    }

    fn begin(&self, settings: SessionSettings, _: Isolation, read_only: bool) -> One {
        let (single, pid) = (self.clone(), Arc::new(AtomicI32::new(0)));
        let access = if read_only { "READ ONLY" } else { "READ WRITE" };
        One {
            single,
            settings,
            access,
            pid,
            session: None,
            ended: watch::channel(()).0,
        }
    }

    async fn autocommit(
        &self,
        how: Autocommit,
        settings: SessionSettings,
        operation: Operation,
        cancelled: impl Future<Output = ()> + Send,
    ) -> Result<Outcome, ShimError> {
        if how == Autocommit::Exec {
            let mut session = Session::connect(&self.0).await.map_err(lost)?;
            let mut found = session
                .run(vec![statement(operation)])
                .await
                .map_err(lost)?;
            return Ok(outcome(found.remove(0)));
        }
        let read = matches!(how, Autocommit::Read { .. });
        let mut one = self.begin(settings.clone(), Isolation::Snapshot, read);
        let cancel = one.canceller();
        let found = {
            let run = one.execute(operation.clone(), false);
            tokio::pin!(run);
            tokio::select! {
                found = &mut run => found?,
                () = cancelled => {
                    cancel();
                    run.await?
                }
            }
        };
        let failure = found.frames.iter().find(|frame| frame[0] == b'E');
        let wrote = failure.is_some_and(|error| String::from_utf8_lossy(error).contains("C25006"));
        if read && wrote {
            let mut again = self.begin(settings, Isolation::Snapshot, false);
            let found = again.execute(operation, false).await?;
            again.commit().await?;
            return Ok(Outcome {
                transaction: b'I',
                ..found
            });
        }
        if failure.is_none() && !read {
            one.commit().await?;
        }
        Ok(Outcome {
            transaction: b'I',
            ..found
        })
    }
}

/// One transaction; its session closes with it.
pub struct One {
    single: Single,
    settings: SessionSettings,
    access: &'static str,
    pid: Arc<AtomicI32>,
    session: Option<Session>,
    ended: watch::Sender<()>,
}

impl Transaction for One {
    async fn execute(&mut self, operation: Operation, _: bool) -> Result<Outcome, ShimError> {
        if self.session.is_none() {
            let session = self.single.open(&self.settings, self.access).await?;
            self.pid.store(session.pid(), Ordering::Relaxed);
            self.session = Some(session);
        }
        let session = self.session.as_mut().unwrap();
        let mut found = session
            .run(vec![statement(operation)])
            .await
            .map_err(lost)?;
        Ok(outcome(found.remove(0)))
    }

    async fn commit(mut self) -> Result<(), ShimError> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        let found = session.execute("COMMIT").await.map_err(lost)?;
        match found.error {
            Some(error) => Err(ShimError::new(&error.sqlstate, error.message)),
            None => Ok(()),
        }
    }

    async fn rollback(self) {}

    fn leaves_something(&self) -> bool {
        false
    }

    fn canceller(&self) -> impl Fn() + Send + Sync + 'static {
        let (target, pid) = (self.single.0.clone(), self.pid.clone());
        let ended = self.ended.subscribe();
        move || {
            let (target, pid, mut ended) =
                (target.clone(), pid.load(Ordering::Relaxed), ended.clone());
            tokio::spawn(async move {
                let mut session = Session::connect(&target).await.unwrap();
                let cancel = format!("SELECT pg_cancel_backend({pid})");
                tokio::select! {
                    _ = session.execute(&cancel) => {}
                    _ = ended.changed() => {}
                }
            });
        }
    }
}
