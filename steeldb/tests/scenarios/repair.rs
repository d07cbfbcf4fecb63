//! Replicas whose PostgreSQL lost its data, or holds wrong ones, make them anew from the history while clients write.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::Cluster;
use crate::support::load::Load;
use serde_json::Value;

/// How long a replica may take to notice, and to be whole again.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster whose replicas are told this in `[repair]`.
fn cluster(repair: &str) -> Cluster {
    let cluster = Cluster::absent();
    let port = cluster.port.to_string();
    cluster.succeed(&["init", "--port", &port]);
    for replica in 0..4 {
        let path = cluster
            .data()
            .join(format!("replica-{replica}/replica.toml"));
        let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
        writeln!(file, "\n[repair]\n{repair}").unwrap();
    }
    cluster.up();
    cluster
}

fn postgres(cluster: &Cluster, replica: u16) -> PathBuf {
    cluster
        .data()
        .join(format!("replica-{replica}/data/postgres"))
}

fn of(status: &Value, replica: u16) -> &Value {
    &status["replicas"][usize::from(replica)]
}

/// Waits until a replica has made its data anew for a reason with these words, and is as far as the others.
async fn made_anew(cluster: &Cluster, replica: u16, words: &str) {
    let start = Instant::now();
    loop {
        let status = cluster.status();
        let found = of(&status, replica);
        let why = found["rebuilt_why"].as_str().unwrap_or_default();
        if why.contains(words) && found["state"] == "up" && found["lag"].as_u64() <= Some(5) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{status:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The directories beside a replica's data that were set aside.
fn set_aside(cluster: &Cluster, replica: u16) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(cluster.data().join(format!("replica-{replica}/data")));
    let paths = entries.unwrap().flatten().map(|entry| entry.path());
    paths
        .filter(|path| path.to_string_lossy().contains("postgres.damaged-"))
        .collect()
}

/// The clients saw nothing; all replicas are equal; and those named vote: without another one the others commit.
async fn ended_well(cluster: &Cluster, load: Load, killed: u16) {
    cluster.succeed(&["kill", "--replica", &killed.to_string()]);
    load.more(60).await;
    cluster.succeed(&["start", "--replica", &killed.to_string()]);
    let seen = load.stop().await;
    assert!(seen.complaints.is_empty(), "{:?}", seen.complaints);
    seen.check_against(cluster).await;
    let said = cluster.verify();
    assert!(said.contains("all 4 replicas are identical"), "{said}");
}

/// Turns over some bytes of the page in the middle of a file.
fn flip(file: &Path) {
    let mut file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(file)
        .unwrap();
    let pages = file.metadata().unwrap().len() / 8192;
    let at = SeekFrom::Start(pages / 2 * 8192 + 8000);
    let mut bytes = [0; 16];
    file.seek(at).unwrap();
    file.read_exact(&mut bytes).unwrap();
    file.seek(at).unwrap();
    file.write_all(&bytes.map(|byte| !byte)).unwrap();
    file.sync_all().unwrap();
}

const STILL: &str = "CREATE TABLE still (id int PRIMARY KEY, text text);
    INSERT INTO still SELECT n, repeat('x', 100) FROM generate_series(1, 2000) n;
    CREATE TABLE made (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz DEFAULT now(), n float8);
    INSERT INTO made (n) SELECT random() FROM generate_series(1, 20);
    CREATE INDEX ON made (n);
    ALTER TABLE made ADD COLUMN more text DEFAULT 'more'";

#[tokio::test(flavor = "multi_thread")]
async fn lost_data_are_made_anew_from_the_log() {
    let cluster = cluster("audit_every_s = 0");
    cluster.connect().await.batch_execute(STILL).await.unwrap();
    let load = Load::start(&cluster, 4).await;
    load.more(60).await;

    cluster.succeed(&["kill", "--replica", "2"]);
    std::fs::remove_dir_all(postgres(&cluster, 2)).unwrap();
    load.more(20).await;
    cluster.succeed(&["start", "--replica", "2"]);
    made_anew(&cluster, 2, "gone or empty").await;
    assert!(set_aside(&cluster, 2).is_empty(), "there was nothing left");

    // PostgreSQL does not start on what is left of the other one.
    cluster.succeed(&["kill", "--replica", "3"]);
    let control = postgres(&cluster, 3).join("global/pg_control");
    std::fs::write(&control, vec![7; 8192]).unwrap();
    cluster.succeed(&["start", "--replica", "3"]);
    made_anew(&cluster, 3, "PostgreSQL ended").await;
    let kept = set_aside(&cluster, 3);
    assert_eq!(kept.len(), 1, "{kept:?}");
    let control = std::fs::read(kept[0].join("global/pg_control")).unwrap();
    assert_eq!(control, vec![7; 8192], "kept as it was");

    // Somebody has put another cluster's directory there.
    cluster.succeed(&["kill", "--replica", "1"]);
    std::fs::write(postgres(&cluster, 1).join("steeldb.origin"), "ab12\n").unwrap();
    cluster.succeed(&["start", "--replica", "1"]);
    made_anew(&cluster, 1, "belongs to another cluster").await;
    assert_eq!(set_aside(&cluster, 1).len(), 1);
    ended_well(&cluster, load, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_in_the_background_finds_flipped_bytes_and_changed_rows() {
    let cluster = cluster("audit_every_s = 1");
    cluster.connect().await.batch_execute(STILL).await.unwrap();
    let load = Load::start(&cluster, 4).await;
    load.more(60).await;

    let file = cluster.ask(1, "SELECT pg_relation_filepath('still')");
    cluster.tamper(1, "CHECKPOINT");
    cluster.succeed(&["kill", "--replica", "1"]);
    flip(&postgres(&cluster, 1).join(file));
    cluster.succeed(&["start", "--replica", "1"]);
    made_anew(&cluster, 1, "invalid page").await;
    assert_eq!(set_aside(&cluster, 1).len(), 1);

    cluster.tamper(2, "UPDATE still SET text = 'altered' WHERE id = 1000");
    made_anew(&cluster, 2, "this replica differs in public.still").await;
    let status = cluster.status();
    for replica in [0, 3] {
        assert_eq!(
            of(&status, replica)["rebuilt_ms"],
            Value::Null,
            "{status:#}"
        );
    }
    ended_well(&cluster, load, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_diverged_finds_out_when_it_adopts() {
    let cluster = cluster("audit_every_s = 0");
    let session = cluster.connect().await;
    session.batch_execute(STILL).await.unwrap();
    let load = Load::start(&cluster, 4).await;
    load.more(40).await;
    // It judges otherwise, is overruled, and finds no row to change.
    cluster.tamper(2, "DELETE FROM still WHERE id = 7");
    let changed = session
        .execute("UPDATE still SET text = 'new' WHERE id = 7", &[])
        .await;
    assert_eq!(changed.unwrap(), 1);
    made_anew(&cluster, 2, "have diverged").await;
    ended_well(&cluster, load, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_has_the_odd_one_repaired_and_not_more_than_f() {
    let cluster = cluster("audit_every_s = 0\nautomatic = false");
    cluster.connect().await.batch_execute(STILL).await.unwrap();
    let load = Load::start(&cluster, 4).await;
    load.more(40).await;
    cluster.tamper(1, "UPDATE still SET text = 'altered' WHERE id = 5");
    let said = cluster.refuse(&["verify"], 1);
    assert!(said.contains("table public.still differs"), "{said}");
    let said = cluster.succeed(&["verify", "--repair"]);
    assert!(
        said.contains("replica 1: table public.still differs; its data were made anew"),
        "{said}"
    );
    assert!(said.contains("all 4 replicas are identical"), "{said}");
    assert_eq!(set_aside(&cluster, 1).len(), 1);

    // Two of four, each its own way: f = 1 can be wrong, so nobody is told to throw anything away.
    cluster.tamper(2, "UPDATE still SET text = 'one way' WHERE id = 5");
    cluster.tamper(3, "UPDATE still SET text = 'another' WHERE id = 5");
    let said = cluster.refuse(&["verify", "--repair"], 1);
    assert!(
        said.contains("nothing is repaired") && said.contains("more than f = 1"),
        "{said}"
    );
    let good = cluster.ask(0, "SELECT text FROM still WHERE id = 5");
    for replica in [2, 3] {
        assert!(set_aside(&cluster, replica).is_empty());
        cluster.tamper(
            replica,
            &format!("UPDATE still SET text = '{good}' WHERE id = 5"),
        );
    }
    ended_well(&cluster, load, 0).await;
}

/// Nobody makes its data anew here, so it goes on with them: another one is to be the master.
#[tokio::test(flavor = "multi_thread")]
async fn a_master_with_damaged_data_is_replaced_by_another() {
    let cluster = cluster("audit_every_s = 0\nautomatic = false");
    let session = cluster.connect().await;
    session.batch_execute(STILL).await.unwrap();
    let file = cluster.ask(0, "SELECT pg_relation_filepath('still')");
    cluster.tamper(0, "CHECKPOINT");
    cluster.succeed(&["kill", "--replica", "0"]);
    flip(&postgres(&cluster, 0).join(file));
    cluster.succeed(&["start", "--replica", "0"]);
    cluster.succeed(&["reconfigure", "master", "--replica", "0"]);
    assert_eq!(cluster.status()["master"], 0);
    // It meets the page; whoever asked may be told so, and is served by the others from then on.
    let _ = session.execute("UPDATE still SET text = 'new'", &[]).await;
    let start = Instant::now();
    loop {
        let status = cluster.status();
        if status["master"] != 0 {
            assert_eq!(of(&status, 0)["rebuilt_ms"], Value::Null, "{status:#}");
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{status:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let changed = session.execute("UPDATE still SET text = 'newer'", &[]);
    assert_eq!(changed.await.unwrap(), 2_000);
}
