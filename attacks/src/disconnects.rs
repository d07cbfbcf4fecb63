//! Clients that go away in every state of the protocol.

use crate::raw::{Raw, message};
use harness::{Cluster, MASTER, column};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// How long what a client left behind may stand in another's way.
const AT_ONCE: Duration = Duration::from_secs(2);
/// For what is sure to come.
const PATIENCE: Duration = Duration::from_secs(60);
/// For the end of a statement that would sleep for longer.
const AWAKE: Duration = Duration::from_secs(30);

const LOCK: &str = "BEGIN; UPDATE locks SET n = n + 1 WHERE id = 1";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_held_is_free_once_it_is_gone() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let setup = "CREATE TABLE locks (id int PRIMARY KEY, n int NOT NULL);
        INSERT INTO locks VALUES (1, 0), (2, 0), (3, 0); CREATE TABLE copied (a int)";
    client.batch_execute(setup).await.unwrap();
    let steady = Steady::start(&cluster).await;
    let front = cluster.front;
    let before = connections(front);

    let mut raw = Raw::silent(front).await;
    gone(&client, raw, "it said nothing").await;

    raw = Raw::silent(front).await;
    raw.send(&[0, 0, 0, 40, 0, 3]).await;
    gone(&client, raw, "half a startup packet").await;

    raw = Raw::silent(front).await;
    raw.send(&[0, 0, 0, 8, 4, 210, 22, 47]).await;
    gone(&client, raw, "it asked for TLS").await;

    raw = Raw::ready(front).await;
    gone(&client, raw, "logged in").await;

    raw = Raw::ready(front).await;
    raw.done(LOCK).await;
    gone(&client, raw, "in a transaction").await;

    raw = Raw::ready(front).await;
    raw.done(LOCK).await;
    raw.query("SELECT 1/0").await;
    raw.until(b'Z').await;
    gone(&client, raw, "in a failed transaction").await;

    raw = Raw::ready(front).await;
    raw.done(LOCK).await;
    raw.query("COPY copied FROM STDIN").await;
    raw.until(b'G').await;
    raw.send(&message(b'd', b"1\n2\n")).await;
    gone(&client, raw, "during COPY in a transaction").await;

    raw = Raw::ready(front).await;
    raw.query("COPY copied FROM STDIN").await;
    raw.until(b'G').await;
    raw.send(&message(b'd', b"1\n2\n")).await;
    gone(&client, raw, "during COPY").await;

    raw = Raw::ready(front).await;
    raw.done(LOCK).await;
    raw.send(&[b'Q', 0, 0, 4, 0, b'S', b'E']).await;
    gone(&client, raw, "in the middle of a message").await;

    raw = Raw::ready(front).await;
    raw.done(LOCK).await;
    raw.send(&message(b'P', b"\0SELECT 1\0\0\0")).await;
    raw.send(&message(b'B', b"\0\0\0\0\0\0\0\0")).await;
    gone(&client, raw, "before its Sync").await;

    raw = Raw::ready(front).await;
    raw.done(LOCK).await;
    raw.query("SELECT pg_sleep(60)").await;
    asleep(&cluster, true).await;
    gone(&client, raw, "while a query runs in a transaction").await;
    asleep(&cluster, false).await;

    raw = Raw::ready(front).await;
    raw.query("UPDATE locks SET n = n + 1 WHERE id = 1 AND pg_sleep(60) IS NOT NULL")
        .await;
    asleep(&cluster, true).await;
    gone(&client, raw, "while a write of its own runs").await;
    asleep(&cluster, false).await;

    raw = Raw::ready(front).await;
    raw.query("SELECT pg_sleep(60)").await;
    asleep(&cluster, true).await;
    gone(&client, raw, "while a read runs").await;
    asleep(&cluster, false).await;

    raw = Raw::ready(front).await;
    raw.done(LOCK).await;
    raw.query("SELECT repeat('x', 1000) FROM generate_series(1, 20000)")
        .await;
    raw.until(b'T').await;
    gone(&client, raw, "with most of an answer unread").await;

    // Behind a lock: it must not take it once it comes free.
    client
        .batch_execute("BEGIN; UPDATE locks SET n = n WHERE id = 2")
        .await
        .unwrap();
    raw = Raw::ready(front).await;
    raw.query("UPDATE locks SET n = 1000 WHERE id = 2").await;
    waiting_for_locks(&cluster, 1).await;
    drop(raw);
    waiting_for_locks(&cluster, 0).await;
    client.batch_execute("COMMIT").await.unwrap();
    let n = column(&client, "SELECT n FROM locks WHERE id = 2")
        .await
        .unwrap();
    assert_eq!(n, ["0"], "what waited for a lock was given up");

    // A commit that nobody hears of happens once, or not at all.
    raw = Raw::ready(front).await;
    raw.done("BEGIN; UPDATE locks SET n = n + 1 WHERE id = 2")
        .await;
    raw.query("COMMIT").await;
    gone(&client, raw, "before it heard of its commit").await;
    let n = column(&client, "SELECT n FROM locks WHERE id = 2")
        .await
        .unwrap();
    assert!(n == ["0"] || n == ["1"], "{n:?}");

    steady.stop().await;
    let copied = column(&client, "SELECT count(*) FROM copied")
        .await
        .unwrap();
    assert_eq!(copied, ["0"], "an unfinished COPY leaves nothing");
    quiet(&cluster).await;
    let until = Instant::now() + PATIENCE;
    while connections(front) > before {
        assert!(Instant::now() < until, "more connections than {before}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster.audit().await;
    cluster.end().await;
}

/// The client goes away; another one wants what it may have locked.
async fn gone(client: &Client, raw: Raw, state: &str) {
    drop(raw);
    let since = Instant::now();
    let write = client.batch_execute("UPDATE locks SET n = n + 1 WHERE id = 1");
    let written = tokio::time::timeout(PATIENCE, write).await;
    written
        .unwrap_or_else(|_| panic!("locked for good: gone {state}"))
        .unwrap();
    assert!(
        since.elapsed() < AT_ONCE,
        "locked for {:?}: gone {state}",
        since.elapsed()
    );
}

/// Waits until a statement of a client sleeps at the master, or none does any more.
async fn asleep(cluster: &Cluster, wanted: bool) {
    const ASLEEP: &str =
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND wait_event = 'PgSleep'";
    let master = cluster.at(MASTER).await;
    let until = Instant::now() + AWAKE;
    while (column(&master, ASLEEP).await.unwrap() != ["0"]) != wanted {
        assert!(Instant::now() < until, "sleeps: {}", !wanted);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until so many sessions of all replicas wait for a lock.
async fn waiting_for_locks(cluster: &Cluster, wanted: u32) {
    const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    let until = Instant::now() + PATIENCE;
    loop {
        let found = cluster.everywhere(WAITING).await;
        let found: u32 = found
            .iter()
            .map(|count| count[0].parse::<u32>().unwrap())
            .sum();
        if found == wanted {
            return;
        }
        assert!(
            Instant::now() < until,
            "{found} wait for locks, not {wanted}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// No transaction is open by the order, and no session of clients does anything at any replica.
async fn quiet(cluster: &Cluster) {
    const BUSY: &str =
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'postgres' AND state <> 'idle'";
    let until = Instant::now() + AWAKE;
    loop {
        let open: u64 = cluster
            .statuses()
            .await
            .values()
            .map(|s| s.open_transactions)
            .sum();
        let busy = cluster.everywhere(BUSY).await;
        if open == 0 && busy.iter().all(|count| *count == ["0"]) {
            return;
        }
        assert!(
            Instant::now() < until,
            "{open} transactions open, busy sessions: {busy:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A client that goes on working all the while.
struct Steady {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<u32>,
}

impl Steady {
    async fn start(cluster: &Cluster) -> Steady {
        let client = cluster.client().await;
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let task = tokio::spawn(async move {
            let mut done = 0;
            while !stopping.load(Ordering::Relaxed) {
                let sql = "BEGIN; UPDATE locks SET n = n + 1 WHERE id = 3; COMMIT";
                client
                    .batch_execute(sql)
                    .await
                    .expect("other clients are unaffected");
                done += 1;
            }
            let found = column(&client, "SELECT n FROM locks WHERE id = 3")
                .await
                .unwrap();
            assert_eq!(found, [done.to_string()]);
            done
        });
        Steady { stop, task }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        assert!(self.task.await.unwrap() > 0);
    }
}

/// TCP connections that the proxy holds.
pub fn connections(front: SocketAddr) -> usize {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let own = format!(":{:04X}", front.port());
    let rows = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    // ESTABLISHED, or closed by the client and not by the proxy.
    rows.filter(|row| row[1].ends_with(&own) && matches!(row[3], "01" | "08"))
        .count()
}
