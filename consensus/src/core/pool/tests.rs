use super::*;
use crate::SigningKey;
use crate::crypto::Digest;
use crate::record::Value;
use crate::view::View;

pub(crate) fn request(client: u32, incarnation: u64, seq: u64, bytes: usize) -> Verified<Request> {
    let key = SigningKey::from_bytes(&[1; 32]);
    let request = Request::sign(&key, ClientId(client), incarnation, seq, vec![0; bytes]);
    Verified::from_own_log(request)
}

pub(crate) fn clients_of(value: &Value) -> Vec<(u32, u64)> {
    value
        .batch
        .entries
        .iter()
        .map(|entry| (entry.client.0, entry.seq))
        .collect()
}

#[test]
fn bounds_are_bytes_and_a_large_request_travels_alone() {
    let settings = Settings {
        max_batch_bytes: 100,
        max_pending_bytes_per_client: 2_000,
        ..Settings::default()
    };
    let (mut pool, windows) = (Pool::default(), Windows::default());
    assert_eq!(pool.add(0, &settings, request(1, 1, 1, 500)), Ok(true));
    assert_eq!(pool.add(0, &settings, request(1, 1, 2, 500)), Ok(true));
    assert_eq!(
        pool.add(0, &settings, request(1, 1, 3, 500)),
        Err(Reason::TooMuchPending)
    );
    assert_eq!(pool.add(0, &settings, request(2, 1, 1, 10)), Ok(true));
    assert_eq!(
        clients_of(
            &pool
                .select(
                    &settings,
                    &windows.after([]),
                    &View::default(),
                    Digest::default(),
                    0
                )
                .unwrap()
        ),
        [(1, 1)]
    );
}

#[test]
fn an_older_request_takes_the_room_of_newer_ones() {
    let settings = Settings {
        max_pending_requests_per_client: 2,
        ..Settings::default()
    };
    let mut pool = Pool::default();
    for (seq, taken) in [
        (3, true),
        (4, true),
        (5, false),
        (1, true),
        (2, true),
        (3, false),
    ] {
        assert_eq!(
            pool.add(0, &settings, request(1, 1, seq, 5)).is_ok(),
            taken,
            "{seq}"
        );
    }
    assert_eq!((pool.len(), pool.bytes()), (2, 2 * (5 + OVERHEAD)));
}

#[test]
fn a_request_that_newer_ones_overtook_is_forwarded_though_its_client_is_served() {
    let (mut pool, mut windows) = (Pool::default(), Windows::default());
    let settings = Settings::default();
    assert_eq!(pool.add(0, &settings, request(1, 1, 1, 5)), Ok(true));
    for seq in 2..=5 {
        assert_eq!(
            pool.add(seq * 100, &settings, request(1, 1, seq, 5)),
            Ok(true)
        );
        let batch = Batch {
            after: Digest::default(),
            time_ms: 0,
            entries: vec![Entry::of(&request(1, 1, seq, 5))],
        };
        let renewed = windows.apply(&batch);
        pool.decided(seq * 100, &batch, &renewed, &windows);
    }
    assert_eq!(
        pool.waiting_since(),
        Some(200),
        "when the first overtook it"
    );
    assert_eq!(pool.add(550, &settings, request(1, 1, 6, 5)), Ok(true));
    let overdue = pool.take_overdue(550, 200, 1 << 20);
    assert_eq!(
        overdue
            .iter()
            .map(|request| request.seq)
            .collect::<Vec<_>>(),
        [1]
    );
    assert!(
        pool.take_overdue(700, 350, 1 << 20).is_empty(),
        "once a stage"
    );
    let again = pool.take_overdue(900, 550, 1 << 20);
    let again: Vec<_> = again.iter().map(|request| request.seq).collect();
    assert_eq!(again, [1, 6], "one may be lost; now the client waits too");
}

#[test]
fn the_same_number_twice_is_a_conflict_and_a_copy_is_nothing_new() {
    let (mut pool, settings) = (Pool::default(), Settings::default());
    assert_eq!(pool.add(0, &settings, request(1, 1, 1, 5)), Ok(true));
    assert_eq!(pool.add(0, &settings, request(1, 1, 1, 5)), Ok(false));
    assert_eq!(
        pool.add(0, &settings, request(1, 1, 1, 6)),
        Err(Reason::Conflict)
    );
    assert_eq!((pool.len(), pool.bytes()), (1, 5 + OVERHEAD));
}

#[test]
fn a_new_incarnation_drops_what_the_old_one_left() {
    let (mut pool, mut windows) = (Pool::default(), Windows::default());
    let settings = Settings::default();
    for (incarnation, seq) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        assert_eq!(
            pool.add(0, &settings, request(1, incarnation, seq, 5)),
            Ok(true)
        );
    }
    let old = pool
        .select(
            &settings,
            &windows.after([]),
            &View::default(),
            Digest::default(),
            0,
        )
        .unwrap();
    assert_eq!(
        clients_of(&old),
        [(1, 1), (1, 2)],
        "one incarnation in a batch"
    );
    let batch = Batch {
        after: Digest::default(),
        time_ms: 0,
        entries: vec![Entry::of(&request(1, 2, 1, 5))],
    };
    let renewed = windows.apply(&batch);
    pool.decided(0, &batch, &renewed, &windows);
    assert_eq!((pool.len(), pool.bytes()), (1, 5 + OVERHEAD));
}
