//! Changes that are refused, that remove us, and that come upon each other or upon a shutdown.

use crate::cast;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use crate::cast::{Cast, ONE, TWO, ZERO, address, frame, next, next_down, passes, silence};
use net::{ChangeError, Event, SendError, StartError};

#[tokio::test]
async fn two_quick_changes_end_a_connection_before_the_next_begins() {
    let cast = Cast::new();
    let ((zero, mut at_zero), (one, mut at_one)) = cast.pair(ONE).await;
    zero.change(cast.without(&[ONE], &[])).unwrap();
    zero.change(cast.all(&[])).unwrap();
    assert!(zero.connected().is_empty());
    let (peer, reason) = next_down(&mut at_zero).await;
    assert_eq!(peer, ONE);
    assert!(reason.contains("no longer lists"), "{reason}");
    assert_eq!(next(&mut at_zero).await, Event::Up(ONE));
    assert_eq!(next_down(&mut at_one).await.0, ZERO);
    assert_eq!(next(&mut at_one).await, Event::Up(ZERO));
    // The same at the dialling side.
    one.change(cast.without(&[ZERO], &[])).unwrap();
    one.change(cast.all(&[(ZERO, address(&zero))])).unwrap();
    assert_eq!(next_down(&mut at_one).await.0, ZERO);
    assert_eq!(next(&mut at_one).await, Event::Up(ZERO));
    assert_eq!(next_down(&mut at_zero).await.0, ONE);
    assert_eq!(next(&mut at_zero).await, Event::Up(ONE));
    silence(&mut at_one).await;
    passes((&one, ONE), (ZERO, &mut at_zero)).await;
}

#[tokio::test]
async fn a_membership_that_cannot_work_changes_nothing() {
    let cast = Cast::new();
    let ((zero, mut at_zero), (one, _at_one)) = cast.pair(ONE).await;
    let unlisted = cast.without(&[ONE, TWO], &[(TWO, cast::any_port())]);
    let refused = zero.change(unlisted).unwrap_err();
    assert!(matches!(
        refused,
        ChangeError::Refused(StartError::Unlisted(TWO))
    ));
    assert_eq!(zero.connected(), [ONE]);
    passes((&one, ONE), (ZERO, &mut at_zero)).await;
    assert_eq!(
        zero.send(TWO, 0, "x".into()),
        Err(SendError::NotConnected(TWO))
    );
}

#[tokio::test]
async fn whoever_is_removed_loses_all_links_and_admits_nobody_until_listed_again() {
    let cast = Cast::new();
    let (two, _at_two) = cast.start(TWO, &[]).await;
    let (zero, mut at_zero) = cast.start(ZERO, &[(TWO, address(&two))]).await;
    assert_eq!(next(&mut at_zero).await, Event::Up(TWO));
    let (_one, mut at_one) = cast.start(ONE, &[(ZERO, address(&zero))]).await;
    assert_eq!(next(&mut at_zero).await, Event::Up(ONE));
    assert_eq!(next(&mut at_one).await, Event::Up(ZERO));

    let removed = zero.change(cast.without(&[ZERO], &[(TWO, address(&two))]));
    assert!(matches!(removed, Err(ChangeError::Removed(ZERO))));
    assert!(zero.connected().is_empty());
    assert_eq!(zero.send(ONE, 0, "x".into()), Err(SendError::Unlisted(ONE)));
    let mut gone = Vec::new();
    for _ in 0..2 {
        let (peer, reason) = next_down(&mut at_zero).await;
        assert!(reason.contains("no longer lists us"), "{reason}");
        gone.push(peer);
    }
    gone.sort();
    assert_eq!(gone, [ONE, TWO]);
    assert_eq!(next_down(&mut at_one).await.0, ZERO);
    silence(&mut at_zero).await;
    silence(&mut at_one).await;

    zero.change(cast.all(&[])).unwrap();
    assert_eq!(next(&mut at_zero).await, Event::Up(ONE));
    assert_eq!(next(&mut at_one).await, Event::Up(ZERO));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_by_many_at_once_leave_a_working_endpoint() {
    let cast = Cast::new();
    let ((zero, mut at_zero), (one, mut at_one)) = cast.pair(ONE).await;
    let views = [
        cast.without(&[ONE], &[]),
        cast.all(&[(ONE, address(&one))]),
        cast.rekeyed(ONE).all(&[]),
        cast.without(&[ZERO], &[]),
    ];
    let changers: Vec<_> = views
        .into_iter()
        .map(|view| {
            let zero = zero.clone();
            std::thread::spawn(move || {
                for _ in 0..100 {
                    let _ = zero.change(view.clone());
                }
            })
        })
        .collect();
    for changer in changers {
        changer.join().unwrap();
    }
    // The last word: replica 1 is out, and then in.
    zero.change(cast.without(&[ONE], &[])).unwrap();
    assert!(zero.connected().is_empty());
    zero.change(cast.all(&[])).unwrap();
    let mut up = true;
    loop {
        tokio::select! {
            event = next(&mut at_zero) => match event {
                Event::Up(ONE) => {
                    assert!(!std::mem::replace(&mut up, true), "two Ups in a row");
                    // It may be on its way out again; the next Up follows.
                    let _ = zero.send(ONE, 5, "in".into());
                }
                Event::Down(ONE, _) => {
                    assert!(std::mem::replace(&mut up, false), "two Downs in a row");
                }
                event => panic!("{event:?}"),
            },
            event = next(&mut at_one) => if event == frame(ZERO, 5, "in") {
                break;
            },
        }
    }
    assert_eq!(zero.connected(), [ONE]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_during_or_after_a_shutdown_does_no_harm() {
    let cast = Cast::new();
    let ((zero, mut at_zero), (one, mut at_one)) = cast.pair(ONE).await;
    let done = Arc::new(AtomicBool::new(false));
    let changer = {
        let (one, done) = (one.clone(), done.clone());
        let (out, all) = (
            cast.without(&[ZERO], &[]),
            cast.all(&[(ZERO, address(&zero))]),
        );
        std::thread::spawn(move || {
            while !done.load(SeqCst) {
                one.change(out.clone()).unwrap();
                one.change(all.clone()).unwrap();
            }
        })
    };
    let handle = one.clone();
    tokio::time::timeout(cast::PATIENCE, one.shutdown())
        .await
        .unwrap();
    done.store(true, SeqCst);
    changer.join().unwrap();
    while tokio::time::timeout(cast::PATIENCE, at_one.recv())
        .await
        .expect("the events end")
        .is_some()
    {}
    handle.change(cast.all(&[(ZERO, address(&zero))])).unwrap();
    assert!(handle.connected().is_empty());
    while !zero.connected().is_empty() {
        next(&mut at_zero).await;
    }
}
