//! A wish to cancel that may come at any moment, and once.

use std::future::Future;
use std::pin::Pin;

/// A caller's future that resolves when what runs is to be cancelled.
pub(crate) struct Cancellation<F> {
    wish: Pin<Box<F>>,
    fired: bool,
}

impl<F: Future<Output = ()>> Cancellation<F> {
    pub fn new(wish: F) -> Self {
        Self {
            wish: Box::pin(wish),
            fired: false,
        }
    }

    /// Resolves when the wish comes, and never again. Cancel-safe.
    pub async fn comes(&mut self) {
        if self.fired {
            std::future::pending::<()>().await;
        }
        self.wish.as_mut().await;
        self.fired = true;
    }
}
