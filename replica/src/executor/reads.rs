//! Reads outside of the order, at a state between two batches (DESIGN.md, 1 and 7).

use super::closing;
use super::jobs::{Bench, error_frame};
use super::judge;
use super::opening::{Opening, first_error, quiet, statement};
use super::roles;
use super::{Executor, Note};
use consensus::{ClientId, Digest, Height};
use pgsession::{Error, Outcome as Answer};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{RwLock, oneshot};
use tokio::time::Instant;
use txn::client::{Outcome, ReplicaMessage};
use txn::ordered::SessionSettings;
use txn::{Isolation, Operation};

/// Reads that run or wait at once, per client.
const READS_PER_CLIENT: usize = 256;
/// How long a read waits for its height.
const WAIT_FOR_HEIGHT: Duration = Duration::from_secs(10);

/// A read as a client asked for it.
pub struct Read {
    pub client: ClientId,
    pub id: u64,
    pub min_height: Height,
    pub time_ms: u64,
    pub nonce: String,
    pub settings: SessionSettings,
    pub operation: Operation,
    pub whole: bool,
    pub since: Instant,
}

/// Reads that run, and those that wait for a height.
#[derive(Default)]
pub struct Reads {
    /// With what each holds in memory.
    running: HashMap<(ClientId, u64), (oneshot::Sender<()>, usize)>,
    waiting: Vec<Read>,
    final_height: Arc<AtomicU64>,
}

impl Reads {
    /// A height is final: reads that start from now on see it.
    pub fn advance(&mut self, height: Height, _time_ms: u64) {
        self.final_height.store(height, Ordering::Release);
    }

    /// What they hold in memory, by client.
    pub fn held(&self) -> impl Iterator<Item = (ClientId, usize)> {
        let running = self.running.iter();
        let waiting = self.waiting.iter();
        running
            .map(|((client, _), (_, bytes))| (*client, *bytes))
            .chain(waiting.map(|r| (r.client, r.operation.size())))
    }

    pub fn done(&mut self, client: ClientId, id: u64) {
        self.running.remove(&(client, id));
    }
}

impl Executor {
    pub(super) fn read(&mut self, read: Read) {
        let client = read.client;
        let busy = self
            .reads
            .running
            .keys()
            .filter(|(c, _)| *c == client)
            .count()
            + self
                .reads
                .waiting
                .iter()
                .filter(|r| r.client == client)
                .count();
        if busy >= READS_PER_CLIENT || !self.may_wait(client, None, &read.operation) {
            let outcome = Executor::refused("53400", "too many reads at once");
            let message = answer(
                &read,
                self.engine.final_height(),
                outcome,
                Some("53400".into()),
            );
            return self.tell(client, &message);
        }
        if read.min_height > self.engine.final_height() {
            self.reads.waiting.push(read);
            return;
        }
        self.start_read(read);
    }

    /// Starts the reads whose height is final now.
    pub(super) fn start_waiting_reads(&mut self) {
        let height = self.engine.final_height();
        let waiting = std::mem::take(&mut self.reads.waiting);
        for read in waiting {
            if read.min_height <= height {
                self.start_read(read);
            } else if read.since.elapsed() < WAIT_FOR_HEIGHT {
                self.reads.waiting.push(read);
            }
        }
    }

    fn start_read(&mut self, read: Read) {
        let (cancel, cancelled) = oneshot::channel();
        let held = read.operation.size();
        self.reads
            .running
            .insert((read.client, read.id), (cancel, held));
        let (gate, height) = (self.gate.clone(), self.reads.final_height.clone());
        tokio::spawn(run(self.bench.clone(), gate, height, read, cancelled));
    }

    pub(super) fn cancel_read(&mut self, client: ClientId, id: u64) {
        self.reads
            .waiting
            .retain(|r| (r.client, r.id) != (client, id));
        if let Some((cancel, _)) = self.reads.running.remove(&(client, id)) {
            let _ = cancel.send(());
        }
    }
}

async fn run(
    bench: Bench,
    gate: Arc<RwLock<()>>,
    height: Arc<AtomicU64>,
    read: Read,
    cancelled: oneshot::Receiver<()>,
) {
    let (client, id) = (read.client, read.id);
    let mut at = 0;
    let outcome = match execute(&bench, &gate, &height, &read, cancelled, &mut at).await {
        Ok(outcome) => outcome,
        Err(error) => Executor::refused(error.sqlstate(), &error.to_string()),
    };
    #[cfg(feature = "lies")]
    let outcome = bench.lies.outcome(&read.operation, outcome);
    let failed = outcome
        .frames
        .iter()
        .find_map(txn::result::sqlstate)
        .map(|s| String::from_utf8_lossy(&s).into_owned());
    let message = answer(&read, at, outcome, failed);
    let _ = bench.notes.send(Note::Audited { client, message });
    let _ = bench.notes.send(Note::ReadDone { client, id });
}

fn answer(read: &Read, height: Height, outcome: Outcome, failed: Option<String>) -> ReplicaMessage {
    let digest: Digest = outcome.result;
    ReplicaMessage::Read {
        id: read.id,
        height,
        digest,
        failed,
        outcome: read.whole.then_some(outcome),
    }
}

async fn execute(
    bench: &Bench,
    gate: &RwLock<()>,
    height: &AtomicU64,
    read: &Read,
    cancelled: oneshot::Receiver<()>,
    at: &mut Height,
) -> Result<Outcome, Error> {
    let denied = txn::provision::is_provision(&read.operation).then(|| {
        judge::reason(
            "42501",
            "roles and extensions are changed in the order only",
            "",
        )
    });
    let denied = denied.or_else(|| roles::refused(read.client, &read.settings));
    if let Some(reason) = denied.or_else(|| judge::admissible(&read.operation, true).err()) {
        let frames = vec![error_frame(&reason.sqlstate, &reason.message)];
        let result = txn::result::digest(&frames, None);
        return Ok(Outcome {
            frames,
            result,
            transaction: b'I',
        });
    }
    let opening = Opening {
        client: read.client,
        isolation: "REPEATABLE READ",
        promised: Isolation::Snapshot,
        read_only: true,
        time_ms: read.time_ms,
        nonce: read.nonce.clone(),
        mode: "record",
        settings: read.settings.clone(),
    };
    let mut session = bench.pool.get_as(opening.role()).await?;
    let mut statements = opening.statements();
    statements.pop();
    let refused = {
        // Between two batches: no commit is under way while the snapshot is taken.
        let _open = gate.read().await;
        let refused = first_error(session.run(statements).await?);
        *at = height.load(Ordering::Acquire);
        bench.pool.renew(&mut session);
        refused
    };
    let cleaned: Vec<Answer>;
    let frames = match refused {
        Some(error) => {
            let mut end = vec![quiet("ROLLBACK")];
            end.extend(closing::clean_of_read());
            cleaned = session.run(end).await?;
            vec![error.frame]
        }
        None => {
            let pid = session.pid();
            let mut statements = vec![statement(&read.operation), quiet("ROLLBACK")];
            statements.extend(closing::clean_of_read());
            let work = session.run(statements);
            tokio::pin!(work);
            let outcomes = tokio::select! {
                outcomes = &mut work => outcomes?,
                Ok(()) = cancelled => {
                    super::control::cancel(&bench.control, pid).await;
                    work.await?
                }
            };
            let mut outcomes = outcomes.into_iter();
            let own = outcomes.next().unwrap_or_default();
            cleaned = outcomes.collect();
            own.frames
        }
    };
    bench.pool.put_clean(session, &cleaned);
    let result = txn::result::digest(&frames, read.operation.order.as_deref());
    Ok(Outcome {
        frames,
        result,
        transaction: b'I',
    })
}
