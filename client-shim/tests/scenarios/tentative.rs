//! Answers before the decision.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use crate::group::impostor::{FalseReplica, RawClient};
use crate::group::map::Map;
use crate::group::{Group, in_time};
use bytes::Bytes;
use consensus::Request;
use consensus::service::{Call, ToClient, ToReplica};

fn tentative(mut group: Group) -> Group {
    group.settings.tentative = true;
    group
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_replicas_answer_tentatively_by_one_lock_and_once_more_when_asked_again() {
    let mut group = tentative(Group::new());
    // One leader, and so one lock, however late a busy machine makes it.
    let settings = &mut group.settings;
    settings.request_timeout_ms = 60_000;
    settings.link_grace_ms = 60_000;
    settings.watch_slack_ms = 60_000;
    let group = group.started().await;
    let (key, id) = (group.client_identity(0), Group::client_id(0));
    let mut client = RawClient::connect(&group.cluster, id.0, key.clone()).await;
    let op = Call::Execute(Bytes::from_static(b"add n")).encode();
    let request = Request::sign(key.signing_key(), id, 1, 1, op);
    for replica in 0..4 {
        client.say(replica, &ToReplica::Request(request.clone()));
    }
    let (mut told, mut locks) = (0, BTreeSet::new());
    // A replica that saw the decision first answers finally, and one that had the request from its peers before once more.
    let mut heard = BTreeSet::new();
    while heard.len() < 4 {
        let (from, answer) = client.hear().await;
        heard.insert(from);
        match answer {
            ToClient::Tentative {
                regency,
                value,
                outcome,
                ..
            } => {
                told += 1;
                locks.insert((regency, value.0, outcome.height));
            }
            ToClient::Reply { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(told >= 3, "a decision takes three locks: {told}");
    assert_eq!(locks.len(), 1);
    for replica in 0..4 {
        group.executed(replica, 1).await;
        client.say(replica, &ToReplica::Request(request.clone()));
        loop {
            let (from, again) = client.hear().await;
            if from == replica && matches!(again, ToClient::Reply { .. }) {
                break;
            }
        }
    }
    client.endpoint.shutdown().await;
}

/// Each client's next operation and query see what it was told tentatively, while leaders crash and come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_crash_and_every_operation_is_executed_once_and_seen_by_every_query() {
    let mut group = tentative(Group::with_short_logs()).started().await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut running = Vec::new();
    for place in 0..2 {
        let (client, stop) = (group.client(place).await, stop.clone());
        running.push(tokio::spawn(async move {
            let mut done = 0_u64;
            while !stop.load(SeqCst) {
                done += 1;
                let count = client.invoke(format!("add n{place}")).await.unwrap();
                assert_eq!(count, done.to_string());
                let seen = client.query(format!("get n{place}")).await.unwrap();
                assert_eq!(seen, done.to_string());
            }
            done
        }));
    }
    for _ in 0..4 {
        let leader = group
            .nodes
            .iter()
            .flatten()
            .next()
            .unwrap()
            .status()
            .leader
            .0;
        group.stop(leader).await.unwrap();
        let height = group.height();
        let next = (leader + 1) % 4;
        group.executed(next, height + 20).await;
        group.start(leader, Map::default()).await;
        group.executed(leader, height + 20).await;
    }
    stop.store(true, SeqCst);
    for (place, running) in running.into_iter().enumerate() {
        let done = in_time(running).await.unwrap();
        let reader = group.client(2 + place as u32).await;
        let seen = in_time(reader.query(format!("get n{place}")))
            .await
            .unwrap();
        assert_eq!(seen, done.to_string());
    }
    group.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_liars_tentative_answers_do_not_count() {
    let mut group = tentative(Group::new());
    for id in 0..3 {
        group.start(id, Map::default()).await;
    }
    // It claims a lock at once, with a result of its own.
    let lie = |message| match message {
        ToReplica::Request(request) => Some(ToClient::Tentative {
            incarnation: request.incarnation,
            seq: request.seq,
            regency: 0,
            value: consensus::Digest([7; 32]),
            outcome: consensus::service::Outcome::new(0, 1, Bytes::from_static(b"lie"), true),
        }),
        _ => None,
    };
    let identity = group.replicas[3].clone();
    let liar = FalseReplica::start(&group.cluster, 3, identity, Box::new(lie)).await;
    let mut cluster = group.cluster.clone();
    cluster.replicas[3].address = liar.address;
    let client = group.client_of(&cluster, 0, Default::default()).await;
    for count in 1..=20_u64 {
        let number = in_time(client.invoke("add n")).await.unwrap();
        assert_eq!(number, count.to_string());
    }
}
