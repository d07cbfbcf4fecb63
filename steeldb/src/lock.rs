//! One command at a time starts or stops members of a cluster.

use std::fs::{self, File, TryLockError};
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::layout::Layout;

/// How long a command waits for another one. Only stopping a cluster takes long.
const PATIENCE: Duration = Duration::from_secs(150);

/// Held while it lives; the system releases it when the process ends, however that happens.
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock, and says so when that takes a while.
    pub fn take(layout: &Layout) -> Result<Lock, Failure> {
        let start = Instant::now();
        let mut told = false;
        loop {
            if let Some(lock) = Lock::try_take(layout)? {
                return Ok(lock);
            }
            if start.elapsed() > PATIENCE {
                return Err(Failure::new(format!(
                    "another steeldb command has been at work on {} for {} s",
                    layout.root().display(),
                    PATIENCE.as_secs()
                ))
                .next("wait for it or interrupt it, then try again"));
            }
            if !told && start.elapsed() > Duration::from_secs(1) {
                eprintln!(
                    "waiting for another steeldb command on {}",
                    layout.root().display()
                );
                told = true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `None` when another command holds it.
    pub fn try_take(layout: &Layout) -> Result<Option<Lock>, Failure> {
        let path = layout.lock_file();
        let failed = |error| Failure::new(format!("cannot lock {}", path.display())).cause(error);
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_held_once_and_released_with_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path()).unwrap();
        fs::create_dir(layout.run_dir()).unwrap();
        let held = Lock::take(&layout).unwrap();
        assert!(Lock::try_take(&layout).unwrap().is_none());
        drop(held);
        assert!(Lock::try_take(&layout).unwrap().is_some());
    }
}
