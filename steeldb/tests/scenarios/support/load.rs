//! Clients that write all the time and remember what was acknowledged.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_postgres::error::SqlState;

use super::Cluster;

/// How long no row at all may be acknowledged while rows are waited for: then nothing comes any more.
const STANDSTILL: Duration = Duration::from_secs(60);

/// What the clients saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Acknowledged rows, with the time.
    pub acknowledged: Vec<(i64, Instant)>,
    /// Rows whose commit was told to be aborted (40001).
    pub aborted: BTreeSet<i64>,
    /// What was said of those.
    pub reasons: Vec<String>,
    /// Rows of unknown outcome (08007, or the connection went away during the commit).
    pub unknown: BTreeSet<i64>,
    /// Anything else that a client was told.
    pub complaints: Vec<String>,
}

/// Clients at work; each has one connection for its whole life.
pub struct Load {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    clients: JoinSet<()>,
}

impl Load {
    /// Makes the table `load` and lets so many clients insert rows, every other in a transaction block.
    pub async fn start(cluster: &Cluster, clients: usize) -> Load {
        let setup = cluster.connect().await;
        setup
            .batch_execute(
                "CREATE TABLE IF NOT EXISTS load (id bigint PRIMARY KEY, client int NOT NULL)",
            )
            .await
            .unwrap();
        let mut load = Load {
            stop: Arc::default(),
            seen: Arc::default(),
            clients: JoinSet::new(),
        };
        let next = Arc::new(AtomicI64::new(0));
        for client in 0..clients {
            let connection = cluster.connect().await;
            load.clients.spawn(write(
                connection,
                client as i32,
                next.clone(),
                load.stop.clone(),
                load.seen.clone(),
            ));
        }
        load
    }

    /// Acknowledged rows so far.
    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().acknowledged.len()
    }

    /// Waits until so many more rows are acknowledged; tells how long that took.
    pub async fn more(&self, rows: usize) -> Duration {
        let start = Instant::now();
        let (mut last, mut since) = (self.count(), start);
        let goal = last + rows;
        while last < goal {
            assert!(
                since.elapsed() < STANDSTILL,
                "no progress for {STANDSTILL:?}: {:?}",
                self.seen.lock().unwrap().complaints
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
            let now = self.count();
            if now > last {
                (last, since) = (now, Instant::now());
            }
        }
        start.elapsed()
    }

    /// Ends the clients and tells what they saw.
    pub async fn stop(mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

async fn write(
    mut connection: tokio_postgres::Client,
    client: i32,
    next: Arc<AtomicI64>,
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
) {
    while !stop.load(Ordering::Relaxed) {
        let id = next.fetch_add(1, Ordering::Relaxed);
        let result = match id % 2 {
            0 => connection.execute(INSERT, &[&id, &client]).await.map(drop),
            _ => in_block(&mut connection, id, client).await,
        };
        let mut seen = seen.lock().unwrap();
        let Err(error) = result else {
            seen.acknowledged.push((id, Instant::now()));
            continue;
        };
        match error.code() {
            Some(code) if *code == SqlState::T_R_SERIALIZATION_FAILURE => {
                seen.aborted.insert(id);
                seen.reasons
                    .push(format!("row {id}: {:?}", error.as_db_error()));
            }
            Some(code) if code.code() == "08007" => {
                seen.unknown.insert(id);
            }
            _ => {
                seen.unknown.insert(id);
                seen.complaints.push(format!("row {id}: {error:?}"));
                if connection.is_closed() {
                    return;
                }
            }
        }
    }
}

const INSERT: &str = "INSERT INTO load VALUES ($1, $2)";

async fn in_block(
    connection: &mut tokio_postgres::Client,
    id: i64,
    client: i32,
) -> Result<(), tokio_postgres::Error> {
    let transaction = connection.transaction().await?;
    transaction.execute(INSERT, &[&id, &client]).await?;
    transaction.commit().await
}

impl Seen {
    /// Everything acknowledged is there, nothing aborted is, and nothing else than that and the unknown.
    pub async fn check_against(&self, cluster: &Cluster) {
        let rows = cluster
            .connect()
            .await
            .query("SELECT id FROM load", &[])
            .await
            .unwrap();
        let there: BTreeSet<i64> = rows.iter().map(|row| row.get(0)).collect();
        let lost: Vec<i64> = self
            .acknowledged
            .iter()
            .map(|(id, _)| *id)
            .filter(|id| !there.contains(id))
            .collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let raised: Vec<&i64> = self.aborted.intersection(&there).collect();
        assert!(raised.is_empty(), "aborted and there: {raised:?}");
    }

    /// The longest time without any acknowledgement.
    pub fn longest_pause(&self) -> Duration {
        let mut times: Vec<Instant> = self.acknowledged.iter().map(|(_, at)| *at).collect();
        times.sort_unstable();
        let pauses = times.windows(2).map(|pair| pair[1] - pair[0]);
        pauses.max().unwrap_or(Duration::MAX)
    }
}
