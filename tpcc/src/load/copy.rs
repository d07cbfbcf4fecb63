//! A few connections that copy the chunks, and begin one again that a conflict or a lost connection ended.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures::SinkExt;
use tokio_postgres::Client;

use super::chunk::{self, Chunk};
use super::rows;
use crate::error::{Error, said};
use crate::terminal::{connect, sqlstate};

/// Connections that copy at once.
const CONNECTIONS: usize = 4;
/// How often a chunk is begun again.
const RETRIES: u32 = 20;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);
/// Bytes of one message.
const PIECE: usize = 64 * 1024;

/// What is loaded.
pub struct Order<'a> {
    pub dsn: &'a str,
    pub seed: u64,
    pub warehouses: u32,
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

/// One chunk, until it is there.
async fn copy(order: &Order<'_>, client: &mut Client, chunk: Chunk) -> Result<(), Error> {
    let what = format!(
        "loading {} of warehouse {}, part {}",
        chunk.table.name(),
        chunk.warehouse,
        chunk.part
    );
    let text = Bytes::from(rows::text(chunk, order.seed, order.warehouses));
    let mut tries = 0;
    loop {
        let error = match send(client, chunk, text.clone()).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let code = sqlstate(&error);
        let lost = client.is_closed() || error.is_closed() || code == "none";
        // 08007: committed or not, nobody knows. 08…, 57P0…: the server or the way to it is gone.
        let mends = lost
            || ["40", "08", "57P"]
                .iter()
                .any(|class| code.starts_with(class));
        if !mends || tries == RETRIES {
            return Err(Error::database(what)(error));
        }
        tries += 1;
        tracing::info!(what, error = said(&error), "begun again");
        tokio::time::sleep(PAUSE).await;
        if lost || code.starts_with("57P") {
            *client = connect(order.dsn).await?;
        }
        if !code.starts_with("40") && is_there(client, chunk).await? {
            return Ok(());
        }
    }
}

async fn send(client: &Client, chunk: Chunk, mut text: Bytes) -> Result<(), tokio_postgres::Error> {
    let copy = format!("COPY {} FROM STDIN", chunk.table.name());
    let mut sink = pin!(client.copy_in(&copy).await?);
    while !text.is_empty() {
        sink.send(text.split_to(PIECE.min(text.len()))).await?;
    }
    sink.finish().await?;
    Ok(())
}

async fn is_there(client: &Client, chunk: Chunk) -> Result<bool, Error> {
    let row = client.query_one(&chunk.presence(), &[]).await;
    Ok(row
        .map_err(Error::database(
            "looking for a chunk whose COPY got no answer",
        ))?
        .get(0))
}
