//! Job queues: `FOR UPDATE SKIP LOCKED`, whose rows are the master's choice and nobody else's.

use harness::{Cluster, column, failure};
use proxy::{Proxy, ProxyConfig};
use replica::executor::lies::Lie;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Barrier;
use tokio_postgres::{Client, NoTls};
use txn::client::Answer;
use txn::{Claims, Commit, Isolation, Operation, Ordered, Step, WriteSet};

const JOBS: u32 = 96;
/// For what is sure to come.
const PATIENCE: Duration = Duration::from_secs(120);

/// A second proxy, at a port of its own.
async fn second_front(cluster: &Cluster) -> SocketAddr {
    let config = ProxyConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        ..ProxyConfig::default()
    };
    let proxy = Proxy::bind(config, cluster.mallory().await).await.unwrap();
    let address = proxy.local_addr();
    tokio::spawn(proxy.run(std::future::pending::<()>()));
    address
}

async fn connect(front: SocketAddr) -> Client {
    let dsn = format!(
        "host=127.0.0.1 port={} user=postgres dbname=postgres",
        front.port()
    );
    let (client, connection) = tokio_postgres::connect(&dsn, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// One attempt of a worker to take a job, in the form that its number says.
async fn take(client: &Client, worker: u32) -> Result<Option<i32>, tokio_postgres::Error> {
    let name = worker as i32;
    let text = |sql: &str| sql.replace('$', &worker.to_string());
    let first = |rows: Vec<String>| rows.first().map(|id| id.parse().unwrap());
    match worker % 4 {
        0 => {
            let sql = "UPDATE jobs SET worker = $ WHERE id = (SELECT id FROM jobs WHERE worker IS NULL \
                       ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id";
            Ok(first(column(client, &text(sql)).await?))
        }
        1 => {
            let sql = "WITH q AS (SELECT id FROM jobs WHERE worker IS NULL AND id > $2 ORDER BY id \
                       FOR NO KEY UPDATE SKIP LOCKED LIMIT $3) \
                       UPDATE jobs SET worker = $1 FROM q WHERE jobs.id = q.id RETURNING jobs.id";
            let rows = client.query(sql, &[&name, &0, &1_i64]).await?;
            Ok(rows.first().map(|row| row.get(0)))
        }
        2 => {
            let sql = "DELETE FROM jobs USING (SELECT id FROM jobs WHERE worker IS NULL ORDER BY id \
                       FOR UPDATE SKIP LOCKED LIMIT 1) q WHERE q.id = jobs.id RETURNING jobs.id";
            Ok(first(column(client, sql).await?))
        }
        _ => {
            client.batch_execute("BEGIN").await?;
            let sql = "SELECT id, payload FROM jobs WHERE worker IS NULL ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED";
            let taken = match client.query(sql, &[]).await {
                Ok(rows) => rows.first().map(|row| row.get::<_, i32>(0)),
                Err(error) => return Err(error),
            };
            if let Some(id) = taken {
                client
                    .execute("UPDATE jobs SET worker = $1 WHERE id = $2", &[&name, &id])
                    .await?;
            }
            client.batch_execute("COMMIT").await?;
            Ok(taken)
        }
    }
}

/// What it took, and how often it was told to try again. All begin together, however long some take to be connected.
async fn work(front: SocketAddr, worker: u32, together: Arc<Barrier>) -> (Vec<i32>, u32) {
    let client = connect(front).await;
    together.wait().await;
    let (mut taken, mut retries) = (Vec::new(), 0);
    let until = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < until, "the queue is not emptied");
        match take(&client, worker).await {
            Ok(Some(job)) => taken.push(job),
            Ok(None) => {
                // All that is left may be in the hands of others, who may give it back.
                let left = "SELECT count(*) FROM jobs WHERE worker IS NULL";
                if column(&client, left).await.unwrap() == ["0"] {
                    return (taken, retries);
                }
            }
            Err(error) => {
                assert_eq!(failure::<()>(Err(error)).0, "40001");
                client.batch_execute("ROLLBACK").await.unwrap();
                retries += 1;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_workers_at_two_proxies_do_each_job_once() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let setup = format!(
        "CREATE TABLE jobs (id int PRIMARY KEY, worker int, payload text NOT NULL DEFAULT 'x');
         INSERT INTO jobs SELECT g FROM generate_series(1, {JOBS}) g"
    );
    client.batch_execute(&setup).await.unwrap();
    let before = cluster.verdicts().await;
    let fronts = [cluster.front, second_front(&cluster).await];
    let together = Arc::new(Barrier::new(8));
    let workers = (0..8).map(|worker| {
        let front = fronts[worker as usize / 4];
        tokio::spawn(work(front, worker, together.clone()))
    });
    let workers: Vec<_> = workers.collect();
    let mut taken = BTreeMap::new();
    let mut retries = 0;
    for (worker, work) in workers.into_iter().enumerate() {
        let (jobs, again) = work.await.unwrap();
        retries += again;
        for job in jobs {
            assert_eq!(taken.insert(job, worker), None, "job {job} was taken twice");
        }
    }
    assert_eq!(taken.len(), JOBS as usize, "every job was taken");
    let by_whom: BTreeMap<usize, u32> = taken.values().fold(BTreeMap::new(), |mut by, worker| {
        *by.entry(*worker).or_default() += 1;
        by
    });
    assert!(by_whom.len() > 4, "they work side by side: {by_whom:?}");
    // What is left in the table is what those took that do not delete.
    let kept = taken.iter().filter(|(_, worker)| *worker % 4 != 2);
    let kept: Vec<String> = kept
        .map(|(job, worker)| format!("{job} {worker}"))
        .collect();
    let kept: Vec<&str> = kept.iter().map(String::as_str).collect();
    cluster
        .hold("SELECT id || ' ' || worker FROM jobs ORDER BY id", &kept)
        .await;
    let after = cluster.verdicts().await;
    let aborts = after[0].1 - before[0].1;
    eprintln!("{retries} retries, {aborts} aborts for {JOBS} jobs; taken by {by_whom:?}");
    assert!(retries <= JOBS / 4, "{retries} retries");
    assert!(aborts <= u64::from(JOBS) / 4, "{aborts} aborts");
    cluster.audit().await;
    cluster.end().await;
}

async fn queue() -> (Cluster, Client) {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let setup = "CREATE TABLE jobs (id int PRIMARY KEY, worker int); INSERT INTO jobs SELECT g FROM generate_series(1, 4) g;
         CREATE TABLE keyless (id int); INSERT INTO keyless VALUES (1);
         CREATE TABLE pairs (a text, b timestamptz, PRIMARY KEY (a, b)); INSERT INTO pairs VALUES ('it''s \\', '2026-01-02 03:04:05.678+00')";
    client.batch_execute(setup).await.unwrap();
    (cluster, client)
}

const NEXT: &str =
    "SELECT id FROM jobs WHERE worker IS NULL ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED";

/// A snapshot that is older than what another worker did does not make the queue fail: what was changed since is passed over.
/// And what cannot be served is refused with a reason, or with PostgreSQL's own error.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_snapshot_passes_over_what_was_taken_since() {
    let (cluster, client) = queue().await;
    let other = cluster.client().await;
    client
        .batch_execute("BEGIN; SELECT count(*) FROM jobs")
        .await
        .unwrap();
    other
        .batch_execute("UPDATE jobs SET worker = 9 WHERE id = 1")
        .await
        .unwrap();
    other.batch_execute("BEGIN").await.unwrap();
    assert_eq!(column(&other, NEXT).await.unwrap(), ["2"]);
    assert_eq!(
        column(&client, NEXT).await.unwrap(),
        ["3"],
        "1 was changed, 2 is locked"
    );
    let mark = |id| format!("UPDATE jobs SET worker = {id} WHERE id = {id}; COMMIT");
    client.batch_execute(&mark(3)).await.unwrap();
    other.batch_execute(&mark(2)).await.unwrap();
    cluster
        .hold(
            "SELECT worker FROM jobs WHERE worker IS NOT NULL ORDER BY id",
            &["9", "2", "3"],
        )
        .await;

    // A key of two columns, and values that need care.
    let pair = "SELECT a FROM pairs p FOR UPDATE SKIP LOCKED";
    assert_eq!(column(&client, pair).await.unwrap(), ["it's \\"]);
    // Nothing is left to take.
    client.batch_execute("BEGIN").await.unwrap();
    assert_eq!(column(&client, NEXT).await.unwrap(), ["4"]);
    assert!(column(&other, NEXT).await.unwrap().is_empty());
    client.batch_execute("COMMIT").await.unwrap();

    let refusals = [
        ("SELECT id FROM keyless FOR UPDATE SKIP LOCKED", "0A000"),
        (
            "UPDATE jobs j SET worker = 1 WHERE EXISTS (SELECT 1 FROM pairs p WHERE p.a = j.id::text FOR UPDATE SKIP LOCKED)",
            "0A000",
        ),
        ("SELECT id FROM nowhere FOR UPDATE SKIP LOCKED", "42P01"),
        ("SELECT missing FROM jobs FOR UPDATE SKIP LOCKED", "42703"),
        (
            "SELECT id FROM jobs WHERE 1 / (id - id) = 1 FOR UPDATE SKIP LOCKED",
            "22012",
        ),
    ];
    for (sql, sqlstate) in refusals {
        assert_eq!(failure(client.simple_query(sql).await).0, sqlstate, "{sql}");
        client.batch_execute("BEGIN").await.unwrap();
        assert_eq!(failure(client.simple_query(sql).await).0, sqlstate, "{sql}");
        client.batch_execute("ROLLBACK").await.unwrap();
    }
    // A refusal is the master's alone: behind a savepoint it is not confirmed, and nobody takes the master for a liar.
    for _ in 0..6 {
        client.batch_execute("BEGIN; SAVEPOINT s").await.unwrap();
        let refused = client.simple_query(refusals[0].0).await;
        assert_eq!(failure(refused).0, "0A000");
        client
            .batch_execute("ROLLBACK TO s; UPDATE jobs SET worker = 5 WHERE id = 1")
            .await
            .unwrap();
        assert_eq!(failure(client.batch_execute("COMMIT").await).0, "40001");
    }
    for status in cluster.statuses().await.values() {
        assert_eq!(status.epoch, 0, "the master is blamed for a refusal");
    }
    cluster.audit().await;
    cluster.end().await;
}

/// The liar may pass over rows. It may not take rows that are not there, nor have a statement fail by naming nonsense.
#[tokio::test(flavor = "multi_thread")]
async fn a_lying_master_takes_nothing_that_is_not_there() {
    let (cluster, client) = queue().await;
    for (lie, says) in [("lie:ghost", None), ("lie:nonsense", Some("22P02"))] {
        cluster.master_lies(&[Lie::Answers]).await;
        client.batch_execute("BEGIN; SAVEPOINT s").await.unwrap();
        let sql = NEXT.replacen("SELECT", &format!("SELECT /*{lie}*/"), 1);
        let answer = column(&client, &sql).await;
        match says {
            None => assert_eq!(answer.unwrap(), ["1"]),
            Some(sqlstate) => {
                assert_eq!(failure(answer).0, sqlstate);
                client.batch_execute("ROLLBACK TO s").await.unwrap();
            }
        }
        client
            .batch_execute("UPDATE jobs SET worker = 1 WHERE id = 1")
            .await
            .unwrap();
        let (sqlstate, detail) = failure(client.batch_execute("COMMIT").await);
        assert_eq!(sqlstate, "40001", "{lie}");
        assert!(detail.contains(lie), "{lie}: {detail}");
    }
    cluster
        .hold("SELECT count(*) FROM jobs WHERE worker IS NULL", &["4"])
        .await;
    cluster.master_lies(&[]).await;

    // A client that claims rows where nothing is claimed.
    let mallory = cluster.mallory().await;
    let mut transaction = mallory.begin(Vec::new(), Isolation::Snapshot, false);
    let operation = Operation::text("SELECT 1");
    let outcome = transaction.execute(operation.clone(), false).await.unwrap();
    let claims = Claims {
        key: vec!["id".into()],
        rows: vec![vec!["1".into()]],
    };
    let evidence = txn::Evidence {
        result: outcome.result,
        write: WriteSet::default().digest(),
        sequences: Vec::new(),
        claims: Some(claims),
        schema_change: false,
        adds_only: false,
        failed: false,
        unvalidated: false,
    };
    let commit = Ordered::Commit(Commit {
        tx: transaction.id(),
        epoch: cluster
            .statuses()
            .await
            .values()
            .map(|s| s.epoch)
            .max()
            .unwrap(),
        steps: vec![Step {
            operation,
            evidence,
        }],
        word: None,
    });
    assert_eq!(
        mallory.invoke(&commit).await.unwrap().answer,
        Answer::Aborted
    );
    cluster.audit().await;
    cluster.end().await;
}
