//! Work beside the order's task, which whoever stops the order waits for: files that are still being written or read would meet those of
//! the next run.

use std::future::Future;

use tokio::task::JoinSet;

/// Tasks that end by themselves.
#[derive(Debug, Default)]
pub(crate) struct Background(JoinSet<()>);

impl Background {
    pub fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.reap();
        self.0.spawn(task);
    }

    pub fn spawn_blocking(&mut self, work: impl FnOnce() + Send + 'static) {
        self.reap();
        self.0.spawn_blocking(work);
    }

    /// Waits until all have ended.
    pub async fn finish(&mut self) {
        while self.0.join_next().await.is_some() {}
    }

    fn reap(&mut self) {
        while self.0.try_join_next().is_some() {}
    }
}
