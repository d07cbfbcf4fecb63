//! Cancel requests: another connection names a session by number and secret, and stops what runs in it at that moment.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// All sessions that can be cancelled.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    last: AtomicI32,
    sessions: Mutex<HashMap<i32, Arc<Session>>>,
}

#[derive(Debug)]
struct Session {
    secret: i32,
    /// Present while something runs: a request that comes too late must not stop the next statement.
    running: Mutex<Option<oneshot::Sender<()>>>,
}

/// One session's place in the registry, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    registry: Arc<Registry>,
    pub number: i32,
    session: Arc<Session>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    pub fn enter(self: &Arc<Registry>) -> Seat {
        let session = Arc::new(Session {
            secret: rand::random(),
            running: Mutex::default(),
        });
        let mut sessions = locked(&self.sessions);
        let number = loop {
            let number = self.last.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & i32::MAX;
            if number != 0 && !sessions.contains_key(&number) {
                break number;
            }
        };
        sessions.insert(number, session.clone());
        Seat {
            registry: self.clone(),
            number,
            session,
        }
    }

    /// Stops what runs in the session, if the secret is its own; else nothing happens, and nobody is told.
    pub fn cancel(&self, number: i32, secret: i32) {
        let session = locked(&self.sessions).get(&number).cloned();
        if let Some(session) = session.filter(|session| session.secret == secret)
            && let Some(running) = locked(&session.running).take()
        {
            // Whoever ran has just ended.
            let _ = running.send(());
        }
    }
}

impl Seat {
    pub fn secret(&self) -> i32 {
        self.session.secret
    }

    /// Something starts to run; the future resolves when it is to be cancelled. It ends with the guard.
    pub fn running(&self) -> (Running, impl Future<Output = ()> + Send + 'static) {
        let (sender, receiver) = oneshot::channel();
        *locked(&self.session.running) = Some(sender);
        let cancelled = async move {
            if receiver.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        (Running(self.session.clone()), cancelled)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        locked(&self.registry.sessions).remove(&self.number);
    }
}

/// Something that runs and can be cancelled.
pub(crate) struct Running(Arc<Session>);

impl Drop for Running {
    fn drop(&mut self) {
        locked(&self.0.running).take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test]
    async fn only_the_right_secret_cancels_and_only_what_runs() {
        let registry = Arc::new(Registry::default());
        let seat = registry.enter();
        registry.cancel(seat.number, seat.secret());
        let (running, cancelled) = seat.running();
        tokio::pin!(cancelled);
        registry.cancel(seat.number, seat.secret().wrapping_add(1));
        registry.cancel(seat.number + 1, seat.secret());
        assert!(
            timeout(Duration::from_millis(20), &mut cancelled)
                .await
                .is_err()
        );
        registry.cancel(seat.number, seat.secret());
        cancelled.await;
        drop(running);
    }
}
