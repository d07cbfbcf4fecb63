//! Why a log could not be opened, written or read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An error of the log; after one of writing, the log writes no more.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// The system refused: no space, no permission, a broken disk.
    #[error("log file {}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A record that was durable is damaged.
    #[error(
        "log file {} is damaged at byte {offset} ({what}): restore the file, or remove this replica's data directory to rebuild it from its peers",
        .path.display()
    )]
    Corrupt {
        /// The segment file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What was found.
        what: &'static str,
    },
    /// A segment between the first and the last is not there.
    #[error("log file {} is missing: restore it, or remove this replica's data directory to rebuild it from its peers", .path.display())]
    Missing {
        /// The segment file.
        path: PathBuf,
    },
    /// A segment went while the log was read beside its owner, who needs it no more.
    #[error("log file {} was deleted while the log was read, since its replica needs it no more: read the log again", .path.display())]
    Cut {
        /// The segment file.
        path: PathBuf,
    },
    /// Another process has the log open.
    #[error("the log in {} is in use by another process: stop that replica first", .path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A payload over [`MAX_PAYLOAD`](super::MAX_PAYLOAD).
    #[error("a record of {0} bytes is over the log's limit")]
    TooLong(usize),
    /// The log's thread is gone.
    #[error("the log is closed")]
    Closed,
}

impl LogError {
    pub(super) fn io(path: &Path, source: io::Error) -> LogError {
        LogError::Io {
            path: path.into(),
            source: Arc::new(source),
        }
    }
}
