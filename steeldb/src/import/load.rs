//! The rows: COPY out of the source's snapshot, cut into pieces, COPY into the cluster, each piece a transaction.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::front::Front;
use super::source::{Source, Table};
use super::sql_error;
use crate::failure::Failure;
use crate::progress::Progress;

/// A piece is sent when it is at least this long, in bytes; a longer row makes a longer piece. Every replica holds a piece
/// several times while it is ordered and judged.
const PIECE: usize = 2 << 20;

/// One message of a COPY, in bytes.
const MESSAGE: usize = 64 << 10;

/// Sessions that load at once: while one piece is judged, the master executes another.
const SESSIONS: usize = 2;

/// How often a piece is tried again that was aborted.
const TRIES: usize = 10;

/// How long one piece may take.
const PATIENCE: Duration = Duration::from_secs(180);

struct Piece {
    table: Table,
    rows: Bytes,
}

/// Loads all tables; returns the bytes of their rows.
///
/// # Errors
/// When a row cannot be read or written; the table is named.
pub async fn tables(
    source: &Source,
    tables: &[Table],
    front: &Front,
    progress: &Progress,
) -> Result<u64, Failure> {
    let (pieces, waiting) = mpsc::channel::<Piece>(1);
    let waiting = std::sync::Arc::new(tokio::sync::Mutex::new(waiting));
    let mut workers = JoinSet::new();
    for _ in 0..SESSIONS {
        let (client, waiting) = (front.connect().await?, waiting.clone());
        workers.spawn(work(client, waiting));
    }
    // Without it the pieces that nobody takes would be waited for.
    drop(waiting);
    let mut bytes = 0;
    let mut read = Ok(());
    for (place, table) in tables.iter().enumerate() {
        progress.step(format!(
            "table {} of {}: {}",
            place + 1,
            tables.len(),
            table.name
        ));
        read = copy_out(source, table, &pieces, &mut bytes).await;
        if read.is_err() {
            break;
        }
    }
    drop(pieces);
    // What a worker says comes first: the reader may only have found that nobody takes pieces any more.
    while let Some(done) = workers.join_next().await {
        done.map_err(|error| Failure::new("a session of the import has ended").cause(error))??;
    }
    read.map(|()| bytes)
}

fn of_table(table: &Table) -> String {
    match table.columns.as_str() {
        "" => table.name.clone(),
        columns => format!("{} ({columns})", table.name),
    }
}

async fn copy_out(
    source: &Source,
    table: &Table,
    pieces: &mpsc::Sender<Piece>,
    bytes: &mut u64,
) -> Result<(), Failure> {
    let failed = |error| sql_error(&format!("table {} cannot be read", table.name), &error);
    let gone = |_| Failure::new(format!("table {} cannot be loaded", table.name));
    let copy = format!("COPY {} TO STDOUT", of_table(table));
    let rows = source.client.copy_out(&copy).await.map_err(failed)?;
    let mut rows = pin!(rows);
    let mut piece = BytesMut::new();
    // One message of COPY OUT is one row.
    while let Some(row) = rows.next().await {
        let row = row.map_err(failed)?;
        *bytes += row.len() as u64;
        piece.extend_from_slice(&row);
        if piece.len() >= PIECE {
            let rows = piece.split().freeze();
            let table = table.clone();
            pieces.send(Piece { table, rows }).await.map_err(gone)?;
        }
    }
    if !piece.is_empty() {
        let (table, rows) = (table.clone(), piece.freeze());
        pieces.send(Piece { table, rows }).await.map_err(gone)?;
    }
    Ok(())
}

async fn work(
    mut client: Client,
    waiting: std::sync::Arc<tokio::sync::Mutex<mpsc::Receiver<Piece>>>,
) -> Result<(), Failure> {
    loop {
        let piece = waiting.lock().await.recv().await;
        let Some(piece) = piece else {
            return Ok(());
        };
        let mut tries = 0;
        loop {
            let failed = format!("table {} cannot be loaded", piece.table.name);
            let sent = tokio::time::timeout(PATIENCE, copy_in(&mut client, &piece)).await;
            let sent = sent.map_err(|_| {
                Failure::new(failed.clone()).cause(format!("no answer within {PATIENCE:?}"))
            })?;
            let Err(error) = sent else { break };
            tries += 1;
            // Aborted: nothing of it is there. Any other error may leave it in doubt, and the import is over.
            if error.code() != Some(&SqlState::T_R_SERIALIZATION_FAILURE) || tries == TRIES {
                return Err(sql_error(&failed, &error));
            }
        }
    }
}

/// In a block of its own, although COPY is a transaction: only the answer to COMMIT says that the rows are there.
async fn copy_in(client: &mut Client, piece: &Piece) -> Result<(), tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    let copy = format!("COPY {} FROM STDIN", of_table(&piece.table));
    let mut sink = pin!(transaction.copy_in::<_, Bytes>(&copy).await?);
    let mut rows = piece.rows.clone();
    while !rows.is_empty() {
        sink.send(rows.split_to(MESSAGE.min(rows.len()))).await?;
    }
    sink.finish().await?;
    transaction.commit().await
}
