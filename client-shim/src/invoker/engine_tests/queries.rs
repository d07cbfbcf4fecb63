//! Queries, outside of the order and in it.

use consensus::service::{CLIENT_WINDOW, Call, MAX_QUERY_BYTES, designated};

use super::*;

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
