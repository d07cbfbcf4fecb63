//! Idle sessions with the private PostgreSQL, reused for transaction after transaction.

use deadpool::unmanaged::{self, Object};
use pgsession::{Error, Session, Target};
use std::sync::atomic::{AtomicU64, Ordering};

/// Idle sessions kept; more are closed when they come back.
const MAX_IDLE: usize = 64;

/// Sessions of one role. They leave the pool for as long as a transaction lives, and come back when they are idle.
pub struct Pool {
    target: Target,
    idle: unmanaged::Pool<Session>,
    /// Schema changes so far.
    generation: AtomicU64,
}

impl Pool {
    pub fn new(target: Target) -> Pool {
        Pool {
            target,
            idle: unmanaged::Pool::new(MAX_IDLE),
            generation: AtomicU64::new(0),
        }
    }

    /// The schema is another from now on. PostgreSQL keeps the types of parameters with a prepared statement, so the sessions would
    /// read what clients send otherwise than those of other replicas, and refuse what has other columns now.
    pub fn schema_changed(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// The session goes by the schema of now.
    pub fn renew(&self, session: &mut Session) {
        session.in_generation(self.generation.load(Ordering::Relaxed));
    }

    /// An idle session, or a new one.
    ///
    /// # Errors
    /// When PostgreSQL does not accept another session.
    pub async fn get(&self) -> Result<Session, Error> {
        while let Ok(idle) = self.idle.try_get() {
            let mut session = Object::take(idle);
            if !session.is_broken() {
                self.renew(&mut session);
                return Ok(session);
            }
        }
        let mut session = Session::connect(&self.target).await?;
        self.renew(&mut session);
        Ok(session)
    }

    /// Takes back a session that is idle and reset. One that is anything else, or too many, is closed.
    pub fn put(&self, session: Session) {
        if !session.is_broken() && session.transaction() == b'I' {
            let _ = self.idle.try_add(session);
        }
    }
}
