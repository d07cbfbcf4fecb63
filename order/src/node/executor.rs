//! The service's thread: executes what is decided, answers queries between two batches, says everything again when asked.

use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use consensus::service::{Outcome, Refusal, ToClient, designated};
use consensus::{ClientId, Decided, Digest, Height, Regency, ReplicaId, Tentative};
use tokio::sync::{mpsc, oneshot, watch};

use super::machine::{Executed, Machine};
use super::replies::Reply;
use super::service::Service;
use super::waiting::{Query, Waiting};
use super::wire::encode;
use crate::run::Repeat;

/// What the order, or the node's owner, wants of the service.
pub enum Job {
    /// The next batch.
    Decided(Decided),
    /// What may be the next batch.
    Tentative(Box<Tentative>),
    /// A request that was ordered before came again.
    Repeat(Repeat),
    /// The whole state, as the owner wants it.
    Snapshot(oneshot::Sender<(Height, Bytes)>),
    /// The whole state after this height, for a checkpoint.
    Checkpoint {
        height: Height,
        reply: oneshot::Sender<Bytes>,
    },
    /// The whole state after this height, from a checkpoint.
    Restore { height: Height, state: Bytes },
}

/// What clients want of the service outside of the order.
pub enum Ask {
    Query(Query),
    /// The client's link went down: nobody waits for its queries.
    Gone(ClientId),
}

/// Messages to clients, which may leave when `height` is durable.
pub struct Answers {
    pub height: Height,
    pub messages: Vec<(ClientId, Bytes)>,
}

/// What makes tentative answers add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    height: Height,
    regency: Regency,
    value: Digest,
}

/// What the service's thread owns.
pub struct Executor<S> {
    pub machine: Machine<S>,
    pub me: ReplicaId,
    /// Where this replica stood when it was stopped: what it told then, no query that it answers may miss.
    pub stood_at: Height,
    /// No query is answered below this height: what was told of it, tentatively perhaps, may have been answered to its client.
    pub queries_from: Height,
    /// Whose answers were told tentatively last: those are not sent again if just this is decided.
    pub told: Option<Told>,
    pub answers: mpsc::Sender<Answers>,
    /// The last height executed.
    pub finished: watch::Sender<Height>,
}

/// The ends of the thread's queues.
pub struct Inputs {
    pub jobs: mpsc::Receiver<Job>,
    pub asks: mpsc::Receiver<Ask>,
}

/// Starts the thread, which works until its queues end. The receiver hears how it ended.
pub fn start<S: Service>(
    mut executor: Executor<S>,
    mut inputs: Inputs,
) -> std::io::Result<oneshot::Receiver<Result<(), String>>> {
    let (ended_sender, ended) = oneshot::channel();
    let thread = std::thread::Builder::new().name(format!("service-{}", executor.me.0));
    thread.spawn(move || {
        let work = AssertUnwindSafe(|| futures::executor::block_on(executor.work(&mut inputs)));
        let ended = std::panic::catch_unwind(work).unwrap_or_else(|panic| {
            Err(format!(
                "the service panicked {}: {}",
                executor.machine.doing(),
                told(panic.as_ref())
            ))
        });
        // Nobody waits for it once the node is gone.
        let _ = ended_sender.send(ended);
    })?;
    Ok(ended)
}

/// What a panic said.
fn told(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("(no message)")
}

impl<S: Service> Executor<S> {
    async fn work(&mut self, inputs: &mut Inputs) -> Result<(), String> {
        let mut waiting = Waiting::default();
        loop {
            // Neither starves the other: which of two that are ready comes first is drawn by lot.
            let answers = tokio::select! {
                job = inputs.jobs.recv() => match job {
                    Some(job) => self.job(job, &mut waiting)?,
                    None => return Ok(()),
                },
                Some(ask) = inputs.asks.recv() => self.ask(ask, &mut waiting),
            };
            if !answers.is_empty() {
                let answers = Answers {
                    height: self.machine.height(),
                    messages: answers,
                };
                if self.answers.send(answers).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    fn job(&mut self, job: Job, waiting: &mut Waiting) -> Result<Vec<(ClientId, Bytes)>, String> {
        match job {
            Job::Decided(decided) => {
                let mut executed = self.machine.apply(&decided)?;
                if let Some(told) = self.told.take()
                    && (told.height, told.regency) == (decided.height, decided.regency)
                    && told.value == decided.batch.digest()
                {
                    // A client that lacks one of these answers asks again. Of what is too long it has heard nothing.
                    executed.retain(|executed| executed.reply.is_none());
                }
                // What it tells again while it catches up with itself, clients ask for.
                let mut answers = Vec::new();
                if self.machine.height() > self.stood_at {
                    answers.extend(executed.into_iter().map(|e| self.first(e)));
                }
                self.arrived(waiting, &mut answers);
                Ok(answers)
            }
            Job::Tentative(value) => self.tentative(&value),
            Job::Repeat(repeat) if repeat.by > self.machine.height() => {
                // Its batch is still on its way here.
                waiting.repeats.add(repeat);
                Ok(Vec::new())
            }
            Job::Repeat(repeat) => Ok(vec![self.again(&repeat)]),
            Job::Checkpoint { height, reply } => {
                let at = self.machine.height();
                if at != height {
                    return Err(format!(
                        "the state after height {height} is wanted, and the service stands at {at}"
                    ));
                }
                // The order may have been stopped meanwhile.
                let _ = reply.send(self.machine.snapshot()?);
                Ok(Vec::new())
            }
            Job::Restore { height, state } => {
                self.machine.restore(&state).map_err(|why| {
                    format!("the checkpoint of height {height} is of no use: {why}")
                })?;
                let at = self.machine.height();
                if at != height {
                    return Err(format!(
                        "the checkpoint of height {height} holds the state after {at}"
                    ));
                }
                let mut answers = Vec::new();
                self.arrived(waiting, &mut answers);
                Ok(answers)
            }
            Job::Snapshot(taker) => {
                let snapshot = self.machine.snapshot()?;
                // Whoever asked may have gone.
                let _ = taker.send((self.machine.height(), snapshot));
                Ok(Vec::new())
            }
        }
    }

    /// The machine stands at another height: who waited for it is answered.
    fn arrived(&mut self, waiting: &mut Waiting, answers: &mut Vec<(ClientId, Bytes)>) {
        let height = self.machine.height();
        self.finished.send_replace(height);
        while let Some(repeat) = waiting.repeats.due(height) {
            answers.push(self.again(&repeat));
        }
        while let Some(query) = waiting.queries.due(height) {
            answers.push(self.answer(&query));
        }
    }

    /// Executes what may be the next batch, and tells its clients so.
    fn tentative(&mut self, value: &Tentative) -> Result<Vec<(ClientId, Bytes)>, String> {
        let Some(executed) = self.machine.apply_tentatively(value)? else {
            return Ok(Vec::new());
        };
        let told = Told {
            height: value.height,
            regency: value.regency,
            value: value.batch.digest(),
        };
        // With Q such answers its clients go on: nobody may read here what was before. Until it is decided it may be undone, so
        // nobody may read it either.
        (self.told, self.queries_from) = (Some(told), value.height);
        let message = |executed: Executed| {
            let reply = executed.reply?;
            let whole = self.is_designated(executed.client, executed.seq);
            let message = ToClient::Tentative {
                incarnation: executed.incarnation,
                seq: executed.seq,
                regency: told.regency,
                value: told.value,
                outcome: Outcome::new(reply.view, reply.height, reply.result, whole),
            };
            Some((executed.client, encode(&message)))
        };
        Ok(executed.into_iter().filter_map(message).collect())
    }

    fn is_designated(&self, client: ClientId, seq: u64) -> bool {
        designated(self.machine.view(), client, seq) == Some(self.me)
    }

    fn ask(&mut self, ask: Ask, waiting: &mut Waiting) -> Vec<(ClientId, Bytes)> {
        match ask {
            Ask::Query(mut query) => {
                query.min_height = query.min_height.max(self.queries_from);
                if query.min_height <= self.machine.height() {
                    return vec![self.answer(&query)];
                }
                waiting.queries.add(query);
                Vec::new()
            }
            Ask::Gone(client) => {
                waiting.queries.forget(client);
                Vec::new()
            }
        }
    }

    /// The answer to a request that was executed once.
    fn again(&self, repeat: &Repeat) -> (ClientId, Bytes) {
        let Repeat {
            client,
            incarnation,
            seq,
            ..
        } = *repeat;
        let reply = self.machine.reply(client, incarnation, seq);
        (client, message(incarnation, seq, reply, true))
    }

    /// The answer to a request that was executed just now.
    fn first(&self, executed: Executed) -> (ClientId, Bytes) {
        let Executed {
            client,
            incarnation,
            seq,
            reply,
        } = executed;
        let whole = self.is_designated(client, seq);
        (client, message(incarnation, seq, reply.as_ref(), whole))
    }

    fn answer(&mut self, query: &Query) -> (ClientId, Bytes) {
        let result = self.machine.query(&query.op);
        let (view, height) = (self.machine.view().id, self.machine.height());
        let answer = ToClient::Answer {
            id: query.id,
            outcome: Outcome::new(view, height, result, query.whole),
        };
        (query.client, encode(&answer))
    }
}

fn message(incarnation: u64, seq: u64, reply: Option<&Reply>, whole: bool) -> Bytes {
    encode(&match reply {
        Some(reply) => ToClient::Reply {
            incarnation,
            seq,
            outcome: Outcome::new(reply.view, reply.height, reply.result.clone(), whole),
        },
        None => ToClient::Refused {
            incarnation,
            seq,
            refusal: Refusal::AnswerGone,
        },
    })
}

#[cfg(test)]
mod tests;
