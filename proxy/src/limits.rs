//! Every bound of the front in one place.

use std::time::Duration;

/// A startup packet, as in PostgreSQL (bytes).
pub const STARTUP_BYTES: usize = 10_000;
/// How many encryption requests may come before the startup packet: one for SSL, one for GSSAPI.
pub const STARTUP_REQUESTS: usize = 3;
/// One message of a client, CopyData apart (bytes).
pub const MESSAGE_BYTES: usize = 64 << 20;
/// What is read ahead of a client while its earlier messages are being served (bytes).
pub const READ_AHEAD_BYTES: usize = 1 << 20;
/// Answers are gathered up to this size before they are written (bytes).
pub const OUTPUT_BYTES: usize = 64 << 10;
/// The data of one COPY FROM STDIN (bytes).
pub const COPY_BYTES: usize = 256 << 20;
/// The COPY data that all clients together have under way (bytes).
pub const COPY_TOTAL: usize = 1 << 30;
/// COPY data is cut into pieces of this size (bytes).
pub const COPY_CHUNK: usize = 64 << 10;
/// Prepared statements of one connection, and their texts in all (bytes).
pub const STATEMENTS: usize = 4096;
pub const STATEMENT_BYTES: usize = 128 << 20;
/// Portals of one connection, and their parameters and waiting rows in all (bytes).
pub const PORTALS: usize = 1024;
pub const PORTAL_BYTES: usize = 256 << 20;
/// Settings that a session carries into each of its transactions, and names and values in all (bytes).
pub const SETTINGS: usize = 128;
pub const SETTING_BYTES: usize = 64 << 10;
/// Primary keys that a session remembers.
pub const KEYS: usize = 256;
/// Savepoints open at once in one transaction.
pub const SAVEPOINTS: usize = 4096;
/// Sockets that have not yet sent a startup packet, beyond those of established connections.
pub const UNAUTHENTICATED: usize = 64;
/// How long the reported parameters of the cluster are remembered.
pub const PARAMETERS_AGE: Duration = Duration::from_secs(60);
/// How long the last words to a client may take to be written.
pub const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long connections may take to end at shutdown.
pub const SHUTDOWN: Duration = Duration::from_secs(5);
