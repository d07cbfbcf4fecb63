//! A client with a key of its own speaks in others' names.

use client_shim::{Isolation, Operation, Shim};
use cluster::channel;
use consensus::{ClientId, Height, ReplicaId};
use ed25519_dalek::SigningKey;
use harness::{Cluster, MALLORY, OPERATOR, PROXY, column, inserted};
use net::PeerId;
use std::time::{Duration, Instant};
use txn::client::{Answer, ClientMessage};
use txn::peer::PeerMessage;
use txn::{Auto, Ballot, Commit, Ordered, TxId, VotePart};

const SLOW: &str = "INSERT INTO t SELECT 3 FROM pg_sleep(3)";
/// For what is sure to come.
const PATIENCE: Duration = Duration::from_secs(60);

async fn decided(cluster: &Cluster) -> Height {
    cluster.settle().await;
    cluster
        .statuses()
        .await
        .values()
        .map(|s| s.decided)
        .max()
        .unwrap()
}

/// The same when nothing is under way any more: replicas may still have had votes of a moment ago ordered.
async fn at_rest(cluster: &Cluster) -> Height {
    let until = Instant::now() + PATIENCE;
    let mut height = decided(cluster).await;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = decided(cluster).await;
        if now == height {
            return height;
        }
        assert!(Instant::now() < until, "something is ordered on and on");
        height = now;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_speaks_for_another() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    client
        .batch_execute("CREATE TABLE t (a int)")
        .await
        .unwrap();
    let before = cluster.verdicts().await;
    forged_signatures(&cluster).await;
    another_ones_transaction(&cluster).await;
    forged_votes(&cluster, &client).await;
    let after = cluster.verdicts().await;
    // The one Commit in another's name is the only ABORT of each replica.
    for (replica, (before, after)) in before.iter().zip(&after).enumerate() {
        assert_eq!(after.1, before.1 + 2, "aborts at replica {replica}");
    }
    one_name_for_two_writes(&cluster).await;
    cluster.end().await;
}

async fn insert(victim: &Shim, value: u32) -> client_shim::Transaction {
    let mut transaction = victim.begin(Vec::new(), Isolation::Snapshot, false);
    let sql = format!("INSERT INTO t VALUES ({value})");
    transaction
        .execute(Operation::text(sql), false)
        .await
        .unwrap();
    transaction
}

/// What is not signed by the client in whose name it comes is not ordered.
async fn forged_signatures(cluster: &Cluster) {
    let transaction = insert(&cluster.operator, 1).await;
    let tx = transaction.id();
    let height = at_rest(cluster).await;
    let link = cluster.link(PeerId::Client(MALLORY.0), "mallory").await;
    let key = cluster.key("mallory").signing_key();
    for incarnation in [tx.incarnation, u64::MAX] {
        for seq in 1..20 {
            link.request(key, OPERATOR, incarnation, seq, &Ordered::Rollback { tx });
            link.request(key, PROXY, incarnation, seq, &Ordered::Nothing(Vec::new()));
        }
    }
    for replica in 0..4 {
        let name = ClientId::of(ReplicaId(replica));
        link.request(key, name, u64::MAX, 1, &Ordered::MasterChange { epoch: 0 });
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    link.down().await;
    assert_eq!(decided(cluster).await, height, "nothing forged was ordered");
    transaction.commit().await.unwrap();
    cluster.hold("SELECT a FROM t", &["1"]).await;
}

/// Rightly signed, about somebody else's transaction.
async fn another_ones_transaction(cluster: &Cluster) {
    let mut transaction = insert(&cluster.operator, 2).await;
    let tx = transaction.id();
    let link = cluster.link(PeerId::Client(MALLORY.0), "mallory").await;
    let operation = Operation::text("DELETE FROM t");
    link.say(&ClientMessage::Operation {
        tx,
        step: 1,
        operation: operation.clone(),
    });
    link.say(&ClientMessage::AutoOperation {
        tx,
        epoch: 0,
        min_height: 0,
        turn: None,
        settings: Vec::new(),
        operation,
    });
    link.say(&ClientMessage::AutoForget { tx });
    link.say(&ClientMessage::Cancel { tx });
    tokio::time::sleep(Duration::from_millis(100)).await;
    link.down().await;

    let mallory = cluster.mallory().await;
    let step = inserted("t", 666);
    let auto = Auto {
        tx,
        epoch: 0,
        ran_at: decided(cluster).await,
        settings: Vec::new(),
        step: step.clone(),
        word: None,
    };
    let attempts = [
        (Ordered::Rollback { tx }, Answer::Done),
        (
            Ordered::Commit(Commit {
                tx,
                epoch: 0,
                steps: vec![step],
                word: None,
            }),
            Answer::Aborted,
        ),
        (Ordered::Auto(auto), Answer::Aborted),
        (Ordered::MasterChange { epoch: 0 }, Answer::Done),
        (Ordered::MasterChange { epoch: 0 }, Answer::Done),
    ];
    for (attempt, answer) in attempts {
        assert_eq!(
            mallory.invoke(&attempt).await.unwrap().answer,
            answer,
            "{attempt:?}"
        );
    }
    let read = transaction
        .execute(Operation::text("SELECT count(*) FROM t"), false)
        .await
        .unwrap();
    assert_ne!(read.transaction, b'E');
    transaction.commit().await.unwrap();
    cluster
        .hold("SELECT a FROM t ORDER BY a", &["1", "2"])
        .await;
    let epochs: Vec<_> = cluster.statuses().await.values().map(|s| s.epoch).collect();
    assert_eq!(
        epochs, [0; 4],
        "a client is no replica: it cannot move the master"
    );
}

/// Votes in the replicas' names, for heights to come, over the link and through the order.
async fn forged_votes(cluster: &Cluster, client: &tokio_postgres::Client) {
    let height = at_rest(cluster).await;
    let key = cluster.key("mallory").signing_key();
    let forged: Vec<VotePart> = (height + 1..height + 40)
        .flat_map(|height| (0..4).map(move |replica| (height, replica)))
        .map(|(height, replica)| abort(key, height, replica))
        .collect();
    let link = cluster.link(PeerId::Client(MALLORY.0), "mallory").await;
    for part in &forged {
        link.all(
            channel::PEER,
            postcard::to_stdvec(&PeerMessage::Vote(part.clone())).unwrap(),
        );
    }
    link.down().await;
    // Judged for three seconds at every follower: its verdict is open when the votes are ordered.
    let mallory = cluster.mallory().await;
    let slow = cluster.client().await;
    let write = tokio::spawn(async move { slow.batch_execute(SLOW).await });
    let until = Instant::now() + PATIENCE;
    let height = loop {
        let statuses = cluster.statuses().await;
        let decided = statuses.values().map(|s| s.decided).max().unwrap();
        if decided > height {
            let open = statuses.values().any(|s| s.applied < decided);
            assert!(open, "the slow write is still being judged");
            break decided;
        }
        assert!(Instant::now() < until, "the slow write is ordered");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let forged = (0..4).map(|replica| abort(key, height, replica)).collect();
    let answer = mallory
        .invoke(&Ordered::Votes(forged))
        .await
        .unwrap()
        .answer;
    assert_eq!(answer, Answer::Done);
    write.await.unwrap().unwrap();
    for n in 0..10 {
        client
            .batch_execute(&format!("INSERT INTO t VALUES ({})", 10 + n))
            .await
            .unwrap();
    }
}

fn abort(key: &SigningKey, height: Height, voter: u16) -> VotePart {
    VotePart::sign(
        key,
        0,
        ReplicaId(voter),
        height,
        0,
        vec![(0, Ballot::Abort)],
    )
}

/// A client signs two different writes under one name and has them ordered together: each replica must still do the
/// same.
async fn one_name_for_two_writes(cluster: &Cluster) {
    let link = cluster.link(PeerId::Client(MALLORY.0), "mallory").await;
    let key = cluster.key("mallory").signing_key();
    let incarnation = u64::MAX - 1;
    for round in 0..20u64 {
        let ran_at = decided(cluster).await;
        let tx = TxId {
            client: MALLORY,
            incarnation,
            seq: 1 << 63 | round,
        };
        for half in 0..2 {
            let value = (1000 + 10 * round + half) as u32;
            let step = inserted("t", value);
            let auto = Auto {
                tx,
                epoch: 0,
                ran_at,
                settings: Vec::new(),
                step,
                word: None,
            };
            link.request(
                key,
                MALLORY,
                incarnation,
                2 * round + half + 1,
                &Ordered::Auto(auto),
            );
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let one = cluster.at(1).await;
    let written = async || {
        let rows = column(&one, "SELECT a FROM t WHERE a >= 1000").await;
        rows.unwrap()
    };
    let until = Instant::now() + PATIENCE;
    loop {
        let rows = written().await;
        if rows.len() >= 20 {
            break;
        }
        assert!(
            Instant::now() < until,
            "one of two is a write like any other: {rows:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    link.down().await;
    at_rest(cluster).await;
    cluster.audit().await;
    let rows = written().await;
    let distinct: std::collections::BTreeSet<_> = rows.iter().collect();
    assert_eq!(
        distinct.len(),
        rows.len(),
        "nothing is written twice: {rows:?}"
    );
}
