//! One authenticated connection, from its first frame to its end, in one task.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{MissedTickBehavior, interval};

use crate::Budget;
use crate::events::EventSender;
use crate::frame::{Assembler, PING_FRAME, Piece};
use crate::outbox::{Outbox, Taken};
use crate::{Event, Limits, PeerId};

/// How much is read from, and encoded for, the connection at a time.
const CHUNK: usize = 128 << 10;

/// A timer cannot tick faster.
const SHORTEST_TICK: Duration = Duration::from_millis(1);

/// Counters that the halves of a connection share with its watch.
#[derive(Default)]
struct Pulse {
    reads: AtomicU64,
    writes: AtomicU64,
    /// The reader waits for the owner of the endpoint, so that silence says nothing about the peer.
    reader_waits: AtomicBool,
}

/// Runs the connection until it ends; returns why it did.
pub async fn run<S: AsyncRead + AsyncWrite>(
    stream: S,
    peer: PeerId,
    outbox: &Outbox,
    events: &EventSender,
    limits: &Limits,
) -> String {
    let (input, output) = tokio::io::split(stream);
    let pulse = Pulse::default();
    // One task drives both directions: what comes in is handled, then what that caused goes out in one write.
    tokio::select! {
        biased;
        // First, so that nothing more is read from a peer that was told to go.
        reason = outbox.stopped() => reason.to_owned(),
        reason = read(input, peer, events, limits, &pulse) => reason,
        reason = write(output, outbox, limits, &pulse) => reason,
        reason = watch(limits, &pulse) => reason,
    }
}

async fn read<S: AsyncRead>(
    mut input: ReadHalf<S>,
    peer: PeerId,
    events: &EventSender,
    limits: &Limits,
    pulse: &Pulse,
) -> String {
    let mut assembler = Assembler::new(limits.max_frame, limits.max_message);
    let budget = Budget::new(limits.inbound_bytes);
    let mut buffer = BytesMut::with_capacity(CHUNK);
    loop {
        buffer.reserve(CHUNK / 2);
        match input.read_buf(&mut buffer).await {
            Ok(0) => return "the peer closed the connection".to_owned(),
            Ok(_) => pulse.reads.fetch_add(1, Relaxed),
            Err(error) => return lost(&error),
        };
        loop {
            let (channel, payload) = match assembler.next(&mut buffer) {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(error) => return format!("the peer sent {error}"),
            };
            let bytes = payload.len();
            let frame = Event::Frame {
                from: peer,
                channel,
                payload,
            };
            pulse.reader_waits.store(true, Relaxed);
            let sent = events.send_counted(frame, bytes, &budget).await;
            pulse.reader_waits.store(false, Relaxed);
            if sent.is_err() {
                return "nobody listens to events any more".to_owned();
            }
        }
    }
}

async fn write<S: AsyncWrite>(
    mut output: WriteHalf<S>,
    outbox: &Outbox,
    limits: &Limits,
    pulse: &Pulse,
) -> String {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut buffer = Vec::with_capacity(CHUNK);
    let mut quiet = interval(limits.heartbeat.max(SHORTEST_TICK));
    quiet.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut writes_at_tick = u64::MAX;
    loop {
        buffer.clear();
        match outbox.take(CHUNK, &mut pieces) {
            Taken::Some => pieces.drain(..).for_each(|piece| piece.encode(&mut buffer)),
            Taken::Finished => {
                let _ = output.shutdown().await;
                return "this side shut down".to_owned();
            }
            Taken::Nothing => {
                tokio::select! {
                    () = outbox.filled() => continue,
                    _ = quiet.tick() => {
                        let writes = pulse.writes.load(Relaxed);
                        if writes != std::mem::replace(&mut writes_at_tick, writes) {
                            continue;
                        }
                        buffer.extend_from_slice(&PING_FRAME);
                    }
                }
            }
        }
        let written = async {
            output.write_all(&buffer).await?;
            output.flush().await
        };
        if let Err(error) = written.await {
            return lost(&error);
        }
        pulse.writes.fetch_add(1, Relaxed);
    }
}

/// Ends when the peer was silent for too long. Counts ticks, not time: a process that was stopped and goes on
/// must not take everybody for dead.
async fn watch(limits: &Limits, pulse: &Pulse) -> String {
    let mut tick = interval(limits.heartbeat.max(SHORTEST_TICK));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let allowed = limits
        .dead_after
        .div_duration_f64(limits.heartbeat.max(SHORTEST_TICK))
        .ceil() as u64;
    let (mut reads_at_tick, mut silent) = (u64::MAX, 0);
    loop {
        tick.tick().await;
        let reads = pulse.reads.load(Relaxed);
        let heard = reads != std::mem::replace(&mut reads_at_tick, reads);
        silent = if heard || pulse.reader_waits.load(Relaxed) {
            0
        } else {
            silent + 1
        };
        if silent >= allowed.max(1) {
            return format!("nothing heard for {:?}", limits.dead_after);
        }
    }
}

fn lost(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            "the peer's process or its connection ended".to_owned()
        }
        _ => format!("connection lost: {error}"),
    }
}
