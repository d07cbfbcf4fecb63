//! One correct replica answers differently (DESIGN.md, 5): it adopts what the others agreed upon.

use harness::Cluster;
use replica::executor::lies::Lie;

const ODD: u16 = 2;
/// The first peer that the odd one asks for rows.
const LIAR: u16 = 3;

const PICK: &str = "UPDATE t SET a = a + 100 WHERE id IN (SELECT id FROM t LIMIT 1)";

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_rows_lie_in_another_order_adopts() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let setup =
        "CREATE TABLE t (id int, a int); INSERT INTO t SELECT g, g FROM generate_series(1, 9) g";
    client.batch_execute(setup).await.unwrap();
    cluster.settle().await;
    let turned = "BEGIN; SET LOCAL session_replication_role = replica;
        WITH gone AS (DELETE FROM t RETURNING *) INSERT INTO t SELECT * FROM gone ORDER BY id DESC; COMMIT";
    cluster.at(ODD).await.batch_execute(turned).await.unwrap();
    let first = cluster.everywhere("SELECT id FROM t LIMIT 1").await;
    assert_eq!(
        first,
        [["1"], ["1"], ["9"], ["1"]],
        "the physical orders differ"
    );
    let before = cluster.verdicts().await;

    client
        .batch_execute(&format!("BEGIN; {PICK}; COMMIT"))
        .await
        .unwrap();
    cluster.hold("SELECT id FROM t WHERE a > 100", &["1"]).await;
    let after = cluster.verdicts().await;
    assert!(
        after[usize::from(ODD)].2 > before[usize::from(ODD)].2,
        "the odd replica adopts"
    );
    for replica in 0..4 {
        assert_eq!(
            after[replica].1, before[replica].1,
            "aborts at replica {replica}"
        );
    }
    cluster.audit().await;

    // The same without a transaction block.
    client.batch_execute(PICK).await.unwrap();
    assert!(cluster.verdicts().await[usize::from(ODD)].2 > after[usize::from(ODD)].2);
    cluster.audit().await;

    // The peer that it asks first serves wrong rows: they do not have the agreed digest, and another peer is asked.
    cluster.lies(LIAR, &[Lie::ServeOtherRows]);
    for block in [
        format!("BEGIN; {PICK}; INSERT INTO t VALUES (11, 11); COMMIT"),
        PICK.to_owned(),
    ] {
        let before = cluster.verdicts().await[usize::from(ODD)].2;
        client.batch_execute(&block).await.unwrap();
        assert!(cluster.verdicts().await[usize::from(ODD)].2 > before);
        cluster.audit().await;
    }

    // And with a follower that votes ABORT whatever it sees: two dissenters of four, one of them honest. The commit may
    // fail then, but all replicas stay equal.
    cluster.lies(LIAR, &[Lie::VoteAbort]);
    let _ = client
        .batch_execute(&format!("BEGIN; {PICK}; COMMIT"))
        .await;
    client.batch_execute("ROLLBACK").await.unwrap();
    cluster.lies(LIAR, &[]);
    cluster.audit().await;
    client
        .batch_execute("INSERT INTO t VALUES (12, 12)")
        .await
        .unwrap();
    cluster.audit().await;
    cluster.end().await;
}
