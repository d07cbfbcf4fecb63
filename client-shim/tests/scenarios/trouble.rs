//! What may go wrong around a replicated service, and what its clients and owners hear of it.

use crate::group;
use std::time::Duration;

use crate::group::impostor::{FalseReplica, RawClient};
use crate::group::map::{Fragile, Gate, Gated, Map};
use crate::group::{Group, in_time, wait_until};
use bytes::Bytes;
use client_shim::invoker::{InvokeError, Settings};
use cluster::channel;
use consensus::Request;
use consensus::service::{Call, ToReplica};
use order::node::NodeError;

fn impatient() -> Settings {
    Settings {
        patience: Duration::from_secs(2),
        ..Settings::default()
    }
}

fn patient() -> Settings {
    Settings {
        patience: group::PATIENCE,
        ..Settings::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_too_few_replicas_a_client_hears_so_and_goes_on_when_they_are_back() {
    let mut group = Group::running().await;
    group.client(2).await.invoke("add n").await.unwrap();
    let client = group.client_with(0, impatient()).await;
    for id in 1..4 {
        group.stop(id).await.unwrap();
    }
    let unknown = in_time(client.invoke("put a 1")).await.unwrap_err();
    assert!(
        matches!(unknown, InvokeError::OutcomeUnknown { .. }),
        "{unknown}"
    );
    assert!(unknown.to_string().starts_with("outcome unknown"));
    let silent = in_time(client.query("get a")).await.unwrap_err();
    assert!(matches!(silent, InvokeError::NoQuorum { .. }), "{silent}");
    for id in 1..4 {
        group.start(id, Map::default()).await;
    }
    // The links and the order come back in their own time.
    let before = in_time(async {
        loop {
            if let Ok(before) = client.invoke("put a 2").await {
                break before;
            }
        }
    });
    let before = before.await;
    assert!(["", "1", "2"].contains(&&*String::from_utf8_lossy(&before)));
    assert_eq!(
        in_time(group.client(1).await.query("get n")).await.unwrap(),
        "1"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_any_channel_stops_no_replica() {
    let group = Group::running().await;
    let id = Group::client_id(0);
    let key = group.client_identity(0);
    let raw = RawClient::connect(&group.cluster, id.0, key.clone()).await;
    let strange = Call::Execute(Bytes::from_static(b"\xff\xfe what")).encode();
    let no_call = Bytes::from_static(b"\x09 no call");
    let mut forged = Request::sign(key.signing_key(), id, 1, 3, no_call.clone());
    forged.op = Bytes::from_static(b"other");
    for replica in 0..4 {
        for bytes in [&b""[..], b"\0", b"\x01\x02", &[0xff; 3_000]] {
            for on in [
                channel::CONSENSUS,
                channel::PEER,
                channel::BULK,
                channel::CLIENT,
                77,
            ] {
                raw.send(replica, on, Bytes::from_static(bytes));
            }
        }
        let of_another = Request::sign(
            key.signing_key(),
            Group::client_id(1),
            1,
            1,
            no_call.clone(),
        );
        for request in [
            forged.clone(),
            of_another,
            Request::sign(key.signing_key(), id, 1, 0, no_call.clone()),
            Request::sign(key.signing_key(), id, 1, u64::MAX, no_call.clone()),
            Request::sign(key.signing_key(), id, 1, 1, no_call.clone()),
            Request::sign(key.signing_key(), id, 1, 2, strange.clone()),
        ] {
            raw.say(replica, &ToReplica::Request(request));
        }
        for id in 0..200 {
            let (min_height, whole) = (u64::MAX, true);
            let op = Bytes::from(vec![0; 60_000]);
            raw.say(
                replica,
                &ToReplica::Query {
                    id,
                    min_height,
                    op,
                    whole,
                },
            );
        }
    }
    let client = group.client(1).await;
    for count in 1..=5 {
        assert_eq!(
            in_time(client.invoke("add n")).await.unwrap(),
            count.to_string()
        );
        assert_eq!(
            in_time(client.query("get n")).await.unwrap(),
            count.to_string()
        );
    }
    assert_eq!(raw.endpoint.connected().len(), 4, "nobody even hung up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_from_a_replica_stops_no_client() {
    let mut group = Group::new();
    for id in 0..3 {
        group.start(id, Map::default()).await;
    }
    let identity = group.replicas[3].clone();
    let silent = Box::new(|_| None);
    let fake = FalseReplica::start(&group.cluster, 3, identity, silent).await;
    let mut cluster = group.cluster.clone();
    cluster.replicas[3].address = fake.address;
    let client = group.client_of(&cluster, 0, patient()).await;
    let (said, asked) = std::sync::mpsc::channel();
    fake.says(Box::new(move |_| {
        said.send(()).unwrap();
        None
    }));
    client.invoke("add n").await.unwrap();
    // The client is connected to it for sure when it was asked.
    tokio::task::spawn_blocking(move || asked.recv_timeout(group::PATIENCE).unwrap())
        .await
        .unwrap();
    for bytes in [&b""[..], b"\0", b"\x01\x02", &[0xff; 3_000]] {
        for on in [
            channel::CONSENSUS,
            channel::PEER,
            channel::BULK,
            channel::CLIENT,
            77,
        ] {
            fake.send(Group::client_id(0).0, on, bytes);
        }
    }
    fake.says(Box::new(|_| None));
    assert_eq!(in_time(client.invoke("add n")).await.unwrap(), "2");
    assert_eq!(in_time(client.query("get n")).await.unwrap(), "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_panics_stops_its_replica_with_a_reason_and_the_others_go_on() {
    let mut group = Group::new();
    for id in 0..3 {
        group.start(id, Map::default()).await;
    }
    group.start(3, Fragile::default()).await;
    let client = group.client(0).await;
    assert_eq!(client.invoke("break").await.unwrap(), "what?");
    let error = in_time(group.node(3).ended()).await.unwrap_err();
    let NodeError::Service(why) = &error else {
        panic!("{error}");
    };
    assert!(why.contains("executing request 0 of height 1"), "{why}");
    assert!(why.contains("a fault of the service"), "{why}");
    assert_eq!(in_time(client.invoke("add n")).await.unwrap(), "1");
    // On the same log it would fail the same way, and says so at once; mended, it goes on.
    let _ = group.stop(3).await;
    let again = order::node::Node::start(group.config(3), Fragile::default()).await;
    assert!(matches!(again, Err(NodeError::Service(_))), "{again:?}");
    group.start(3, Map::default()).await;
    group.executed(3, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_does_not_come_back_hangs_nobody() {
    let mut group = Group::new();
    let gate = Gate::default();
    for id in 0..3 {
        group.start(id, Map::default()).await;
    }
    group.start(3, Gated(Map::default(), gate.clone())).await;
    gate.shut();
    let client = group.client(0).await;
    for count in 1..=3 {
        assert_eq!(
            in_time(client.invoke("add n")).await.unwrap(),
            count.to_string()
        );
    }
    // Its order goes on while its service stands.
    wait_until(|| group.node(3).status().height >= 3).await;
    assert_eq!(*group.node(3).executed().borrow(), 0);
    let error = in_time(group.stop(3)).await.unwrap_err();
    assert!(matches!(error, NodeError::Stuck(_)), "{error}");
    assert_eq!(in_time(client.invoke("add n")).await.unwrap(), "4");
    gate.open();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_closed_answers_everybody_who_waits() {
    let mut group = Group::new();
    group.start(0, Map::default()).await;
    let client = group.client(0).await;
    let waiting = client.invoke_async("add n").await.unwrap();
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.query("get n").await }
    });
    client.clone().close().await;
    assert_eq!(in_time(waiting).await, Err(InvokeError::Closed));
    assert_eq!(in_time(asking).await.unwrap(), Err(InvokeError::Closed));
    assert_eq!(client.invoke("add n").await, Err(InvokeError::Closed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_with_one_identity_the_newer_goes_on_and_the_older_hears_it() {
    let group = Group::running().await;
    let older = group.client(0).await;
    older.invoke("add n").await.unwrap();
    let newer = group.client(0).await;
    // They take the link from each other, so either may need its repetitions.
    assert_eq!(in_time(newer.invoke("add n")).await.unwrap(), "2");
    newer.close().await;
    let error = in_time(older.invoke("add n")).await.unwrap_err();
    assert_eq!(error, InvokeError::Superseded);
    assert_eq!(
        in_time(group.client(1).await.query("get n")).await.unwrap(),
        "2"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_long_is_refused_before_it_is_sent() {
    let group = Group::running().await;
    let client = group
        .client_with(
            0,
            Settings {
                limits: net::Limits {
                    max_message: 10_000,
                    ..net::Limits::default()
                },
                ..Settings::default()
            },
        )
        .await;
    let error = client.invoke(vec![b'x'; 10_000]).await.unwrap_err();
    assert_eq!(
        error,
        InvokeError::TooLong {
            bytes: 10_000,
            max: 10_000 - 256
        }
    );
    assert_eq!(client.invoke("add n").await.unwrap(), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_window_is_told_to_who_waits_for_room() {
    let mut group = Group::new();
    for id in 0..2 {
        group.start(id, Map::default()).await;
    }
    let client = group
        .client_with(
            0,
            Settings {
                window: 2,
                patience: Duration::from_secs(1),
                ..Settings::default()
            },
        )
        .await;
    let mut outcomes = Vec::new();
    for _ in 0..5 {
        outcomes.push(tokio::spawn({
            let client = client.clone();
            async move { client.invoke("add n").await }
        }));
    }
    let (mut unknown, mut busy) = (0, 0);
    for outcome in outcomes {
        match in_time(outcome).await.unwrap().unwrap_err() {
            InvokeError::OutcomeUnknown { .. } => unknown += 1,
            InvokeError::Busy { .. } => busy += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!(unknown + busy, 5);
    assert!(unknown >= 2, "the window was used");
}

/// The attack of the SRDS 2021 paper: the leader decides with replicas 1 and 2 only, tells replica 3 nothing and answers no client, so that
/// a quorum of answers needs replica 3. It hears of the decisions from its other peers, and fetches them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_leaves_a_replica_out_and_answers_no_client_blocks_nobody() {
    let mut group = Group::new();
    for id in 0..3 {
        group.start(id, Map::default()).await;
    }
    let mut config = group.config(3);
    config.cluster.replicas[0].address = group::free_address();
    let left_out = order::node::Node::start(config, Map::default())
        .await
        .unwrap();
    group.nodes[3] = Some(left_out);
    let mut without_leader = group.cluster.clone();
    without_leader.replicas[0].address = group::free_address();
    let client = group.client_of(&without_leader, 0, patient()).await;
    for count in 1..=3 {
        assert_eq!(
            in_time(client.invoke("add n")).await.unwrap(),
            count.to_string()
        );
        assert_eq!(
            in_time(client.query("get n")).await.unwrap(),
            count.to_string()
        );
    }
}
