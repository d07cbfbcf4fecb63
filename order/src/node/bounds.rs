//! Every bound of a node, in one place. Those of replies are part of the replicated state: equal at every replica.

/// Answers kept for one client: whatever one that keeps to its window may still ask for again.
pub const REPLIES_PER_CLIENT: usize = 2 * consensus::service::CLIENT_WINDOW as usize;
/// Bytes of answers kept for one client; its newest is kept whatever its length.
pub const REPLY_BYTES_PER_CLIENT: usize = 8 << 20;
/// Bytes of answers kept for all clients; past it the client that takes most loses its oldest.
pub const REPLY_BYTES: usize = 256 << 20;
/// What a kept answer counts beyond its result, so that empty ones are bounded too.
pub const REPLY_OVERHEAD: usize = 128;
/// The longest result; a longer one is neither kept nor sent, and its client hears that it is gone.
pub const MAX_RESULT_BYTES: usize = 64 << 20;

/// Queries of one client that wait for a height; one more pushes out the one that waits for the greatest.
pub const WAITING_PER_CLIENT: usize = 64;
/// Queries of all clients that wait for a height; one more pushes out the one that waits for the greatest.
pub const WAITING: usize = 4_096;
/// Requests that came again and wait for their batch to be executed; one more is dropped, and comes once more.
pub const WAITING_REPEATS: usize = 4_096;
/// Queries that wait for the service to be free; more are dropped, and their clients ask again or have them ordered.
pub const QUERY_QUEUE: usize = 1_024;
/// Decided batches and repeated requests on their way to the service.
pub const JOB_QUEUE: usize = 256;
/// Executed batches and answered queries whose answers wait to be durable.
pub const ANSWER_QUEUE: usize = 1_024;
/// How long a node that stops waits for its service to finish what it executes.
pub const LAST_EXECUTION: std::time::Duration = std::time::Duration::from_secs(5);

/// Heights between checkpoints, if nothing else is configured: with four replicas each writes its state at every 16,000th and keeps the
/// log of 32,000 at most.
pub const CHECKPOINT_EVERY: u64 = 4_000;
