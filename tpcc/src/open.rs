//! The open loop: transactions arrive whether or not earlier ones have ended, and wait for a terminal.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};
use tokio::time::sleep_until;

use crate::input::{Input, Profile, Source};
use crate::measure::Ended;
use crate::terminal::{Context, NONE, Terminal};

/// Arrivals that may wait for a terminal; one more is turned away.
pub const WAITING: usize = 4_096;

/// Input and the moment at which it arrived.
type Arrival = (Instant, Input);

/// A Poisson process.
pub async fn arrive(
    context: Arc<Context>,
    mut source: Source,
    queue: mpsc::Sender<Arrival>,
    mean_s: f64,
    during: Range<Instant>,
) {
    let mut at = during.start;
    loop {
        at += Duration::from_secs_f64(source.exponential(mean_s));
        if at >= during.end {
            return;
        }
        sleep_until(at.into()).await;
        let (warehouse, district) = source.place();
        let input = source.next(warehouse, district);
        let profile = input.profile();
        if queue.try_send((at, input)).is_err() {
            turn_away(&context, profile, at, "turned away: too many wait");
        }
    }
}

/// A terminal takes what has waited longest. What still waits at the end is not served any more.
pub async fn serve(
    context: Arc<Context>,
    mut terminal: Terminal,
    arrivals: Arc<Mutex<mpsc::Receiver<Arrival>>>,
    until: Instant,
) {
    loop {
        let next = arrivals.lock().await.recv().await;
        let Some((at, input)) = next else {
            return;
        };
        if Instant::now() < until {
            terminal.perform_until(&input, at, Some(until)).await;
        } else {
            turn_away(&context, input.profile(), at, "still waited at the end");
        }
    }
}

fn turn_away(context: &Context, profile: Profile, at: Instant, why: &str) {
    context.meter.seen(NONE, why.to_owned());
    context.meter.ended(profile, at, Ended::Failed);
}
