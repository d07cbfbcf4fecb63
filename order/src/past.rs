//! What the decision log knows of the order: the core's past, and decisions for peers that lag.

use consensus::{Decided, Height, LogGap, Record, Recovered, Summary, View};

use crate::log::{Log, LogError, Replay};
use crate::run::record;

/// Bytes of decisions loaded for a lagging peer at a time.
const LOADED_BYTES: usize = 8 << 20;

/// Reads the core's past out of the log, which began in the view `first`.
///
/// # Errors
/// When a record cannot be read, or a decision is missing.
pub fn recover(replay: Replay, first: View) -> Result<Recovered, String> {
    read(replay, Recovered::in_view(first), |_, gap| {
        Err(gap.to_string())
    })
}

/// Like [`recover`], from a checkpoint (its summary) and the log after it. A log that does not reach the checkpoint, or
/// has no checkpoint where it should, is no error: peers make up for it. What it tells of later votes is remembered.
///
/// # Errors
/// When a record cannot be read.
pub fn recover_from(
    checkpoint: Option<Summary>,
    replay: Replay,
    first: View,
) -> Result<Recovered, String> {
    let recovered = match checkpoint {
        Some(summary) => Recovered::from_summary(summary),
        None => Recovered::in_view(first),
    };
    let mut told = false;
    read(replay, recovered, |recovered, LogGap { last, found }| {
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(
                last,
                found,
                "decisions are missing in the log: they will be fetched from the peers"
            );
        }
        recovered.skip(found);
        Ok(())
    })
}

fn read(
    replay: Replay,
    mut recovered: Recovered,
    mut gap: impl FnMut(&mut Recovered, LogGap) -> Result<(), String>,
) -> Result<Recovered, String> {
    for entry in replay {
        let entry = entry.map_err(|e: LogError| e.to_string())?;
        match entry.kind {
            record::DECIDED => {
                let decided: Decided = postcard::from_bytes(&entry.payload)
                    .map_err(|e| format!("decision {} in the log is unreadable: {e}", entry.key))?;
                if let Err(missing) = recovered.decided(&decided) {
                    gap(&mut recovered, missing)?;
                }
            }
            record::CORE => {
                let record: Record = postcard::from_bytes(&entry.payload)
                    .map_err(|e| format!("record {} in the log is unreadable: {e}", entry.key))?;
                recovered.record(record);
            }
            _ => {}
        }
    }
    Ok(recovered)
}

/// Consecutive decisions from a height on.
pub fn load(log: &Log, from: Height, max: usize) -> Vec<Decided> {
    let to = from.saturating_add(max as u64).saturating_sub(1);
    let records = match log.read(record::DECIDED, from..=to, LOADED_BYTES) {
        Ok(records) => records,
        Err(error) => {
            tracing::error!(%error, from, "decisions cannot be read from the log");
            return Vec::new();
        }
    };
    let mut decisions = Vec::with_capacity(records.len());
    for (entry, wanted) in records.iter().zip(from..) {
        match postcard::from_bytes::<Decided>(&entry.payload) {
            Ok(decided) if decided.height == wanted => decisions.push(decided),
            _ => break,
        }
    }
    decisions
}
