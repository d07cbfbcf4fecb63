//! Idle sessions with the private PostgreSQL, reused for transaction after transaction.

use pgsession::{Error, Session, Target};
use std::sync::Mutex;

/// Idle sessions kept; more are closed when they come back.
const MAX_IDLE: usize = 64;

/// Sessions of one role.
pub struct Pool {
    target: Target,
    idle: Mutex<Vec<Session>>,
}

impl Pool {
    pub fn new(target: Target) -> Pool {
        Pool {
            target,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// An idle session, or a new one.
    ///
    /// # Errors
    /// When PostgreSQL does not accept another session.
    pub async fn get(&self) -> Result<Session, Error> {
        loop {
            let idle = self.lock().pop();
            match idle {
                Some(session) if !session.is_broken() => return Ok(session),
                Some(_) => {}
                None => return Session::connect(&self.target).await,
            }
        }
    }

    /// Takes back a session that is idle and reset. One that is anything else is closed.
    pub fn put(&self, session: Session) {
        if session.is_broken() || session.transaction() != b'I' {
            return;
        }
        let mut idle = self.lock();
        if idle.len() < MAX_IDLE {
            idle.push(session);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(|e| e.into_inner())
    }
}
