//! Processes of an earlier run: found, stopped, and what they left removed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Error;
use super::absent::remove_if_there;

/// How long a server of an earlier run may take to shut down before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long killed processes may take to be gone.
const GONE: Duration = Duration::from_secs(10);

const POLL: Duration = Duration::from_millis(10);

/// Kills (SIGKILL) every PostgreSQL process of a data directory, as a power failure would, and
/// returns how many there were. This is for whoever kills a whole replica from outside; blocks
/// until they are gone, at most 10 s.
pub fn kill_postgres(data_dir: &Path) -> Result<usize, Error> {
    let Ok(data_dir) = data_dir.canonicalize() else {
        return Ok(0);
    };
    let mut killed = std::collections::BTreeSet::new();
    let start = Instant::now();
    loop {
        let processes = processes(&data_dir);
        if processes.is_empty() {
            return Ok(killed.len());
        }
        if start.elapsed() > GONE {
            return Err(Error::Leftover(processes));
        }
        // The postmaster forks: it goes first, and the others are looked for again.
        let first = postmaster(&data_dir).filter(|pid| processes.contains(pid));
        for pid in first.into_iter().chain(processes) {
            signal(pid, Signal::SIGKILL)?;
            killed.insert(pid);
        }
        std::thread::sleep(POLL);
    }
}

/// Makes sure that nothing of an earlier run is alive, and removes its `postmaster.pid` and the lock of its `socket`,
/// which PostgreSQL would heed if an unrelated process had got the same number since, or if the dead one waits for its
/// parent to take notice.
///
/// The caller holds the data directory's lock, so whatever runs there belongs to a replica that is
/// gone.
pub(super) fn clear(data_dir: &Path, socket: &Path) -> Result<(), Error> {
    if let Some(pid) = postmaster(data_dir).filter(|pid| processes(data_dir).contains(pid)) {
        tracing::warn!(pid, "stopping the PostgreSQL of an earlier run");
        signal(pid, Signal::SIGINT)?;
        let start = Instant::now();
        while start.elapsed() < PATIENCE && processes(data_dir).contains(&pid) {
            std::thread::sleep(POLL);
        }
    }
    kill_postgres(data_dir)?;
    remove_if_there(&data_dir.join("postmaster.pid"))?;
    remove_if_there(&socket.with_added_extension("lock"))
}

/// The process number in `postmaster.pid`, whosoever it may be by now.
fn postmaster(data_dir: &Path) -> Option<i32> {
    let text = std::fs::read_to_string(data_dir.join("postmaster.pid")).ok()?;
    text.lines().next()?.trim().parse().ok()
}

/// All PostgreSQL server processes of a data directory: each has it as its working directory.
fn processes(data_dir: &Path) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid: &i32| {
            let at = |name: &str| std::fs::read_link(PathBuf::from(format!("/proc/{pid}/{name}")));
            // A program that was upgraded under a running server reads "postgres (deleted)".
            let is_postgres = |exe: PathBuf| {
                let name = exe.file_name().unwrap_or_default().to_string_lossy();
                name.trim_end_matches(" (deleted)") == "postgres"
            };
            at("cwd").is_ok_and(|cwd| cwd == data_dir) && at("exe").is_ok_and(is_postgres)
        })
        .collect()
}

fn signal(pid: i32, signal: Signal) -> Result<(), Error> {
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(Error::Io {
            what: format!("cannot send {signal} to process {pid}"),
            source: errno.into(),
        }),
    }
}
