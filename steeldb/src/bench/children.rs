//! The replica processes of a measurement: started, asked, ended with it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::service::Counters;
use super::{cpu, layout};
use crate::failure::Failure;

/// How long the replicas may take to reach each other.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the replicas run with.
pub struct Order<'a> {
    pub dir: &'a Path,
    pub replicas: u16,
    pub hosts: usize,
    pub reply: usize,
    pub fsync: bool,
    pub pipeline: u16,
}

/// All replicas; killed when this is dropped, and ended by themselves if this process dies first, since their standard
/// input ends then.
pub struct Replicas(Vec<Replica>);

struct Replica {
    id: u16,
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// What the replicas have done so far, all together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work {
    pub cpu: Duration,
    pub fsyncs: u64,
    /// Heights decided and requests ordered, at the replica that is furthest.
    pub heights: u64,
    pub requests: u64,
}

impl Replicas {
    /// Starts them and waits until each has reached all others.
    pub fn start(order: &Order<'_>) -> Result<Replicas, Failure> {
        let mut replicas = Replicas(Vec::new());
        for id in 0..order.replicas {
            replicas.0.push(Replica::start(id, order)?);
        }
        let until = Instant::now() + PATIENCE;
        for replica in &mut replicas.0 {
            while replica.counters()?.links + 1 < usize::from(order.replicas) {
                if Instant::now() >= until {
                    return Err(Failure::new(format!(
                        "replica {} did not reach all others within {PATIENCE:?}",
                        replica.id
                    ))
                    .next("look for what blocks loopback connections, or set STEELDB_LOG=info"));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(replicas)
    }

    /// Reads all counters.
    pub fn work(&mut self) -> Result<Work, Failure> {
        let mut work = Work::default();
        for replica in &mut self.0 {
            let counters = replica.counters()?;
            work.fsyncs += counters.fsyncs;
            work.heights = work.heights.max(counters.heights);
            work.requests = work.requests.max(counters.requests);
        }
        for replica in &self.0 {
            work.cpu += cpu::of(replica.child.id())?;
        }
        Ok(work)
    }
}

impl Replica {
    fn start(id: u16, order: &Order<'_>) -> Result<Replica, Failure> {
        let failed =
            |cause: String| Failure::new(format!("cannot start replica {id}")).cause(cause);
        let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
        let mut command = Command::new(program);
        command
            .args(["bench", "replica", "--id", &id.to_string()])
            .arg("--cluster")
            .arg(layout::cluster_file(order.dir))
            .arg("--identity")
            .arg(layout::identity_file(order.dir, id))
            .arg("--log")
            .arg(layout::log_dir(order.dir, id))
            .args(["--hosts", &order.hosts.to_string()])
            .args(["--reply", &order.reply.to_string()])
            .args(["--replicas", &order.replicas.to_string()])
            .args(["--pipeline", &order.pipeline.to_string()]);
        if !order.fsync {
            command.arg("--no-fsync");
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(ask), Some(answers)) => Ok(Replica {
                id,
                child,
                ask,
                answers: BufReader::new(answers),
            }),
            _ => Err(failed("it has no pipes".to_owned())),
        }
    }

    fn counters(&mut self) -> Result<Counters, Failure> {
        let gone = |cause: String| {
            Failure::new(format!("replica {} has ended", self.id))
                .cause(cause)
                .next("read what it said above")
        };
        let mut line = String::new();
        let asked = self.ask.write_all(b"\n");
        asked
            .and_then(|()| self.answers.read_line(&mut line))
            .map_err(|error| gone(error.to_string()))?;
        serde_json::from_str(&line).map_err(|error| gone(error.to_string()))
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        for replica in &mut self.0 {
            // One that ended by itself is no trouble.
            let _ = replica.child.kill();
            let _ = replica.child.wait();
        }
    }
}
