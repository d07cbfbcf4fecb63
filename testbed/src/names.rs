//! Names of what a run makes outside itself; what a killed run left is known by the dead process in its name.

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::cgroup::Tree;
use crate::{network, process};

/// Control groups, directories and network namespaces are called `steeldb-testbed-PID-NUMBER-NAME`.
pub(crate) const PREFIX: &str = "steeldb-testbed-";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A number that this process has not used yet.
pub(crate) fn number() -> u32 {
    NUMBER.fetch_add(1, Relaxed)
}

pub(crate) fn name(number: u32, what: &str) -> String {
    format!("{PREFIX}{}-{number}-{what}", std::process::id())
}

/// The process that made a thing of this name has ended.
pub(crate) fn is_left(name: &str) -> bool {
    name.strip_prefix(PREFIX)
        .and_then(|rest| rest.split('-').next())
        .is_some_and(owner_ended)
}

/// No process has this number. One of another account counts as living.
pub(crate) fn owner_ended(pid: &str) -> bool {
    pid.parse()
        .is_ok_and(|pid| kill(Pid::from_raw(pid), None) == Err(nix::errno::Errno::ESRCH))
}

/// Removes what killed runs have left: processes, control groups, namespaces, and the directories in `base`. Once for
/// each process; what cannot be removed stays, since it costs space only.
pub(crate) fn sweep(base: &Path) {
    static SWEPT: Once = Once::new();
    SWEPT.call_once(|| {
        for name in process::marked().into_values().filter(|name| is_left(name)) {
            process::kill_all(&mut || process::of_mark(&name));
        }
        for group in Tree::found().iter().flat_map(Tree::groups) {
            if group
                .file_name()
                .is_some_and(|name| is_left(&name.to_string_lossy()))
            {
                Tree::remove_group(&group);
            }
        }
        network::sweep();
        for path in entries(base) {
            if path
                .file_name()
                .is_some_and(|name| is_left(&name.to_string_lossy()))
            {
                let _ = std::fs::remove_dir_all(path);
            }
        }
    });
}

/// What is in a directory; nothing where it cannot be read.
pub(crate) fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_living_process_made_is_not_a_leftover() {
        assert!(!is_left(&name(7, "primary")));
        // No system has a process of this number: pid_max is at most 2^22.
        assert!(is_left("steeldb-testbed-2147483646-7-primary"));
        assert!(!is_left("steeldb-testbed--7"));
        assert!(!is_left("postgresql"));
    }
}
