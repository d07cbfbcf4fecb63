//! One follower lies. Nothing changes for clients.

use harness::{Cluster, column, failure};
use replica::executor::lies::Lie;

const LIAR: u16 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn a_lying_follower_changes_nothing() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let setup = "CREATE TABLE account (id int PRIMARY KEY, n int NOT NULL);
        INSERT INTO account VALUES (1, 0), (2, 0);
        CREATE TABLE child (a int REFERENCES account DEFERRABLE INITIALLY DEFERRED)";
    client.batch_execute(setup).await.unwrap();
    let before = cluster.verdicts().await;

    let mut n = 0;
    for lie in [
        Lie::VoteAbort,
        Lie::VoteCommit,
        Lie::Equivocate,
        Lie::ForgeVotes,
        Lie::DenyCommits,
        Lie::ClaimCommits,
        Lie::DoomOthers,
        Lie::Answers,
    ] {
        cluster.lies(LIAR, &[lie]);
        for _ in 0..5 {
            n += 1;
            let auto = format!("UPDATE account SET n = {n} WHERE id = 1");
            client
                .batch_execute(&auto)
                .await
                .unwrap_or_else(|e| panic!("{lie:?}: {e}"));
            let explicit = format!(
                "BEGIN; SELECT n FROM account; UPDATE account SET n = {n} WHERE id = 2; COMMIT"
            );
            client
                .batch_execute(&explicit)
                .await
                .unwrap_or_else(|e| panic!("{lie:?}: {e}"));
            let read = column(&client, "SELECT /*lie:row*/ n FROM account")
                .await
                .unwrap();
            assert_eq!(read, [n.to_string(), n.to_string()], "{lie:?}");
        }
        // Open for long enough that the liar sees it.
        let slow =
            format!("BEGIN; SELECT pg_sleep(0.3); UPDATE account SET n = {n} WHERE id = 2; COMMIT");
        client
            .batch_execute(&slow)
            .await
            .unwrap_or_else(|e| panic!("{lie:?}: {e}"));
        cluster
            .hold(
                "SELECT n FROM account ORDER BY id",
                &[&n.to_string(), &n.to_string()],
            )
            .await;
    }
    let after = cluster.verdicts().await;
    for replica in 0..3 {
        assert_eq!(
            after[replica].1, before[replica].1,
            "aborts at replica {replica}"
        );
    }

    // What all others refuse is not committed because one says COMMIT, in its vote or to the client.
    for lie in [Lie::VoteCommit, Lie::ClaimCommits] {
        cluster.lies(LIAR, &[lie]);
        client
            .batch_execute("BEGIN; INSERT INTO child VALUES (99)")
            .await
            .unwrap();
        let (sqlstate, _) = failure(client.batch_execute("COMMIT").await);
        assert_eq!(sqlstate, "23503", "{lie:?}");
    }
    cluster.hold("SELECT count(*) FROM child", &["0"]).await;

    cluster.lies(LIAR, &[]);
    cluster.audit().await;
    cluster.end().await;
}
