//! Reads outside of the order, confirmed by matching digests (DESIGN.md, 7).

use super::Shim;
use crate::cancellation::Cancellation;
use crate::error::ShimError;
use crate::inner::ReadAnswer;
use crate::settings::Reads;
use consensus::{Digest, ReplicaId};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use txn::client::{ClientMessage, Outcome};
use txn::ordered::SessionSettings;
use txn::{Isolation, Operation};

/// How long the first replicas asked may take before all are.
const FIRST_WAIT: Duration = Duration::from_millis(400);
/// How often a read is asked again before it is ordered: between two answers the database may have moved.
const ATTEMPTS: usize = 3;

/// A read that is given up is cancelled where it runs.
struct Asked<'a> {
    shim: &'a Shim,
    id: u64,
    replicas: BTreeSet<ReplicaId>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.shim.0.forget_read(self.id);
        for replica in &self.replicas {
            self.shim
                .0
                .send(*replica, &ClientMessage::CancelRead { id: self.id });
        }
    }
}

enum Confirmed {
    /// With a height that the answer is not older than.
    Outcome(Outcome, consensus::Height),
    /// It would write, so it needs its place in the order.
    Writes,
    Mismatch,
}

impl Shim {
    /// Reads at a state between two batches. `unvalidated`: the master alone answers (catalogs, EXPLAIN, settings).
    ///
    /// # Errors
    /// 40001 or 57P03 when no quorum agrees on an answer, 57014 when `cancelled` resolved first.
    pub async fn read(
        &self,
        settings: SessionSettings,
        operation: Operation,
        unvalidated: bool,
        cancelled: impl Future<Output = ()> + Send,
    ) -> Result<Outcome, ShimError> {
        let mut cancelled = Cancellation::new(cancelled);
        let mut unvalidated = unvalidated;
        for _ in 0..ATTEMPTS {
            let read = self.read_once(&settings, &operation, unvalidated);
            let confirmed = tokio::select! {
                biased;
                confirmed = read => confirmed?,
                () = cancelled.comes() => return Err(ShimError::cancelled()),
            };
            match confirmed {
                // A description is one replica's word, and whoever executes the statement finds out. An error ends it here: it is
                // confirmed, or a liar could refuse any statement that is prepared.
                Confirmed::Outcome(outcome, _)
                    if unvalidated
                        && operation.describe_only
                        && outcome.frames.iter().any(|f| f.first() == Some(&b'E')) =>
                {
                    unvalidated = false;
                }
                Confirmed::Outcome(outcome, height) => {
                    if !unvalidated {
                        self.0.seen.fetch_max(height, Ordering::Relaxed);
                    }
                    return Ok(outcome);
                }
                Confirmed::Writes => {
                    return self
                        .auto_cancellable(settings, operation, &mut cancelled)
                        .await;
                }
                Confirmed::Mismatch => {}
            }
        }
        // In the order all replicas read the same snapshot.
        let mut transaction = self.beside().begin(settings, Isolation::Snapshot, true);
        let outcome = transaction.execute(operation, false).await?;
        // An error is confirmed like rows: the master may have invented it.
        transaction.commit().await?;
        Ok(outcome)
    }

    /// The same session, for what it does not know of: its receipt is not this one's.
    fn beside(&self) -> Shim {
        Shim(self.0.clone(), Default::default(), self.2.clone())
    }

    async fn read_once(
        &self,
        settings: &SessionSettings,
        operation: &Operation,
        unvalidated: bool,
    ) -> Result<Confirmed, ShimError> {
        let inner = &self.0;
        let id = inner.fresh();
        let needed = match (unvalidated, inner.settings.reads) {
            (true, _) => 1,
            (false, Reads::Session) => inner.view().one_correct(),
            (false, Reads::Linearizable) => inner.view().quorum(),
        };
        let mut message = ClientMessage::Read {
            id,
            min_height: inner.seen.load(Ordering::Relaxed),
            time_ms: inner.time_ms.load(Ordering::Relaxed),
            nonce: format!("{:016x}{:016x}", inner.incarnation, id),
            settings: self.2.carried(settings.clone()),
            operation: operation.clone(),
            whole: true,
        };
        let mut answers = inner.expect_read(id);
        let mut asked = Asked {
            shim: self,
            id,
            replicas: BTreeSet::new(),
        };
        let order = self.preference(id);
        let mut ask = |replica: ReplicaId, whole: bool| {
            if let ClientMessage::Read { whole: w, .. } = &mut message {
                *w = whole;
            }
            if inner.send(replica, &message) {
                asked.replicas.insert(replica);
            }
        };
        for (place, replica) in order.iter().take(needed).enumerate() {
            ask(*replica, place == 0);
        }
        let mut count = Matching {
            needed,
            order: operation.order.clone(),
            answers: BTreeMap::new(),
        };
        let found = collect(
            &mut answers,
            Instant::now() + FIRST_WAIT,
            needed,
            &mut count,
        )
        .await;
        if let Some(confirmed) = found {
            asked.replicas.retain(|r| !count.answers.contains_key(r));
            return Ok(confirmed);
        }
        if unvalidated {
            // The master may just be slow. One that is gone will not answer, so whoever is first now is asked too.
            let until = Instant::now() + inner.settings.patience;
            let mut tried: BTreeSet<ReplicaId> = order.first().copied().into_iter().collect();
            while Instant::now() < until {
                if let Some(first) = self.preference(id).first().copied()
                    && tried.insert(first)
                {
                    ask(first, true);
                }
                let soon = Instant::now() + FIRST_WAIT;
                if let Some(confirmed) = collect(&mut answers, soon, needed, &mut count).await {
                    return Ok(confirmed);
                }
            }
            return Err(ShimError::new(
                "57P03",
                "no replica answered the query in time",
            ));
        }
        for replica in &order {
            if !count.answers.contains_key(replica) || count.whole_missing() {
                ask(*replica, true);
            }
        }
        let all = order.len();
        let long = Instant::now() + inner.settings.patience;
        let found = collect(&mut answers, long, all, &mut count).await;
        asked.replicas.retain(|r| !count.answers.contains_key(r));
        match found {
            Some(confirmed) => Ok(confirmed),
            None if count.answers.len() >= needed => Ok(Confirmed::Mismatch),
            None => Err(
                ShimError::new("57P03", "too few replicas answered the query in time")
                    .detail(format!(
                        "{} answered, {needed} are needed.",
                        count.answers.len()
                    ))
                    .hint("Look at `steeldb status`."),
            ),
        }
    }

    /// Connected replicas, the master first, the others in turn.
    fn preference(&self, turn: u64) -> Vec<ReplicaId> {
        let master = self.0.master();
        let mut replicas = self.0.connected();
        replicas.sort_unstable();
        let others: Vec<_> = replicas.iter().copied().filter(|r| *r != master).collect();
        let mut order = Vec::with_capacity(replicas.len());
        if replicas.contains(&master) {
            order.push(master);
        }
        for place in 0..others.len() {
            order.push(others[(place + turn as usize) % others.len()]);
        }
        order
    }
}

/// Answers by replica, until `needed` of them have one digest and one of these carries the rows.
struct Matching {
    needed: usize,
    order: Option<Vec<u16>>,
    answers: BTreeMap<ReplicaId, ReadAnswer>,
}

impl Matching {
    fn add(&mut self, answer: ReadAnswer) -> Option<Confirmed> {
        let mut answer = answer;
        if let Some(outcome) = &answer.outcome {
            // Only what was received counts.
            answer.digest = txn::result::digest(&outcome.frames, self.order.as_deref());
        }
        if answer.failed.as_deref() == Some("25006") {
            return Some(Confirmed::Writes);
        }
        let digest = answer.digest;
        self.answers.insert(answer.from, answer);
        self.matched(digest)
    }

    fn matched(&self, digest: Digest) -> Option<Confirmed> {
        let same: Vec<_> = self
            .answers
            .values()
            .filter(|a| a.digest == digest)
            .collect();
        if same.len() < self.needed {
            return None;
        }
        let whole = same.iter().find_map(|a| a.outcome.clone())?;
        // The least height of them is one that a correct replica has reached.
        let height = same.iter().map(|a| a.height).min().unwrap_or(0);
        Some(Confirmed::Outcome(whole, height))
    }

    /// Enough digests agree, but nobody who agrees sent the rows.
    fn whole_missing(&self) -> bool {
        self.answers.values().any(|a| {
            let same = self.answers.values().filter(|b| b.digest == a.digest);
            same.count() >= self.needed
        })
    }
}

async fn collect(
    answers: &mut mpsc::UnboundedReceiver<ReadAnswer>,
    until: Instant,
    enough: usize,
    count: &mut Matching,
) -> Option<Confirmed> {
    loop {
        let answer = match timeout_at(until, answers.recv()).await {
            Ok(Some(answer)) => answer,
            Ok(None) | Err(_) => return None,
        };
        if let Some(confirmed) = count.add(answer) {
            return Some(confirmed);
        }
        if count.answers.len() >= enough {
            return None;
        }
    }
}
