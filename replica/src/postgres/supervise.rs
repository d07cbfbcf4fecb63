//! One child process, held from its start to its end.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::{oneshot, watch};

/// A running postmaster and the thread that waits for its end.
#[derive(Debug)]
pub(super) struct Postmaster {
    pid: i32,
    /// `None` while it runs; then what became of it.
    end: watch::Receiver<Option<String>>,
}

impl Postmaster {
    /// Starts the command under a thread of its own. The kernel ties the child's life to the
    /// *thread* that started it (`PR_SET_PDEATHSIG`), so that thread must stay until the child ends.
    pub async fn start(command: Command) -> io::Result<Postmaster> {
        let (ended, end) = watch::channel(None);
        let (started, start) = oneshot::channel();
        std::thread::Builder::new()
            .name("postgres-keeper".into())
            .spawn(move || {
                let mut child = match spawn(command) {
                    Ok(child) => child,
                    Err(error) => {
                        // Nobody listens when the caller was dropped: then there is no one to tell.
                        let _ = started.send(Err(error));
                        return;
                    }
                };
                if started.send(Ok(child.id())).is_err() {
                    let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGQUIT);
                }
                let status = describe(child.wait());
                ended.send_replace(Some(status));
            })?;
        let pid = start
            .await
            .map_err(|_| io::Error::other("the keeper thread ended"))??;
        Ok(Postmaster {
            pid: pid as i32,
            end,
        })
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    pub fn is_alive(&self) -> bool {
        self.end.borrow().is_none()
    }

    /// Resolves when the process has ended, with what became of it.
    pub fn ended(&self) -> impl Future<Output = String> + Send + use<> {
        let mut end = self.end.clone();
        async move {
            match end.wait_for(Option::is_some).await {
                Ok(status) => status.clone().unwrap_or_default(),
                Err(_) => "unknown end".into(),
            }
        }
    }

    /// Sends a signal, unless the process has ended.
    pub fn signal(&self, signal: Signal) {
        if self.is_alive() {
            // It may end at this very moment.
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// Waits for the end; tells whether it came in time.
    pub async fn ended_within(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.ended()).await.is_ok()
    }
}

/// Starts a command that gets SIGQUIT when the calling thread is gone, however that happens:
/// PostgreSQL then ends at once with all its processes. It stands in a process group of its own, so
/// that a Ctrl-C at a terminal reaches the replica only.
pub(super) fn spawn(mut command: Command) -> io::Result<Child> {
    let parent = nix::unistd::getpid();
    command.process_group(0);
    let last_in_child = move || {
        nix::sys::prctl::set_pdeathsig(Signal::SIGQUIT)?;
        if nix::unistd::getppid() != parent {
            return Err(io::Error::other("the replica is gone"));
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing on
    // its good path; both calls are async-signal-safe.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(last_in_child);
    }
    command.spawn()
}

fn describe(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}
