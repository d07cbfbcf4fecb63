//! An end for a wait on a master that says nothing.
//!
//! A statement may run for as long as it likes, so silence alone means nothing. It ends the wait when the master is not even
//! there: no quorum that could replace it is connected for as long as an ordered request is waited for. And it ends when the
//! transaction would be too old to be committed, whatever the master says then.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Inner;

/// How often the links are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// The replicas expire an open transaction at this age, by ordered time.
const OLDEST: Duration = Duration::from_millis(txn::limits::MAX_TRANSACTION_AGE_MS);

/// Why nothing more is to be hoped for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Too few replicas are connected, for so long.
    NoQuorum,
    /// The master has not answered within a transaction's life.
    TooOld,
}

impl Inner {
    /// Ends when the master's answer is not worth waiting for any more.
    pub async fn silence(&self) -> Silence {
        let began = Instant::now();
        let mut heard = began;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = look.tick().await;
            if self.connected().len() >= self.view().quorum() {
                heard = now;
            }
            if now.duration_since(heard) >= self.settings.patience {
                return Silence::NoQuorum;
            }
            if now.duration_since(began) >= OLDEST {
                return Silence::TooOld;
            }
        }
    }
}
