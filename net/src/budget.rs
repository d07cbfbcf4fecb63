//! Bytes that may wait in a queue, whose number of messages says nothing about memory.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What may wait in a queue, in bytes. Clones share it.
#[derive(Clone, Debug)]
pub struct Budget {
    free: Arc<Semaphore>,
    total: u32,
}

/// What one message has of a [`Budget`]; it goes with the message, and is given back when it is dropped.
#[derive(Debug, Default)]
pub struct Share {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// A budget of so many bytes, of which all are free.
    pub fn new(bytes: usize) -> Budget {
        let total = u32::try_from(bytes).unwrap_or(u32::MAX).max(1);
        Budget {
            free: Arc::new(Semaphore::new(total as usize)),
            total,
        }
    }

    /// Waits until so many bytes are free, in the order of the calls. A message over the whole budget passes when nothing
    /// else waits.
    pub async fn take(&self, bytes: usize) -> Share {
        let share = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.total);
        Share {
            // The semaphore is never closed.
            _permit: self.free.clone().acquire_many_owned(share).await.ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn bytes_are_given_back_with_the_share_and_a_large_message_passes_alone() {
        let budget = Budget::new(100);
        let small = budget.take(60).now_or_never();
        assert!(small.is_some());
        assert!(budget.take(41).now_or_never().is_none(), "forty are free");
        assert!(
            budget.take(1_000).now_or_never().is_none(),
            "not beside another"
        );
        drop(small);
        let large = budget.take(1_000).now_or_never();
        assert!(large.is_some());
        assert!(budget.take(1).now_or_never().is_none());
    }
}
