//! Why a checkpoint could not be written or read.

use std::io;
use std::path::{Path, PathBuf};

use consensus::transfer::ContentError;

/// An error of a checkpoint file. Other checkpoints, and the log, are as they were.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The system refused: no space, no permission, a broken disk.
    #[error("checkpoint file {}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something in the file is not what was written.
    #[error("checkpoint file {} is damaged at byte {offset} ({what})", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What was found.
        what: &'static str,
    },
    /// The file is sound, but no checkpoint of this cluster.
    #[error("checkpoint file {}: {source}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ContentError,
    },
}

impl CheckpointError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> CheckpointError {
        let path = path.to_owned();
        move |source| CheckpointError::Io { path, source }
    }
}
