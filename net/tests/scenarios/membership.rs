//! Peers that come, go and move while others stay.

use crate::cast;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use crate::cast::{CLIENT, Cast, ONE, TWO, ZERO, address, frame, next, next_down, passes, silence};
use net::{Endpoint, Event, Events, SendError};

#[tokio::test]
async fn a_new_peer_is_refused_before_the_change_and_admitted_after_it() {
    let cast = Cast::new();
    let mut config = cast.config(ZERO, &[]);
    config.directory = cast.without(&[TWO], &[]).directory;
    let (zero, mut at_zero) = Endpoint::start(config).await.unwrap();
    let (two, mut at_two) = cast.start(TWO, &[(ZERO, address(&zero))]).await;
    silence(&mut at_zero).await;
    assert_eq!(zero.send(TWO, 0, "x".into()), Err(SendError::Unlisted(TWO)));
    zero.change(cast.all(&[])).unwrap();
    assert_eq!(
        zero.send(TWO, 0, "x".into()),
        Err(SendError::NotConnected(TWO))
    );
    assert_eq!(next(&mut at_zero).await, Event::Up(TWO));
    assert_eq!(next(&mut at_two).await, Event::Up(ZERO));
    passes((&two, TWO), (ZERO, &mut at_zero)).await;
    assert_eq!(zero.connected(), [TWO]);
}

#[tokio::test]
async fn a_new_peer_in_the_list_is_dialled() {
    let cast = Cast::new();
    let (two, mut at_two) = cast.start(TWO, &[]).await;
    let mut config = cast.config(ZERO, &[]);
    config.directory = cast.without(&[TWO], &[]).directory;
    let (zero, mut at_zero) = Endpoint::start(config).await.unwrap();
    zero.change(cast.all(&[(TWO, address(&two))])).unwrap();
    assert_eq!(next(&mut at_zero).await, Event::Up(TWO));
    assert_eq!(next(&mut at_two).await, Event::Up(ZERO));
    passes((&zero, ZERO), (TWO, &mut at_two)).await;
}

#[tokio::test]
async fn a_peer_that_left_is_disconnected_and_refused_as_often_as_it_comes() {
    let cast = Cast::new();
    let ((zero, mut at_zero), (one, mut at_one)) = cast.pair(ONE).await;
    zero.change(cast.without(&[ONE], &[])).unwrap();
    assert!(zero.connected().is_empty());
    assert_eq!(zero.send(ONE, 0, "x".into()), Err(SendError::Unlisted(ONE)));
    let (peer, reason) = next_down(&mut at_zero).await;
    assert_eq!(peer, ONE);
    assert!(reason.contains("no longer lists"), "{reason}");
    assert_eq!(next_down(&mut at_one).await.0, ZERO);
    // It dials again and again, and gets nowhere.
    silence(&mut at_zero).await;
    silence(&mut at_one).await;
    assert!(zero.connected().is_empty() && one.connected().is_empty());
}

#[tokio::test]
async fn a_dialled_peer_that_left_is_disconnected_and_not_dialled_again() {
    let cast = Cast::new();
    let ((zero, mut at_zero), (one, mut at_one)) = cast.pair(ONE).await;
    one.change(cast.without(&[ZERO], &[])).unwrap();
    assert!(one.connected().is_empty());
    let (peer, reason) = next_down(&mut at_one).await;
    assert_eq!(peer, ZERO);
    assert!(reason.contains("no longer lists"), "{reason}");
    assert_eq!(next_down(&mut at_zero).await.0, ONE);
    silence(&mut at_zero).await;
    assert!(zero.connected().is_empty());
}

#[tokio::test]
async fn what_was_queued_for_a_peer_that_left_is_dropped_even_if_it_comes_back() {
    let cast = Cast::new();
    let ((zero, mut at_zero), (_one, mut at_one)) = cast.pair(ONE).await;
    // Nothing is awaited in between, so nothing is sent in between.
    for number in 0..100u8 {
        zero.send(ONE, 1, vec![number].into()).unwrap();
    }
    zero.change(cast.without(&[ONE], &[])).unwrap();
    assert_eq!(next_down(&mut at_zero).await.0, ONE);
    assert_eq!(next_down(&mut at_one).await.0, ZERO);
    zero.change(cast.all(&[])).unwrap();
    assert_eq!(next(&mut at_zero).await, Event::Up(ONE));
    assert_eq!(next(&mut at_one).await, Event::Up(ZERO));
    passes((&zero, ZERO), (ONE, &mut at_one)).await;
}

#[tokio::test]
async fn a_peer_that_moved_is_disconnected_and_dialled_at_its_new_address() {
    let cast = Cast::new();
    let ((_old, mut at_old), (one, mut at_one)) = cast.pair(ONE).await;
    let (new, mut at_new) = cast.start(ZERO, &[]).await;
    one.change(cast.all(&[(ZERO, address(&new))])).unwrap();
    assert!(one.connected().is_empty());
    let (peer, reason) = next_down(&mut at_one).await;
    assert_eq!(peer, ZERO);
    assert!(reason.contains("another address"), "{reason}");
    assert_eq!(next_down(&mut at_old).await.0, ONE);
    assert_eq!(next(&mut at_one).await, Event::Up(ZERO));
    assert_eq!(next(&mut at_new).await, Event::Up(ONE));
    passes((&one, ONE), (ZERO, &mut at_new)).await;
    silence(&mut at_old).await;
}

#[tokio::test]
async fn a_peer_that_could_not_be_reached_is_dialled_at_its_new_address_at_once() {
    let mut cast = Cast::new();
    // Whoever waits out the old address' pause loses patience.
    cast.limits.redial_min = 10 * cast::PATIENCE;
    cast.limits.redial_max = 10 * cast::PATIENCE;
    let nobody = tokio::net::TcpListener::bind(cast::any_port())
        .await
        .unwrap();
    let old = nobody.local_addr().unwrap();
    drop(nobody);
    let (one, mut at_one) = cast.start(ONE, &[(ZERO, old)]).await;
    silence(&mut at_one).await;
    let (zero, mut at_zero) = cast.start(ZERO, &[]).await;
    one.change(cast.all(&[(ZERO, address(&zero))])).unwrap();
    assert_eq!(next(&mut at_one).await, Event::Up(ZERO));
    assert_eq!(next(&mut at_zero).await, Event::Up(ONE));
}

#[tokio::test]
async fn a_connected_peer_that_is_dialled_no_more_stays_until_it_is_lost() {
    let cast = Cast::new();
    let ((zero, at_zero), (one, mut at_one)) = cast.pair(ONE).await;
    one.change(cast.all(&[])).unwrap();
    silence(&mut at_one).await;
    assert_eq!(one.connected(), [ZERO]);
    let place = address(&zero);
    drop((zero, at_zero));
    assert_eq!(next_down(&mut at_one).await.0, ZERO);
    let mut config = cast.config(ZERO, &[]);
    config.listen = Some(place);
    let (_zero, mut at_zero) = Endpoint::start(config).await.unwrap();
    silence(&mut at_zero).await;
}

#[tokio::test]
async fn a_connected_peer_that_is_to_be_dialled_is_so_once_it_is_lost() {
    let cast = Cast::new();
    let ((zero, mut at_zero), (one, mut at_one)) = cast.pair(ONE).await;
    zero.change(cast.all(&[(ONE, address(&one))])).unwrap();
    silence(&mut at_zero).await;
    silence(&mut at_one).await;
    // Replica 1 drops the connection and dials no more.
    one.change(cast.without(&[ZERO], &[])).unwrap();
    one.change(cast.all(&[])).unwrap();
    assert_eq!(next_down(&mut at_zero).await.0, ONE);
    assert_eq!(next(&mut at_zero).await, Event::Up(ONE));
    assert_eq!(next_down(&mut at_one).await.0, ZERO);
    assert_eq!(next(&mut at_one).await, Event::Up(ZERO));
    passes((&zero, ZERO), (ONE, &mut at_one)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_stay_lose_nothing_and_hear_everything_in_order() {
    const MESSAGES: u32 = 3000;
    let cast = Cast::new();
    let ((zero, mut at_zero), (client, mut at_client)) = cast.pair(CLIENT).await;
    let (_one, _at_one) = cast.start(ONE, &[(ZERO, address(&zero))]).await;
    let place = address(&zero);
    let done = Arc::new(AtomicBool::new(false));
    let changes = {
        let (zero, client, done) = (zero.clone(), client.clone(), done.clone());
        let (out, all) = (cast.without(&[ONE], &[]), cast.all(&[]));
        let dialled = cast.all(&[(ZERO, place)]);
        let dialled_out = cast.without(&[TWO], &[(ZERO, place)]);
        tokio::spawn(async move {
            while !done.load(SeqCst) {
                zero.change(out.clone()).unwrap();
                client.change(dialled_out.clone()).unwrap();
                tokio::task::yield_now().await;
                zero.change(all.clone()).unwrap();
                client.change(dialled.clone()).unwrap();
                // Now and then replica 1 gets in.
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        })
    };
    // Every tenth message is long and travels in pieces.
    let message = |number: u32| {
        number
            .to_le_bytes()
            .repeat(if number.is_multiple_of(10) { 50_000 } else { 4 })
    };
    for (sender, to) in [(zero.clone(), CLIENT), (client.clone(), ZERO)] {
        tokio::spawn(async move {
            for number in 0..MESSAGES {
                while sender.send(to, 1, message(number).into()) == Err(SendError::Full) {
                    tokio::task::yield_now().await;
                }
                tokio::task::yield_now().await;
            }
        });
    }
    let hear = async |events: &mut Events, from| {
        let mut expected = 0;
        while expected < MESSAGES {
            match next(events).await {
                Event::Up(ONE) | Event::Down(ONE, _) => {}
                event => {
                    assert!(event == frame(from, 1, message(expected)), "at {expected}");
                    expected += 1;
                }
            }
        }
    };
    tokio::join!(hear(&mut at_zero, CLIENT), hear(&mut at_client, ZERO));
    done.store(true, SeqCst);
    changes.await.unwrap();
}
