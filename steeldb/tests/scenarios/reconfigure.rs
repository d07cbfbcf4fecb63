//! The membership changes while clients write.

use std::time::{Duration, Instant};

use crate::support::Cluster;
use crate::support::load::Load;

/// Nobody's connection breaks, nothing acknowledged is lost, all members are equal.
async fn ended_well(cluster: &Cluster, load: Load, members: usize) {
    load.more(50).await;
    let seen = load.stop().await;
    assert!(seen.complaints.is_empty(), "{:?}", seen.complaints);
    seen.check_against(cluster).await;
    let said = cluster.verify();
    let wanted = format!("all {members} replicas are identical");
    assert!(said.contains(&wanted), "{said}");
}

/// The run of the thesis' Figure 4.9: a replica is added, the leader crashes and is back, a replica is removed.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_are_added_and_removed_under_load() {
    let cluster = Cluster::start();
    let load = Load::start(&cluster, 4).await;
    load.more(30).await;
    let said = cluster.succeed(&["reconfigure", "add"]);
    assert!(said.contains("replica 4 has joined"), "{said}");
    cluster.succeed(&["kill", "--replica", "0"]);
    load.more(30).await;
    cluster.succeed(&["start", "--replica", "0"]);
    let said = cluster.succeed(&["reconfigure", "remove", "--replica", "1"]);
    assert!(said.contains("view 2: 4 replicas"), "{said}");
    // A busy machine may make a leader late, and then another one leads before this looks.
    let mut status = cluster.status();
    let mut leader = 0;
    for named in [2, 3, 2, 3] {
        cluster.succeed(&["reconfigure", "set", "--leader", &named.to_string()]);
        load.more(30).await;
        (status, leader) = (cluster.status(), named);
        if status["leader"] == leader {
            break;
        }
    }
    assert_eq!(status["leader"], leader, "{status}");
    // Replica 0 has just returned, and measures once a second.
    let began = Instant::now();
    while status["replicas"][0]["round_trips_ms"]
        .as_object()
        .unwrap()
        .len()
        < 3
    {
        assert!(began.elapsed() < Duration::from_secs(60), "{status}");
        tokio::time::sleep(Duration::from_millis(100)).await;
        status = cluster.status();
    }
    let said = cluster.succeed(&["reconfigure", "advise"]);
    let now = format!("now:      replica {leader} leads, all weigh the same, consensus");
    assert!(said.contains(&now), "{said}");
    // What cannot be is refused, and nothing changes.
    let said = cluster.refuse(&["reconfigure", "set", "--f", "2"], 1);
    assert!(said.contains("4 replicas cannot carry f = 2"), "{said}");
    ended_well(&cluster, load, 4).await;
    // Its log tells a restarted cluster who is a member.
    cluster.succeed(&["down"]);
    cluster.up();
    assert!(cluster.verify().contains("all 4 replicas are identical"));
}

/// The votes of the replaced one, and of one that was removed, are gone: the new one believes verdicts that f+1 members
/// call final.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_replaced_and_another_gets_a_new_key() {
    let cluster = Cluster::start();
    let load = Load::start(&cluster, 4).await;
    load.more(40).await;
    cluster.succeed(&["reconfigure", "add"]);
    cluster.succeed(&["reconfigure", "remove", "--replica", "3"]);
    let said = cluster.succeed(&["reconfigure", "replace", "--replica", "2"]);
    assert!(said.contains("replica 2 is a new one"), "{said}");
    let key = cluster.data().join("replica-1/identity");
    let old = std::fs::read(&key).unwrap();
    let said = cluster.succeed(&["reconfigure", "rotate-key", "--replica", "1"]);
    assert!(said.contains("replica 1 has a new key"), "{said}");
    assert_ne!(std::fs::read(&key).unwrap(), old);
    cluster.succeed(&["kill", "--replica", "1"]);
    cluster.succeed(&["start", "--replica", "1"]);
    ended_well(&cluster, load, 4).await;
}

/// What is under way when a member is removed needs its vote, since another one is gone: four of five have to vote.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_removed_votes_on_what_was_ordered_before() {
    let cluster = Cluster::start();
    let load = Load::start(&cluster, 8).await;
    load.more(40).await;
    cluster.succeed(&["reconfigure", "add"]);
    cluster.succeed(&["kill", "--replica", "4"]);
    load.more(40).await;
    let said = cluster.succeed(&["reconfigure", "remove", "--replica", "3"]);
    assert!(said.contains("view 2: 4 replicas"), "{said}");
    load.more(40).await;
    cluster.succeed(&["start", "--replica", "4"]);
    ended_well(&cluster, load, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_that_only_crash_bear_the_loss_of_one() {
    let cluster = Cluster::absent();
    let port = cluster.port.to_string();
    cluster.succeed(&["up", "--detach", "--port", &port, "--crash-only"]);
    let load = Load::start(&cluster, 4).await;
    load.more(30).await;
    cluster.succeed(&["kill", "--replica", "0"]);
    load.more(30).await;
    cluster.succeed(&["start", "--replica", "0"]);
    ended_well(&cluster, load, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_replicas_with_weights_bear_the_loss_of_a_heavy_one() {
    let cluster = Cluster::absent();
    let port = cluster.port.to_string();
    let up = [
        "up", "--detach", "--port", &port, "--spare", "1", "--fast", "0,1",
    ];
    cluster.succeed(&up);
    let load = Load::start(&cluster, 4).await;
    load.more(30).await;
    cluster.succeed(&["kill", "--replica", "0"]);
    load.more(30).await;
    cluster.succeed(&["start", "--replica", "0"]);
    ended_well(&cluster, load, 5).await;
}

/// An operator moves the master there and back while clients run short transactions: nobody is told to try again, and
/// what stays open for too long is all that ends.
#[tokio::test(flavor = "multi_thread")]
async fn the_master_moves_without_an_abort() {
    let cluster = Cluster::start();
    let load = Load::start(&cluster, 8).await;
    load.more(50).await;
    for (replica, epoch) in [("2", 2), ("1", 5), ("0", 8)] {
        let said = cluster.succeed(&["reconfigure", "master", "--replica", replica]);
        let wanted = format!("replica {replica} is the master (epoch {epoch})");
        assert!(said.contains(&wanted), "{said}");
        let status = cluster.status();
        assert_eq!(status["master"].to_string(), replica, "{status}");
        assert_eq!(status["epoch"], epoch, "{status}");
        load.more(50).await;
    }
    let said = cluster.succeed(&["reconfigure", "master", "--replica", "0"]);
    assert!(said.contains("(epoch 8)"), "it is the master: {said}");
    let said = cluster.refuse(&["reconfigure", "master", "--replica", "7"], 2);
    assert!(said.contains("7"), "{said}");

    // One that nobody ends is waited for as long as was said, and others wait with it.
    let lazy = cluster.connect().await;
    lazy.batch_execute("BEGIN; INSERT INTO load VALUES (-1, -1)")
        .await
        .unwrap();
    let untouched = cluster.connect().await;
    untouched.batch_execute("BEGIN").await.unwrap();
    let began = Instant::now();
    let drain = ["reconfigure", "master", "--replica", "3", "--drain", "2"];
    let said = cluster.succeed(&drain);
    assert!(said.contains("(epoch 11)"), "{said}");
    assert!(began.elapsed() >= Duration::from_secs(2), "{said}");
    let error = lazy.batch_execute("COMMIT").await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "40001", "{error:?}");
    untouched
        .batch_execute("INSERT INTO load VALUES (-2, -2); COMMIT")
        .await
        .expect("nothing was shown of it, so it begins where the master is now");

    load.more(50).await;
    let seen = load.stop().await;
    assert!(seen.complaints.is_empty(), "{:?}", seen.complaints);
    assert!(
        seen.aborted.is_empty(),
        "told to try again: {:?}",
        seen.reasons
    );
    assert!(seen.unknown.is_empty(), "{:?}", seen.unknown);
    seen.check_against(&cluster).await;
    assert!(cluster.verify().contains("all 4 replicas are identical"));
}
