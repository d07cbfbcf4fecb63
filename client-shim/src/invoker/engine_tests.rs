//! The invoker's protocol in virtual time: four replicas, of which one may lie.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use consensus::service::{
    CLIENT_WINDOW, Call, MAX_QUERY_BYTES, Outcome, Refusal, ToClient, ToReplica, designated,
};
use consensus::{ClientId, Height, PublicKey, ReplicaId, Request, SigningKey, View};

use super::engine::{Engine, Identity, Output, Ticket};
use super::error::InvokeError;
use super::quorum::Quorums;
use super::settings::Settings;

const ME: ClientId = ClientId(70_000);

/// An engine, and what it said and decided so far.
struct Scene {
    engine: Engine,
    now: Duration,
    sent: Vec<(u16, ToReplica)>,
    done: BTreeMap<Ticket, Result<Bytes, InvokeError>>,
}

fn view() -> View {
    let key = |seed| PublicKey::of(&SigningKey::from_bytes(&[seed; 32]));
    View {
        id: 3,
        f: 1,
        replicas: (0..4)
            .map(|id| (ReplicaId(id), key(id as u8 + 1)))
            .collect(),
        clients: BTreeMap::from([(ME, key(99))]),
    }
}

impl Scene {
    fn new() -> Scene {
        Scene::with(Settings::default())
    }

    fn with(settings: Settings) -> Scene {
        let view = view();
        let identity = Identity {
            me: ME,
            key: SigningKey::from_bytes(&[99; 32]),
            incarnation: 5,
            view: view.clone(),
        };
        Scene {
            engine: Engine::new(identity, Quorums::of(&view), settings),
            now: Duration::ZERO,
            sent: Vec::new(),
            done: BTreeMap::new(),
        }
    }

    fn gather(&mut self) {
        for output in self.engine.outputs() {
            match output {
                Output::Send { to, message } => {
                    let message = postcard::from_bytes(&message).unwrap();
                    self.sent.push((to.0, message));
                }
                Output::Done { ticket, result } => {
                    assert!(self.done.insert(ticket, result).is_none(), "told twice");
                }
            }
        }
    }

    fn invoke(&mut self, ticket: Ticket) {
        assert!(self.engine.takes_requests());
        let op = Bytes::from_static(b"op");
        self.engine.invoke(self.now, ticket, op);
        self.gather();
    }

    fn query(&mut self, ticket: Ticket) {
        let op = Bytes::from_static(b"?");
        self.engine.query(self.now, ticket, op);
        self.gather();
    }

    fn hear(&mut self, from: u16, message: ToClient) {
        self.engine.receive(self.now, ReplicaId(from), message);
        self.gather();
    }

    fn reply(&mut self, from: u16, seq: u64, outcome: Outcome) {
        let incarnation = 5;
        self.hear(
            from,
            ToClient::Reply {
                incarnation,
                seq,
                outcome,
            },
        );
    }

    fn refuse(&mut self, from: u16, seq: u64, refusal: Refusal) {
        let incarnation = 5;
        self.hear(
            from,
            ToClient::Refused {
                incarnation,
                seq,
                refusal,
            },
        );
    }

    fn answer(&mut self, from: u16, id: u64, outcome: Outcome) {
        self.hear(from, ToClient::Answer { id, outcome });
    }

    /// Lets the engine sleep until it wants something; returns what it sent then.
    fn sleep(&mut self) -> Vec<(u16, ToReplica)> {
        self.sent.clear();
        self.now = self.engine.next_deadline().expect("something waits");
        self.engine.tick(self.now);
        self.gather();
        std::mem::take(&mut self.sent)
    }

    fn requests(&self) -> Vec<(u16, Request)> {
        let requests = self.sent.iter().filter_map(|(to, message)| match message {
            ToReplica::Request(request) => Some((*to, request.clone())),
            ToReplica::Query { .. } => None,
        });
        requests.collect()
    }

    /// To whom the newest round of queries went: number, least height, who was asked for the whole result.
    fn round(&self) -> (u64, Height, Vec<u16>) {
        let queries = self.sent.iter().filter_map(|(to, message)| match message {
            ToReplica::Query {
                id,
                min_height,
                whole,
                ..
            } => Some((*id, *min_height, *to, *whole)),
            ToReplica::Request(_) => None,
        });
        let all: Vec<_> = queries.collect();
        let (id, height, ..) = *all.last().expect("a query was sent");
        let whole = all.iter().filter(|q| q.0 == id && q.3).map(|q| q.2);
        (id, height, whole.collect())
    }
}

fn whole(height: Height, result: &'static [u8]) -> Outcome {
    Outcome::new(3, height, Bytes::from_static(result), true)
}

const LONG: &[u8] = &[7; 1_000];

fn digest(height: Height) -> Outcome {
    Outcome::new(3, height, Bytes::from_static(LONG), false)
}

fn to(sent: &[(u16, ToReplica)]) -> Vec<u16> {
    sent.iter().map(|(to, _)| *to).collect()
}

#[test]
fn an_operation_is_signed_goes_to_all_and_ends_with_three_equal_answers() {
    let mut scene = Scene::new();
    scene.invoke(1);
    let requests = scene.requests();
    assert_eq!(
        requests.iter().map(|r| r.0).collect::<Vec<_>>(),
        [0, 1, 2, 3]
    );
    let request = requests[0].1.clone();
    let op = Call::Execute(Bytes::from_static(b"op")).encode();
    assert_eq!((request.seq, &request.op), (1, &op));
    assert!(request.verify(&view()).is_ok());
    scene.reply(0, 1, whole(9, b"yes"));
    scene.reply(1, 1, whole(9, b"no"));
    scene.reply(2, 1, whole(9, b"yes"));
    assert!(scene.done.is_empty());
    scene.reply(3, 1, whole(9, b"yes"));
    assert_eq!(scene.done[&1], Ok(Bytes::from_static(b"yes")));
    assert!(scene.engine.is_idle());
    scene.query(2);
    assert_eq!(scene.round().1, 9, "no read behind what was answered");
}

#[test]
fn answers_of_strangers_of_other_incarnations_and_to_other_numbers_count_nothing() {
    let mut scene = Scene::new();
    scene.invoke(1);
    scene.reply(0, 1, whole(9, b"yes"));
    scene.reply(1, 1, whole(9, b"yes"));
    scene.reply(7, 1, whole(9, b"yes"));
    scene.reply(2, 2, whole(9, b"yes"));
    scene.answer(2, 1, whole(9, b"yes"));
    let outcome = whole(9, b"yes");
    scene.hear(
        2,
        ToClient::Reply {
            incarnation: 4,
            seq: 1,
            outcome,
        },
    );
    assert!(scene.done.is_empty());
}

#[test]
fn silence_makes_it_send_again_to_the_silent_with_growing_pauses() {
    let mut scene = Scene::new();
    scene.invoke(1);
    scene.reply(2, 1, whole(9, b"yes"));
    let mut pauses = Vec::new();
    for _ in 0..4 {
        let before = scene.now;
        let sent = scene.sleep();
        assert_eq!(to(&sent), [0, 1, 3]);
        pauses.push((scene.now - before).as_millis());
    }
    assert_eq!(pauses, [500, 1_000, 2_000, 4_000]);
}

#[test]
fn a_replica_that_comes_back_gets_what_it_has_not_answered() {
    let mut scene = Scene::new();
    scene.invoke(1);
    scene.invoke(2);
    scene.reply(3, 1, whole(9, b"yes"));
    scene.sent.clear();
    scene.engine.link_up(ReplicaId(3));
    scene.gather();
    let again: Vec<_> = scene.requests().iter().map(|r| (r.0, r.1.seq)).collect();
    assert_eq!(again, [(3, 2)]);
}

#[test]
fn patience_ends_with_unknown_outcome_and_the_next_operation_bars_the_old_one() {
    let mut scene = Scene::new();
    scene.invoke(1);
    scene.invoke(2);
    scene.refuse(3, 1, Refusal::TooMuchPending);
    scene.reply(0, 1, whole(9, b"yes"));
    for replica in 0..3 {
        scene.reply(replica, 2, whole(10, b"yes"));
    }
    while scene.done.len() < 2 {
        scene.sleep();
    }
    assert_eq!(scene.now, Duration::from_secs(30));
    let unknown = InvokeError::OutcomeUnknown {
        waited: Duration::from_secs(30),
        answered: 1,
        refusal: Some(Refusal::TooMuchPending),
    };
    assert_eq!(scene.done[&1], Err(unknown));
    scene.sent.clear();
    scene.invoke(3);
    let next = &scene.requests()[0].1;
    assert_eq!((next.incarnation, next.seq), (6, 1));
}

#[test]
fn while_a_new_incarnation_is_due_the_old_one_ends_first() {
    let mut scene = Scene::new();
    scene.invoke(1);
    scene.now = Duration::from_secs(10);
    scene.invoke(2);
    while !scene.done.contains_key(&1) {
        scene.sleep();
    }
    assert!(!scene.engine.takes_requests());
    for replica in 0..3 {
        scene.reply(replica, 2, whole(10, b"yes"));
    }
    assert!(scene.done[&2].is_ok());
    assert!(scene.engine.takes_requests());
}

#[test]
fn the_window_slides_with_the_oldest_operation() {
    let mut scene = Scene::with(Settings {
        window: 3,
        ..Settings::default()
    });
    for ticket in 1..=3 {
        scene.invoke(ticket);
    }
    assert!(!scene.engine.takes_requests());
    for replica in 0..3 {
        scene.reply(replica, 2, whole(9, b"yes"));
    }
    assert!(!scene.engine.takes_requests(), "the first still waits");
    for replica in 0..3 {
        scene.reply(replica, 1, whole(9, b"yes"));
    }
    scene.invoke(4);
    scene.invoke(5);
    assert!(!scene.engine.takes_requests());
}

#[test]
fn a_refusal_counts_when_a_correct_replica_must_be_among_those_who_say_it() {
    for (refusal, error) in [
        (Refusal::TooLarge, InvokeError::TooLarge),
        (Refusal::Stale, InvokeError::Superseded),
        (Refusal::AnswerGone, InvokeError::AnswerGone),
    ] {
        let mut scene = Scene::new();
        scene.invoke(1);
        scene.refuse(0, 1, refusal);
        scene.refuse(0, 1, refusal);
        assert!(scene.done.is_empty(), "one may lie");
        scene.refuse(2, 1, refusal);
        assert_eq!(scene.done[&1], Err(error));
    }
}

#[test]
fn a_replica_without_room_is_asked_again() {
    let mut scene = Scene::new();
    scene.invoke(1);
    for replica in 0..4 {
        scene.refuse(replica, 1, Refusal::TooMuchPending);
    }
    assert!(scene.done.is_empty());
    assert_eq!(to(&scene.sleep()), [0, 1, 2, 3]);
}

#[test]
fn a_result_that_its_replica_withholds_is_fetched_from_two_who_agree() {
    let mut scene = Scene::new();
    scene.invoke(1);
    for replica in [0, 1, 3] {
        scene.reply(replica, 1, digest(9));
    }
    let mut forged = digest(9);
    forged.result = Some(Bytes::from_static(b"forged"));
    scene.reply(2, 1, forged);
    assert!(scene.done.is_empty());
    let asked = scene.sleep();
    assert_eq!(scene.now, Duration::from_millis(20));
    assert_eq!(to(&asked), [0, 1]);
    scene.reply(1, 1, whole(9, LONG));
    assert_eq!(scene.done[&1], Ok(Bytes::from_static(LONG)));
}

#[test]
fn a_query_is_answered_by_three_at_one_height_and_one_of_them_sends_it_whole() {
    let mut scene = Scene::new();
    scene.query(1);
    let (id, height, asked_whole) = scene.round();
    let sender = designated(&view(), ME, id).unwrap().0;
    assert_eq!((height, asked_whole), (0, vec![sender]));
    scene.answer(sender, id, whole(4, LONG));
    let others: Vec<u16> = (0..4).filter(|r| *r != sender).collect();
    scene.answer(others[0], id, digest(4));
    assert!(scene.done.is_empty());
    scene.answer(others[1], id, digest(4));
    assert_eq!(scene.done[&1], Ok(Bytes::from_static(LONG)));
    scene.query(2);
    assert_eq!(scene.round().1, 4, "never behind what was seen");
}

#[test]
fn one_that_lags_and_one_that_lies_cannot_show_the_past() {
    let mut scene = Scene::new();
    scene.query(1);
    let (id, ..) = scene.round();
    // Replica 2 lags at height 4, replica 3 says what it says.
    scene.answer(2, id, whole(4, b"old"));
    scene.answer(3, id, whole(4, b"old"));
    scene.answer(0, id, whole(6, b"new"));
    assert_eq!(scene.round().0, id, "replica 1 may still agree with either");
    scene.answer(1, id, whole(6, b"new"));
    assert!(scene.done.is_empty());
    // Nothing can come of this round; the next one asks for what a correct replica has reached.
    let (next, height, asked_whole) = scene.round();
    assert!(next > id);
    assert_eq!((height, asked_whole), (6, vec![0, 1, 2, 3]));
    scene.answer(1, id, whole(4, b"old"));
    assert!(
        scene.done.is_empty(),
        "an answer to the first round is late"
    );
    for replica in [0, 1, 2] {
        scene.answer(replica, next, whole(6, b"new"));
    }
    assert_eq!(scene.done[&1], Ok(Bytes::from_static(b"new")));
}

#[test]
fn a_query_without_a_quorum_is_ordered() {
    let mut scene = Scene::new();
    scene.query(1);
    for _ in 0..2 {
        let (id, ..) = scene.round();
        for (replica, height) in [(0, 5), (1, 6), (2, 7), (3, 8)] {
            scene.answer(replica, id, whole(height, b"x"));
        }
    }
    let request = scene.requests()[0].1.clone();
    assert_eq!(
        Call::decode(&request.op),
        Some(Call::Query(Bytes::from_static(b"?")))
    );
    for replica in [0, 1, 3] {
        scene.reply(replica, request.seq, whole(9, b"x"));
    }
    assert_eq!(scene.done[&1], Ok(Bytes::from_static(b"x")));
}

#[test]
fn a_query_that_nobody_answers_ends_without_effects() {
    let mut scene = Scene::new();
    scene.query(1);
    while scene.done.is_empty() {
        scene.sleep();
    }
    assert_eq!(scene.now, Duration::from_secs(30));
    assert!(matches!(scene.done[&1], Err(InvokeError::NoQuorum { .. })));
    assert!(scene.engine.is_idle());
}

#[test]
fn a_query_whose_result_is_withheld_has_another_round() {
    let mut scene = Scene::new();
    scene.query(1);
    let (id, ..) = scene.round();
    for replica in 0..4 {
        scene.answer(replica, id, digest(4));
    }
    assert!(scene.done.is_empty());
    let sent = scene.sleep();
    assert_eq!((scene.now, sent.len()), (Duration::from_millis(20), 4));
    scene.sent = sent;
    let (next, _, asked_whole) = scene.round();
    assert_eq!(asked_whole.len(), 4);
    for replica in 0..3 {
        scene.answer(replica, next, whole(5, LONG));
    }
    assert_eq!(scene.done[&1], Ok(Bytes::from_static(LONG)));
}

#[test]
fn a_long_question_is_ordered_at_once() {
    let mut scene = Scene::new();
    let op = Bytes::from(vec![1; MAX_QUERY_BYTES + 1]);
    scene.engine.query(scene.now, 1, op);
    scene.gather();
    assert_eq!(scene.requests().len(), 4);
    assert_eq!(scene.sent.len(), 4);
}

#[test]
fn queries_that_are_ordered_keep_to_the_window_too() {
    let mut scene = Scene::new();
    scene.invoke(1);
    for ticket in 2..=CLIENT_WINDOW + 10 {
        let op = Bytes::from(vec![1; MAX_QUERY_BYTES + 1]);
        scene.engine.query(scene.now, ticket, op);
        // Only the first operation stays unanswered.
        for output in scene.engine.outputs() {
            if let Output::Send {
                to: ReplicaId(0),
                message,
            } = output
                && let ToReplica::Request(request) = postcard::from_bytes(&message).unwrap()
            {
                assert!(request.seq <= CLIENT_WINDOW);
                for replica in 0..3 {
                    let outcome = whole(9, b"x");
                    let (incarnation, seq) = (5, request.seq);
                    let reply = ToClient::Reply {
                        incarnation,
                        seq,
                        outcome,
                    };
                    scene.engine.receive(scene.now, ReplicaId(replica), reply);
                }
            }
        }
    }
    assert!(!scene.engine.is_idle());
}
