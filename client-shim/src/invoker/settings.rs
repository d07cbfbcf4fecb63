//! A client's options.

use std::time::Duration;

use consensus::service::CLIENT_WINDOW;

/// The most that [`Settings::window`] and [`Settings::queries`] may be; the other half of the replicas' window is for
/// queries that have to be ordered.
pub const MAX_WINDOW: usize = CLIENT_WINDOW as usize / 2;

/// A client's options; all waits end.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long an invocation may stay without a quorum of equal answers before it is given up.
    pub patience: Duration,
    /// Ordered requests at once, counted from the oldest unanswered; 1 to [`MAX_WINDOW`].
    pub window: usize,
    /// Queries at once; 1 to [`MAX_WINDOW`].
    pub queries: usize,
    /// A replica that has not answered a request gets it again after this time, and then after twice as long each time.
    pub retransmit: Duration,
    /// The longest that doubling makes it.
    pub retransmit_max: Duration,
    /// How long the result may lag behind a quorum of its digests before others are asked for it.
    pub fetch_after: Duration,
    /// How long a round of a query may take.
    pub query_wait: Duration,
    /// Rounds of a query before it is ordered.
    pub query_rounds: u32,
    /// Bounds of the links; `max_message` as the replicas have it.
    pub limits: net::Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(30),
            window: MAX_WINDOW,
            queries: MAX_WINDOW,
            retransmit: Duration::from_millis(500),
            retransmit_max: Duration::from_secs(5),
            fetch_after: Duration::from_millis(20),
            query_wait: Duration::from_millis(500),
            query_rounds: 2,
            limits: net::Limits::default(),
        }
    }
}
