//! Ordered operations.

use consensus::service::Call;

use super::*;

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
