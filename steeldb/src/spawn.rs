//! Starting a member as a process of its own, which outlives the command that started it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::libc;

use crate::failure::Failure;
use crate::layout::{Layout, Member};
use crate::process::Process;

/// A log longer than this is begun anew at a start, in bytes; one older log is kept.
const LOG_BYTES: u64 = 16 << 20;

/// How much of a log's end is shown, in bytes and lines.
const TAIL_BYTES: u64 = 4000;
const TAIL_LINES: usize = 12;

/// Starts a member in its own session, with its output in its log. A replica or proxy gets a pid file.
pub fn start(layout: &Layout, member: Member) -> Result<Child, Failure> {
    let failed = |cause: String| Failure::new(format!("cannot start {member}")).cause(cause);
    let log = open_log(&layout.log_file(member)).map_err(|error| {
        failed(format!(
            "its log {}: {error}",
            layout.log_file(member).display()
        ))
    })?;
    let errors = log.try_clone().map_err(|error| failed(error.to_string()))?;
    let program = program().map_err(|error| failed(format!("the program's own path: {error}")))?;
    let mut command = Command::new(&program);
    match member {
        Member::Replica(_) => command
            .arg("replica")
            .arg("--config")
            .arg(layout.config(member)),
        Member::Proxy => command
            .arg("proxy")
            .arg("--config")
            .arg(layout.config(member)),
        Member::Supervisor => command.arg("supervise").arg("--data").arg(layout.root()),
    };
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors);
    detach(&mut command);
    let child = command
        .spawn()
        .map_err(|error| failed(format!("{}: {error}", program.display())))?;
    // The supervisor names itself, for only one can be.
    if member != Member::Supervisor {
        let path = layout.pid_file(member);
        let process = Process::living(child.id() as i32);
        let process = process.ok_or_else(|| failed("it ended at once".into()))?;
        process
            .write_to(&path)
            .map_err(|error| failed(format!("{}: {error}", path.display())))?;
    }
    Ok(child)
}

/// How long a log is, in bytes; where a next start's part of it will begin.
pub fn log_length(log: &Path) -> u64 {
    std::fs::metadata(log).map_or(0, |found| found.len())
}

/// The last lines of a log from a byte on, for an error message. A log that is shorter was begun anew.
pub fn log_tail(log: &Path, begin: u64) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let end = file.metadata()?.len();
        let begin = if begin > end { 0 } else { begin };
        file.seek(SeekFrom::Start(begin.max(end.saturating_sub(TAIL_BYTES))))?;
        let mut tail = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut tail)?;
        Ok(tail)
    };
    let tail = read().unwrap_or_default();
    let tail = String::from_utf8_lossy(&tail);
    let lines: Vec<&str> = tail.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// This program's file. One that was replaced while it ran reads "… (deleted)": the new one is at the same place.
pub fn program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let text = path.to_string_lossy();
    Ok(text
        .strip_suffix(" (deleted)")
        .map_or(path.clone(), PathBuf::from))
}

fn open_log(path: &Path) -> io::Result<File> {
    if log_length(path) > LOG_BYTES {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

/// A session of its own, so that neither the terminal's Ctrl-C nor its end reaches the process, and no open files of
/// whoever called this command.
fn detach(command: &mut Command) {
    let in_child = || {
        nix::unistd::setsid()?;
        // SAFETY: a system call with numbers only. Where the kernel does not know it the files stay open, which harms
        // nobody here.
        #[allow(unsafe_code)]
        unsafe {
            libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, CLOSE_ON_EXEC);
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(in_child);
    }
}

/// `CLOSE_RANGE_CLOEXEC` of close_range(2).
const CLOSE_ON_EXEC: u32 = 1 << 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_a_log_is_of_this_start_only() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("x.log");
        let lines: Vec<String> = (0..100).map(|n| format!("line {n}")).collect();
        std::fs::write(&log, lines.join("\n")).unwrap();
        assert_eq!(log_tail(&log, 0).lines().count(), TAIL_LINES);
        let begin = lines[..98].join("\n").len() as u64 + 1;
        assert_eq!(log_tail(&log, begin), "line 98\nline 99");
        assert_eq!(
            log_tail(&log, 1 << 30).lines().count(),
            TAIL_LINES,
            "begun anew"
        );
        assert_eq!(log_tail(&dir.path().join("none"), 0), "");
    }

    #[test]
    fn a_long_log_is_begun_anew_and_one_old_one_kept() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("x.log");
        std::fs::File::create(&log)
            .unwrap()
            .set_len(LOG_BYTES + 1)
            .unwrap();
        open_log(&log).unwrap();
        assert_eq!(log_length(&log), 0);
        assert!(dir.path().join("x.log.1").exists());
    }
}
