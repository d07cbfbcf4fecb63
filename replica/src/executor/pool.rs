//! Idle sessions with the private PostgreSQL, reused for transaction after transaction.

use super::closing;
use super::opening::first_error;
use deadpool::unmanaged::{self, Object};
use pgsession::{Error, Outcome, Session, Statement, Target};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Idle sessions kept, of all roles together: they count among the connections that the server allows.
const MAX_IDLE: usize = 64;
/// The longest name that PostgreSQL does not cut short, in bytes.
const MAX_NAME: usize = 63;
/// PostgreSQL has no connection left; how often one is asked for, and how long is waited in between.
const TOO_MANY: &str = "53300";
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// Sessions by the role that they logged in as. They leave the pool for as long as a transaction lives, and come back when they are idle.
pub struct Pool {
    target: Target,
    idle: Mutex<BTreeMap<Arc<str>, unmanaged::Pool<Session>>>,
    /// Schema changes so far.
    generation: AtomicU64,
}

impl Pool {
    pub fn new(target: Target) -> Pool {
        Pool {
            target,
            idle: Mutex::default(),
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

    /// An idle session of the target's own role, or a new one.
    ///
    /// # Errors
    /// When PostgreSQL does not accept another session.
    pub async fn get(&self) -> Result<Session, Error> {
        self.of(&self.target.user).await
    }

    /// The same of another role. Where that cannot log in it is a session of the target's own role: `steel.act_as`, which is asked
    /// before anything of a client's runs, refuses it with an error that is equal at all replicas. Nobody is logged in to find
    /// out: PostgreSQL would write a line into its log each time. A server that lets the role in nowhere else is at fault, not the
    /// transaction: that is an error.
    ///
    /// # Errors
    /// As [`get`](Pool::get).
    pub async fn get_as(&self, role: &str) -> Result<Session, Error> {
        if !may_be_had(role) || role == self.target.user {
            return self.get().await;
        }
        if let Some(session) = self.idle_of(role) {
            return Ok(session);
        }
        let mut own = self.get().await?;
        let asked = own.run(vec![may_log_in(role)]).await?.pop();
        let asked = asked.unwrap_or_default();
        if let Some(error) = asked.error {
            return Err(Error::Refused(Box::new(error)));
        }
        if asked.scalar().as_deref() != Some("t") {
            return Ok(own);
        }
        self.put(own);
        self.connect(role).await
    }

    async fn of(&self, role: &str) -> Result<Session, Error> {
        match self.idle_of(role) {
            Some(session) => Ok(session),
            None => self.connect(role).await,
        }
    }

    fn idle_of(&self, role: &str) -> Option<Session> {
        loop {
            let mut session = self.take(role)?;
            if !session.is_broken() {
                self.renew(&mut session);
                return Some(session);
            }
        }
    }

    /// Where there are too many connections those that nobody uses go first.
    async fn connect(&self, role: &str) -> Result<Session, Error> {
        let target = Target {
            user: role.to_owned(),
            ..self.target.clone()
        };
        let mut tries = 0;
        loop {
            match Session::connect(&target).await {
                Ok(mut session) => {
                    self.renew(&mut session);
                    let kept = session.run(closing::canaries().into()).await?;
                    return match first_error(kept) {
                        Some(error) => Err(Error::Refused(Box::new(error))),
                        None => Ok(session),
                    };
                }
                Err(Error::Refused(why)) if why.sqlstate == TOO_MANY && tries < TRIES => {
                    self.idle.lock().unwrap_or_else(|e| e.into_inner()).clear();
                    // PostgreSQL notices that they are gone.
                    tokio::time::sleep(PAUSE).await;
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&self, role: &str) -> Option<Session> {
        let idle = self.idle.lock().unwrap_or_else(|e| e.into_inner());
        idle.get(role)?.try_get().ok().map(Object::take)
    }

    /// Takes back a session after [`closing::clean`], by what came of it.
    pub fn put_clean(&self, session: Session, cleaned: &[Outcome]) {
        if cleaned.iter().all(|outcome| outcome.error.is_none()) {
            self.put(session);
        }
    }

    /// Takes back a session that is idle and reset. One that is anything else is closed; where there are too many, one of the role
    /// that has most of them.
    pub fn put(&self, session: Session) {
        if session.is_broken() || session.transaction() != b'I' {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(|e| e.into_inner());
        let kept: usize = idle.values().map(|of_role| of_role.status().size).sum();
        if kept >= MAX_IDLE {
            let most = idle.values().max_by_key(|of_role| of_role.status().size);
            drop(most.and_then(|of_role| of_role.try_get().ok().map(Object::take)));
            idle.retain(|_, of_role| of_role.status().size > 0);
        }
        let of_role = idle
            .entry(session.user().clone())
            .or_insert_with(|| unmanaged::Pool::new(MAX_IDLE));
        let _ = of_role.try_add(session);
    }
}

/// Whether a client may be given a session of a role of this name at all: not of the replica's own, nor of PostgreSQL's.
fn may_be_had(role: &str) -> bool {
    (1..=MAX_NAME).contains(&role.len())
        && !role.contains('\0')
        && role != "steel"
        && !role.starts_with("pg_")
}

/// Whether it may log in here, as `steel.act_as` sees it.
fn may_log_in(role: &str) -> Statement {
    Statement {
        sql: "SELECT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) $1 AND r.rolcanlogin
                  AND pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'CONNECT'))"
            .into(),
        parameter_types: vec![25],
        parameters: vec![Some(role.to_owned().into())],
        cached: true,
        ..Statement::default()
    }
}
