//! A master that has a word for its peers and none for clients, and one that a client does not reach
//! (docs/decisions/0030-errands.md).

use client_shim::Operation;
use harness::{Cluster, MALLORY, MASTER, failure};
use net::PeerId;
use replica::executor::lies::Lie;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;
use txn::TxId;
use txn::client::ClientMessage;
use txn::errand::Errand;

/// For what is sure to come.
const PATIENCE: Duration = Duration::from_secs(60);

async fn table(cluster: &Cluster) -> Client {
    let client = cluster.client().await;
    let setup = "CREATE TABLE t (id int PRIMARY KEY, a int NOT NULL); INSERT INTO t VALUES (1, 0)";
    client.batch_execute(setup).await.unwrap();
    client
}

/// Its peers hear of it all the time: pings, votes, consensus.
#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_has_no_word_for_clients_is_replaced() {
    let cluster = Cluster::start_impatient(Duration::from_secs(4)).await;
    let client = table(&cluster).await;
    cluster.lies(MASTER, &[Lie::Mute]);
    // One client alone, which notices nothing but a pause.
    let write = client.batch_execute("UPDATE t SET a = a + 1");
    timeout(PATIENCE, write)
        .await
        .expect("nobody helps")
        .unwrap();
    assert_eq!(cluster.epoch().await, 1);

    // A transaction to which nothing was answered yet begins again unseen.
    cluster.lies(1, &[Lie::Mute]);
    let write = client.batch_execute("BEGIN; UPDATE t SET a = a + 1; COMMIT");
    timeout(PATIENCE, write)
        .await
        .expect("nobody helps")
        .unwrap();
    assert_eq!(cluster.epoch().await, 2);

    // One that was answered cannot be told from one that began later.
    client
        .batch_execute("BEGIN; UPDATE t SET a = a + 1")
        .await
        .unwrap();
    cluster.lies(2, &[Lie::Mute]);
    let next = client.batch_execute("SELECT a FROM t");
    let next = timeout(PATIENCE, next).await.expect("nobody helps");
    assert_eq!(failure::<()>(next).0, "40001");
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(cluster.epoch().await, 3);
    cluster.hold("SELECT a FROM t", &["2"]).await;
    cluster.audit().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_reach_the_master_is_served_through_the_others() {
    let cluster = Cluster::start().await;
    let client = table(&cluster).await;
    cluster.lies(MASTER, &[Lie::Deaf]);
    // One of those who bring invents what the master says, and is the first to say it.
    cluster.lies(3, &[Lie::BringsEnds]);
    let served = async {
        client
            .batch_execute("UPDATE t SET a = a + 1")
            .await
            .unwrap();
        client.batch_execute("BEGIN").await.unwrap();
        let row = client
            .query_one("UPDATE t SET a = a + $1 RETURNING a", &[&1i32])
            .await
            .unwrap();
        assert_eq!(row.get::<_, i32>(0), 2);
        client.batch_execute("COMMIT").await.unwrap();
        let twice = client.batch_execute("INSERT INTO t VALUES (1, 7)").await;
        assert_eq!(failure::<()>(twice).0, "23505");
    };
    timeout(PATIENCE, served).await.expect("it is not served");
    assert_eq!(cluster.epoch().await, 0, "the master is what it was");
    cluster.hold("SELECT a FROM t", &["2"]).await;
    cluster.audit().await;
    cluster.end().await;
}

/// Slow statements, and what a client makes up, cost no master its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_at_work_or_is_brought_nonsense_stays() {
    let cluster = Cluster::start_impatient(Duration::from_secs(4)).await;
    let client = table(&cluster).await;
    let slow = client.batch_execute("BEGIN; UPDATE t SET a = 1; SELECT pg_sleep(9); COMMIT");
    let nonsense = async {
        let link = cluster.link(PeerId::Client(MALLORY.0), "mallory").await;
        let key = cluster.key("mallory").signing_key().clone();
        let other = ed25519_dalek::SigningKey::from_bytes(&[3; 32]);
        let operation = |client, seq: u64| ClientMessage::Operation {
            tx: TxId {
                client,
                incarnation: 1,
                seq,
            },
            step: 0,
            operation: Operation::text("SELECT 1"),
        };
        let began = Instant::now();
        for seq in 1.. {
            if began.elapsed() > Duration::from_secs(7) {
                break;
            }
            let own = operation(MALLORY, seq);
            let errands = [
                // Of a transaction that nobody began, of an epoch to come, with another one's signature, of another one.
                Errand::new(MALLORY, 0, &own, &key),
                Errand::new(MALLORY, 9, &own, &key),
                Errand::new(MALLORY, 0, &own, &other),
                Errand::new(MALLORY, 0, &operation(harness::PROXY, seq), &key),
                Errand::new(harness::PROXY, 0, &operation(harness::PROXY, seq), &key),
            ];
            for errand in errands {
                link.say(&ClientMessage::Errand(errand));
            }
            sleep(Duration::from_millis(20)).await;
        }
        link.down().await;
    };
    let (done, ()) = tokio::join!(timeout(PATIENCE, slow), nonsense);
    done.expect("it has ended").unwrap();
    assert_eq!(cluster.epoch().await, 0);
    cluster.hold("SELECT a FROM t", &["1"]).await;
    cluster.audit().await;
    cluster.end().await;
}
