//! Work in sessions, done beside the executor; each job ends in a note to it.

use super::Note;
use super::adopt::{self, Mark};
use super::claiming::Newest;
use super::closing;
use super::journal;
use super::judge::{self, Start};
use super::lasting;
use super::opening::{Opening, first_error, quiet};
use super::operation::{self, Ran};
use super::pool::Pool;
use super::rerun;
use super::sequences::Rounds;
use super::unseen::{self, Savepoint};
use bytes::Bytes;
use consensus::Height;
use pgsession::{Error, Outcome, Session, Statement};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use txn::ordered::OWNER;
use txn::{Operation, Ordered, Step, TxId, WriteSet};

/// How long judging one transaction may take before this replica abstains.
pub const JUDGING_BUDGET: Duration = Duration::from_secs(120);

/// What jobs share.
#[derive(Clone)]
pub struct Bench {
    pub notes: UnboundedSender<Note>,
    /// Sessions of the clients' roles.
    pub pool: Arc<Pool>,
    /// Sessions of the superuser: adoption, audit.
    pub control: Arc<Pool>,
    pub token: Arc<str>,
    pub place: Arc<str>,
    /// Draws by which a recorded value of a sequence may lie ahead.
    pub sequence_window: u64,
    pub shapes: Arc<adopt::Shapes>,
    pub rounds: Arc<Rounds>,
    pub habit: journal::Habit,
    #[cfg(feature = "lies")]
    pub lies: Arc<super::lies::Lies>,
}

impl Bench {
    pub(super) fn tell(&self, note: Note) {
        // The executor is gone only when the replica stops; then nobody needs to know.
        let _ = self.notes.send(note);
    }

    /// The rows of a query of the superuser's, outside of any transaction.
    ///
    /// # Errors
    /// What PostgreSQL says, or why it says nothing.
    pub(super) async fn ask(&self, query: Statement) -> Result<Vec<Vec<Option<Bytes>>>, String> {
        let mut own = self.control.get().await.map_err(|e| e.to_string())?;
        let outcomes = own.run(vec![query]).await.map_err(|e| e.to_string())?;
        self.control.put(own);
        let error = outcomes.iter().find_map(|outcome| outcome.error.as_ref());
        match error {
            Some(error) => Err(error.to_string()),
            None => Ok(outcomes.iter().flat_map(Outcome::values).collect()),
        }
    }

    /// Opens a transaction's session and takes its snapshot.
    pub async fn open(self, tx: TxId, opening: Opening) {
        let opened = async {
            let mut session = self.pool.get_as(opening.role()).await?;
            let refused = opening.open(&mut session).await?;
            Ok::<_, Error>((session, refused))
        };
        match opened.await {
            Ok((session, refused)) => self.tell(Note::Opened {
                tx,
                session: Some(session),
                refused,
                error: None,
            }),
            Err(error) => self.tell(Note::Opened {
                tx,
                session: None,
                refused: None,
                error: Some(error),
            }),
        }
    }

    /// Runs a client's operation at the master.
    pub async fn operation(
        self,
        tx: TxId,
        mut session: Session,
        opening: Opening,
        operation: Operation,
        savepoint: Savepoint,
    ) {
        let pool = self.pool.clone();
        let newest = Newest { pool, opening };
        let ran = operation::run(&mut session, &operation, &self.token, Some(&newest)).await;
        let mut ran = match ran {
            Ok(ran) => self.seeing(&mut session, ran, &savepoint).await,
            lost => lost,
        };
        if let Ok(ran) = &mut ran {
            self.say_rounds(ran).await;
        }
        #[cfg(feature = "lies")]
        self.lies.drop_what_ran(&mut session, &operation).await;
        #[cfg(feature = "lies")]
        let ran = self.lies.ran(&operation, ran);
        self.tell(Note::Ran {
            tx,
            session,
            operation,
            ran: Box::new(ran),
        });
    }

    /// What an operation of a transaction block came to, in the eyes of one who sees its snapshot only.
    async fn seeing(
        &self,
        session: &mut Session,
        ran: Ran,
        savepoint: &Savepoint,
    ) -> Result<Ran, Error> {
        let Some(error) = &ran.error else {
            return Ok(ran);
        };
        let instead = unseen::instead(session, &self.pool, error, savepoint).await?;
        Ok(instead.map_or(ran, Ran::refused))
    }

    /// Opens an autocommit write's transaction and runs it.
    pub async fn auto(self, tx: TxId, opening: Opening, operation: Operation) {
        let mut session = match self.pool.get_as(opening.role()).await {
            Ok(session) => session,
            Err(error) => {
                self.tell(Note::Opened {
                    tx,
                    session: None,
                    refused: None,
                    error: Some(error),
                });
                return;
            }
        };
        self.tell(Note::AutoStarted {
            tx,
            pid: session.pid(),
        });
        let mut statements = opening.statements();
        // A transaction of one statement is rolled back as a whole; it needs no savepoint.
        statements.pop();
        let opened = session.run(statements).await.map(first_error);
        let mut ran = match opened {
            // At READ COMMITTED it sees the newest state itself.
            Ok(None) => operation::run(&mut session, &operation, &self.token, None).await,
            Ok(Some(error)) => Ok(Ran::refused(error.frame.clone())),
            Err(error) => Err(error),
        };
        if let Ok(ran) = &mut ran {
            self.say_rounds(ran).await;
        }
        #[cfg(feature = "lies")]
        let ran = self.lies.ran(&operation, ran);
        self.tell(Note::Ran {
            tx,
            session,
            operation,
            ran: Box::new(ran),
        });
    }

    /// Judges an item in its session.
    pub async fn judge(
        self,
        height: Height,
        index: u32,
        tx: TxId,
        session: Option<Session>,
        start: Start,
        ordered: Arc<Ordered>,
    ) {
        let mut session = match session {
            Some(session) => session,
            None => match self.pool.get_as(start.role()).await {
                Ok(session) => session,
                Err(error) => {
                    let report = judge::Report::abstain(error.to_string());
                    self.tell(Note::Judged {
                        height,
                        index,
                        tx,
                        session: None,
                        report,
                    });
                    return;
                }
            },
        };
        self.tell(Note::JudgingIn {
            height,
            index,
            tx,
            pid: session.pid(),
        });
        let run = judge::run(
            &mut session,
            start,
            steps_of(&ordered),
            &self.token,
            self.sequence_window,
            &self.place,
            &self.habit,
        );
        let report = match tokio::time::timeout(JUDGING_BUDGET, run).await {
            Ok(report) => report,
            Err(_) => judge::Report {
                lost: true,
                ..judge::Report::abstain("judging took too long")
            },
        };
        let report = self.round(&ordered, report).await;
        let report = self.explained(&ordered, report).await;
        let session = (!report.lost).then_some(session);
        self.tell(Note::Judged {
            height,
            index,
            tx,
            session,
            report,
        });
    }

    /// Judges at the master: everything ran already; only what was deferred has not spoken yet.
    pub async fn confirm(
        self,
        height: Height,
        index: u32,
        tx: TxId,
        mut session: Session,
        write_sets: Vec<WriteSet>,
    ) {
        let (report, lost) = match session.run(closing::statements().into()).await {
            Ok(outcomes) => {
                let report = closing::report(&outcomes, write_sets);
                // What it has executed is not executed again.
                let report = judge::Report {
                    again: false,
                    ..report
                };
                (report, false)
            }
            Err(error) => (judge::Report::abstain(error.to_string()), true),
        };
        self.tell(Note::Judged {
            height,
            index,
            tx,
            session: (!lost).then_some(session),
            report,
        });
    }

    /// Frees the locks of a session for something ordered earlier; its snapshot stays.
    pub async fn yield_locks(self, height: Height, index: u32, tx: TxId, mut session: Session) {
        let done = session
            .run(vec![quiet(format!(
                "ROLLBACK TO SAVEPOINT {}",
                super::opening::SAVEPOINT
            ))])
            .await;
        let error = done.err();
        self.tell(Note::Yielded {
            height,
            index,
            tx,
            session,
            error,
        });
    }

    /// Commits an own session as the verdict says, or rolls it back.
    pub async fn end(
        self,
        height: Height,
        index: u32,
        tx: TxId,
        mut session: Session,
        commit: bool,
        mark: bool,
    ) {
        let mark = (commit && mark).then(|| {
            adopt::mark_statement(&Mark {
                token: &self.token,
                height,
                index,
            })
        });
        // Not kept under a name, which a function could have taken away: an agreed commit has to be one.
        let end = Statement::new(if commit { "COMMIT" } else { "ROLLBACK" });
        // A statement whose agreed outcome is an error left its transaction failed: it may have moved sequences, which is
        // noted on its own.
        let statements = match session.transaction() {
            b'E' => [Some(Statement::new("ROLLBACK")), mark],
            _ => [mark, Some(end)],
        };
        let statements = statements.into_iter().flatten().collect();
        let ended = session.run(statements).await;
        let error = match ended {
            Ok(outcomes) => first_error(outcomes).map(|error| error.to_string()),
            Err(error) if commit => Some(error.to_string()),
            Err(_) => None,
        };
        self.tell(Note::Ended {
            height,
            index,
            tx,
            error,
        });
        self.give_back(session).await;
    }

    /// Rolls back a session that nobody needs any more.
    pub async fn abandon(self, mut session: Session) {
        if session.transaction() != b'I' && session.run(vec![quiet("ROLLBACK")]).await.is_err() {
            return;
        }
        self.give_back(session).await;
    }

    /// Returns a session to the pool without what the last client left in it.
    pub(super) async fn give_back(&self, mut session: Session) {
        if session.is_broken() || session.transaction() != b'I' {
            return;
        }
        if let Ok(cleaned) = session.run(closing::clean().into()).await {
            self.pool.put_clean(session, &cleaned);
        }
    }

    async fn session_of(&self, role: &str) -> Result<Session, adopt::Failure> {
        self.pool
            .get_as(role)
            .await
            .map_err(adopt::Failure::Session)
    }

    /// Applies an agreed write set instead of executing.
    pub async fn adopt(
        self,
        height: Height,
        index: u32,
        tx: TxId,
        opening: Opening,
        ordered: Arc<Ordered>,
        write_sets: Vec<WriteSet>,
    ) {
        let steps = steps_of(&ordered);
        let mark = Mark {
            token: &self.token,
            height,
            index,
        };
        let schema_change = steps.iter().any(|s| s.evidence.schema_change);
        let adopted = async {
            // What runs again runs as the role that ran it; rows are written with the owner's rights, as what cascades and what SECURITY
            // DEFINER functions write has to be.
            let role = if schema_change { opening.role() } else { OWNER };
            let mut session = self.session_of(role).await?;
            let adopting_in = |pid| Note::AdoptingIn { height, index, pid };
            self.tell(adopting_in(session.pid()));
            if schema_change {
                rerun::transaction(&mut session, &opening, steps, mark).await?;
                self.shapes.forget();
            } else {
                let lasting = lasting::of_steps(steps, write_sets);
                let rows = adopt::rows(&mut session, &self.shapes, &lasting, mark);
                if let Err(failure) = rows.await {
                    // Rows of a partition that were changed under the name of the whole, and the other way round, have no net.
                    // What was agreed on can be run again, and is compared again.
                    if !failure.is_divergence() {
                        return Err(failure);
                    }
                    tracing::warn!(height, index, %failure, "agreed rows do not fit: the statements are run again");
                    if opening.role() != OWNER {
                        self.give_back(session).await;
                        session = self.session_of(opening.role()).await?;
                        self.tell(adopting_in(session.pid()));
                    }
                    rerun::transaction(&mut session, &opening, steps, mark)
                        .await
                        .map_err(|_| failure)?;
                }
                let mut own = self.control.get().await.map_err(adopt::Failure::Session)?;
                adopt::advance(&mut own, steps).await?;
                self.control.put(own);
            }
            self.give_back(session).await;
            Ok(())
        };
        let done: Result<(), adopt::Failure> = adopted.await;
        self.tell(Note::Adopted {
            height,
            index,
            tx,
            error: done.err(),
        });
    }
}

/// The steps of an item that is judged.
pub fn steps_of(ordered: &Ordered) -> &[Step] {
    match ordered {
        Ordered::Commit(commit) => &commit.steps,
        Ordered::Auto(auto) => std::slice::from_ref(&auto.step),
        _ => &[],
    }
}

/// An ErrorResponse of this replica's own.
pub fn error_frame(sqlstate: &str, message: &str) -> bytes::Bytes {
    error_frame_of(&[
        (b'S', "ERROR"),
        (b'V', "ERROR"),
        (b'C', sqlstate),
        (b'M', message),
    ])
}

/// An ErrorResponse with these fields, by their protocol codes.
pub fn error_frame_of(fields: &[(u8, &str)]) -> bytes::Bytes {
    let mut body = Vec::new();
    for &(field, value) in fields {
        body.push(field);
        body.extend(value.bytes().filter(|b| *b != 0));
        body.push(0);
    }
    body.push(0);
    let mut frame = vec![b'E'];
    frame.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    frame.extend_from_slice(&body);
    frame.into()
}
