//! Processes by pid files that cannot name the wrong process.
//!
//! A pid comes back to another process sooner or later, so a pid file also holds the boot and the
//! time at which its process started, and counts only while both are those of the living process.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// One process of this machine, never mistaken for a later one with the same pid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pid: i32,
    /// Clock ticks from the boot to its start.
    started: u64,
    boot: String,
}

impl Process {
    /// The living process with this pid. One that has ended and waits to be collected is not alive.
    pub fn living(pid: i32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, started) = parse_stat(&stat)?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let ended = matches!(state, 'Z' | 'X' | 'x');
        (!ended).then(|| Process {
            pid,
            started,
            boot: boot.trim().to_owned(),
        })
    }

    /// The living process that a pid file names.
    pub fn named_by(pid_file: &Path) -> Option<Process> {
        let text = fs::read_to_string(pid_file).ok()?;
        let mut words = text.split_whitespace();
        let pid = words.next()?.parse().ok()?;
        let named = Process {
            pid,
            started: words.next()?.parse().ok()?,
            boot: words.next().unwrap_or_default().to_owned(),
        };
        named.is_alive().then_some(named)
    }

    /// Writes the pid file, whole or not at all.
    pub fn write_to(&self, pid_file: &Path) -> io::Result<()> {
        let new = pid_file.with_extension("pid.new");
        let mut file = fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        writeln!(file, "{} {} {}", self.pid, self.started, self.boot)?;
        fs::rename(&new, pid_file)
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    pub fn is_alive(&self) -> bool {
        Process::living(self.pid).as_ref() == Some(self)
    }

    /// Sends a signal; a process that has ended meanwhile is no error.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits for the end, at most this long; tells whether it came.
    pub fn ended_within(&self, time: Duration) -> bool {
        let start = Instant::now();
        while self.is_alive() {
            if start.elapsed() >= time {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }
}

/// State and start time in `/proc/PID/stat`. The program's name may hold blanks and brackets: what counts follows the last.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // Field 22 of proc(5); the state is field 3.
    let started = fields.nth(18)?.parse().ok()?;
    Some((state, started))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn sleeper() -> std::process::Child {
        Command::new("sleep").arg("60").spawn().unwrap()
    }

    #[test]
    fn a_pid_file_names_a_process_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.pid");
        let mut child = sleeper();
        let process = Process::living(child.id() as i32).unwrap();
        process.write_to(&file).unwrap();
        assert_eq!(Process::named_by(&file), Some(process.clone()));
        process.signal(Signal::SIGKILL).unwrap();
        assert!(
            process.ended_within(Duration::from_secs(5)),
            "a zombie counts as ended"
        );
        assert_eq!(Process::named_by(&file), None);
        child.wait().unwrap();
        process.signal(Signal::SIGKILL).unwrap();
    }

    #[test]
    fn a_pid_that_came_back_is_not_the_one_that_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.pid");
        let mut child = sleeper();
        let process = Process::living(child.id() as i32).unwrap();
        for earlier in [
            Process {
                started: process.started - 1,
                ..process.clone()
            },
            Process {
                boot: "another".into(),
                ..process.clone()
            },
        ] {
            earlier.write_to(&file).unwrap();
            assert_eq!(Process::named_by(&file), None);
            earlier.signal(Signal::SIGKILL).unwrap();
        }
        assert!(process.is_alive(), "nobody was killed by mistake");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn garbage_in_a_pid_file_names_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.pid");
        for text in ["", "1", "x y z", "-1 0 b", "0 0 b"] {
            fs::write(&file, text).unwrap();
            assert_eq!(Process::named_by(&file), None, "{text:?}");
        }
    }

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let numbers: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        let stat = format!("77 (a) R) (b) S {}", numbers.join(" "));
        assert_eq!(parse_stat(&stat), Some(('S', 22)));
    }
}
