//! Replicas copy the database from others while clients write: one that lost its data, and one that joins.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::support::Cluster;
use crate::support::load::Load;

const DATABASE: &str = "CREATE TABLE still (id int PRIMARY KEY, text text);
    INSERT INTO still SELECT n, repeat('x', 100) FROM generate_series(1, 20000) n;
    CREATE TABLE made (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz DEFAULT now(), n float8);
    INSERT INTO made (n) SELECT random() FROM generate_series(1, 20);
    ALTER TABLE made ADD COLUMN more text DEFAULT 'more'";

fn floor(cluster: &Cluster, replica: u16) -> String {
    cluster.ask(replica, "SELECT height FROM steel.floor")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_lost_its_data_and_one_that_joins_copy_under_load() {
    let cluster = Cluster::absent();
    let port = cluster.port.to_string();
    cluster.succeed(&["init", "--port", &port]);
    for replica in 0..4 {
        let path = cluster
            .data()
            .join(format!("replica-{replica}/replica.toml"));
        let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
        writeln!(file, "\n[repair]\naudit_every_s = 0\ncopy_from_height = 0").unwrap();
    }
    cluster.up();
    assert_eq!(
        floor(&cluster, 0),
        "",
        "a new cluster has nobody to copy from"
    );
    cluster
        .connect()
        .await
        .batch_execute(DATABASE)
        .await
        .unwrap();
    let load = Load::start(&cluster, 4).await;
    load.more(60).await;

    cluster.succeed(&["kill", "--replica", "2"]);
    let lost = cluster.data().join("replica-2/data/postgres");
    std::fs::remove_dir_all(lost).unwrap();
    load.more(20).await;
    cluster.succeed(&["start", "--replica", "2"]);
    let began = Instant::now();
    loop {
        let status = cluster.status();
        let found = &status["replicas"][2];
        if found["state"] == "up" && found["lag"].as_u64() <= Some(5) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{status:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_ne!(floor(&cluster, 2), "", "it copied");

    let said = cluster.succeed(&["reconfigure", "add"]);
    assert!(said.contains("replica 4 has joined"), "{said}");
    assert_ne!(floor(&cluster, 4), "", "it copied");
    // A restart finds a floor, and goes on from there.
    cluster.succeed(&["kill", "--replica", "4"]);
    load.more(20).await;
    cluster.succeed(&["start", "--replica", "4"]);

    load.more(30).await;
    let seen = load.stop().await;
    assert!(seen.complaints.is_empty(), "{:?}", seen.complaints);
    seen.check_against(&cluster).await;
    let said = cluster.verify();
    assert!(said.contains("all 5 replicas are identical"), "{said}");
}
