//! Connections of those who are not what they should be.

use std::time::{Duration, Instant};

use crate::cast::{
    CLIENT, Cast, ONE, PATIENCE, TWO, ZERO, address, frame, next, next_down, silence,
};
use net::{Directory, Endpoint, Event, Events, Identity, Limits, PeerId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The link between the two honest peers works.
async fn unaffected(sender: &Endpoint, to: PeerId, from: PeerId, events: &mut Events) {
    sender.send(to, 9, "still here".into()).expect("connected");
    assert_eq!(next(events).await, frame(from, 9, "still here"));
}

async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    // A reset counts as closed too.
    let _ = end.expect("closed in time");
}

#[tokio::test]
async fn an_unknown_key_is_refused_on_both_sides() {
    let cast = Cast::new();
    let ((zero, mut at_zero), (one, _at_one)) = cast.pair(ONE).await;
    // The stranger knows replica 0's key and claims the place of replica 2 with a key of its own.
    let stranger = Identity::generate();
    let directory = Directory::new([
        (ZERO, cast.identity(ZERO).public_key()),
        (TWO, stranger.public_key()),
    ]);
    let mut config = cast.config(TWO, &[(ZERO, address(&zero))]);
    config.identity = stranger;
    config.directory = directory.unwrap();
    let (_stranger, mut at_stranger) = Endpoint::start(config).await.unwrap();
    silence(&mut at_stranger).await;
    silence(&mut at_zero).await;
    assert_eq!(zero.connected(), [ONE]);
    unaffected(&one, ZERO, ONE, &mut at_zero).await;
}

#[tokio::test]
async fn a_peer_is_who_its_key_says_whatever_it_claims() {
    let cast = Cast::new();
    let (zero, mut at_zero) = cast.start(ZERO, &[]).await;
    // A client believes to be replica 2, with the client's key.
    let directory = Directory::new([
        (ZERO, cast.identity(ZERO).public_key()),
        (TWO, cast.identity(CLIENT).public_key()),
    ]);
    let mut config = cast.config(TWO, &[(ZERO, address(&zero))]);
    config.identity = cast.identity(CLIENT);
    config.directory = directory.unwrap();
    let (client, mut at_client) = Endpoint::start(config).await.unwrap();
    assert_eq!(next(&mut at_zero).await, Event::Up(CLIENT));
    assert_eq!(next(&mut at_client).await, Event::Up(ZERO));
    client.send(ZERO, 0, "vote of replica 2".into()).unwrap();
    assert_eq!(
        next(&mut at_zero).await,
        frame(CLIENT, 0, "vote of replica 2")
    );
}

#[tokio::test]
async fn a_known_peer_at_the_wrong_address_is_not_taken_for_the_one_dialled() {
    let cast = Cast::new();
    let (two, mut at_two) = cast.start(TWO, &[]).await;
    let (one, mut at_one) = cast.start(ONE, &[(ZERO, address(&two))]).await;
    silence(&mut at_one).await;
    silence(&mut at_two).await;
    assert!(one.connected().is_empty() && two.connected().is_empty());
}

#[tokio::test]
async fn garbage_closes_its_connection_and_no_other() {
    let cast = Cast::new();
    let ((zero, mut at_zero), (one, _at_one)) = cast.pair(ONE).await;
    let plain_http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
    let postgres = [0, 0, 0, 8, 4, 210, 22, 47].to_vec();
    let huge_record = [22, 3, 3, 255, 255].repeat(4000);
    let noise: Vec<u8> = (0..70_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    for garbage in [plain_http, huge_record, noise] {
        let mut stream = TcpStream::connect(address(&zero)).await.unwrap();
        let _ = stream.write_all(&garbage).await;
        closed(&mut stream).await;
        unaffected(&one, ZERO, ONE, &mut at_zero).await;
    }
    // Cut off in the middle of what could become a handshake.
    let mut stream = TcpStream::connect(address(&zero)).await.unwrap();
    stream.write_all(&postgres).await.unwrap();
    drop(stream);
    unaffected(&one, ZERO, ONE, &mut at_zero).await;
}

#[tokio::test]
async fn an_oversized_frame_closes_the_connection_of_its_sender_only() {
    let cast = Cast::new();
    let mut strict = cast.config(ZERO, &[]);
    strict.limits.max_frame = 1000;
    let (zero, mut at_zero) = Endpoint::start(strict).await.unwrap();
    let (one, _at_one) = cast.start(ONE, &[(ZERO, address(&zero))]).await;
    assert_eq!(next(&mut at_zero).await, Event::Up(ONE));
    let (two, mut at_two) = cast.start(TWO, &[(ZERO, address(&zero))]).await;
    assert_eq!(next(&mut at_zero).await, Event::Up(TWO));
    assert_eq!(next(&mut at_two).await, Event::Up(ZERO));
    two.send(ZERO, 0, vec![0; 1001].into()).unwrap();
    let (peer, reason) = next_down(&mut at_zero).await;
    assert_eq!(peer, TWO);
    assert!(reason.contains("1001 bytes"), "{reason}");
    assert_eq!(next_down(&mut at_two).await.0, ZERO);
    // It may come again, and behave.
    assert_eq!(next(&mut at_zero).await, Event::Up(TWO));
    unaffected(&one, ZERO, ONE, &mut at_zero).await;
}

#[tokio::test]
async fn a_message_over_the_receivers_bound_closes_the_connection() {
    let cast = Cast::new();
    let mut strict = cast.config(ZERO, &[]);
    strict.limits.max_message = 200_000;
    let (zero, mut at_zero) = Endpoint::start(strict).await.unwrap();
    let (one, _at_one) = cast.start(ONE, &[(ZERO, address(&zero))]).await;
    assert_eq!(next(&mut at_zero).await, Event::Up(ONE));
    while one.connected().is_empty() {
        tokio::task::yield_now().await;
    }
    one.send(ZERO, 0, vec![0; 200_001].into()).unwrap();
    let (_, reason) = next_down(&mut at_zero).await;
    assert!(reason.contains("200000 bytes"), "{reason}");
}

#[tokio::test]
async fn idle_connections_without_a_key_are_dropped_in_time() {
    let cast = Cast::with(Limits {
        // Longer than the handshake of an honest peer takes on a busy machine.
        handshake_timeout: Duration::from_secs(2),
        ..Limits::default()
    });
    let ((zero, mut at_zero), (one, _at_one)) = cast.pair(ONE).await;
    let begun = Instant::now();
    let mut idle = TcpStream::connect(address(&zero)).await.unwrap();
    closed(&mut idle).await;
    assert!(begun.elapsed() >= Duration::from_millis(1_500));
    unaffected(&one, ZERO, ONE, &mut at_zero).await;
}

#[tokio::test]
async fn many_idle_connections_push_each_other_out_and_no_peer() {
    let cast = Cast::with(Limits {
        handshakes: 4,
        handshake_timeout: 10 * PATIENCE,
        ..Limits::default()
    });
    let ((zero, mut at_zero), (one, _at_one)) = cast.pair(ONE).await;
    let mut idle = Vec::new();
    for _ in 0..10 {
        idle.push(TcpStream::connect(address(&zero)).await.unwrap());
    }
    for stream in &mut idle[..6] {
        closed(stream).await;
    }
    let mut byte = [0];
    let waiting = timeout(Duration::from_millis(200), idle[9].read(&mut byte)).await;
    assert!(
        waiting.is_err(),
        "the newest idle ones may stay: {waiting:?}"
    );
    let (_two, mut at_two) = cast.start(TWO, &[(ZERO, address(&zero))]).await;
    assert_eq!(next(&mut at_two).await, Event::Up(ZERO));
    assert_eq!(next(&mut at_zero).await, Event::Up(TWO));
    unaffected(&one, ZERO, ONE, &mut at_zero).await;
}
