//! The session: log-in, pipelined runs, and what is known about its state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::collect::{Answer, Collector, parameter};
use crate::encode::{self, Request};
use crate::frame::{Frame, FrameReader};
use crate::prepared::{Prepared, Use};
use crate::statement::check_sql;
use crate::{Alarm, Error, ErrorFields, Limits, Outcome, Statement, Target};

/// How long a log-in may take.
const CONNECT: Duration = Duration::from_secs(10);

/// SQLSTATE: a prepared statement does not exist.
const GONE: &str = "26000";

/// How long the server's last words are waited for after it stopped reading.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The largest message during log-in, in bytes.
const STARTUP_FRAME: usize = 64 << 10;

/// One raw session with one PostgreSQL.
///
/// A future of [`run`](Self::run) or [`execute`](Self::execute) that is dropped before it is done
/// leaves the session broken, for what the server still does is then unknown. To stop a statement,
/// call `pg_cancel_backend` from another session and await the run.
pub struct Session {
    stream: UnixStream,
    frames: FrameReader,
    limits: Limits,
    token: Option<Arc<str>>,
    alarm: Alarm,
    pid: i32,
    user: Arc<str>,
    parameters: BTreeMap<String, String>,
    transaction: u8,
    prepared: Prepared,
    /// Of the schema that the prepared statements were made under.
    generation: u64,
    broken: bool,
}

impl Session {
    /// Opens a session and waits until the server is ready for it, at most 10 s.
    pub async fn connect(target: &Target) -> Result<Session, Error> {
        timeout(CONNECT, Self::log_in(target))
            .await
            .map_err(|_| Error::ConnectTimeout(CONNECT.as_secs()))?
    }

    async fn log_in(target: &Target) -> Result<Session, Error> {
        let hello = encode::startup(target)?;
        let path = target.socket_path();
        let stream = UnixStream::connect(&path)
            .await
            .map_err(|source| Error::Connect { path, source })?;
        let mut session = Session {
            stream,
            frames: FrameReader::default(),
            limits: Limits::default(),
            token: target.token.clone(),
            alarm: target.alarm.clone(),
            pid: 0,
            user: target.user.as_str().into(),
            parameters: BTreeMap::new(),
            transaction: b'I',
            prepared: Prepared::default(),
            generation: 0,
            broken: false,
        };
        session.stream.write_all(&hello).await?;
        loop {
            let next = session.frames.next(&mut session.stream, STARTUP_FRAME);
            let (kind, frame) = match next.await? {
                Some(Frame::Whole(kind, frame)) => (kind, frame),
                Some(Frame::Skipped) => {
                    return Err(Error::Protocol("an oversized message at log-in".into()));
                }
                None => return Err(Error::Closed(None)),
            };
            match kind {
                b'R' => match word(&frame, 0)? {
                    0 => {}
                    method => return Err(Error::Authentication(method as u32)),
                },
                b'K' => session.pid = word(&frame, 0)?,
                b'S' => parameter(&frame, &mut session.parameters)?,
                b'E' => {
                    let fields = ErrorFields::parse(&frame)?;
                    session.check(&fields)?;
                    return Err(Error::Refused(Box::new(fields)));
                }
                b'N' | b'v' => {}
                b'Z' => return Ok(session),
                _ => {
                    return Err(Error::Protocol(format!(
                        "a message of type {kind:#04x} has no place in a log-in"
                    )));
                }
            }
        }
    }

    /// The role that it logged in as.
    pub fn user(&self) -> &Arc<str> {
        &self.user
    }

    /// The server process, for `pg_cancel_backend` and `pg_blocking_pids`.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// What the server reported about its settings, the version included.
    pub fn parameters(&self) -> &BTreeMap<String, String> {
        &self.parameters
    }

    /// Transaction status: `I` idle, `T` in a transaction, `E` in a failed one.
    pub fn transaction(&self) -> u8 {
        self.transaction
    }

    /// The session can no longer be used.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Changes what a run may hold in memory.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Forgets what is prepared on the server. To be called in a session that was idle while
    /// another one changed the schema: inside a transaction a stale statement costs an error.
    pub fn forget_statements(&mut self) {
        self.prepared.forget_all();
    }

    /// Forgets what is prepared if that was in another generation of the schema than this one.
    pub fn in_generation(&mut self, generation: u64) {
        if std::mem::replace(&mut self.generation, generation) != generation {
            self.forget_statements();
        }
    }

    /// Runs statements in one pipeline, each ended by its own Sync; an error of one stands in its
    /// outcome and does not stop those after it (inside a transaction they then fail with 25P02).
    ///
    /// Reading and writing run concurrently, so neither side can block the other. An `Err` means
    /// that no outcome is known; after anything but [`Error::Invalid`] and [`Error::TooLarge`] the
    /// session is broken.
    pub async fn run(&mut self, statements: Vec<Statement>) -> Result<Vec<Outcome>, Error> {
        statements.iter().try_for_each(Statement::check)?;
        let mut answers = self.pipeline(&statements).await?;
        let again = match (statements.last(), answers.last()) {
            (Some(statement), Some((_, true))) => Some(statement.clone()),
            _ => None,
        };
        if let Some(statement) = again {
            let mut second = self.pipeline(std::slice::from_ref(&statement)).await?;
            answers.pop();
            answers.append(&mut second);
        }
        Ok(answers.into_iter().map(|(outcome, _)| outcome).collect())
    }

    /// Runs one statement as a simple query, without parameters, results in text. A COPY from the
    /// client fails for want of data. Its error stands in the outcome.
    pub async fn execute(&mut self, sql: &str) -> Result<Outcome, Error> {
        check_sql(sql)?;
        let request = encode::simple(sql)?;
        let mut answers = self.exchange(request, 1).await?;
        let outcome = answers.pop().map(|a| a.outcome).unwrap_or_default();
        self.prepared
            .observe(outcome.tag.as_deref(), outcome.transaction);
        Ok(outcome)
    }

    /// Ends the session in good order.
    pub async fn close(mut self) {
        let mut goodbye = bytes::BytesMut::new();
        postgres_protocol::message::frontend::terminate(&mut goodbye);
        // The server ends the session either way once the socket is closed.
        let _ = timeout(LAST_WORDS, self.stream.write_all(&goodbye)).await;
    }

    /// Sends one pipeline. Tells with each outcome whether the statement may be sent again because
    /// only a kept statement's staleness made it fail.
    async fn pipeline(&mut self, statements: &[Statement]) -> Result<Vec<(Outcome, bool)>, Error> {
        if self.broken {
            return Err(Error::Broken);
        }
        if statements.is_empty() {
            return Ok(Vec::new());
        }
        let mut status = self.transaction;
        let (request, uses) = encode::pipeline(statements, &mut self.prepared)?;
        let answers = match self.exchange(request, statements.len()).await {
            Ok(answers) => answers,
            Err(error) => {
                // What was parsed under a new name is unknown now.
                self.prepared.abandon(uses);
                return Err(error);
            }
        };
        let mut outcomes = Vec::with_capacity(answers.len());
        for (answer, choice) in answers.into_iter().zip(uses) {
            let stale = self.note(&answer, choice);
            let outcome = answer.outcome;
            // Somebody's SQL took it away (DEALLOCATE ALL). PostgreSQL's error would tell a client its name, and with it
            // those of the others.
            let gone = stale && outcome.error.as_ref().is_some_and(|e| e.sqlstate == GONE);
            if gone && !(status == b'I' && outcome.transaction == b'I') {
                self.broken = true;
                let what = "a prepared statement of the session's own is gone";
                return Err(Error::Protocol(what.into()));
            }
            self.prepared
                .observe(outcome.tag.as_deref(), outcome.transaction);
            // Inside a transaction the error has already doomed it.
            let harmless = status == b'I' && outcome.transaction == b'I';
            status = outcome.transaction;
            outcomes.push((outcome, stale && harmless));
        }
        Ok(outcomes)
    }

    /// Brings the cache up to date; tells whether a kept statement proved stale.
    fn note(&mut self, answer: &Answer, choice: Use) -> bool {
        match choice {
            Use::Unnamed => false,
            Use::Keep(name, key) => {
                if answer.parsed {
                    self.prepared.keep(name, key);
                }
                false
            }
            Use::Kept(_, key) => {
                let stale = !answer.bound && answer.outcome.error.as_ref().is_some_and(is_stale);
                if stale {
                    self.prepared.forget(&key);
                }
                stale
            }
        }
    }

    /// One exchange; what comes of damaged data is an error.
    async fn exchange(&mut self, request: Request, expected: usize) -> Result<Vec<Answer>, Error> {
        let result = self.converse(request, expected).await;
        match &result {
            Ok(answers) => answers
                .iter()
                .filter_map(|answer| answer.outcome.error.as_ref())
                .try_for_each(|error| self.check(error))?,
            Err(Error::Closed(Some(fields))) => self.check(fields)?,
            Err(_) => {}
        }
        result
    }

    /// Writes the request while reading the answers to `expected` Syncs.
    async fn converse(&mut self, request: Request, expected: usize) -> Result<Vec<Answer>, Error> {
        if self.broken {
            return Err(Error::Broken);
        }
        // Whoever drops this future leaves the session in an unknown state.
        self.broken = true;
        let segments = request.into_segments();
        let (mut reader, mut writer) = self.stream.split();
        let write = async {
            for segment in &segments {
                writer.write_all(segment).await?;
            }
            Ok::<(), std::io::Error>(())
        };
        let collector = Collector {
            frames: &mut self.frames,
            limits: self.limits,
            token: self.token.as_deref(),
            parameters: &mut self.parameters,
            transaction: &mut self.transaction,
        };
        let read = collector.collect(&mut reader, expected);
        tokio::pin!(write, read);
        let result = tokio::select! {
            written = &mut write => match written {
                Ok(()) => read.await,
                // The server has gone; it may have said why.
                Err(error) => match timeout(LAST_WORDS, read).await {
                    Ok(Err(Error::Closed(reason))) => Err(Error::Closed(reason)),
                    _ => Err(Error::Io(error)),
                },
            },
            result = &mut read => match result {
                Ok(_) => Err(Error::Protocol("an answer before its question".into())),
                Err(error) => Err(error),
            },
        };
        self.broken = !matches!(result, Ok(_) | Err(Error::TooLarge { .. }));
        result
    }

    /// Damaged data are nobody's answer: the alarm is raised and the session is not to be used any more.
    fn check(&mut self, error: &ErrorFields) -> Result<(), Error> {
        if !error.is_damage() {
            return Ok(());
        }
        self.alarm.raise(error);
        self.broken = true;
        Err(Error::Damaged(Box::new(error.clone())))
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("pid", &self.pid)
            .field("transaction", &char::from(self.transaction))
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

/// A kept statement whose result type has changed, or which the server no longer knows.
fn is_stale(error: &ErrorFields) -> bool {
    match error.sqlstate.as_str() {
        GONE => true,
        "0A000" => error.field(b'R').as_deref() == Some("RevalidateCachedQuery"),
        _ => false,
    }
}

/// The big-endian number at this place of a message's body.
fn word(frame: &Bytes, at: usize) -> Result<i32, Error> {
    match frame.get(5 + at..9 + at) {
        Some(&[a, b, c, d]) => Ok(i32::from_be_bytes([a, b, c, d])),
        _ => Err(Error::Protocol("a log-in message that is too short".into())),
    }
}
