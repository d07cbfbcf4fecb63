//! Keys that change while the peers run.

use crate::cast::{Cast, ONE, TWO, ZERO, address, frame, next, next_down, silence};
use net::{ChangeError, Event, StartError};

#[tokio::test]
async fn a_peer_with_its_old_key_is_disconnected_and_refused_and_with_the_new_one_admitted() {
    let cast = Cast::new();
    let ((zero, mut at_zero), (one, mut at_one)) = cast.pair(ONE).await;
    let rotated = cast.rekeyed(ONE);
    zero.change(rotated.all(&[])).unwrap();
    assert!(zero.connected().is_empty());
    let (peer, reason) = next_down(&mut at_zero).await;
    assert_eq!(peer, ONE);
    assert!(reason.contains("another key"), "{reason}");
    assert_eq!(next_down(&mut at_one).await.0, ZERO);
    // It goes on with its old key.
    silence(&mut at_zero).await;
    assert!(one.connected().is_empty());
    let (new, mut at_new) = rotated.start(ONE, &[(ZERO, address(&zero))]).await;
    assert_eq!(next(&mut at_zero).await, Event::Up(ONE));
    assert_eq!(next(&mut at_new).await, Event::Up(ZERO));
    new.send(ZERO, 0, "it is me".into()).unwrap();
    assert_eq!(next(&mut at_zero).await, frame(ONE, 0, "it is me"));
}

#[tokio::test]
async fn a_dialled_peer_has_to_prove_its_new_key() {
    let cast = Cast::new();
    let ((zero, mut at_zero), (one, mut at_one)) = cast.pair(ONE).await;
    let rotated = cast.rekeyed(ZERO);
    let place = address(&zero);
    one.change(rotated.all(&[(ZERO, place)])).unwrap();
    assert!(one.connected().is_empty());
    let (peer, reason) = next_down(&mut at_one).await;
    assert_eq!(peer, ZERO);
    assert!(reason.contains("another key"), "{reason}");
    assert_eq!(next_down(&mut at_zero).await.0, ONE);
    silence(&mut at_one).await;
    zero.shutdown().await;
    let mut config = rotated.config(ZERO, &[]);
    config.listen = Some(place);
    let (_zero, mut at_zero) = net::Endpoint::start(config).await.unwrap();
    assert_eq!(next(&mut at_one).await, Event::Up(ZERO));
    assert_eq!(next(&mut at_zero).await, Event::Up(ONE));
}

#[tokio::test]
async fn a_key_moves_from_one_peer_to_another_and_names_the_other_from_then_on() {
    let cast = Cast::new();
    let ((zero, mut at_zero), (_one, _at_one)) = cast.pair(ONE).await;
    let mut swapped = cast.rekeyed(ONE);
    let key = cast.identity(ONE);
    let two = swapped.identities.iter_mut().find(|(id, _)| *id == TWO);
    two.unwrap().1 = key;
    zero.change(swapped.all(&[])).unwrap();
    assert_eq!(next_down(&mut at_zero).await.0, ONE);
    // The owner of the key dials on, and is replica 2 now.
    assert_eq!(next(&mut at_zero).await, Event::Up(TWO));
    assert_eq!(zero.connected(), [TWO]);
}

#[tokio::test]
async fn a_listener_takes_its_offered_key_and_its_links_follow_one_by_one() {
    let cast = Cast::new();
    let ((zero, mut at_zero), (one, mut at_one)) = cast.pair(ONE).await;
    let rotated = cast.rekeyed(ZERO);
    zero.offer(rotated.identity(ZERO));
    // On offer only: connections are still made with the old key.
    let (two, mut at_two) = cast.start(TWO, &[(ZERO, address(&zero))]).await;
    assert_eq!(next(&mut at_zero).await, Event::Up(TWO));
    assert_eq!(next(&mut at_two).await, Event::Up(ZERO));
    two.shutdown().await;
    assert_eq!(next_down(&mut at_zero).await.0, TWO);

    zero.change(rotated.all(&[])).unwrap();
    one.send(ZERO, 0, "still here".into()).unwrap();
    assert_eq!(next(&mut at_zero).await, frame(ONE, 0, "still here"));
    assert_eq!(at_one.try_recv(), None, "the link held");

    // Who expects the old key is not satisfied any more; who expects the new one is.
    let (two, mut at_two) = cast.start(TWO, &[(ZERO, address(&zero))]).await;
    silence(&mut at_two).await;
    two.shutdown().await;
    let (_two, mut at_two) = rotated.start(TWO, &[(ZERO, address(&zero))]).await;
    assert_eq!(next(&mut at_two).await, Event::Up(ZERO));
    assert_eq!(next(&mut at_zero).await, Event::Up(TWO));

    one.change(rotated.all(&[(ZERO, address(&zero))])).unwrap();
    assert_eq!(next_down(&mut at_one).await.0, ZERO);
    assert_eq!(next(&mut at_one).await, Event::Up(ZERO));
    assert_eq!(next_down(&mut at_zero).await.0, ONE);
    assert_eq!(next(&mut at_zero).await, Event::Up(ONE));
}

#[tokio::test]
async fn a_dialler_takes_its_offered_key_and_reconnects_with_it() {
    let cast = Cast::new();
    let ((zero, mut at_zero), (one, mut at_one)) = cast.pair(ONE).await;
    let rotated = cast.rekeyed(ONE);
    one.offer(rotated.identity(ONE));
    one.change(rotated.all(&[(ZERO, address(&zero))])).unwrap();
    one.send(ZERO, 0, "still here".into()).unwrap();
    assert_eq!(next(&mut at_zero).await, frame(ONE, 0, "still here"));

    zero.change(rotated.all(&[])).unwrap();
    assert_eq!(next_down(&mut at_zero).await.0, ONE);
    assert_eq!(next(&mut at_zero).await, Event::Up(ONE));
    assert_eq!(next_down(&mut at_one).await.0, ZERO);
    assert_eq!(next(&mut at_one).await, Event::Up(ZERO));
    one.send(ZERO, 0, "with the new key".into()).unwrap();
    assert_eq!(next(&mut at_zero).await, frame(ONE, 0, "with the new key"));
}

#[tokio::test]
async fn a_rotation_that_is_taken_back_finds_the_old_key_on_offer() {
    let cast = Cast::new();
    let (zero, mut at_zero) = cast.start(ZERO, &[]).await;
    let rotated = cast.rekeyed(ZERO);
    zero.offer(rotated.identity(ZERO));
    zero.change(rotated.all(&[])).unwrap();
    zero.change(cast.all(&[])).unwrap();
    let (_one, mut at_one) = cast.start(ONE, &[(ZERO, address(&zero))]).await;
    assert_eq!(next(&mut at_one).await, Event::Up(ZERO));
    assert_eq!(next(&mut at_zero).await, Event::Up(ONE));
}

#[tokio::test]
async fn a_key_of_ours_that_was_not_offered_is_refused_and_nothing_changes() {
    let cast = Cast::new();
    let ((zero, mut at_zero), (one, _at_one)) = cast.pair(ONE).await;
    let refused = zero.change(cast.rekeyed(ZERO).without(&[ONE], &[]));
    assert!(matches!(
        refused,
        Err(ChangeError::Refused(StartError::NotOurKey(ZERO)))
    ));
    assert_eq!(zero.connected(), [ONE]);
    one.send(ZERO, 0, "still here".into()).unwrap();
    assert_eq!(next(&mut at_zero).await, frame(ONE, 0, "still here"));
}
