//! Links between honest peers.

use crate::cast;
use std::time::Duration;

use crate::cast::{
    CLIENT, Cast, ONE, PATIENCE, TWO, ZERO, address, frame, next, next_down, silence,
};
use net::{Endpoint, Event, Limits, SendError, StartError};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

#[tokio::test]
async fn two_peers_exchange_messages_in_order() {
    let cast = Cast::new();
    let ((zero, mut at_zero), (client, mut at_client)) = cast.pair(CLIENT).await;
    for number in 0..1000u32 {
        client
            .send(ZERO, 1, number.to_le_bytes().to_vec().into())
            .unwrap();
    }
    zero.send(CLIENT, 2, "hello".into()).unwrap();
    for number in 0..1000u32 {
        let expected = frame(CLIENT, 1, number.to_le_bytes().to_vec());
        assert_eq!(next(&mut at_zero).await, expected);
    }
    assert_eq!(next(&mut at_client).await, frame(ZERO, 2, "hello"));
    assert_eq!(
        (zero.connected(), client.connected()),
        (vec![CLIENT], vec![ZERO])
    );
    assert_eq!(
        zero.send(ONE, 0, "x".into()),
        Err(SendError::NotConnected(ONE))
    );
}

#[tokio::test]
async fn a_shutdown_sends_what_is_queued_and_ends_the_events() {
    let cast = Cast::new();
    let ((zero, mut at_zero), (client, mut at_client)) = cast.pair(CLIENT).await;
    let other_handle = client.clone();
    client
        .send(ZERO, 1, "last words".repeat(1000).into())
        .unwrap();
    timeout(PATIENCE, client.shutdown()).await.unwrap();
    assert_eq!(
        next(&mut at_zero).await,
        frame(CLIENT, 1, "last words".repeat(1000))
    );
    assert_eq!(next_down(&mut at_zero).await.0, CLIENT);
    assert_eq!(next_down(&mut at_client).await.0, ZERO);
    assert_eq!(at_client.recv().await, None);
    assert_eq!(
        other_handle.send(ZERO, 1, "x".into()),
        Err(SendError::NotConnected(ZERO))
    );
    assert!(zero.connected().is_empty());
}

#[tokio::test]
async fn a_peer_that_restarts_is_dialled_again() {
    let cast = Cast::new();
    let ((zero, at_zero), (one, mut at_one)) = cast.pair(ONE).await;
    let place = address(&zero);
    drop((zero, at_zero));
    assert_eq!(next_down(&mut at_one).await.0, ZERO);
    let mut config = cast.config(ZERO, &[]);
    config.listen = Some(place);
    let (zero, mut at_zero) = Endpoint::start(config).await.unwrap();
    assert_eq!(next(&mut at_zero).await, Event::Up(ONE));
    assert_eq!(next(&mut at_one).await, Event::Up(ZERO));
    one.send(ZERO, 3, "again".into()).unwrap();
    assert_eq!(next(&mut at_zero).await, frame(ONE, 3, "again"));
    assert_eq!(zero.connected(), [ONE]);
}

#[tokio::test]
async fn a_second_connection_of_a_peer_replaces_the_first() {
    let cast = Cast::with(Limits {
        // The older one must not come back by itself and replace the newer in turn.
        redial_min: PATIENCE,
        redial_max: PATIENCE,
        ..Limits::default()
    });
    let ((zero, mut at_zero), (_first, mut at_first)) = cast.pair(ONE).await;
    let (second, mut at_second) = cast.start(ONE, &[(ZERO, address(&zero))]).await;
    let (peer, reason) = next_down(&mut at_zero).await;
    assert_eq!(peer, ONE);
    assert!(reason.contains("newer connection"), "{reason}");
    assert_eq!(next(&mut at_zero).await, Event::Up(ONE));
    assert_eq!(next_down(&mut at_first).await.0, ZERO);
    assert_eq!(next(&mut at_second).await, Event::Up(ZERO));
    second.send(ZERO, 0, "I am here".into()).unwrap();
    assert_eq!(next(&mut at_zero).await, frame(ONE, 0, "I am here"));
}

#[tokio::test]
async fn a_silent_peer_is_taken_for_dead_and_a_quiet_one_is_not() {
    let cast = Cast::with(Limits {
        heartbeat: Duration::from_millis(50),
        // Longer than a busy machine lets this process stand still.
        dead_after: Duration::from_secs(2),
        ..Limits::default()
    });
    let (zero, mut at_zero) = cast.start(ZERO, &[]).await;
    // A cable: it forwards until it is cut, and then keeps both ends open and silent.
    let cable = TcpListener::bind(cast::any_port()).await.unwrap();
    let near = cable.local_addr().unwrap();
    let far = address(&zero);
    let (cut, is_cut) = tokio::sync::oneshot::channel::<()>();
    let cable = tokio::spawn(async move {
        let (mut one, _) = cable.accept().await.unwrap();
        let mut zero = TcpStream::connect(far).await.unwrap();
        tokio::select! {
            _ = copy_bidirectional(&mut one, &mut zero) => {}
            _ = is_cut => std::future::pending().await,
        }
    });
    let (_one, mut at_one) = cast.start(ONE, &[(ZERO, near)]).await;
    assert_eq!(next(&mut at_zero).await, Event::Up(ONE));
    assert_eq!(next(&mut at_one).await, Event::Up(ZERO));
    // Nobody says anything for longer than `dead_after`: pings keep the link.
    assert!(
        timeout(Duration::from_secs(3), at_one.recv())
            .await
            .is_err()
    );
    silence(&mut at_zero).await;
    cut.send(()).unwrap();
    for events in [&mut at_one, &mut at_zero] {
        let (_, reason) = next_down(events).await;
        assert!(reason.contains("nothing heard"), "{reason}");
    }
    cable.abort();
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused_at_the_start() {
    let cast = Cast::new();
    let mut config = cast.config(ZERO, &[]);
    config.identity = cast.identity(ONE);
    let refused = Endpoint::start(config).await.err().unwrap();
    assert!(matches!(refused, StartError::NotOurKey(ZERO)));
    let stranger = net::PeerId::Replica(9);
    let config = cast.config(ZERO, &[(stranger, cast::any_port())]);
    let refused = Endpoint::start(config).await.err().unwrap();
    assert!(matches!(refused, StartError::Unlisted(peer) if peer == stranger));
    let (zero, _events) = cast.start(ZERO, &[]).await;
    let mut config = cast.config(TWO, &[]);
    config.listen = zero.local_addr();
    let refused = Endpoint::start(config).await.err().unwrap();
    assert!(refused.to_string().contains(&address(&zero).to_string()));
}
