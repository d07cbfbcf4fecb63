//! What the decision log knows of the order: the core's past, and decisions for peers that lag.

use consensus::{Decided, Height, Record, Recovered, View};

use crate::log::{Log, LogError, Replay};
use crate::run::record;

/// Bytes of decisions loaded for a lagging peer at a time.
const LOADED_BYTES: usize = 8 << 20;

/// Reads the core's past out of the log, which began in the view `first`.
///
/// # Errors
/// When a record cannot be read, or a decision is missing.
pub fn recover(replay: Replay, first: View) -> Result<Recovered, String> {
    let mut recovered = Recovered::in_view(first);
    for entry in replay {
        let entry = entry.map_err(|e: LogError| e.to_string())?;
        match entry.kind {
            record::DECIDED => {
                let decided: Decided = postcard::from_bytes(&entry.payload)
                    .map_err(|e| format!("decision {} in the log is unreadable: {e}", entry.key))?;
                recovered.decided(&decided).map_err(|e| e.to_string())?;
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
