//! Processes as /proc shows them: whose they are, what they have used, stopped, continued, killed.
//!
//! A host marks what it starts by a variable of the environment. PostgreSQL writes over that of its backends, so what
//! belongs to a host are the marked processes with all that descend from them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// The variable whose value is the host's name.
pub(crate) const MARK: &str = "STEELDB_TESTBED_HOST";

/// How long killed processes may take to be gone, stopped ones to stand still, new ones to come.
const PATIENCE: Duration = Duration::from_secs(10);

struct Stat {
    state: char,
    parent: i32,
    /// User and system time, own and of children that have ended and were waited for.
    ticks: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold spaces and brackets.
    let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        ticks: number(11)? + number(12)? + number(13)? + number(14)?,
    })
}

fn all() -> impl Iterator<Item = i32> {
    crate::names::entries("/proc".as_ref())
        .filter_map(|path| path.file_name()?.to_str()?.parse().ok())
}

/// Host names by process, of the processes that show one.
pub(crate) fn marked() -> BTreeMap<i32, String> {
    let mark = format!("{MARK}=");
    let of = |pid: i32| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
        let found = environ
            .split(|byte| *byte == 0)
            .find_map(|variable| variable.strip_prefix(mark.as_bytes()))?;
        Some((pid, String::from_utf8_lossy(found).into_owned()))
    };
    all().filter_map(of).collect()
}

/// The living processes of a host.
pub(crate) fn of_mark(name: &str) -> BTreeSet<i32> {
    let marked = marked();
    descendants(
        marked
            .iter()
            .filter(|(_, host)| *host == name)
            .map(|(pid, _)| *pid),
    )
}

/// The living among these processes, with all that descend from them.
pub(crate) fn descendants(roots: impl IntoIterator<Item = i32>) -> BTreeSet<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    let mut living = BTreeSet::new();
    for pid in all() {
        if let Some(stat) = stat(pid).filter(|stat| !matches!(stat.state, 'Z' | 'X')) {
            children.entry(stat.parent).or_default().push(pid);
            living.insert(pid);
        }
    }
    let mut found = BTreeSet::new();
    let mut next: Vec<i32> = roots
        .into_iter()
        .filter(|pid| living.contains(pid))
        .collect();
    while let Some(pid) = next.pop() {
        if found.insert(pid) {
            next.extend(children.get(&pid).into_iter().flatten());
        }
    }
    found
}

/// CPU seconds of living processes and of their ended children, to a tick (10 ms).
pub(crate) fn cpu_seconds(processes: &BTreeSet<i32>) -> f64 {
    let ticks: u64 = processes
        .iter()
        .filter_map(|pid| stat(*pid))
        .map(|stat| stat.ticks)
        .sum();
    let a_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    ticks as f64 / a_second as f64
}

pub(crate) fn signal(processes: &BTreeSet<i32>, signal: Signal) {
    for pid in processes {
        // It may have ended since.
        let _ = kill(Pid::from_raw(*pid), signal);
    }
}

/// Kills until none is left; false when some are still there after ten seconds.
pub(crate) fn kill_all(processes: &mut dyn FnMut() -> BTreeSet<i32>) -> bool {
    until(&mut || {
        let left = processes();
        signal(&left, Signal::SIGKILL);
        left.is_empty()
    })
}

/// Stops until all stand still, those too that were started meanwhile; false after ten seconds.
pub(crate) fn stop_all(processes: &mut dyn FnMut() -> BTreeSet<i32>) -> bool {
    until(&mut || {
        let mut moving = processes();
        moving.retain(|pid| stat(*pid).is_some_and(|stat| !matches!(stat.state, 'T' | 'Z' | 'X')));
        signal(&moving, Signal::SIGSTOP);
        moving.is_empty()
    })
}

/// Looks until it is done; false after ten seconds.
pub(crate) fn until(done: &mut dyn FnMut() -> bool) -> bool {
    let limit = Instant::now() + PATIENCE;
    while !done() {
        if Instant::now() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}
