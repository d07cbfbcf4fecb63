//! Every bound and time-out of state transfer, in one place.

/// Bounds of one replica's transfers. Times in milliseconds, sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferLimits {
    /// What a source sends per second, to all receivers together.
    pub bytes_per_second: u64,
    /// Chunks that a receiver has asked for, or is still writing, at a time; also what a source queues for one peer.
    pub in_flight: usize,
    /// The longest list of chunks: a larger state is refused.
    pub max_chunks: usize,
    /// How long a receiver waits for the offers of all before it chooses among those that came.
    pub gather_ms: u64,
    /// A receiver without a source asks again at this interval.
    pub retry_ms: u64,
    /// A source that leaves a question unanswered for so long is left for another. It doubles when all have been left.
    pub patience_ms: u64,
}

impl Default for TransferLimits {
    fn default() -> Self {
        Self {
            bytes_per_second: 32 << 20,
            in_flight: 4,
            max_chunks: 1 << 18,
            gather_ms: 200,
            retry_ms: 1_000,
            patience_ms: 3_000,
        }
    }
}

/// Roots in one offer: more are not looked at.
pub(super) const MAX_ROOTS: usize = 256;
/// Checkpoints that one offer names as kept.
pub(super) const MAX_KEPT: usize = 4;
