//! What a client of a replicated service is answered: once, the same everywhere, and the truth.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::group::impostor::RawClient;
use crate::group::map::{Liar, Map};
use crate::group::{Group, in_time, wait_until};
use bytes::Bytes;
use consensus::Request;
use consensus::service::{Call, ToClient, ToReplica};
use order::log::{Log, LogError, LogOptions, Replay};
use tempfile::TempDir;

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_client_writes_another_reads() {
    let group = Group::running().await;
    let (one, two) = (group.client(0).await, group.client(1).await);
    assert_eq!(one.invoke("put a 1").await.unwrap(), "");
    assert_eq!(two.query("get a").await.unwrap(), "1");
    assert_eq!(two.invoke("put a 2").await.unwrap(), "1");
    assert_eq!(one.query("get a").await.unwrap(), "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_operations_at_once_are_each_executed_once() {
    let group = Group::running().await;
    let client = group.client(0).await;
    let mut under_way = Vec::new();
    for _ in 0..600 {
        under_way.push(client.invoke_async("add n").await.unwrap());
    }
    let mut numbers = BTreeSet::new();
    for invocation in under_way {
        numbers.insert(text(&invocation.await.unwrap()).parse::<u64>().unwrap());
    }
    assert_eq!(numbers, (1..=600).collect());
    assert_eq!(client.query("get n").await.unwrap(), "600");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_sent_many_times_over_many_connections_is_executed_once_and_answered_alike() {
    let group = Group::running().await;
    let op = Call::Execute(Bytes::from_static(b"add n")).encode();
    let key = group.client_identity(0);
    let id = Group::client_id(0);
    let request = Request::sign(key.signing_key(), id, 1, 1, op);
    let mut answers = BTreeSet::new();
    for _ in 0..3 {
        // A new connection to every replica, on which the same request comes several times.
        let mut client = RawClient::connect(&group.cluster, id.0, key.clone()).await;
        for _ in 0..5 {
            for replica in 0..4 {
                client.say(replica, &ToReplica::Request(request.clone()));
            }
        }
        let mut heard = BTreeSet::new();
        while heard.len() < 4 {
            let (from, message) = client.hear().await;
            let ToClient::Reply {
                seq: 1, outcome, ..
            } = message
            else {
                panic!("{message:?}");
            };
            heard.insert(from);
            answers.insert((outcome.height, outcome.result.unwrap()));
        }
        client.endpoint.shutdown().await;
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers.first().unwrap().1, "1");
    // A copy of what was ordered leaves nothing behind that could time out and cost a leader its place.
    for id in 0..4 {
        wait_until(|| group.node(id).status().pending_requests == 0).await;
    }
    assert_eq!(group.client(1).await.query("get n").await.unwrap(), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_restarted_answers_old_requests_from_its_store() {
    let mut group = Group::running().await;
    let key = group.client_identity(0);
    let id = Group::client_id(0);
    let request = |seq, op: &'static [u8]| {
        let op = Call::Execute(Bytes::from_static(op)).encode();
        ToReplica::Request(Request::sign(key.signing_key(), id, 1, seq, op))
    };
    let long = request(2, b"fill b 5000");
    let mut client = RawClient::connect(&group.cluster, id.0, key.clone()).await;
    for replica in 0..4 {
        client.say(replica, &request(1, b"add n"));
        client.say(replica, &long);
    }
    let mut height = 0;
    let mut heard = BTreeSet::new();
    while heard.len() < 8 {
        let (from, message) = client.hear().await;
        if let ToClient::Reply { seq, outcome, .. } = message {
            height = height.max(outcome.height);
            heard.insert((from, seq));
        }
    }
    let before = group.node(2).snapshot().await.unwrap();
    group.stop(2).await.unwrap();
    group.start(2, Map::default()).await;
    group.executed(2, height).await;
    assert_eq!(group.node(2).snapshot().await.unwrap(), before);
    client.endpoint.shutdown().await;
    let mut client = RawClient::connect(&group.cluster, id.0, key.clone()).await;
    client.say(2, &request(1, b"add n"));
    client.say(2, &long);
    for (seq, result) in [(1, "1".to_owned()), (2, "x".repeat(5_000))] {
        let (from, message) = client.hear().await;
        let ToClient::Reply {
            seq: of, outcome, ..
        } = message
        else {
            panic!("{message:?}");
        };
        // Whole, whoever sent it whole the first time.
        assert_eq!((from, of, outcome.result), (2, seq, Some(result.into())));
    }
}

/// What was told lies on the teller's own disk: read there at that moment, as after a loss of power.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_answers_only_what_its_own_log_holds() {
    let group = Group::running().await;
    let (key, id) = (group.client_identity(0), Group::client_id(0));
    let mut client = RawClient::connect(&group.cluster, id.0, key.clone()).await;
    for seq in 1..=5 {
        let op = Call::Execute(Bytes::from_static(b"add n")).encode();
        let request = Request::sign(key.signing_key(), id, 1, seq, op);
        for replica in 0..4 {
            client.say(replica, &ToReplica::Request(request.clone()));
        }
        for _ in 0..4 {
            let (from, message) = client.hear().await;
            let ToClient::Reply { outcome, .. } = message else {
                panic!("{message:?}");
            };
            let (_copy, replay) = copied(&group.log_dir(from));
            let held = order::recover(replay, consensus::View::default())
                .unwrap()
                .height();
            assert!(held >= outcome.height, "{held} of {}", outcome.height);
        }
    }
}

/// What a log holds at this moment, by a copy of its files.
fn copied(log: &Path) -> (TempDir, Replay) {
    for _ in 0..50 {
        let copy = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(log).unwrap() {
            let file = file.unwrap();
            if file.file_type().unwrap().is_dir() {
                // Checkpoints, of which there are none yet.
                continue;
            }
            std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
        match Log::open(copy.path(), LogOptions::default()) {
            Ok((_, replay)) => return (copy, replay),
            // A copy of a file that is written meanwhile may be older in front than behind.
            Err(LogError::Corrupt { .. }) => std::thread::sleep(Duration::from_millis(20)),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("fifty copies of the log in {} are damaged", log.display());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_of_equal_heights_are_equal() {
    let group = Group::running().await;
    let client = group.client(0).await;
    for _ in 0..20 {
        client.invoke("add n").await.unwrap();
    }
    group.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_service_lies_changes_no_answer() {
    let mut group = Group::new();
    for id in [0, 2, 3] {
        group.start(id, Map::default()).await;
    }
    group.start(1, Liar::default()).await;
    let client = group.client(0).await;
    for round in 1..=40_u64 {
        assert_eq!(client.invoke("add n").await.unwrap(), round.to_string());
        assert_eq!(client.query("get n").await.unwrap(), round.to_string());
    }
    // Longer than what all send whole: the liar's turn to send it comes too.
    for length in 100..110 {
        let result = client.invoke(format!("fill b {length}")).await.unwrap();
        assert_eq!(text(&result), "x".repeat(length));
        assert_eq!(client.query("get b").await.unwrap(), result);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_result_comes_though_the_replica_that_was_to_send_it_is_down() {
    let mut group = Group::running().await;
    let client = group.client(0).await;
    client.invoke("put a 1").await.unwrap();
    group.stop(3).await.unwrap();
    for length in 1_000..1_008 {
        let result = in_time(client.invoke(format!("fill b {length}")))
            .await
            .unwrap();
        assert_eq!(result.len(), length);
        assert_eq!(in_time(client.query("get b")).await.unwrap(), result);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_each_replica_restarts_in_turn_nothing_is_lost_and_nothing_done_twice() {
    let mut group = Group::running().await;
    let client = group.client(0).await;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let counting = tokio::spawn(async move {
        let mut count = 0_u64;
        while !stopped.load(Ordering::Relaxed) {
            count += 1;
            assert_eq!(client.invoke("add n").await.unwrap(), count.to_string());
        }
        count
    });
    for id in 0..4 {
        group.stop(id).await.unwrap();
        let height = group.height();
        // The others go on without it.
        group.executed((id + 1) % 4, height + 3).await;
        group.start(id, Map::default()).await;
        group.executed(id, height + 3).await;
    }
    stop.store(true, Ordering::Relaxed);
    let count = in_time(counting).await.unwrap();
    assert!(count >= 12);
    let read = group.client(1).await.query("get n").await.unwrap();
    assert_eq!(read, count.to_string());
}
