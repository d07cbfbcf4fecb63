//! Large messages, slow readers and full queues.

use std::time::Duration;

use crate::cast::{CLIENT, Cast, ONE, ZERO, frame, next};
use bytes::Bytes;
use net::{Event, Limits, SendError};

#[tokio::test]
async fn small_messages_pass_a_message_of_fifty_megabytes() {
    let cast = Cast::new();
    let ((_zero, mut at_zero), (client, _at_client)) = cast.pair(CLIENT).await;
    let large: Bytes = (0..50_000_000u32)
        .map(|i| (i ^ (i >> 11)) as u8)
        .collect::<Vec<_>>()
        .into();
    client.send(ZERO, 1, large.clone()).unwrap();
    client.send(ZERO, 1, "behind it".into()).unwrap();
    for number in 0..50u8 {
        client.send(ZERO, 2, vec![number].into()).unwrap();
    }
    for number in 0..50u8 {
        assert_eq!(next(&mut at_zero).await, frame(CLIENT, 2, vec![number]));
    }
    match next(&mut at_zero).await {
        Event::Frame { payload, .. } => assert!(payload == large),
        other => panic!("{other:?}"),
    }
    assert_eq!(next(&mut at_zero).await, frame(CLIENT, 1, "behind it"));
}

#[tokio::test]
async fn a_slow_reader_makes_the_sender_err_and_loses_nothing_it_took() {
    let cast = Cast::with(Limits {
        queue_bytes: 1 << 20,
        inbound_bytes: 64 << 10,
        event_queue: 4,
        heartbeat: Duration::from_millis(50),
        // Longer than a busy machine lets this process stand still.
        dead_after: Duration::from_secs(2),
        ..Limits::default()
    });
    let ((_zero, mut at_zero), (one, mut at_one)) = cast.pair(ONE).await;
    let mut sent = 0u32;
    // Nobody reads for more than `dead_after`; the receiver is slow, not dead.
    for _ in 0..300 {
        let message = |number: u32| number.to_le_bytes().repeat(256).into();
        while one.send(ZERO, 0, message(sent)).is_ok() {
            sent += 1;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refused = one.send(ZERO, 0, vec![0; 1024].into());
    assert_eq!(refused, Err(SendError::Full));
    // What the kernel's buffers and both queues hold, no more.
    assert!(
        sent < 40_000,
        "{sent} messages of a kilobyte went somewhere"
    );
    for number in 0..sent {
        let expected = frame(ONE, 0, number.to_le_bytes().repeat(256));
        assert_eq!(next(&mut at_zero).await, expected);
    }
    assert_eq!(at_one.try_recv(), None, "the link held");
}
