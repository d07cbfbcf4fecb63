//! A proxy dies with a transaction open: nobody will ever end that one.

use crate::late_master::outcome;
use client_shim::Operation;
use harness::{Cluster, MALLORY};
use net::PeerId;
use std::time::Duration;
use tokio::time::timeout;
use txn::client::ClientMessage;
use txn::{Begin, Ordered, TxId};

/// For what is sure to come: twice what the replicas wait for a client to return, and some more.
const PATIENCE: Duration = Duration::from_secs(30);

/// Its locks and its place are free soon, for everybody alike.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_proxy_held_is_free_soon() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let setup = "CREATE TABLE t (a int); INSERT INTO t VALUES (1)";
    client.batch_execute(setup).await.unwrap();

    let mut link = cluster.link(PeerId::Client(MALLORY.0), "mallory").await;
    let tx = TxId {
        client: MALLORY,
        incarnation: 1,
        seq: 1,
    };
    let begin = Ordered::Begin(Begin {
        epoch: 0,
        settings: Vec::new(),
        isolation: txn::Isolation::Snapshot,
        read_only: false,
    });
    let key = cluster.key("mallory").signing_key();
    link.request(key, MALLORY, tx.incarnation, tx.seq, &begin);
    link.say(&ClientMessage::Operation {
        tx,
        step: 0,
        operation: Operation::text("UPDATE t SET a = 666"),
    });
    let answered = timeout(PATIENCE, outcome(&mut link)).await.unwrap();
    assert_eq!(answered.unwrap().0, 1, "it holds the row's lock");
    link.down().await;

    let update = client.batch_execute("UPDATE t SET a = 2");
    timeout(PATIENCE, update)
        .await
        .expect("the lock is free")
        .unwrap();
    cluster.hold("SELECT a FROM t", &["2"]).await;
    for (replica, status) in cluster.statuses().await {
        assert_eq!(status.open_transactions, 0, "{replica}");
    }
    cluster.audit().await;
    cluster.end().await;
}
