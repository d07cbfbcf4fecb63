//! A server process on a host: started with a log file, waited for, ended in order.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Error, Host, process};

/// How long a server may take to end by itself before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// How much of the log's end goes into an error, in bytes.
const TAIL: usize = 1500;

/// A server process. Dropped, it is ended; its host, which lives longer, ends what it leaves.
#[derive(Debug)]
pub struct Daemon {
    what: String,
    child: Child,
    log: PathBuf,
    end: Signal,
}

impl Daemon {
    /// Starts a command of `host`, which says into `WHAT.log` in its directory what it has to say. `end` is the signal that
    /// ends it without ado, since its data are thrown away.
    pub fn start(
        host: &Host,
        what: &str,
        mut command: Command,
        end: Signal,
    ) -> Result<Daemon, Error> {
        let log = host.dir().join(format!("{what}.log"));
        let file = OpenOptions::new().create(true).append(true).open(&log);
        let file = file.map_err(Error::io("open", log.display()))?;
        let too = file.try_clone().map_err(Error::io("open", log.display()))?;
        command.stdin(Stdio::null()).stdout(file).stderr(too);
        let child = command.spawn().map_err(Error::io("start", what))?;
        Ok(Daemon {
            what: what.to_owned(),
            child,
            log,
            end,
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Asks until the answer is good. Fails when the process ends, and after `limit`, with the end of the log.
    pub async fn ready<F>(
        &mut self,
        limit: Duration,
        mut probe: impl FnMut() -> F,
    ) -> Result<(), Error>
    where
        F: Future<Output = Result<(), Error>>,
    {
        let until = Instant::now() + limit;
        loop {
            let asked = tokio::time::timeout(limit, probe()).await;
            let Err(refused) = asked.unwrap_or_else(|_| Err(Error::new("no answer"))) else {
                return Ok(());
            };
            if let Some(status) = self.ended()? {
                return Err(self.failure(format!("{} ended ({status})", self.what)));
            }
            if Instant::now() >= until {
                return Err(self.failure(format!(
                    "{} is not ready after {limit:?} ({refused})",
                    self.what
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn failure(&self, what: String) -> Error {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(TAIL)..];
        Error::new(what)
            .cause(String::from_utf8_lossy(tail).trim())
            .next("read the end of its log above")
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.child
            .try_wait()
            .map_err(Error::io("look after", &self.what))
    }

    /// Ends it: by its signal, and after ten seconds by SIGKILL; where it is dropped, its end is waited for.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.tell();
        let until = Instant::now() + PATIENCE;
        while self.ended()?.is_none() && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
        if self.ended()?.is_none() {
            self.child.kill().map_err(Error::io("kill", &self.what))?;
        }
        Ok(())
    }

    /// Sends the ending signal, to be heard by a stopped process too.
    fn tell(&self) {
        let Ok(pid) = i32::try_from(self.child.id()) else {
            return;
        };
        let _ = kill(Pid::from_raw(pid), self.end);
        process::signal(&process::descendants([pid]), Signal::SIGCONT);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        self.tell();
        let until = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(LOOK);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
