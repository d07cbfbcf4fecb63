//! Reads outside of the order never show the past, whoever lags and whoever lies.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::group::impostor::FalseReplica;
use crate::group::map::{Gate, Gated, Map};
use crate::group::{Group, PATIENCE, free_address, in_time, wait_until};
use bytes::Bytes;
use client_shim::invoker::Settings;
use consensus::service::{Call, Outcome, ToClient, ToReplica};

fn quick_rounds() -> Settings {
    Settings {
        patience: PATIENCE,
        query_wait: Duration::from_millis(100),
        ..Settings::default()
    }
}

/// Replica 2 lags: it is cut off from the others, and answers by what it had. Replica 3 works on under an address
/// that the clients do not know; to them it says that nothing ever happened after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_lags_and_one_that_lies_for_it_show_nobody_the_past() {
    let mut group = Group::running().await;
    let writer = group.client(0).await;
    writer.invoke("put a old").await.unwrap();
    let height = group.height();
    group.executed(2, height).await;
    group.stop(2).await.unwrap();
    let mut config = group.config(2);
    // It dials where nobody is, and listens where no replica looks for it.
    for replica in &mut config.cluster.replicas {
        replica.address = free_address();
    }
    let lagging = order::node::Node::start(config, Map::default())
        .await
        .unwrap();

    let past = Outcome::new(0, height, Bytes::from_static(b"old"), true);
    let asked = Arc::new(Mutex::new(0));
    let count = asked.clone();
    let script = move |message| match message {
        ToReplica::Query { id, .. } => {
            *count.lock().unwrap() += 1;
            let outcome = past.clone();
            Some(ToClient::Answer { id, outcome })
        }
        ToReplica::Request(request) => Some(ToClient::Reply {
            incarnation: request.incarnation,
            seq: request.seq,
            outcome: past.clone(),
        }),
        ToReplica::View { .. } => None,
    };
    let identity = group.replicas[3].clone();
    let liar = FalseReplica::start(&group.cluster, 3, identity, Box::new(script)).await;
    let mut seen_by_reader = group.cluster.clone();
    seen_by_reader.replicas[2].address = lagging.local_addr().unwrap();
    seen_by_reader.replicas[3].address = liar.address;
    let reader = group.client_of(&seen_by_reader, 1, quick_rounds()).await;
    // Two that say "old" at the same height are there, and no more: the read waits for the truth.
    assert_eq!(in_time(writer.invoke("put a new")).await.unwrap(), "old");
    let reading = tokio::spawn(async move { reader.query("get a").await });
    wait_until(|| *asked.lock().unwrap() > 0).await;
    assert!(!reading.is_finished(), "replicas 0 and 1 are no quorum");
    // The order reaches replica 2 again, by its peers' decisions and proofs.
    lagging.shutdown().await.unwrap();
    let mut config = group.config(2);
    config.listen = seen_by_reader.replicas[2].address.into();
    let back = order::node::Node::start(config, Map::default())
        .await
        .unwrap();
    assert_eq!(in_time(reading).await.unwrap().unwrap(), "new");
    drop(back);
}

/// The reader does not reach replica 2, and replica 3 spoils every quorum outside of the order: the query is ordered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_a_liar_keeps_from_a_quorum_is_ordered() {
    let group = Group::running().await;
    group.client(0).await.invoke("put a new").await.unwrap();
    let height = group.height();
    let script = move |message| match message {
        ToReplica::Query { id, .. } => {
            let outcome = Outcome::new(0, height, Bytes::from_static(b"false"), true);
            Some(ToClient::Answer { id, outcome })
        }
        // It would rather not be found out: in the order it says what the others will.
        ToReplica::Request(request) => {
            let asked = Call::Query(Bytes::from_static(b"get a"));
            assert_eq!(Call::decode(&request.op), Some(asked));
            Some(ToClient::Reply {
                incarnation: request.incarnation,
                seq: request.seq,
                outcome: Outcome::new(0, height + 1, Bytes::from_static(b"new"), true),
            })
        }
        ToReplica::View { .. } => None,
    };
    let identity = group.replicas[3].clone();
    let liar = FalseReplica::start(&group.cluster, 3, identity, Box::new(script)).await;
    let mut seen_by_reader = group.cluster.clone();
    seen_by_reader.replicas[2].address = free_address();
    seen_by_reader.replicas[3].address = liar.address;
    let reader = group.client_of(&seen_by_reader, 1, quick_rounds()).await;
    assert_eq!(in_time(reader.query("get a")).await.unwrap(), "new");
    assert_eq!(group.height(), height + 1, "it was ordered");
}

/// The writes' quorum holds while one replica pauses, and the reads that follow wait for it or are ordered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_follow_writes_of_others_while_a_replica_pauses() {
    let mut group = Group::new();
    let gate = Gate::default();
    for id in [0, 1, 3] {
        group.start(id, Map::default()).await;
    }
    group.start(2, Gated(Map::default(), gate.clone())).await;
    let (writer, reader) = (
        group.client(0).await,
        group.client_with(1, quick_rounds()).await,
    );
    for round in 1..=30_u64 {
        if round % 10 == 3 {
            gate.shut();
        }
        if round % 10 == 8 {
            gate.open();
        }
        assert_eq!(
            in_time(writer.invoke("add n")).await.unwrap(),
            round.to_string()
        );
        assert_eq!(
            in_time(reader.query("get n")).await.unwrap(),
            round.to_string()
        );
    }
}

/// Readers and writers at once: no reader sees a number fall, and none less than what was answered before it asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_beside_writes_never_go_back() {
    let group = Group::running().await;
    let writer = group.client(0).await;
    let answered = Arc::new(Mutex::new(0_u64));
    let writing = tokio::spawn({
        let answered = answered.clone();
        async move {
            for _ in 0..100 {
                let result = writer.invoke("add n").await.unwrap();
                let number = std::str::from_utf8(&result).unwrap().parse().unwrap();
                *answered.lock().unwrap() = number;
            }
        }
    });
    let mut readers = Vec::new();
    for place in 1..4 {
        let reader = group.client_with(place, quick_rounds()).await;
        let answered = answered.clone();
        readers.push(tokio::spawn(async move {
            let mut last = 0;
            while last < 100 {
                let before = *answered.lock().unwrap();
                let result = reader.query("get n").await.unwrap();
                let number: u64 = std::str::from_utf8(&result).unwrap().parse().unwrap_or(0);
                assert!(
                    number >= before.max(last),
                    "{number} after {before} and {last}"
                );
                last = number;
            }
        }));
    }
    in_time(writing).await.unwrap();
    for reader in readers {
        in_time(reader).await.unwrap();
    }
}
