//! Logs that end: replicas begin with checkpoints, and who is too far behind for the others' logs copies the database.

use crate::support;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::Cluster;
use crate::support::load::Load;

/// With four replicas each writes a checkpoint at every fourth of these heights.
const EVERY: u64 = 10;

/// For what is sure to come, under load on a slow machine too. One that has copied may come past the digests that the others keep of their
/// checkpoints, and then gives up a state of its own after a minute before it takes the next one (decision 29).
const PATIENCE: Duration = Duration::from_secs(180);

const LARGE: &str =
    "CREATE TABLE large (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text text)";

/// Four replicas with many checkpoints and small segments; nothing else differs from what is shipped.
fn start() -> Cluster {
    let cluster = Cluster::absent();
    let port = cluster.port.to_string();
    cluster.succeed(&["init", "--port", &port]);
    for replica in 0..4 {
        let path = cluster
            .data()
            .join(format!("replica-{replica}/replica.toml"));
        let shipped = std::fs::read_to_string(&path).unwrap();
        let keys = format!("checkpoint_every = {EVERY}\nlog_segment_mib = 1\n{shipped}");
        std::fs::write(&path, keys).unwrap();
    }
    up(&cluster);
    cluster
}

/// With what replicas say of checkpoints in their logs.
fn up(cluster: &Cluster) {
    let port = cluster.port.to_string();
    let output = cluster
        .command(&["up", "--detach", "--port", &port])
        .env("STEELDB_LOG", "warn,replica::executor::checkpoint=info")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", support::text(&output.stderr));
}

fn home(cluster: &Cluster, replica: u16) -> std::path::PathBuf {
    cluster.data().join(format!("replica-{replica}/data"))
}

fn files(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

/// What this replica has said since it was first started.
fn said(cluster: &Cluster, replica: u16) -> String {
    let log = cluster.data().join(format!("logs/replica-{replica}.log"));
    std::fs::read_to_string(log).unwrap()
}

/// Rows in large writes, until f+1 replicas have applied this many heights more.
async fn heights(cluster: &Cluster, more: u64) {
    let client = cluster.connect().await;
    // Nobody may answer in time while all are busy.
    let applied = || cluster.status()["height"].as_u64();
    let mut now = loop {
        if let Some(now) = applied() {
            break now;
        }
    };
    let until = now + more;
    let mut since = Instant::now();
    while now < until {
        for _ in 0..5 {
            client
                .batch_execute("INSERT INTO large (text) SELECT repeat(md5(n::text), 30) FROM generate_series(1, 200) n")
                .await
                .unwrap();
        }
        let found = applied().unwrap_or(now);
        if found > now {
            (now, since) = (found, Instant::now());
        }
        assert!(since.elapsed() < PATIENCE, "stood still at height {now}");
    }
}

/// Waits for what is sure to come, sooner or later.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Up to where this replica's PostgreSQL has everything, as its last checkpoint says; nothing while there is none, or while it copies.
fn floor(cluster: &Cluster, replica: u16) -> Option<u64> {
    let floor = cluster.try_ask(replica, "SELECT height FROM steel.floor");
    floor.ok()?.parse().ok()
}

/// Until each replica has a checkpoint of where the furthest one is now.
async fn level(cluster: &Cluster) {
    let furthest = (0..4).map(|replica| floor(cluster, replica)).max();
    let behind = |replica| Some(floor(cluster, replica)) < furthest;
    until("a checkpoint of each", || !(0..4).any(behind)).await;
}

/// The files of a replica's log, oldest first.
fn segments(cluster: &Cluster, replica: u16) -> Vec<String> {
    let log = std::fs::read_dir(home(cluster, replica).join("log")).unwrap();
    let names = log.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut segments: Vec<String> = names
        .filter(|name| name.contains("segment") || name.ends_with(".log"))
        .collect();
    segments.sort_unstable();
    segments
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_end_and_nothing_is_lost_with_them() {
    let cluster = start();
    let client = cluster.connect().await;
    client.batch_execute(LARGE).await.unwrap();
    let load = Load::start(&cluster, 3).await;
    // Open over many checkpoints and over the restart of a follower.
    let mut held = cluster.connect().await;
    let open = held.transaction().await.unwrap();
    open.batch_execute("INSERT INTO large (text) VALUES ('held')")
        .await
        .unwrap();
    heights(&cluster, 12 * EVERY).await;
    for replica in 0..4 {
        // Whoever is late comes to it, and three are there for a moment while the oldest is deleted.
        let kept = || files(&home(&cluster, replica).join("checkpoints"));
        let written = || floor(&cluster, replica) >= Some(8 * EVERY) && (1..=3).contains(&kept());
        until(&format!("checkpoints of replica {replica}"), written).await;
        let places = cluster.ask(
            replica,
            "SELECT count(*) FROM steel.applied WHERE height < (SELECT height FROM steel.floor)",
        );
        assert_eq!(places, "0");
    }
    let first = |replica| segments(&cluster, replica).into_iter().next();
    let before = (0..4).map(first).collect::<Vec<_>>();

    // A follower begins with its checkpoint, and so does not go through the log from its beginning.
    let master = cluster.status()["master"].as_u64().unwrap();
    let follower = u16::try_from((master + 1) % 4).unwrap();
    cluster.succeed(&["kill", "--replica", &follower.to_string()]);
    load.more(20).await;
    cluster.succeed(&["start", "--replica", &follower.to_string()]);
    assert!(said(&cluster, follower).contains("the replica begins with a checkpoint"));
    open.commit().await.unwrap();
    let held = client
        .query_one("SELECT count(*) FROM large WHERE text = 'held'", &[])
        .await
        .unwrap();
    assert_eq!(held.get::<_, i64>(0), 1);
    // Two turns of each and more, and whoever is late comes to it.
    heights(&cluster, 20 * EVERY).await;
    let cut = || (0..4).all(|replica| first(replica) > before[usize::from(replica)]);
    until("each log is cut", cut).await;

    // A fast machine cut what the follower missed, and it has copied; whoever is not back after that may not find the rest.
    level(&cluster).await;

    // All lose power at once; each begins with what its own disk has.
    cluster.kill_everything();
    let seen = load.stop().await;
    let before = (0..4).map(|replica| said(&cluster, replica).len());
    let before = before.collect::<Vec<_>>();
    up(&cluster);
    seen.check_against(&cluster).await;
    for (replica, before) in (0..4).zip(before) {
        let said = said(&cluster, replica).split_off(before);
        assert!(
            said.contains("the replica begins with a checkpoint"),
            "{said}"
        );
        assert!(!said.contains("is copied"), "{said}");
    }
    let report = cluster.verify();
    assert!(report.contains("all 4 replicas are identical"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_away_for_too_long_and_who_joins_late_copy() {
    let cluster = start();
    let client = cluster.connect().await;
    client.batch_execute(LARGE).await.unwrap();
    let load = Load::start(&cluster, 2).await;
    let master = cluster.status()["master"].as_u64().unwrap();
    let away = u16::try_from((master + 1) % 4).unwrap();
    cluster.succeed(&["kill", "--replica", &away.to_string()]);
    let last = |replica| segments(&cluster, replica).pop();
    let then = (0..4).map(last).collect::<Vec<_>>();
    // While it is away the view changes, and every log is cut past what it has.
    cluster.succeed(&["reconfigure", "set", "--leader", &master.to_string()]);
    heights(&cluster, 30 * EVERY).await;
    let first = |replica| segments(&cluster, replica).into_iter().next();
    let cut = |replica| replica == away || first(replica) > then[usize::from(replica)];
    let began = Instant::now();
    while !(0..4).all(cut) {
        assert!(began.elapsed() < PATIENCE, "{then:?}");
        heights(&cluster, EVERY).await;
    }
    cluster.succeed(&["start", "--replica", &away.to_string()]);
    let began = Instant::now();
    while !said(&cluster, away).contains("the database is copied") {
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "{}",
            said(&cluster, away)
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let told = cluster.succeed(&["reconfigure", "add"]);
    assert!(told.contains("replica 4 has joined"), "{told}");
    assert!(said(&cluster, 4).contains("the database is copied"));
    heights(&cluster, 6 * EVERY).await;

    let seen = load.stop().await;
    seen.check_against(&cluster).await;
    let began = Instant::now();
    let report = loop {
        let output = cluster.run(&["verify"]);
        let told = support::text(&output.stdout);
        if output.status.success() || began.elapsed() > Duration::from_secs(60) {
            break told + &support::text(&output.stderr);
        }
    };
    assert!(report.contains("all 5 replicas are identical"), "{report}");
    // Whoever missed the change of the view has its certificate from the others: f+1 sign with the whole chain.
    client
        .batch_execute("INSERT INTO large (text) VALUES ('last')")
        .await
        .unwrap();
    let receipt = client.query_one("SHOW steel.receipt", &[]).await.unwrap();
    let file = cluster.data().with_file_name("receipt");
    std::fs::write(&file, receipt.get::<_, String>(0)).unwrap();
    let checked = cluster.succeed(&["receipt", "verify", file.to_str().unwrap()]);
    assert!(checked.contains("signed in view 2"), "{checked}");
}
