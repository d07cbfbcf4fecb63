//! The service's thread: executes what is decided, answers queries between two batches, says everything again when asked.

use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use consensus::service::{Outcome, Refusal, ToClient, designated};
use consensus::{ClientId, Decided, Height, ReplicaId, View};
use net::{Budget, Share};
use tokio::sync::{mpsc, oneshot, watch};

use super::bounds::{ANSWER_BYTES, REPLY_OVERHEAD};
use super::machine::{Executed, Machine};
use super::replies::Reply;
use super::service::Service;
use super::waiting::{Query, WaitingQueries};
use super::wire::encode;
use crate::run::Delivered;

/// What the order, or the node's owner, wants of the service.
pub enum Job {
    /// The next batch.
    Decided(Delivered),
    /// A request that was ordered before came again; everything that was decided before is among the earlier jobs.
    Repeat {
        client: ClientId,
        incarnation: u64,
        seq: u64,
    },
    /// The whole state.
    Snapshot(oneshot::Sender<(Height, Bytes)>),
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
    /// Their part of [`ANSWER_BYTES`].
    pub share: Share,
}

/// What the service's thread owns.
pub struct Executor<S> {
    pub machine: Machine<S>,
    pub me: ReplicaId,
    pub view: View,
    pub answers: mpsc::Sender<Answers>,
    /// The last height executed.
    pub finished: watch::Sender<Height>,
}

/// The ends of the thread's queues.
pub struct Inputs {
    pub jobs: mpsc::Receiver<Job>,
    pub asks: mpsc::Receiver<Ask>,
}

/// Decisions up to a height, out of the log, in order.
pub type History = Box<dyn Iterator<Item = Result<Decided, String>> + Send>;

/// Starts the thread. First it replays `history`, then it says so, then it works until its queues end. The last receiver
/// hears how it ended.
#[allow(clippy::type_complexity)] // two one-shot channels
pub fn start<S: Service>(
    mut executor: Executor<S>,
    history: History,
    mut inputs: Inputs,
) -> std::io::Result<(oneshot::Receiver<()>, oneshot::Receiver<Result<(), String>>)> {
    let (ready_sender, ready) = oneshot::channel();
    let (ended_sender, ended) = oneshot::channel();
    let thread = std::thread::Builder::new().name(format!("service-{}", executor.me.0));
    thread.spawn(move || {
        let work = AssertUnwindSafe(|| {
            executor.replay(history)?;
            let _ = ready_sender.send(());
            futures::executor::block_on(executor.work(&mut inputs))
        });
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
    Ok((ready, ended))
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
    /// Rebuilds the state. Its answers went out before, or their clients ask again.
    fn replay(&mut self, history: History) -> Result<(), String> {
        for decided in history {
            self.machine.apply(&decided?)?;
        }
        self.finished.send_replace(self.machine.height());
        Ok(())
    }

    async fn work(&mut self, inputs: &mut Inputs) -> Result<(), String> {
        let mut waiting = WaitingQueries::default();
        let room = Budget::new(ANSWER_BYTES);
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
                let bytes = answers.iter().map(|(_, m)| m.len() + REPLY_OVERHEAD).sum();
                let answers = Answers {
                    height: self.machine.height(),
                    messages: answers,
                    share: room.take(bytes).await,
                };
                if self.answers.send(answers).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    fn job(
        &mut self,
        job: Job,
        waiting: &mut WaitingQueries,
    ) -> Result<Vec<(ClientId, Bytes)>, String> {
        match job {
            Job::Decided(delivered) => {
                let executed = self.machine.apply(&delivered.decided)?;
                let height = self.machine.height();
                self.finished.send_replace(height);
                let mut answers: Vec<_> = executed.into_iter().map(|e| self.first(e)).collect();
                while let Some(query) = waiting.due(height) {
                    answers.push(self.answer(&query));
                }
                Ok(answers)
            }
            Job::Repeat {
                client,
                incarnation,
                seq,
            } => {
                let reply = self.machine.reply(client, incarnation, seq).cloned();
                Ok(vec![(
                    client,
                    message(incarnation, seq, reply.as_ref(), true),
                )])
            }
            Job::Snapshot(taker) => {
                let snapshot = self.machine.snapshot();
                // Whoever asked may have gone.
                let _ = taker.send((self.machine.height(), snapshot));
                Ok(Vec::new())
            }
        }
    }

    fn ask(&mut self, ask: Ask, waiting: &mut WaitingQueries) -> Vec<(ClientId, Bytes)> {
        match ask {
            Ask::Query(query) if query.min_height <= self.machine.height() => {
                vec![self.answer(&query)]
            }
            Ask::Query(query) => {
                waiting.add(query);
                Vec::new()
            }
            Ask::Gone(client) => {
                waiting.forget(client);
                Vec::new()
            }
        }
    }

    /// The answer to a request that was executed just now.
    fn first(&self, executed: Executed) -> (ClientId, Bytes) {
        let Executed {
            client,
            incarnation,
            seq,
            reply,
        } = executed;
        let whole = designated(&self.view, client, seq) == Some(self.me);
        (client, message(incarnation, seq, reply.as_ref(), whole))
    }

    fn answer(&mut self, query: &Query) -> (ClientId, Bytes) {
        let result = self.machine.query(&query.op);
        let answer = ToClient::Answer {
            id: query.id,
            outcome: Outcome::new(self.view.id, self.machine.height(), result, query.whole),
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
