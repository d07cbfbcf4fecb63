//! Parts of the log that others need: who copies has to catch up from its copy's height on.

use consensus::{Height, ReplicaId};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long the log is kept from a copy's height on, for the time of the copy and for what its receiver has to catch up with. The same
/// one is given that again only when it has been over for as long, so that nobody keeps logs from being cut for ever.
const LOG_KEPT_FOR: Duration = Duration::from_secs(2 * 3_600);
/// From where on the log is kept for each, and since when.
#[derive(Default)]
pub struct Holds(BTreeMap<ReplicaId, (Height, Instant)>);

impl Holds {
    /// What follows this height is needed by one that copies it.
    pub fn hold(&mut self, asker: ReplicaId, height: Height, now: Instant) {
        let held = self.0.get(&asker);
        let long_over = |since: Instant| now.saturating_duration_since(since) >= 2 * LOG_KEPT_FOR;
        if held.is_none_or(|(_, since)| long_over(*since)) {
            self.0.insert(asker, (height, now));
        }
    }

    /// From which height on the log is kept.
    pub fn needed(&self, now: Instant) -> Height {
        let held = self.0.values();
        let held = held.filter(|(_, since)| now.saturating_duration_since(*since) < LOG_KEPT_FOR);
        held.map(|(height, _)| *height).min().unwrap_or(Height::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_kept_for_copies_and_nobody_has_them_kept_for_ever() {
        let start = Instant::now();
        let mut holds = Holds::default();
        assert_eq!(holds.needed(start), Height::MAX);
        holds.hold(ReplicaId(1), 50, start);
        holds.hold(ReplicaId(2), 40, start);
        assert_eq!(holds.needed(start), 40);
        // A liar asks again and again.
        let mut kept = Duration::ZERO;
        let step = Duration::from_secs(600);
        for tick in 0..600 {
            let now = start + step * tick;
            holds.hold(ReplicaId(1), 50 + Height::from(tick), now);
            if holds.needed(now) < Height::MAX {
                kept += step;
            }
        }
        assert!(kept <= step * 310, "half of the time at most: {kept:?}");
        assert!(kept >= LOG_KEPT_FOR);
    }
}
