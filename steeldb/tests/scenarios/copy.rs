//! Replicas copy the database from others while clients write: one that lost its data, and one that joins. Who is killed while it copies
//! goes on with what it has.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::support::Cluster;
use crate::support::load::Load;

const DATABASE: &str = "CREATE TABLE still (id int PRIMARY KEY, text text);
    INSERT INTO still SELECT n, repeat('x', 100) FROM generate_series(1, 20000) n;
    CREATE TABLE made (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz DEFAULT now(), n float8);
    INSERT INTO made (n) SELECT random() FROM generate_series(1, 20);
    ALTER TABLE made ADD COLUMN more text DEFAULT 'more'";

/// Some megabytes, of which a source sends one in a second; row security that holds for its owner, and a view with contents, are put back
/// only when the copy ends.
const LARGE: &str = "CREATE TABLE a (id int PRIMARY KEY, text text);
    INSERT INTO a SELECT n, repeat('a', 100) FROM generate_series(1, 10000) n;
    CREATE TABLE b (LIKE a INCLUDING ALL) PARTITION BY RANGE (id);
    CREATE TABLE b1 PARTITION OF b FOR VALUES FROM (0) TO (20000);
    INSERT INTO b SELECT * FROM a;
    CREATE TABLE c (id int REFERENCES a, text text);
    INSERT INTO c SELECT * FROM a;
    ALTER TABLE c ENABLE ROW LEVEL SECURITY;
    ALTER TABLE c FORCE ROW LEVEL SECURITY;
    CREATE POLICY odd ON c USING (id % 2 = 1);
    CREATE MATERIALIZED VIEW m AS SELECT count(*), max(text) FROM a;
    CREATE TABLE z (id int PRIMARY KEY, text text);
    INSERT INTO z SELECT n, repeat('z', 100) FROM generate_series(1, 30000) n";

fn floor(cluster: &Cluster, replica: u16) -> String {
    cluster.ask(replica, "SELECT height FROM steel.floor")
}

/// A cluster whose replicas copy whenever they have lost their data.
fn copying(settings: &str) -> Cluster {
    let cluster = Cluster::absent();
    let port = cluster.port.to_string();
    cluster.succeed(&["init", "--port", &port]);
    for replica in 0..4 {
        let path = cluster
            .data()
            .join(format!("replica-{replica}/replica.toml"));
        let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
        let repair = "[repair]\naudit_every_s = 0\ncopy_from_height = 0";
        writeln!(file, "\n{repair}\n{settings}").unwrap();
    }
    cluster.up();
    cluster
}

/// Kills a replica, and takes its PostgreSQL's data away.
fn lose(cluster: &Cluster, replica: u16) {
    cluster.succeed(&["kill", "--replica", &replica.to_string()]);
    let home = cluster.data().join(format!("replica-{replica}/data"));
    std::fs::remove_dir_all(home.join("postgres")).unwrap();
}

/// Waits until a replica has what the others have.
async fn level(cluster: &Cluster, replica: usize) {
    let began = Instant::now();
    loop {
        let status = cluster.status();
        let found = &status["replicas"][replica];
        if found["state"] == "up" && found["lag"].as_u64() <= Some(5) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{status:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Starts a replica that has to copy, waits until it has all rows of a table, and kills it.
async fn kill_behind(cluster: &Cluster, replica: u16, table: &str) {
    // It says that it is up when the copy is whole.
    let mut start = cluster.command(&["start", "--replica", &replica.to_string()]);
    let mut start = start.spawn().unwrap();
    let began = Instant::now();
    let count = format!("SELECT count(*) > 0 FROM public.{table}");
    while cluster.try_ask(replica, &count).as_deref() != Ok("t") {
        let late = began.elapsed() > Duration::from_secs(60);
        assert!(!late, "{table} does not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(floor(cluster, replica), "", "it still copies");
    cluster.succeed(&["kill", "--replica", &replica.to_string()]);
    start.kill().unwrap();
    start.wait().unwrap();
}

/// Of each copy that went on with an earlier one: how many tables it kept.
fn kept(cluster: &Cluster, replica: u16) -> Vec<u32> {
    let log = cluster.data().join(format!("logs/replica-{replica}.log"));
    let log = std::fs::read_to_string(log).unwrap();
    let told = log.lines().filter(|line| line.contains("gone on with"));
    let number = |line: &str| {
        let (_, rest) = line.split_once("kept=").unwrap();
        rest.split_whitespace().next().unwrap().parse().unwrap()
    };
    told.map(number).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_killed_while_it_copies_goes_on_with_what_it_has() {
    let cluster = copying("copy_rate_mib_s = 1");
    let client = cluster.connect().await;
    client.batch_execute(LARGE).await.unwrap();
    cluster.succeed(&["role", "make", "app"]);
    lose(&cluster, 2);
    // `a` and `b1` come before `c`.
    kill_behind(&cluster, 2, "c").await;
    // What it has of one table is not what the others hold any more.
    let change = "UPDATE a SET text = 'changed' WHERE id % 100 = 0; DELETE FROM c WHERE id = 7";
    client.batch_execute(change).await.unwrap();
    cluster.succeed(&["start", "--replica", "2"]);
    level(&cluster, 2).await;
    assert_ne!(floor(&cluster, 2), "", "it copied");
    // `b1`, and `m` and `z` if the kill came that late; never `a` and `c`.
    let first = kept(&cluster, 2);
    assert!(matches!(first[..], [1..=3]), "{first:?}");
    let bound = "SELECT count(*) FROM steel.client_role WHERE role = 'app' AND allowed";
    assert_eq!(cluster.ask(2, bound), "1", "it has what keys are bound to");
    let said = cluster.verify();
    assert!(said.contains("all 4 replicas are identical"), "{said}");

    // With other definitions nothing of it is of use.
    lose(&cluster, 2);
    kill_behind(&cluster, 2, "b1").await;
    let change = "ALTER TABLE b ADD COLUMN more int DEFAULT 7; REFRESH MATERIALIZED VIEW m";
    client.batch_execute(change).await.unwrap();
    cluster.succeed(&["start", "--replica", "2"]);
    level(&cluster, 2).await;
    assert_ne!(floor(&cluster, 2), "", "it copied");
    assert_eq!(kept(&cluster, 2), first, "no copy more went on");
    // It judges as the others do: row security is what it was.
    client
        .batch_execute("INSERT INTO c VALUES (9, 'new'); UPDATE b SET more = 8")
        .await
        .unwrap();
    let said = cluster.verify();
    assert!(said.contains("all 4 replicas are identical"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_lost_its_data_and_one_that_joins_copy_under_load() {
    let cluster = copying("");
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

    lose(&cluster, 2);
    load.more(20).await;
    cluster.succeed(&["start", "--replica", "2"]);
    level(&cluster, 2).await;
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
