//! A service's checkpoints: logs that are cut, restarts that begin in the middle, replicas that come back with nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use crate::group::impostor::RawClient;
use crate::group::map::{Map, Seen, Watched};
use crate::group::{Group, in_time};
use bytes::Bytes;
use consensus::service::{Call, Outcome, ToClient, ToReplica};
use consensus::{Height, Request};

/// An operation of another client that adds one to `m`, always the same bytes.
fn request(group: &Group) -> Request {
    let key = group.client_identity(1);
    let op = Call::Execute(Bytes::from_static(b"add m")).encode();
    Request::sign(key.signing_key(), Group::client_id(1), 1, 1, op)
}

/// Sends that request to some replicas, and returns what each of them answers.
async fn send(group: &Group, to: &[u16]) -> BTreeSet<(Height, Bytes)> {
    let mut cluster = group.cluster.clone();
    cluster.replicas.retain(|replica| to.contains(&replica.id));
    let (id, key) = (Group::client_id(1), group.client_identity(1));
    let mut client = RawClient::connect(&cluster, id.0, key).await;
    to.iter()
        .for_each(|id| client.say(*id, &ToReplica::Request(request(group))));
    let (mut heard, mut answers) = (BTreeSet::new(), BTreeSet::new());
    while heard.len() < to.len() {
        let (from, message) = client.hear().await;
        let ToClient::Reply { outcome, .. } = message else {
            panic!("{message:?}");
        };
        let Outcome { height, result, .. } = outcome;
        heard.insert(from);
        answers.insert((height, result.expect("short")));
    }
    client.endpoint.shutdown().await;
    answers
}

async fn watched(group: &mut Group, id: u16) -> Arc<Seen> {
    let service = Watched::default();
    let seen = service.1.clone();
    group.start(id, service).await;
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_are_cut_and_a_restart_begins_with_a_checkpoint() {
    let mut group = Group::with_short_logs().started().await;
    let client = group.client(0).await;
    let before = send(&group, &[0, 1, 2, 3]).await;
    assert_eq!(before.len(), 1);
    let count = group.age(&client, "add n").await;
    // Whoever is behind could need another one's state.
    group.assert_equal().await;
    // All of them stop at once: what was executed, and answered, is in their checkpoints and cut logs.
    for id in 0..4 {
        group.stop(id).await.unwrap();
    }
    let mut seen = Vec::new();
    for id in 0..4 {
        seen.push(watched(&mut group, id).await);
    }
    for seen in &seen {
        assert_eq!(seen.restored.load(SeqCst), 1);
        let executed = seen.executed.load(SeqCst);
        assert!(executed < count, "{executed} of {count} once more");
    }
    assert_eq!(
        send(&group, &[0, 1, 2, 3]).await,
        before,
        "not executed again"
    );
    assert_eq!(in_time(client.query("get m")).await.unwrap(), "1");
    let next = in_time(client.invoke("add n")).await.unwrap();
    assert_eq!(next, (count + 1).to_string());
    group.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_away_comes_back_by_a_peers_checkpoint() {
    let mut group = Group::with_short_logs().started().await;
    let client = group.client(0).await;
    let before = send(&group, &[0, 1, 2, 3]).await;
    group.stop(3).await.unwrap();
    let count = group.age(&client, "add n").await;
    let seen = watched(&mut group, 3).await;
    in_time(client.invoke("add n")).await.unwrap();
    group.assert_equal().await;
    assert_eq!(seen.restored.load(SeqCst), 1);
    assert!(
        seen.executed.load(SeqCst) < count,
        "most came with the state"
    );
    // Its reply store is the group's, and its vote counts.
    assert_eq!(send(&group, &[3]).await, before);
    group.stop(0).await.unwrap();
    let next = in_time(client.invoke("add n")).await.unwrap();
    assert_eq!(next, (count + 2).to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_lost_its_disk_comes_back_by_a_peers_checkpoint() {
    let mut group = Group::with_short_logs().started().await;
    let client = group.client(0).await;
    let before = send(&group, &[0, 1, 2, 3]).await;
    let count = group.age(&client, "add n").await;
    group.stop(2).await.unwrap();
    std::fs::remove_dir_all(group.log_dir(2)).unwrap();
    let seen = watched(&mut group, 2).await;
    in_time(client.invoke("add n")).await.unwrap();
    group.assert_equal().await;
    assert_eq!(seen.restored.load(SeqCst), 1);
    assert!(seen.executed.load(SeqCst) < count);
    assert_eq!(send(&group, &[2]).await, before);
    // What it took over is durable: it begins with it.
    group.stop(2).await.unwrap();
    let again = watched(&mut group, 2).await;
    assert_eq!(again.restored.load(SeqCst), 1);
    group.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_the_service_refuses_stops_its_replica_with_a_reason() {
    /// It cannot read what it wrote.
    #[derive(Default)]
    struct Forgetful(Map);

    impl order::node::Service for Forgetful {
        fn execute(&mut self, context: &order::node::Context, op: &[u8]) -> Bytes {
            self.0.execute(context, op)
        }

        fn query(&self, op: &[u8]) -> Bytes {
            self.0.query(op)
        }

        fn snapshot(&self) -> Bytes {
            self.0.snapshot()
        }

        fn restore(&mut self, _: &[u8]) -> Result<(), String> {
            Err("an unknown format".into())
        }
    }

    let mut group = Group::with_short_logs().started().await;
    let client = group.client(0).await;
    group.age(&client, "add n").await;
    group.stop(1).await.unwrap();
    let failed = order::node::Node::start(group.config(1), Forgetful::default()).await;
    let why = failed.unwrap_err().to_string();
    assert!(why.contains("an unknown format"), "{why}");
    group.start(1, Map::default()).await;
    group.assert_equal().await;
}
