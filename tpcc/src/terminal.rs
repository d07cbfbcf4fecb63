//! A terminal: one connection, one transaction at a time, begun again until it has an end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout, timeout_at};
use tokio_postgres::{Client, NoTls, Statement};

use crate::config::Isolation;
use crate::error::{Error, said};
use crate::input::{Input, Profile};
use crate::measure::{Ended, Meter};
use crate::transaction::{Counts, Done, Fault, SQL, Tx};

/// How often a transaction is begun again before it counts as failed.
const RETRIES: u32 = 50;
/// Before a transaction is begun again, at most.
const PAUSE: Duration = Duration::from_millis(20);
/// For a connection, its statements included.
const CONNECT: Duration = Duration::from_secs(20);
/// Between two tries to connect again, at most.
const BACK_OFF: Duration = Duration::from_secs(1);
/// For the statements of a transaction, for its COMMIT, and for a lost connection to come again. Longer than the 30 s
/// after which SteelDB's proxy says 08007.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long transactions in flight may take after a run's end. Longer than the patience with one answer.
const SETTLE: Duration = Duration::from_secs(75);
/// Stands for an SQLSTATE where the client, not the server, found the error.
pub const NONE: &str = "none";
/// A connection that was lost, whatever the server or the system called it.
const LOST: &str = "08006";

/// What all terminals share.
pub struct Context {
    pub dsn: String,
    pub isolation: Isolation,
    pub fault: Option<Fault>,
    pub meter: Meter,
}

pub struct Terminal {
    context: Arc<Context>,
    session: Option<Session>,
}

/// A connection with its statements.
pub struct Session {
    client: Client,
    prepared: Vec<Statement>,
}

/// Why an attempt came to nothing.
struct Broken {
    /// `None`: no answer within `PATIENCE`.
    error: Option<tokio_postgres::Error>,
    at_commit: bool,
}

/// What follows from it.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The server has undone it; the same connection serves.
    Again,
    /// Not committed, and the connection is gone.
    AgainElsewhere,
    Unknown,
    Failed,
}

/// Connects; the task that drives the connection ends when the client is dropped.
pub async fn connect(dsn: &str) -> Result<Client, Error> {
    let refused = |error: tokio_postgres::Error| Error::Connect(said(&error));
    let late = |_| Error::Connect(format!("no answer within {CONNECT:?}"));
    let (client, connection) = timeout(CONNECT, tokio_postgres::connect(dsn, NoTls))
        .await
        .map_err(late)?
        .map_err(refused)?;
    tokio::spawn(async move {
        // Whoever waits for an answer is told the error too.
        if let Err(error) = connection.await {
            tracing::debug!(error = said(&error), "a connection ended");
        }
    });
    Ok(client)
}

/// `none` where the server gave no answer.
pub fn sqlstate(error: &tokio_postgres::Error) -> &str {
    error.code().map_or(NONE, |code| code.code())
}

impl Session {
    pub async fn open(dsn: &str) -> Result<Session, Error> {
        let client = connect(dsn).await?;
        let prepare = async {
            let mut prepared = Vec::with_capacity(SQL.len());
            for sql in SQL {
                prepared.push(client.prepare(sql).await?);
            }
            Ok(prepared)
        };
        let prepared = timeout(CONNECT, prepare)
            .await
            .map_err(|_| Error::Connect(format!("nothing prepared within {CONNECT:?}")))?
            .map_err(Error::database("preparing the statements"))?;
        Ok(Session { client, prepared })
    }

    async fn attempt(&self, context: &Context, input: &Input) -> Result<(Done, Counts), Broken> {
        let mut tx = Tx {
            client: &self.client,
            prepared: &self.prepared,
            fault: context.fault,
            counts: Counts::default(),
        };
        let begin = format!("BEGIN ISOLATION LEVEL {}", context.isolation);
        let statements = async {
            self.client.batch_execute(&begin).await?;
            tx.run(input).await
        };
        let done = patient(statements, false).await?;
        match done {
            Done::Complete => patient(self.client.batch_execute("COMMIT"), true).await?,
            Done::UnusedItem => patient(self.client.batch_execute("ROLLBACK"), false).await?,
        }
        Ok((done, tx.counts))
    }
}

async fn patient<T>(
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    at_commit: bool,
) -> Result<T, Broken> {
    let broken = |error| Broken { error, at_commit };
    match timeout(PATIENCE, work).await {
        Ok(done) => done.map_err(|error| broken(Some(error))),
        Err(_) => Err(broken(None)),
    }
}

impl Broken {
    fn message(&self) -> String {
        match &self.error {
            Some(error) => said(error),
            None => format!("no answer within {PATIENCE:?}"),
        }
    }

    fn code(&self) -> &str {
        self.error.as_ref().map_or(NONE, sqlstate)
    }

    fn verdict(&self, closed: bool) -> Verdict {
        let code = self.code();
        let gone = closed
            || self.error.as_ref().is_none_or(|error| error.is_closed())
            || (code.starts_with("08") && code != "08007")
            || code.starts_with("57P");
        match code {
            // Transaction resolution, statement completion unknown.
            "08007" | "40003" => Verdict::Unknown,
            // The server has said that it did not commit, even if it has closed the connection since.
            _ if code.starts_with("40") && closed => Verdict::AgainElsewhere,
            _ if code.starts_with("40") => Verdict::Again,
            // Whatever the client did not understand may have been "committed".
            _ if self.at_commit && (gone || code == NONE) => Verdict::Unknown,
            _ if gone => Verdict::AgainElsewhere,
            _ => Verdict::Failed,
        }
    }
}

impl Terminal {
    pub fn new(context: Arc<Context>, session: Session) -> Terminal {
        Terminal {
            context,
            session: Some(session),
        }
    }

    /// Runs a transaction to its end, which is counted; its response counts from `since`.
    pub async fn perform(&mut self, input: &Input, since: Instant) {
        let ended = self.until_ended(input).await;
        self.context.meter.ended(input.profile(), since, ended);
    }

    /// The same, with an end by `SETTLE` after the run's.
    pub async fn perform_until(&mut self, input: &Input, since: Instant, end: Option<Instant>) {
        let Some(end) = end else {
            return self.perform(input, since).await;
        };
        let work = self.perform(input, since);
        if timeout_at((end + SETTLE).into(), work).await.is_err() {
            let meter = &self.context.meter;
            meter.seen(
                NONE,
                format!("no end within {SETTLE:?} after the run's end"),
            );
            meter.ended(input.profile(), since, Ended::Unknown);
        }
    }

    async fn until_ended(&mut self, input: &Input) -> Ended {
        let context = self.context.clone();
        let profile = input.profile();
        for tries in 0.. {
            let session = match self.session().await {
                Ok(session) => session,
                Err(error) => {
                    context.meter.seen(LOST, error.to_string());
                    return Ended::Failed;
                }
            };
            let broken = match session.attempt(&context, input).await {
                Ok((Done::Complete, counts)) => return Ended::Committed(counts),
                Ok((Done::UnusedItem, counts)) => return Ended::RolledBack(counts),
                Err(broken) => broken,
            };
            let verdict = broken.verdict(session.client.is_closed());
            let code = match verdict {
                Verdict::AgainElsewhere if !broken.code().starts_with("40") => LOST,
                _ => broken.code(),
            };
            let again = matches!(verdict, Verdict::Again | Verdict::AgainElsewhere);
            if !code.starts_with("40") || !again || tries == RETRIES {
                context.meter.seen(code, broken.message());
            }
            self.clean_up(&broken, &verdict).await;
            match verdict {
                Verdict::Unknown => return Ended::Unknown,
                Verdict::Failed => return Ended::Failed,
                _ if tries == RETRIES => return Ended::Failed,
                _ => self.pause(profile, code).await,
            }
        }
        Ended::Failed
    }

    async fn pause(&self, profile: Profile, code: &str) {
        self.context.meter.retried(profile, code);
        sleep(PAUSE.mul_f64(rand::random_range(0.0..1.0))).await;
    }

    /// Leaves no transaction open: on a connection that cannot promise this, nothing is run again.
    async fn clean_up(&mut self, broken: &Broken, verdict: &Verdict) {
        let Some(session) = self.session.take() else {
            return;
        };
        let usable = match verdict {
            Verdict::Again if broken.at_commit => true,
            Verdict::Again | Verdict::Failed => {
                let rollback = session.client.batch_execute("ROLLBACK");
                matches!(timeout(PATIENCE, rollback).await, Ok(Ok(())))
            }
            Verdict::AgainElsewhere | Verdict::Unknown => false,
        };
        self.session = usable.then_some(session);
    }

    /// The connection, a new one where it was lost.
    async fn session(&mut self) -> Result<&Session, Error> {
        let session = match self.session.take() {
            Some(session) => session,
            None => {
                let session = reconnect(&self.context.dsn).await?;
                self.context.meter.reconnected();
                session
            }
        };
        Ok(self.session.insert(session))
    }
}

async fn reconnect(dsn: &str) -> Result<Session, Error> {
    let until = Instant::now() + PATIENCE;
    let mut wait = BACK_OFF / 32;
    loop {
        match Session::open(dsn).await {
            Err(error) if Instant::now() < until => {
                tracing::debug!(%error, "not connected again yet");
                sleep(wait.mul_f64(rand::random_range(0.5..1.0))).await;
                wait = (wait * 2).min(BACK_OFF);
            }
            session => return session,
        }
    }
}
