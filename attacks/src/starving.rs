//! An autocommit write that others would have aborted for ever (decision 34).

use harness::{Cluster, column};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// It reads what all others change, and changes what all others change: whatever the master says of it, somebody commits between that
/// and its place; and as a transaction of its own somebody commits before it.
const READS_AND_WRITES: &str = "UPDATE hot SET n = n + (SELECT sum(v) FROM busy) * 0 WHERE id = 1 RETURNING (SELECT sum(v) FROM busy)";

#[tokio::test(flavor = "multi_thread")]
async fn an_autocommit_write_gets_through_whatever_others_commit() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let setup = "CREATE TABLE busy (id int PRIMARY KEY, v bigint NOT NULL);
        INSERT INTO busy SELECT g, 0 FROM generate_series(1, 6) g;
        CREATE TABLE hot (id int PRIMARY KEY, n bigint NOT NULL);
        INSERT INTO hot VALUES (1, 0)";
    client.batch_execute(setup).await.unwrap();

    let over = Arc::new(AtomicBool::new(false));
    let mut others = Vec::new();
    for id in 1..=6 {
        let (other, over) = (cluster.client().await, over.clone());
        others.push(tokio::spawn(async move {
            let mut done = 0;
            while !over.load(Ordering::Relaxed) {
                let busy = format!("UPDATE busy SET v = v + 1 WHERE id = {id}");
                other.batch_execute(&busy).await.unwrap();
                let hot = "UPDATE hot SET n = n + 1 WHERE id = 1";
                other.batch_execute(hot).await.unwrap();
                done += 1;
            }
            done
        }));
    }
    let mut sums = Vec::new();
    for _ in 0..6 {
        let sum = column(&client, READS_AND_WRITES)
            .await
            .expect("it gets through");
        sums.push(sum[0].parse::<u64>().unwrap());
    }
    over.store(true, Ordering::Relaxed);
    let mut done: u64 = 0;
    for other in others {
        // Whoever is held back only waits.
        done += other.await.unwrap();
    }
    assert!(
        sums.is_sorted() && sums[5] > sums[0],
        "others were at work: {sums:?}"
    );
    let done = done.to_string();
    cluster.hold("SELECT n FROM hot", &[&done]).await;
    cluster.hold("SELECT sum(v) FROM busy", &[&done]).await;
    let statuses = cluster.statuses().await;
    assert!(statuses.values().all(|s| s.epoch == 0), "nobody is blamed");
    cluster.audit().await;
    cluster.end().await;
}
