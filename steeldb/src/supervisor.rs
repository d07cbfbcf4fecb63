//! Starts again what has crashed, and leaves alone what was killed on purpose.

use std::collections::BTreeMap;
use std::process::Child;
use std::time::{Duration, Instant};

use cluster::Cluster;

use crate::failure::Failure;
use crate::layout::{Layout, Member};
use crate::lock::Lock;
use crate::{members, spawn};

/// How often members are looked at.
const EVERY: Duration = Duration::from_millis(500);

/// The first pause before a restart; it doubles with every crash.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A member that has run for so long starts with the first pause again.
const STEADY: Duration = Duration::from_secs(60);

/// What is known of one member.
#[derive(Clone, Copy, Debug)]
struct Crashes {
    pause: Duration,
    restart_at: Option<Instant>,
    started: Instant,
}

impl Crashes {
    fn new(now: Instant) -> Crashes {
        Crashes {
            pause: FIRST_PAUSE,
            restart_at: None,
            started: now,
        }
    }

    /// Seen without a process; tells whether to start it now.
    fn is_due(&mut self, now: Instant) -> bool {
        let at = *self.restart_at.get_or_insert_with(|| {
            if now.duration_since(self.started) >= STEADY {
                self.pause = FIRST_PAUSE;
            }
            now + self.pause
        });
        at <= now
    }

    fn restarted(&mut self, now: Instant) {
        *self = Crashes {
            pause: (self.pause * 2).min(LONGEST_PAUSE),
            restart_at: None,
            started: now,
        };
    }
}

/// Cares for the cluster until `stop`. `children` are those that this process has started itself.
pub async fn supervise(
    layout: &Layout,
    cluster: &Cluster,
    mut children: Vec<Child>,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let members = members::all(cluster);
    let mut crashes = BTreeMap::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return Ok(()),
            () = tokio::time::sleep(EVERY) => {}
        }
        // Collects those that have ended.
        children.retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
        for member in &members {
            let record = crashes
                .entry(*member)
                .or_insert_with(|| Crashes::new(Instant::now()));
            match restart_if_due(layout, *member, record) {
                Ok(child) => children.extend(child),
                Err(failure) => {
                    tracing::error!(%member, "{failure}");
                    record.restarted(Instant::now());
                }
            }
        }
    }
}

fn restart_if_due(
    layout: &Layout,
    member: Member,
    crashes: &mut Crashes,
) -> Result<Option<Child>, Failure> {
    let needed =
        || members::process(layout, member).is_none() && !members::is_stopped(layout, member);
    if !needed() {
        crashes.restart_at = None;
        return Ok(None);
    }
    if !crashes.is_due(Instant::now()) {
        return Ok(None);
    }
    let Some(_lock) = Lock::try_take(layout)? else {
        return Ok(None);
    };
    // A command may have started it, or killed it on purpose, before the lock was ours.
    if !needed() {
        return Ok(None);
    }
    tracing::warn!(%member, pause_s = crashes.pause.as_secs(), "has ended and is started again");
    crashes.restarted(Instant::now());
    Ok(Some(spawn::start(layout, member)?.child))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_a_steady_run_resets_them() {
        let start = Instant::now();
        let mut crashes = Crashes::new(start);
        let mut now = start;
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(!crashes.is_due(now), "not before the pause");
            now += Duration::from_secs(expected);
            assert!(crashes.is_due(now), "after {expected} s");
            crashes.restarted(now);
        }
        now += STEADY;
        assert!(!crashes.is_due(now));
        assert!(crashes.is_due(now + FIRST_PAUSE));
    }
}
