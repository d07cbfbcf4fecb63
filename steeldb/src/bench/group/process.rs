//! One replica's process: what it says, what it uses, its end.

use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};

use super::member::{Standing, Told};
use crate::failure::Failure;

/// How long a living replica may take to answer a question.
const PATIENCE: Duration = Duration::from_secs(20);

/// A replica's process; killed when this is dropped, and ended by itself if this process dies first.
pub struct Process {
    child: Child,
    pid: Pid,
    ask: ChildStdin,
    standing: watch::Receiver<Option<(Instant, Standing)>>,
    answers: mpsc::Receiver<Told>,
}

impl Process {
    pub fn start(id: u16, mut command: Command) -> Result<Process, Failure> {
        let failed =
            |cause: String| Failure::new(format!("cannot start replica {id}")).cause(cause);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let number = child.id().and_then(|pid| i32::try_from(pid).ok());
        let (Some(pid), Some(ask), Some(says)) = (number, child.stdin.take(), child.stdout.take())
        else {
            return Err(failed("it has no pipes".to_owned()));
        };
        let (stands, standing) = watch::channel(None);
        let (answer, answers) = mpsc::channel(4);
        // Ends with the process, whose output it reads.
        tokio::spawn(async move {
            let mut lines = BufReader::new(says).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                match serde_json::from_str(&line) {
                    Ok(Told::Standing(standing)) => {
                        stands.send_replace(Some((Instant::now(), standing)));
                    }
                    // Nobody waits for an answer that came too late.
                    Ok(told) => drop(answer.try_send(told)),
                    Err(error) => tracing::warn!(id, %error, "a replica said something else"),
                }
            }
        });
        Ok(Process {
            child,
            pid: Pid::from_raw(pid),
            ask,
            standing,
            answers,
        })
    }

    /// Where it stands, if it said so within this time.
    pub fn standing(&self, within: Duration) -> Option<Standing> {
        let latest = self.standing.borrow();
        let (at, standing) = latest.as_ref()?;
        (at.elapsed() <= within).then(|| standing.clone())
    }

    /// Asks, and waits for the answer.
    pub async fn ask(&mut self, id: u16, what: &str) -> Result<Told, Failure> {
        let silent = |cause: &str| {
            Failure::new(format!("replica {id} does not answer")).cause(cause.to_owned())
        };
        while self.answers.try_recv().is_ok() {}
        let line = format!("{what}\n");
        if let Err(error) = self.ask.write_all(line.as_bytes()).await {
            return Err(silent(&error.to_string()));
        }
        match tokio::time::timeout(PATIENCE, self.answers.recv()).await {
            Ok(Some(told)) => Ok(told),
            Ok(None) => Err(silent("it has ended")),
            Err(_) => Err(silent("it took too long")),
        }
    }

    pub fn signal(&self, signal: Signal) -> Result<(), Failure> {
        kill(self.pid, signal).map_err(|error| {
            Failure::new(format!("cannot send {signal} to process {}", self.pid)).cause(error)
        })
    }

    /// SIGKILL, and until it is gone.
    pub async fn kill(mut self) -> Result<(), Failure> {
        self.child
            .kill()
            .await
            .map_err(|error| Failure::new(format!("cannot kill process {}", self.pid)).cause(error))
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// The most memory that it ever had resident, in bytes.
    pub fn peak_memory(&self) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kib << 10)
    }
}
