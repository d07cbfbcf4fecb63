//! The one process that starts members: the foreground `up`, or `supervise` behind `up --detach`.
//!
//! Commands say what should run (a mark in `run/` keeps a member ended); the supervisor sees to it. It starts again what
//! has crashed, with growing pauses, and stops everything when it is told to end. When it is killed itself the members
//! stay, and the next one takes them over. It also collects the processes that members leave behind: PostgreSQL takes an
//! ended process that nobody has collected for a running one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cluster::Cluster;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::failure::Failure;
use crate::layout::{Layout, Member};
use crate::lock::Lock;
use crate::process::Process;
use crate::progress::Progress;
use crate::{members, spawn, stop};

/// How often members are looked at.
const EVERY: Duration = Duration::from_millis(200);

/// The first pause before a restart; it doubles with every crash.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A member that has run for so long starts with the first pause again.
const STEADY: Duration = Duration::from_secs(60);

/// When a member may be started.
#[derive(Clone, Copy, Debug)]
struct Restarts {
    pause: Duration,
    /// When it was seen to run last; `None` while it was never, or should not.
    alive: Option<Instant>,
    /// When it is started again.
    due: Option<Instant>,
    started: Instant,
}

impl Restarts {
    fn new(now: Instant) -> Restarts {
        Restarts {
            pause: FIRST_PAUSE,
            alive: None,
            due: None,
            started: now,
        }
    }

    fn seen_alive(&mut self, now: Instant) {
        self.alive = Some(now);
        self.due = None;
    }

    /// Seen without a process; tells whether to start it now. A first start does not wait, a crash does.
    fn is_due(&mut self, now: Instant) -> bool {
        let Some(alive) = self.alive else {
            return true;
        };
        if alive.duration_since(self.started) >= STEADY {
            self.pause = FIRST_PAUSE;
        }
        *self.due.get_or_insert(now + self.pause) <= now
    }

    fn start(&mut self, now: Instant) {
        if self.alive.is_some() {
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
        self.started = now;
        self.seen_alive(now);
    }
}

/// Makes this process the supervisor of a directory, unless another one is.
pub fn enter(layout: &Layout) -> Result<bool, Failure> {
    let _lock = Lock::take(layout)?;
    let me = Process::living(std::process::id() as i32);
    let me = me.ok_or_else(|| Failure::new("this process is not in /proc").next("mount /proc"))?;
    if members::process(layout, Member::Supervisor).is_some_and(|other| other != me) {
        return Ok(false);
    }
    let path = layout.pid_file(Member::Supervisor);
    me.write_to(&path)
        .map_err(|error| Failure::new(format!("cannot write {}", path.display())).cause(error))?;
    Ok(true)
}

/// Cares for the cluster until `stop`, then stops it.
pub async fn supervise(
    layout: &Layout,
    cluster: &Cluster,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let mut members = members::all(cluster);
    let mut restarts: BTreeMap<Member, Restarts> = BTreeMap::new();
    if let Err(error) = nix::sys::prctl::set_child_subreaper(true) {
        tracing::warn!(%error, "what members leave behind is collected by the system's first process");
    }
    let mut stop = std::pin::pin!(stop);
    loop {
        collect();
        // The membership may have changed. A file that cannot be read changes nothing.
        if let Ok(cluster) = members::load(layout) {
            members = members::all(&cluster);
        }
        for member in &members {
            let now = Instant::now();
            let restarts = restarts
                .entry(*member)
                .or_insert_with(|| Restarts::new(now));
            if let Err(failure) = start_if_due(layout, *member, restarts) {
                tracing::error!(%member, "{failure}");
            }
        }
        tokio::select! {
            () = &mut stop => break,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
    let progress = Progress::start();
    let _lock = Lock::take(layout)?;
    stop::stop_members(layout, &members, &progress)?;
    collect();
    let _ = std::fs::remove_file(layout.pid_file(Member::Supervisor));
    Ok(())
}

/// Collects the children that have ended, own ones and left ones.
fn collect() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}

fn start_if_due(layout: &Layout, member: Member, restarts: &mut Restarts) -> Result<(), Failure> {
    let now = Instant::now();
    if members::is_stopped(layout, member) {
        *restarts = Restarts::new(now);
        return Ok(());
    }
    if members::process(layout, member).is_some() {
        restarts.seen_alive(now);
        return Ok(());
    }
    if !members::has_ended(layout, member) {
        // It was stopped in order, and is wanted again.
        *restarts = Restarts::new(now);
    }
    if !restarts.is_due(now) {
        return Ok(());
    }
    let Some(_lock) = Lock::try_take(layout)? else {
        return Ok(());
    };
    // It may have been killed on purpose before the lock was ours.
    if members::is_stopped(layout, member) {
        return Ok(());
    }
    if restarts.alive.is_some() {
        tracing::warn!(%member, "has ended and is started again");
    }
    restarts.start(now);
    // It is collected with all others.
    spawn::start(layout, member).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_start_does_not_wait_and_pauses_double_until_a_run_is_steady() {
        let mut now = Instant::now();
        let mut restarts = Restarts::new(now);
        assert!(restarts.is_due(now));
        restarts.start(now);
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(!restarts.is_due(now), "not before the pause");
            now += Duration::from_secs(expected) - Duration::from_millis(1);
            assert!(!restarts.is_due(now), "not before {expected} s");
            now += Duration::from_millis(1);
            assert!(restarts.is_due(now), "after {expected} s");
            restarts.start(now);
        }
        now += STEADY;
        restarts.seen_alive(now);
        assert!(!restarts.is_due(now));
        assert!(restarts.is_due(now + FIRST_PAUSE));
    }
}
