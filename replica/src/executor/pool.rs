//! Idle sessions with the private PostgreSQL, reused for transaction after transaction.

use deadpool::unmanaged::{self, Object};
use pgsession::{Error, Session, Target};

/// Idle sessions kept; more are closed when they come back.
const MAX_IDLE: usize = 64;

/// Sessions of one role. They leave the pool for as long as a transaction lives, and come back when they are idle.
pub struct Pool {
    target: Target,
    idle: unmanaged::Pool<Session>,
}

impl Pool {
    pub fn new(target: Target) -> Pool {
        Pool {
            target,
            idle: unmanaged::Pool::new(MAX_IDLE),
        }
    }

    /// An idle session, or a new one.
    ///
    /// # Errors
    /// When PostgreSQL does not accept another session.
    pub async fn get(&self) -> Result<Session, Error> {
        while let Ok(idle) = self.idle.try_get() {
            let session = Object::take(idle);
            if !session.is_broken() {
                return Ok(session);
            }
        }
        Session::connect(&self.target).await
    }

    /// Takes back a session that is idle and reset. One that is anything else, or too many, is closed.
    pub fn put(&self, session: Session) {
        if !session.is_broken() && session.transaction() == b'I' {
            let _ = self.idle.try_add(session);
        }
    }
}
