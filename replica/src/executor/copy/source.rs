//! A replica that others copy from: it keeps the state of a place for them, says what it holds there, and sends it.

use super::super::audit::{self, DEFINITIONS, FIXED, STATEMENTS, TABLES, rows_of};
use super::super::jobs::Bench;
use super::super::opening::{first_error, quiet};
use super::super::{Executor, Note};
use super::holds::Holds;
use super::sequences::positions;
use super::{CHUNK, digest_of, hash_of, send};
use consensus::{ClientId, Height, ReplicaId};
use net::Endpoint;
use pgsession::{Session, Statement};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use txn::Ordered;
use txn::copy::{CopyMessage, Holding, Part};

use crate::postgres::Dumper;

/// How long a state is kept at most; a snapshot keeps PostgreSQL from removing what nobody else sees any more.
const KEPT_FOR: Duration = Duration::from_secs(3_600);
/// Requests of one replica that are served in this time (consensus milliseconds): each has everything read once.
const SERVED: usize = 6;
const SERVED_IN_MS: u64 = 3_600_000;
/// How long the one that copies may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// Rows fetched at first, and at most.
const ROWS: (usize, usize) = (100, 10_000);

/// What is kept for others.
#[derive(Default)]
pub struct Copies {
    served: BTreeMap<ReplicaId, VecDeque<u64>>,
    /// The height at which each asked last.
    asked: BTreeMap<ReplicaId, Height>,
    kept: BTreeMap<ReplicaId, Kept>,
    holds: Holds,
}

impl Copies {
    /// Whether this is its first request at this height. The first place counts, here and where it is copied, also when what was kept
    /// there is given up by now.
    fn is_first(&mut self, asker: ReplicaId, height: Height) -> bool {
        self.asked.insert(asker, height) != Some(height)
    }
}

/// A state that is kept. Dropped, it is given up: whatever reads it ends.
struct Kept {
    height: Height,
    since: Instant,
    /// The snapshot's name, as soon as it is known.
    snapshot: Option<String>,
    sent: Option<(Part, watch::Sender<u32>, AbortHandle)>,
    /// Ends the session that keeps it.
    _keeper: oneshot::Sender<()>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some((.., stream)) = &self.sent {
            stream.abort();
        }
    }
}

impl Executor {
    /// A request at its place in the order. Returns whether a job was started, which then reports the place as applied.
    pub(in crate::executor) fn copy_asked(
        &mut self,
        height: Height,
        index: u32,
        client: ClientId,
    ) -> bool {
        let asker = client.as_replica().filter(|asker| *asker != self.me);
        let Some(asker) = asker.filter(|asker| self.view.replicas.contains_key(asker)) else {
            return false;
        };
        if !self.copies.is_first(asker, height) {
            return false;
        }
        let time_ms = self.times.get(&height).copied().unwrap_or_default();
        let served = self.copies.served.entry(asker).or_default();
        served.retain(|at| *at + SERVED_IN_MS > time_ms);
        if served.len() >= SERVED {
            let why = format!("{SERVED} copies in an hour were served");
            return self.refuse_copy(asker, height, why);
        }
        served.push_back(time_ms);
        if self.history.is_some()
            || self.damage.rebuilding.is_some()
            || self.damage.alarm.raised().is_some()
        {
            let replayed = self.history.as_ref().is_some_and(|h| h.is_replayed(height));
            return !replayed
                && self.refuse_copy(asker, height, "this replica is not whole itself".into());
        }
        let (keeper, ended) = oneshot::channel();
        let kept = Kept {
            height,
            since: Instant::now(),
            snapshot: None,
            sent: None,
            _keeper: keeper,
        };
        self.copies.kept.insert(asker, kept);
        // It begins below: at a checkpoint of a peer, or at its own last final height. What the log has of that stays too.
        let begins = self.log.next_key(order::record::DECIDED, 1);
        let held = begins.unwrap_or(height).min(height);
        self.copies.holds.hold(asker, held, Instant::now());
        self.keep_log_for_copies();
        tracing::info!(%asker, height, "this state is kept for a replica that copies it");
        tokio::spawn(self.bench.clone().keep(height, index, asker, ended));
        true
    }

    fn refuse_copy(&self, asker: ReplicaId, height: Height, why: String) -> bool {
        tracing::warn!(%asker, height, why, "a copy is refused");
        send(&self.endpoint, asker, CopyMessage::Gone { height, why });
        false
    }

    /// The state is kept under this name, or what it holds is known.
    pub(in crate::executor) fn copy_kept(
        &mut self,
        asker: ReplicaId,
        height: Height,
        kept: Result<Progress, String>,
    ) {
        let known = self.copies.kept.get_mut(&asker);
        let Some(known) = known.filter(|known| known.height == height) else {
            return;
        };
        let message = match kept {
            Ok(Progress::Snapshot(name)) => {
                known.snapshot = Some(name);
                CopyMessage::Keeping { height }
            }
            Ok(Progress::Holding(holding)) => CopyMessage::Held { height, holding },
            Err(why) => {
                self.copies.kept.remove(&asker);
                tracing::warn!(%asker, height, why, "a state cannot be kept for a copy");
                CopyMessage::Gone { height, why }
            }
        };
        send(&self.endpoint, asker, message);
    }

    /// What one that copies says.
    pub(in crate::executor) fn copy_message(&mut self, from: ReplicaId, message: CopyMessage) {
        match message {
            CopyMessage::Fetch {
                height,
                part,
                until,
            } => self.copy_fetch(from, height, part, until),
            CopyMessage::Release { height } => {
                let released = |kept: &Kept| kept.height == height;
                if self.copies.kept.get(&from).is_some_and(released) {
                    self.copies.kept.remove(&from);
                }
            }
            #[cfg(feature = "lies")]
            CopyMessage::Keeping { height } => self.lie_to_source(from, height),
            // For one that copies; this one does not.
            _ => {}
        }
    }

    fn copy_fetch(&mut self, from: ReplicaId, height: Height, part: Part, until: u32) {
        let kept = self.copies.kept.get_mut(&from);
        let kept = kept.filter(|kept| kept.height == height);
        let Some((snapshot, kept)) = kept.and_then(|kept| Some((kept.snapshot.clone()?, kept)))
        else {
            self.refuse_copy(from, height, "that state is not kept here".into());
            return;
        };
        if let Some((running, credit, stream)) = &kept.sent {
            if *running == part && !stream.is_finished() {
                credit.send_if_modified(|known| {
                    std::mem::replace(known, (*known).max(until)) < until
                });
                return;
            }
            stream.abort();
        }
        let (credit, allowed) = watch::channel(until);
        let stream = Stream {
            bench: self.bench.clone(),
            dumper: self.settings.dumper.clone(),
            endpoint: self.endpoint.clone(),
            to: from,
            height,
            part: part.clone(),
            snapshot,
            allowed,
            bytes_per_second: self.settings.copy_bytes_per_second,
        };
        let task = tokio::spawn(stream.run());
        kept.sent = Some((part, credit, task.abort_handle()));
    }

    /// What no snapshot hides is about to be made here, or what waits for all snapshots: no state of before can be kept.
    pub(in crate::executor) fn end_copies(&mut self, why: &str) {
        for (asker, kept) in std::mem::take(&mut self.copies.kept) {
            let height = kept.height;
            self.refuse_copy(asker, height, why.to_owned());
        }
    }

    /// Every 100 ms: gives up what was kept for too long, or for one that is no member any more.
    pub(in crate::executor) fn copies_tick(&mut self) {
        self.keep_log_for_copies();
        let members = &self.view.replicas;
        self.copies
            .kept
            .retain(|asker, kept| members.contains_key(asker) && kept.since.elapsed() < KEPT_FOR);
    }

    /// Tells the order how much of its log others need.
    fn keep_log_for_copies(&self) {
        let needed = self.copies.holds.needed(Instant::now());
        self.needed
            .send_if_modified(|known| std::mem::replace(known, needed) != needed);
    }

    /// Whether this step makes what snapshots do not cover.
    pub(in crate::executor) fn note_schema_change(&mut self, ordered: &Ordered) {
        let steps = super::super::jobs::steps_of(ordered);
        if steps.iter().any(|step| step.evidence.schema_change) {
            self.end_copies("the schema is changed");
        }
    }
}

/// How far a source is with keeping a state.
pub enum Progress {
    Snapshot(String),
    Holding(Holding),
}

impl Bench {
    /// Takes the snapshot of this place, lets the order go on, says what there is in it, and keeps it until it is told to end.
    async fn keep(
        self,
        height: Height,
        index: u32,
        asker: ReplicaId,
        ended: oneshot::Receiver<()>,
    ) {
        let tell = |kept| {
            let note = Note::CopyKept {
                asker,
                height,
                kept,
            };
            // The executor is gone only when the replica stops.
            let _ = self.notes.send(note);
        };
        let opened = self.exported().await;
        let _ = self.notes.send(Note::AuditOpened { height, index });
        let (session, snapshot) = match opened {
            Ok(opened) => opened,
            Err(error) => return tell(Err(error)),
        };
        tell(Ok(Progress::Snapshot(snapshot.clone())));
        let mut ended = ended;
        tokio::select! {
            holding = self.holding(&snapshot) => tell(holding.map(Progress::Holding)),
            _ = &mut ended => return,
        }
        let _ = tokio::time::timeout(KEPT_FOR, ended).await;
        // Closed with its connection: PostgreSQL gives the snapshot up.
        drop(session);
    }

    async fn exported(&self) -> Result<(Session, String), String> {
        let mut session = self.control.get().await.map_err(|e| e.to_string())?;
        let begin = quiet("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
        let export = quiet("SELECT pg_catalog.pg_export_snapshot()");
        let outcomes = session.run(vec![begin, export]).await;
        let outcomes = outcomes.map_err(|e| e.to_string())?;
        let name = outcomes.last().and_then(|outcome| outcome.scalar());
        match (first_error(outcomes), name) {
            (None, Some(name)) => Ok((session, name)),
            (error, _) => Err(error.map_or("no snapshot".into(), |e| e.to_string())),
        }
    }

    /// A session at that snapshot.
    pub(super) async fn at_snapshot(&self, snapshot: &str) -> Result<Session, String> {
        let mut session = self.control.get().await.map_err(|e| e.to_string())?;
        let mut opening = vec![
            quiet("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
            Statement::new(format!("SET TRANSACTION SNAPSHOT '{snapshot}'")),
            // What waits for a statement of a client waits no longer than that one may be told to end.
            quiet("SET LOCAL lock_timeout = '10s'"),
        ];
        opening.extend(FIXED.map(quiet));
        let outcomes = session.run(opening).await.map_err(|e| e.to_string())?;
        first_error(outcomes).map_or(Ok(session), |e| Err(e.to_string()))
    }

    async fn holding(&self, snapshot: &str) -> Result<Holding, String> {
        let mut session = self.at_snapshot(snapshot).await?;
        let (_, _, definitions) = audit::digest_query(&mut session, "", DEFINITIONS, false).await?;
        let statements = audit::query(&mut session, STATEMENTS).await?;
        let names = audit::query(&mut session, TABLES).await?;
        let positions = positions(&mut session).await?;
        self.done(session).await;
        let mut tables = Vec::with_capacity(names.len());
        for name in names {
            // Each in a transaction of its own: nobody waits longer for a table than it takes to read it.
            let mut session = self.at_snapshot(snapshot).await?;
            let rows = rows_of(&name);
            tables.push(audit::digest_query(&mut session, &name, &rows, false).await?);
            self.done(session).await;
        }
        Ok(Holding {
            definitions,
            statements: digest_of(statements.iter()),
            tables,
            positions,
        })
    }

    async fn done(&self, mut session: Session) {
        if session.run(vec![quiet("ROLLBACK")]).await.is_ok() {
            self.control.put(session);
        }
    }
}

/// One part on its way to the one that copies.
struct Stream {
    bench: Bench,
    dumper: Option<Dumper>,
    endpoint: Endpoint,
    to: ReplicaId,
    height: Height,
    part: Part,
    snapshot: String,
    /// Chunks up to here, which is not included.
    allowed: watch::Receiver<u32>,
    bytes_per_second: u64,
}

impl Stream {
    async fn run(mut self) {
        let sent = match self.part.clone() {
            Part::Statements => self.statements().await,
            Part::Schema => self.schema().await,
            Part::Table(name) => self.table(&name).await,
        };
        if let Err(why) = sent {
            tracing::warn!(to = %self.to, height = self.height, why, "a copy ends");
            let height = self.height;
            send(&self.endpoint, self.to, CopyMessage::Gone { height, why });
        }
    }

    async fn statements(&mut self) -> Result<(), String> {
        let mut session = self.bench.at_snapshot(&self.snapshot).await?;
        let lines = audit::query(&mut session, STATEMENTS).await?;
        self.bench.done(session).await;
        self.texts(lines).await
    }

    async fn schema(&mut self) -> Result<(), String> {
        let dumper = self.dumper.as_ref();
        let dumper = dumper.ok_or("the server is not this replica's own (`dsn`)")?;
        let text = dumper.schema("postgres", &self.snapshot).await;
        let text = text.map_err(|e| e.to_string())?;
        #[cfg(feature = "lies")]
        let text = self.bench.lies.copied_schema(text);
        self.texts(text.split_inclusive('\n').map(str::to_owned).collect())
            .await
    }

    /// Sends texts that are all there.
    async fn texts(&mut self, texts: Vec<String>) -> Result<(), String> {
        let (mut number, mut piece, mut bytes) = (0, Vec::new(), 0);
        for text in texts {
            bytes += text.len();
            piece.push(text);
            if bytes >= CHUNK {
                self.chunk(number, &std::mem::take(&mut piece), false)
                    .await?;
                (number, bytes) = (number + 1, 0);
            }
        }
        self.chunk(number, &piece, true).await
    }

    async fn table(&mut self, name: &str) -> Result<(), String> {
        let mut session = self.bench.at_snapshot(&self.snapshot).await?;
        // The name comes from the one that copies: it must be that of a table, and is then as this server quotes it.
        if !audit::query(&mut session, TABLES)
            .await?
            .iter()
            .any(|known| known == name)
        {
            return Err(format!("there is no table {name}"));
        }
        let declare = format!("DECLARE steel_copy NO SCROLL CURSOR FOR {}", rows_of(name));
        audit::run(&mut session, &declare).await?;
        let (mut number, mut count) = (0, ROWS.0);
        loop {
            #[allow(unused_mut)]
            let mut rows =
                audit::query(&mut session, &format!("FETCH {count} FROM steel_copy")).await?;
            let last = rows.len() < count;
            let bytes: usize = rows.iter().map(String::len).sum();
            count = (CHUNK * rows.len().max(1) / bytes.max(1)).clamp(1, ROWS.1);
            #[cfg(feature = "lies")]
            if !self.bench.lies.copied_rows(&mut rows, number) {
                return std::future::pending().await;
            }
            self.chunk(number, &rows, last).await?;
            if last {
                break;
            }
            number += 1;
        }
        self.bench.done(session).await;
        Ok(())
    }

    /// Sends a chunk as soon as it may be sent, and no faster than at the rate.
    async fn chunk(&mut self, number: u32, texts: &[String], last: bool) -> Result<(), String> {
        let allowed = self.allowed.wait_for(|until| number < *until);
        match tokio::time::timeout(SILENCE, allowed).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Err("the copy was ended".into()),
            Err(_) => return Err("the one that copies is silent".into()),
        }
        let payload = postcard::to_stdvec(texts).expect("texts always serialise");
        let pause = payload.len() as u64 * 1_000 / self.bytes_per_second.max(1);
        let message = CopyMessage::Chunk {
            height: self.height,
            part: self.part.clone(),
            number,
            last,
            hash: hash_of(&payload),
            payload,
        };
        send(&self.endpoint, self.to, message);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_two_requests_for_a_copy_in_one_batch_the_first_counts() {
        let (one, other) = (ReplicaId(1), ReplicaId(2));
        let mut copies = Copies::default();
        assert!(copies.is_first(one, 9));
        let kept = Kept {
            height: 9,
            since: Instant::now(),
            snapshot: None,
            sent: None,
            _keeper: oneshot::channel().0,
        };
        copies.kept.insert(one, kept);
        assert!(!copies.is_first(one, 9));
        // A schema change between them, whose batch goes on.
        copies.kept.clear();
        assert!(!copies.is_first(one, 9));
        assert!(copies.is_first(other, 9) && copies.is_first(one, 10));
    }
}
