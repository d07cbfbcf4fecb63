//! Handshakes under way while the membership changes.

use crate::cast::cable::Cable;
use crate::cast::{Cast, ONE, TWO, ZERO, address, next, silence};
use net::Event;

#[tokio::test]
async fn a_handshake_of_a_peer_that_leaves_meanwhile_ends_at_the_door() {
    let cast = Cast::new();
    let (zero, mut at_zero) = cast.start(ZERO, &[]).await;
    let cable = Cable::to(address(&zero)).await;
    let (_one, mut at_one) = cast.start(ONE, &[(ZERO, cable.near)]).await;
    cable.holds().await;
    zero.change(cast.without(&[ONE], &[])).unwrap();
    cable.release();
    silence(&mut at_zero).await;
    silence(&mut at_one).await;
    assert!(zero.connected().is_empty());
}

#[tokio::test]
async fn a_handshake_of_a_peer_that_stays_is_not_disturbed() {
    let cast = Cast::new();
    let (zero, mut at_zero) = cast.start(ZERO, &[]).await;
    let cable = Cable::to(address(&zero)).await;
    let (one, mut at_one) = cast.start(ONE, &[(ZERO, cable.near)]).await;
    cable.holds().await;
    zero.change(cast.without(&[TWO], &[])).unwrap();
    one.change(cast.without(&[TWO], &[(ZERO, cable.near)]))
        .unwrap();
    cable.release();
    assert_eq!(next(&mut at_zero).await, Event::Up(ONE));
    assert_eq!(next(&mut at_one).await, Event::Up(ZERO));
    assert_eq!(cable.used(), 1, "the first attempt came through");
}

#[tokio::test]
async fn a_handshake_from_before_two_quick_changes_proves_nothing() {
    let cast = Cast::new();
    let (zero, mut at_zero) = cast.start(ZERO, &[]).await;
    let cable = Cable::to(address(&zero)).await;
    let (_one, mut at_one) = cast.start(ONE, &[(ZERO, cable.near)]).await;
    cable.holds().await;
    // Replica 1 leaves and comes back, with the same key.
    zero.change(cast.without(&[ONE], &[])).unwrap();
    zero.change(cast.all(&[])).unwrap();
    cable.release();
    assert_eq!(next(&mut at_zero).await, Event::Up(ONE));
    assert_eq!(next(&mut at_one).await, Event::Up(ZERO));
    assert_eq!(cable.used(), 2, "it had to prove its key anew");
}

#[tokio::test]
async fn a_handshake_with_a_key_that_is_replaced_meanwhile_ends_at_the_door() {
    let cast = Cast::new();
    let (zero, mut at_zero) = cast.start(ZERO, &[]).await;
    let cable = Cable::to(address(&zero)).await;
    let (_one, mut at_one) = cast.start(ONE, &[(ZERO, cable.near)]).await;
    cable.holds().await;
    zero.change(cast.rekeyed(ONE).all(&[])).unwrap();
    cable.release();
    silence(&mut at_zero).await;
    silence(&mut at_one).await;
    assert!(zero.connected().is_empty());
}

#[tokio::test]
async fn a_handshake_with_a_dialled_peer_whose_key_is_replaced_meanwhile_is_given_up() {
    let cast = Cast::new();
    let (zero, mut at_zero) = cast.start(ZERO, &[]).await;
    let cable = Cable::to(address(&zero)).await;
    let (one, mut at_one) = cast.start(ONE, &[(ZERO, cable.near)]).await;
    cable.holds().await;
    one.change(cast.rekeyed(ZERO).all(&[(ZERO, cable.near)]))
        .unwrap();
    cable.release();
    silence(&mut at_one).await;
    assert!(one.connected().is_empty());
    // The listener may have taken it for good, until it saw the connection end.
    while let Some(event) = at_zero.try_recv() {
        assert!(matches!(event, Event::Up(ONE) | Event::Down(ONE, _)));
    }
}
