//! Replicas that die under load.

use std::time::Duration;

use crate::support::Cluster;
use crate::support::load::Load;

/// How long the clients may wait for the cluster to work again. The product's promise is 5 s; the rest is for a machine
/// that runs other tests beside it.
const BACK: Duration = Duration::from_secs(10);

/// Kills the replica that `choose` picks while clients write, and brings it back.
async fn survive(choose: impl Fn(&serde_json::Value) -> u64) {
    let cluster = Cluster::start();
    let load = Load::start(&cluster, 6).await;
    load.more(50).await;
    let victim = choose(&cluster.status()).to_string();
    cluster.succeed(&["kill", "--replica", &victim]);
    load.more(100).await;
    let status = cluster.status();
    let replica = &status["replicas"][victim.parse::<usize>().unwrap()];
    assert_eq!(
        replica["state"], "killed",
        "nobody has started it again: {status}"
    );
    cluster.succeed(&["start", "--replica", &victim]);
    load.more(50).await;
    let seen = load.stop().await;
    assert!(seen.complaints.is_empty(), "{:?}", seen.complaints);
    assert!(
        seen.longest_pause() < BACK,
        "stood still for {:?}",
        seen.longest_pause()
    );
    seen.check_against(&cluster).await;
    let said = cluster.verify();
    assert!(said.contains("all 4 replicas are identical"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_follower_is_not_missed_and_comes_back() {
    survive(|status| {
        let busy = [status["leader"].as_u64(), status["master"].as_u64()];
        (0..4).find(|id| !busy.contains(&Some(*id))).unwrap()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_or_master_is_replaced_and_comes_back() {
    survive(|status| status["master"].as_u64().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_crashes_by_itself_is_started_again() {
    let cluster = Cluster::start();
    let pid = cluster.status()["replicas"][3]["pid"].as_i64().unwrap();
    let pid = nix::unistd::Pid::from_raw(pid as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    let start = std::time::Instant::now();
    loop {
        let status = cluster.status();
        let replica = &status["replicas"][3];
        if replica["state"] == "up" && replica["pid"].as_i64() != Some(i64::from(pid.as_raw())) {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{status}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    cluster.verify();
}

/// Rows do not carry a new table, so who missed it runs the operations again: at the time and with the settings of their
/// Begin, not of their Commit.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_missed_a_new_table_makes_it_as_the_others_did() {
    let cluster = Cluster::start();
    cluster.succeed(&["kill", "--replica", "3"]);
    let mut session = cluster.connect().await;
    session
        .batch_execute("SET TimeZone = 'Asia/Tokyo'")
        .await
        .unwrap();
    let transaction = session.transaction().await.unwrap();
    transaction
        .batch_execute(
            "CREATE TABLE missed (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz DEFAULT now(), zone text, n float8);
             INSERT INTO missed (zone, n) VALUES (current_setting('TimeZone'), random())",
        )
        .await
        .unwrap();
    // Begin and Commit lie in different batches, at different times.
    tokio::time::sleep(Duration::from_millis(50)).await;
    transaction.commit().await.unwrap();
    cluster.succeed(&["start", "--replica", "3"]);
    let said = cluster.verify();
    assert!(said.contains("all 4 replicas are identical"), "{said}");
}
