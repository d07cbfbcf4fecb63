//! The replica's own sessions: cancels, looking for blockers, health.

use super::Note;
use super::pool::Pool;
use pgsession::Statement;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc::UnboundedSender;
use txn::TxId;

/// Work for sessions of the superuser.
pub struct Control {
    pool: Arc<Pool>,
    notes: UnboundedSender<Note>,
    looking: Arc<AtomicBool>,
    asking: Arc<AtomicBool>,
}

impl Control {
    pub fn start(pool: Arc<Pool>, notes: UnboundedSender<Note>) -> Control {
        Control {
            pool,
            notes,
            looking: Arc::default(),
            asking: Arc::default(),
        }
    }

    /// Cancels what a process does; the note comes when PostgreSQL has sent the signal.
    pub fn cancel(&self, tx: TxId, pid: i32) {
        let (pool, notes) = (self.pool.clone(), self.notes.clone());
        tokio::spawn(async move {
            cancel(&pool, pid).await;
            let _ = notes.send(Note::Cancelled { tx });
        });
    }

    /// Cancels what a process does, when nobody waits to use its session.
    pub fn cancel_process(&self, pid: i32) {
        let pool = self.pool.clone();
        tokio::spawn(async move { cancel(&pool, pid).await });
    }

    /// Finds out for whom these processes wait.
    pub fn look_for_blockers(&self, pids: Vec<i32>) {
        if pids.is_empty() || self.looking.swap(true, Ordering::AcqRel) {
            return;
        }
        let (pool, notes, looking) = (self.pool.clone(), self.notes.clone(), self.looking.clone());
        tokio::spawn(async move {
            if let Some(pairs) = blockers(&pool, &pids).await
                && !pairs.is_empty()
            {
                let _ = notes.send(Note::Blocked(pairs));
            }
            looking.store(false, Ordering::Release);
        });
    }

    /// Asks PostgreSQL whether it is alive.
    pub fn ask_health(&self) {
        if self.asking.swap(true, Ordering::AcqRel) {
            return;
        }
        let (pool, notes, asking) = (self.pool.clone(), self.notes.clone(), self.asking.clone());
        tokio::spawn(async move {
            let asked = async {
                let mut session = pool.get().await.map_err(|e| e.to_string())?;
                session
                    .run(vec![super::opening::quiet("SELECT 1")])
                    .await
                    .map_err(|e| e.to_string())?;
                pool.put(session);
                Ok(())
            };
            let health = asked.await;
            asking.store(false, Ordering::Release);
            let _ = notes.send(Note::Health(health));
        });
    }
}

pub async fn cancel(pool: &Pool, pid: i32) {
    if pid == 0 {
        return;
    }
    let statement = Statement {
        sql: "SELECT pg_catalog.pg_cancel_backend($1)".into(),
        parameter_types: vec![23],
        parameters: vec![Some(pid.to_string().into())],
        cached: true,
        ..Statement::default()
    };
    let done = async {
        let mut session = pool.get().await?;
        session.run(vec![statement]).await?;
        pool.put(session);
        Ok::<_, pgsession::Error>(())
    };
    if let Err(error) = done.await {
        tracing::warn!(pid, %error, "could not cancel");
    }
}

async fn blockers(pool: &Pool, pids: &[i32]) -> Option<Vec<(i32, i32)>> {
    let list: Vec<String> = pids.iter().map(i32::to_string).collect();
    let statement = Statement {
        sql: "SELECT p, b FROM unnest($1::int[]) p, unnest(pg_catalog.pg_blocking_pids(p)) b"
            .into(),
        parameter_types: vec![1007],
        parameters: vec![Some(format!("{{{}}}", list.join(",")).into())],
        cached: true,
        ..Statement::default()
    };
    let mut session = pool.get().await.ok()?;
    let outcome = session.run(vec![statement]).await.ok()?.pop()?;
    pool.put(session);
    let number = |v: &Option<bytes::Bytes>| {
        v.as_ref()
            .and_then(|v| std::str::from_utf8(v).ok()?.parse().ok())
    };
    Some(
        outcome
            .values()
            .filter_map(|row| Some((number(row.first()?)?, number(row.get(1)?)?)))
            .collect(),
    )
}
