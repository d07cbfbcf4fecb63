//! The membership changes while a client waits.

use super::*;

/// View 4: replica 4 joined, so Q = 4 of 5.
fn five() -> View {
    let mut next = view();
    next.id = 4;
    let key = SigningKey::from_bytes(&[5; 32]);
    next.replicas.insert(ReplicaId(4), PublicKey::of(&key));
    next
}

/// View 4: replica 0 has gone for replica 4.
fn replaced() -> View {
    let mut next = five();
    next.replicas.remove(&ReplicaId(0));
    next
}

fn in_view(view: u64, height: Height) -> Outcome {
    Outcome::new(view, height, Bytes::from_static(b"r"), true)
}

impl Scene {
    fn announce(&mut self, from: u16, view: &View) {
        self.hear(from, ToClient::View(Box::new(view.clone())));
    }

    fn follows(&mut self, view: &View) {
        self.announce(1, view);
        self.announce(2, view);
        assert_eq!(self.followed, [view.id]);
    }
}

#[test]
fn two_of_four_members_make_a_client_follow_and_one_does_not() {
    let mut scene = Scene::new();
    let mut forged = five();
    forged.id = 9;
    scene.announce(0, &forged);
    scene.announce(0, &forged);
    scene.announce(4, &forged);
    assert_eq!(scene.followed, [0; 0]);
    scene.announce(3, &five());
    scene.announce(1, &five());
    assert_eq!(scene.followed, [4]);
    // Who has come since is a member; who repeats an older one is late.
    scene.announce(2, &view());
    scene.announce(4, &view());
    assert_eq!(scene.followed, [4]);
}

#[test]
fn answers_that_were_given_before_count_if_their_replicas_stay() {
    let mut scene = Scene::new();
    scene.invoke(1);
    scene.reply(0, 1, in_view(3, 7));
    scene.reply(1, 1, in_view(3, 7));
    scene.follows(&replaced());
    scene.reply(2, 1, in_view(3, 7));
    assert!(scene.done.is_empty(), "replica 0 has gone: two of four");
    scene.reply(0, 1, in_view(3, 7));
    assert!(scene.done.is_empty(), "and is not heard");
    scene.reply(4, 1, in_view(3, 7));
    assert_eq!(scene.done[&1], Ok(Bytes::from_static(b"r")));
}

#[test]
fn a_quorum_is_one_of_the_view_that_holds() {
    let mut scene = Scene::new();
    scene.invoke(1);
    for from in 0..2 {
        scene.reply(from, 1, in_view(4, 7));
    }
    scene.follows(&five());
    scene.reply(2, 1, in_view(4, 7));
    assert!(scene.done.is_empty(), "three of five are too few");
    scene.reply(4, 1, in_view(4, 7));
    assert!(scene.done.contains_key(&1));
}

#[test]
fn an_answer_of_a_view_that_the_client_does_not_know_waits_for_that_view() {
    let mut scene = Scene::new();
    scene.invoke(1);
    for from in 1..4 {
        scene.reply(from, 1, in_view(4, 7));
    }
    assert!(scene.done.is_empty(), "who is a quorum of view 4?");
    scene.follows(&replaced());
    assert!(scene.done.contains_key(&1), "these three");
}

/// Members that have not come to the new view could all be at a height that a quorum of the new one has left behind.
#[test]
fn a_query_is_asked_again_in_the_new_view_and_answered_in_it() {
    let mut scene = Scene::new();
    scene.query(1);
    let (old, ..) = scene.round();
    scene.answer(1, old, in_view(3, 7));
    scene.follows(&replaced());
    let (id, ..) = scene.round();
    assert_ne!(id, old);
    for from in 1..4 {
        scene.answer(from, id, in_view(3, 7));
    }
    assert!(scene.done.is_empty(), "old");
    // After the second of them no quorum was possible any more: another round.
    let (id, ..) = scene.round();
    for from in 2..5 {
        scene.answer(from, id, in_view(4, 8));
    }
    assert!(scene.done.contains_key(&1));
}

#[test]
fn who_is_silent_is_asked_for_the_membership() {
    let mut scene = Scene::new();
    scene.invoke(1);
    scene.reply(2, 1, in_view(3, 7));
    scene.sleep();
    assert_eq!(scene.asked, [(0, 3), (1, 3), (3, 3)]);
    scene.asked.clear();
    scene.engine.link_up(ReplicaId(2));
    scene.gather();
    assert_eq!(scene.asked, [(2, 3)]);
}
