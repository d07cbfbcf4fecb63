//! The service's thread: executes what is decided, answers queries between two batches, says everything again when asked.

use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use consensus::service::{Outcome, Refusal, ToClient, designated};
use consensus::{ClientId, Decided, Height, ReplicaId};
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

/// What the service's thread owns.
pub struct Executor<S> {
    pub machine: Machine<S>,
    pub me: ReplicaId,
    /// Where this replica stood when it was stopped: what it told then, no query that it answers may miss.
    pub stood_at: Height,
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
            let caught_up = self.machine.height() >= self.stood_at;
            // Neither starves the other: which of two that are ready comes first is drawn by lot.
            let answers = tokio::select! {
                job = inputs.jobs.recv() => match job {
                    Some(job) => self.job(job, &mut waiting)?,
                    None => return Ok(()),
                },
                Some(ask) = inputs.asks.recv(), if caught_up => self.ask(ask, &mut waiting),
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
                let executed = self.machine.apply(&decided)?;
                // What it tells again while it catches up with itself, clients ask for.
                let mut answers = Vec::new();
                if self.machine.height() > self.stood_at {
                    answers.extend(executed.into_iter().map(|e| self.first(e)));
                }
                self.arrived(waiting, &mut answers);
                Ok(answers)
            }
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
                let _ = reply.send(self.machine.snapshot());
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
                let snapshot = self.machine.snapshot();
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
        while height >= self.stood_at
            && let Some(query) = waiting.queries.due(height)
        {
            answers.push(self.answer(&query));
        }
    }

    fn ask(&mut self, ask: Ask, waiting: &mut Waiting) -> Vec<(ClientId, Bytes)> {
        match ask {
            Ask::Query(query) if query.min_height <= self.machine.height() => {
                vec![self.answer(&query)]
            }
            Ask::Query(query) => {
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
        let whole = designated(self.machine.view(), client, seq) == Some(self.me);
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
mod tests {
    use super::super::service::Context;
    use super::*;
    use consensus::service::Call;
    use consensus::{Batch, Proof, Request, SigningKey, View};

    const CLIENT: ClientId = ClientId(70_000);

    /// Counts what it executes.
    struct Count(u8);

    impl Service for Count {
        fn execute(&mut self, _: &Context, _: &[u8]) -> Bytes {
            self.0 += 1;
            vec![self.0].into()
        }

        fn query(&self, _: &[u8]) -> Bytes {
            vec![self.0].into()
        }

        fn snapshot(&self) -> Bytes {
            vec![self.0].into()
        }

        fn restore(&mut self, state: &[u8]) -> Result<(), String> {
            self.0 = *state.first().ok_or("empty")?;
            Ok(())
        }
    }

    fn decided(height: Height) -> Decided {
        let key = SigningKey::from_bytes(&[1; 32]);
        let op = Call::Execute(Bytes::new()).encode();
        Decided {
            height,
            regency: 0,
            batch: Batch {
                time_ms: 0,
                entries: Vec::new(),
            },
            requests: vec![Request::sign(&key, CLIENT, 1, height, op)],
            proof: Proof {
                regency: 0,
                accepts: Vec::new(),
            },
        }
    }

    fn executor(stood_at: Height) -> (Executor<Count>, mpsc::Receiver<Answers>) {
        let (answers, sent) = mpsc::channel(100);
        let executor = Executor {
            machine: Machine::new(Count(0), View::default()),
            me: ReplicaId(0),
            stood_at,
            answers,
            finished: watch::channel(0).0,
        };
        (executor, sent)
    }

    fn repeat(seq: u64, by: Height) -> Job {
        Job::Repeat(Repeat {
            client: CLIENT,
            incarnation: 1,
            seq,
            by,
        })
    }

    fn query(id: u64) -> Ask {
        Ask::Query(Query {
            client: CLIENT,
            id,
            min_height: 0,
            op: Bytes::new(),
            whole: true,
        })
    }

    fn said(messages: Vec<(ClientId, Bytes)>) -> Vec<ToClient> {
        let read = |(_, message): (_, Bytes)| postcard::from_bytes(&message).unwrap();
        messages.into_iter().map(read).collect()
    }

    #[test]
    fn what_came_again_waits_until_all_that_was_decided_before_is_executed() {
        let (mut executor, _sent) = executor(0);
        let mut waiting = Waiting::default();
        assert!(executor.job(repeat(2, 2), &mut waiting).unwrap().is_empty());
        executor
            .job(Job::Decided(decided(1)), &mut waiting)
            .unwrap();
        let second = executor.job(Job::Decided(decided(2)), &mut waiting);
        let second = said(second.unwrap());
        assert_eq!(second.len(), 2, "first and again: {second:?}");
        assert!(
            second
                .iter()
                .all(|m| matches!(m, ToClient::Reply { seq: 2, .. }))
        );
        let never = said(executor.job(repeat(9, 2), &mut waiting).unwrap());
        let gone = Refusal::AnswerGone;
        assert!(matches!(never[..], [ToClient::Refused { refusal, .. }] if refusal == gone));
    }

    #[test]
    fn a_state_that_is_not_of_its_height_stops_the_service() {
        let mut waiting = Waiting::default();
        let (mut one, _sent) = executor(0);
        one.job(Job::Decided(decided(1)), &mut waiting).unwrap();
        let (reply, mut state) = oneshot::channel();
        let height = 1;
        one.job(Job::Checkpoint { height, reply }, &mut waiting)
            .unwrap();
        let state = state.try_recv().unwrap();
        let (mut other, _sent) = executor(0);
        let restore = |height| Job::Restore {
            height,
            state: state.clone(),
        };
        assert!(other.job(restore(2), &mut waiting).is_err());
        other.job(restore(1), &mut waiting).unwrap();
        assert_eq!(*other.finished.borrow(), 1);
        let again = said(other.job(repeat(1, 1), &mut waiting).unwrap());
        assert!(matches!(again[..], [ToClient::Reply { seq: 1, .. }]));
        let (reply, _state) = oneshot::channel();
        let height = 2;
        assert!(
            one.job(Job::Checkpoint { height, reply }, &mut waiting)
                .is_err()
        );
    }

    /// It may have answered queries at the height where it stood, and an answer at a lower one would go back behind those.
    #[tokio::test]
    async fn no_query_is_answered_before_a_replica_is_where_it_stood() {
        let (executor, mut sent) = executor(2);
        let (jobs_sender, jobs) = mpsc::channel(10);
        let (asks_sender, asks) = mpsc::channel(10);
        let _ended = start(executor, Inputs { jobs, asks }).unwrap();
        asks_sender.send(query(1)).await.unwrap();
        jobs_sender.send(Job::Decided(decided(1))).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert!(sent.try_recv().is_err());
        jobs_sender.send(Job::Decided(decided(2))).await.unwrap();
        let answers = sent.recv().await.unwrap();
        assert_eq!(answers.height, 2);
        assert!(matches!(
            said(answers.messages)[..],
            [ToClient::Answer { .. }]
        ));
    }
}
