//! A few connections that copy the chunks, and begin one again that a conflict or a lost connection ended.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures::SinkExt;
use tokio::time::timeout;
use tokio_postgres::Client;

use super::chunk::{self, Chunk};
use super::insert;
use super::rows;
use crate::config::LoadBy;
use crate::error::{Error, said};
use crate::terminal::{NONE, connect, sqlstate};

/// Connections that copy at once.
const CONNECTIONS: usize = 4;
/// How often a chunk is begun again.
const RETRIES: u32 = 20;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);
/// For one chunk.
const PATIENCE: Duration = Duration::from_secs(300);
/// Bytes of one message.
const PIECE: usize = 64 * 1024;

/// What is loaded.
pub struct Order<'a> {
    pub dsn: &'a str,
    pub seed: u64,
    pub warehouses: u32,
    pub by: LoadBy,
    /// Rows done, of so many.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
}

/// Copies all chunks; returns the number of rows.
pub async fn all(order: &Order<'_>) -> Result<u64, Error> {
    let chunks = chunk::all(order.warehouses);
    let rows = |chunk: &Chunk| chunk.rows(order.seed, order.warehouses);
    let total = chunks.iter().map(rows).sum();
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let worker = || async {
        let mut client = connect(order.dsn).await?;
        while let Some(&chunk) = chunks.get(next.fetch_add(1, Relaxed)) {
            copy(order, &mut client, chunk).await?;
            let rows = rows(&chunk);
            (order.progress)(done.fetch_add(rows, Relaxed) + rows, total);
        }
        Ok(())
    };
    futures::future::try_join_all((0..CONNECTIONS).map(|_| worker())).await?;
    Ok(total)
}

/// Why a chunk was not copied, or not for certain.
struct Broken {
    /// `none` where the server gave no answer.
    code: String,
    cause: String,
}

/// One chunk, until it is there.
async fn copy(order: &Order<'_>, client: &mut Client, chunk: Chunk) -> Result<(), Error> {
    let text = Bytes::from(rows::text(chunk, order.seed, order.warehouses));
    let mut last = None;
    for tries in 0.. {
        let Err(broken) = attempt(order, client, chunk, text.clone(), last).await else {
            return Ok(());
        };
        // 08007: committed or not, nobody knows. 08…, 57P0…: the server or the way to it is gone.
        let mends = ["40", "08", "57P", NONE]
            .iter()
            .any(|class| broken.code.starts_with(class));
        if !mends || tries == RETRIES {
            let (table, w, part) = (chunk.table.name(), chunk.warehouse, chunk.part);
            let what = format!("loading {table} of warehouse {w}, part {part}");
            return Err(Error::Database {
                what,
                cause: broken.cause,
            });
        }
        tracing::info!(?chunk, error = broken.cause, "begun again");
        tokio::time::sleep(PAUSE).await;
        last = Some(broken);
    }
    Ok(())
}

/// `last` is why the attempt before came to nothing: one of which it is not said that it did not commit may have.
async fn attempt(
    order: &Order<'_>,
    client: &mut Client,
    chunk: Chunk,
    text: Bytes,
    last: Option<Broken>,
) -> Result<(), Broken> {
    let told = |error: tokio_postgres::Error| Broken {
        code: sqlstate(&error).to_owned(),
        cause: said(&error),
    };
    let silent = |cause: String| Broken {
        code: NONE.to_owned(),
        cause,
    };
    if let Some(last) = last.filter(|last| !last.code.starts_with("40")) {
        if last.code != "08007" {
            let connected = connect(order.dsn).await;
            *client = connected.map_err(|error| silent(error.to_string()))?;
        }
        let row = client.query_one(&chunk.presence(), &[]).await;
        if row.map_err(told)?.get(0) {
            return Ok(());
        }
    }
    let sent = async {
        match order.by {
            LoadBy::Copy => send(client, chunk, text).await,
            LoadBy::Insert => insert::send(client, chunk.table.name(), &text).await,
        }
    };
    match timeout(PATIENCE, sent).await {
        Ok(sent) => sent.map_err(told),
        Err(_) => Err(silent(format!("no answer within {PATIENCE:?}"))),
    }
}

/// Inside a transaction of its own, although COPY is one: a driver takes CommandComplete for the end, and a COPY of the
/// extended protocol commits only at the Sync behind it. Where the commit fails, or its server is ended between the two,
/// the rows are gone and nobody is told.
async fn send(
    client: &mut Client,
    chunk: Chunk,
    mut text: Bytes,
) -> Result<(), tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    let copy = format!("COPY {} FROM STDIN", chunk.table.name());
    let mut sink = pin!(transaction.copy_in(&copy).await?);
    while !text.is_empty() {
        sink.send(text.split_to(PIECE.min(text.len()))).await?;
    }
    sink.finish().await?;
    transaction.commit().await
}
