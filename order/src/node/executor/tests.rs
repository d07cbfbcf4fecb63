//! The service's thread, a job at a time.

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
        queries_from: stood_at,
        told: None,
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

fn tentative(regency: Regency, decided: &Decided) -> Job {
    Job::Tentative(Box::new(Tentative {
        height: decided.height,
        regency,
        batch: decided.batch.clone(),
        requests: decided.requests.clone(),
    }))
}

#[test]
fn a_tentative_answer_is_not_told_again_unless_something_else_was_decided() {
    let mut waiting = Waiting::default();
    let (mut executor, _sent) = executor(0);
    let batch = decided(1);
    let told = said(executor.job(tentative(0, &batch), &mut waiting).unwrap());
    let [ToClient::Tentative { seq, outcome, .. }] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!((*seq, outcome.height), (1, 1));
    let settled = executor.job(Job::Decided(batch), &mut waiting).unwrap();
    assert_eq!(said(settled), []);
    // Told of regency 0 and 1, decided in 2: no two replicas need to have told the same.
    let mut batch = decided(2);
    for regency in 0..2 {
        let told = executor.job(tentative(regency, &batch), &mut waiting);
        assert_eq!(said(told.unwrap()).len(), 1);
    }
    batch.regency = 2;
    let settled = executor.job(Job::Decided(batch), &mut waiting).unwrap();
    assert!(matches!(
        said(settled)[..],
        [ToClient::Reply { seq: 2, .. }]
    ));
    // Another value, at another time.
    executor
        .job(tentative(0, &decided(3)), &mut waiting)
        .unwrap();
    let mut other = decided(3);
    other.batch.time_ms = 9;
    let replaced = said(executor.job(Job::Decided(other), &mut waiting).unwrap());
    let [ToClient::Reply { outcome, .. }] = &replaced[..] else {
        panic!("{replaced:?}");
    };
    assert_eq!(
        outcome.result.as_deref(),
        Some(&[3][..]),
        "three are executed once"
    );
}

/// With Q tentative answers a client goes on, and a query that it asks next must see what it did: at each replica that answered.
#[test]
fn a_query_waits_until_what_was_told_tentatively_is_decided() {
    let mut waiting = Waiting::default();
    let (mut executor, _sent) = executor(0);
    let batch = decided(1);
    executor.job(tentative(0, &batch), &mut waiting).unwrap();
    assert_eq!(said(executor.ask(query(1), &mut waiting)), []);
    let settled = said(executor.job(Job::Decided(batch), &mut waiting).unwrap());
    let [ToClient::Answer { outcome, .. }] = &settled[..] else {
        panic!("{settled:?}");
    };
    assert_eq!(
        (outcome.height, outcome.result.as_deref()),
        (1, Some(&[1][..]))
    );
}
