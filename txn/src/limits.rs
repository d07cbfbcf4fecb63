//! Every bound of this room, in one place.

/// Transactions that one client may hold open; one more `Begin` is refused by the order (SQLSTATE 53300).
pub const OPEN_TRANSACTIONS_PER_CLIENT: usize = 120;
/// Transactions open in all; a PostgreSQL session at every replica stands behind each of them.
pub const OPEN_TRANSACTIONS: usize = 150;
/// Operations of one transaction (SQLSTATE 54000 at the client).
pub const STEPS_PER_TRANSACTION: usize = 100_000;
/// How often a replica that was removed asks for the verdicts that it waits for, milliseconds.
pub const LEAVER_FETCH_MS: u64 = 25;
/// Rows that one query with SKIP LOCKED may take (SQLSTATE 53400).
pub const CLAIMED_ROWS: usize = 10_000;
/// Decided heights that an autocommit write may lag behind the state that its master read (DESIGN.md, 7: K).
pub const AUTO_WINDOW: u64 = 1_000;
/// Draws by which a recorded value of a sequence may lie ahead of where the sequence stands, where the configuration says nothing;
/// and the most that it may say.
pub const SEQUENCE_WINDOW: u64 = 1 << 20;
pub const MAX_SEQUENCE_WINDOW: u64 = 1 << 40;
/// Answers kept per client for requests that are sent again.
pub const REPLIES_PER_CLIENT: usize = 4_096;
/// Heights whose votes are kept in memory for peers that ask; older ones are served from the log.
pub const VOTES_KEPT_HEIGHTS: u64 = 4_096;
/// Heights ahead of the last decided one whose early votes are kept.
pub const EARLY_VOTES_HEIGHTS: u64 = 256;
/// Heights whose verdicts a peer tells at once, and heights ahead of the last final one for which they are kept.
pub const VERDICTS_TOLD: u64 = 256;
/// Vote parts of one voter for one height: a part leaves when a prefix is judged, so at most one per item.
pub const PARTS_PER_HEIGHT: usize = 1_024;
/// Milliseconds of consensus time after which an open transaction is expired by the order.
pub const MAX_TRANSACTION_AGE_MS: u64 = 60 * 60 * 1_000;
/// Milliseconds for which open transactions may be waited for when an administrator moves the master.
pub const MAX_DRAIN_MS: u32 = 30_000;
/// Milliseconds between hearing n−f votes on an item and asking for their ordering, while all replicas are connected: the
/// unanimous exchange usually ends first, and then nothing needs to be ordered.
pub const VOTE_GRACE_MS: u64 = 8;
/// Milliseconds after which a replica that does not lead asks for the ordering of the votes that it holds.
pub const VOTE_PATIENCE_MS: u64 = 250;
/// Committed transactions, the last ones, whose receipt can be asked for by name; by place, as far as the log reaches.
pub const RECEIPTS_BY_NAME: usize = 65_536;
/// Receipts that may be asked of a replica and not be answered yet: in all, and by one client.
pub const RECEIPTS_WAITING: usize = 1_024;
pub const RECEIPTS_WAITING_PER_CLIENT: usize = 256;
