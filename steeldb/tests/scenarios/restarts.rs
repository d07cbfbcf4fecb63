//! The whole cluster stops, in order or not, and comes back with everything.

use crate::support::Cluster;
use crate::support::load::Load;

#[tokio::test(flavor = "multi_thread")]
async fn down_and_up_keep_all_data_and_leave_nothing_running() {
    let cluster = Cluster::start();
    let session = cluster.connect().await;
    session
        .batch_execute("CREATE TABLE kept (id serial PRIMARY KEY, at timestamptz DEFAULT now()); INSERT INTO kept DEFAULT VALUES")
        .await
        .unwrap();
    drop(session);
    cluster.succeed(&["down"]);
    assert_eq!(cluster.processes(), []);
    cluster.up();
    let session = cluster.connect().await;
    let id: i32 = session
        .query_one("INSERT INTO kept DEFAULT VALUES RETURNING id", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(id, 2, "the sequence went on where it was");
    cluster.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_failure_under_load_loses_nothing_that_was_acknowledged() {
    let cluster = Cluster::start();
    let load = Load::start(&cluster, 6).await;
    load.more(200).await;
    cluster.kill_everything();
    let seen = load.stop().await;
    assert!(seen.acknowledged.len() >= 200);
    cluster.up();
    seen.check_against(&cluster).await;
    let said = cluster.verify();
    assert!(said.contains("all 4 replicas are identical"), "{said}");
}
