//! Where a session goes, as whom, and what it may cost.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::ErrorFields;

/// How to reach a PostgreSQL and how to log in.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// Directory of the server's Unix socket.
    pub socket_dir: PathBuf,
    /// Port number, which is part of the socket's name.
    pub port: u16,
    /// Role to log in as; no password is sent.
    pub user: String,
    /// Database to connect to.
    pub database: String,
    /// Shown in `pg_stat_activity` and in the server's log.
    pub application_name: String,
    /// Run-time settings given at start-up, as (name, value).
    pub options: Vec<(String, String)>,
    /// The secret that marks capture notices; without it none are recognised.
    pub token: Option<Arc<str>>,
    /// Raised by every session to this target that meets damaged data.
    pub alarm: Alarm,
}

/// Tells whether a server has said that its data are damaged. All clones are one alarm, and what was said first stays.
#[derive(Clone, Debug, Default)]
pub struct Alarm(Arc<OnceLock<String>>);

impl Alarm {
    /// What the server said, if it did.
    pub fn raised(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    pub(crate) fn raise(&self, error: &ErrorFields) {
        // The first report is the one nearest to the cause.
        let _ = self.0.set(error.to_string());
    }
}

impl Target {
    /// Path of the server's socket.
    pub fn socket_path(&self) -> PathBuf {
        self.socket_dir.join(format!(".s.PGSQL.{}", self.port))
    }
}

/// What one [`Session::run`](crate::Session::run) may hold in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all outcomes of one run together; a frame counts its length plus
    /// [`Limits::FRAME_OVERHEAD`].
    pub outcome_bytes: usize,
    /// Bytes of one backend message.
    pub frame_bytes: usize,
}

impl Limits {
    /// What keeping one frame costs beside its bytes.
    pub const FRAME_OVERHEAD: usize = 32;
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            outcome_bytes: 256 << 20,
            frame_bytes: 256 << 20,
        }
    }
}
