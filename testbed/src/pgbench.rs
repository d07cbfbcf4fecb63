//! The workload of pgbench.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::compare::{Meter, Outcome, Workload};
use crate::names::entries;
use crate::program::run;
use crate::system::Later;
use crate::{Error, Settings};

/// Tries of a transaction that met a serialization failure or a deadlock.
const TRIES: u32 = 20;

/// How much longer than its seconds a run may take, and how long loading.
const GRACE: Duration = Duration::from_secs(60);
const LOAD: Duration = Duration::from_secs(1800);

/// Which of pgbench's scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// Updates of an account, a teller and a branch, an insert: branches are contended.
    TpcB,
    /// The same without teller and branch.
    SimpleUpdate,
    SelectOnly,
}

/// How statements are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Simple,
    Prepared,
}

/// pgbench with these options.
#[derive(Debug, Clone)]
pub struct Pgbench {
    pub program: PathBuf,
    pub script: Script,
    pub protocol: Protocol,
    pub clients: u32,
    /// Of 100,000 accounts each.
    pub scale: u32,
    /// Seconds of a round, and of what runs before and does not count.
    pub seconds: u32,
    pub warmup: u32,
    /// Steps of `pgbench -I`.
    pub init_steps: String,
}

impl Pgbench {
    /// TPC-B, simple protocol, scale 1; the program is that of the server's version, else of PATH.
    pub fn new(settings: &Settings, clients: u32, seconds: u32) -> Pgbench {
        let program = settings.program("pgbench");
        Pgbench {
            program: if program.is_file() {
                program
            } else {
                "pgbench".into()
            },
            script: Script::TpcB,
            protocol: Protocol::Simple,
            clients,
            scale: 1,
            seconds,
            warmup: 1,
            init_steps: "dtgvp".to_owned(),
        }
    }

    fn command(&self, seconds: u32) -> Command {
        let mut command = Command::new(&self.program);
        // Fewer threads than clients, as many as the processors can carry.
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        let builtin = match self.script {
            Script::TpcB => "tpcb-like",
            Script::SimpleUpdate => "simple-update",
            Script::SelectOnly => "select-only",
        };
        let protocol = match self.protocol {
            Protocol::Simple => "simple",
            Protocol::Prepared => "prepared",
        };
        // No vacuum at the start: not every proxy lets it through, and autovacuum is on.
        command.args(["-n", "-b", builtin, "-M", protocol]);
        command.args([
            "-c",
            &self.clients.to_string(),
            "-j",
            &self.clients.min(cores).to_string(),
        ]);
        command.args(["-T", &seconds.to_string(), &format!("--max-tries={TRIES}")]);
        command
    }
}

impl Workload for Pgbench {
    fn describe(&self) -> String {
        let Pgbench {
            script,
            protocol,
            clients,
            scale,
            seconds,
            ..
        } = self;
        format!(
            "pgbench {script:?}, {protocol:?} protocol, scale {scale}, {clients} clients, {seconds} s"
        )
    }

    fn prepare<'a>(&'a mut self, _: &'a str, dsn: &'a str) -> Later<'a, Result<(), Error>> {
        Box::pin(async move {
            let mut command = Command::new(&self.program);
            command.args([
                "-i",
                "-q",
                "-I",
                &self.init_steps,
                "-s",
                &self.scale.to_string(),
            ]);
            run(command.arg(dsn), LOAD).await.map(drop)
        })
    }

    fn measure<'a>(
        &'a mut self,
        _: &'a str,
        dsn: &'a str,
        meter: &'a mut Meter<'_>,
    ) -> Later<'a, Result<Outcome, Error>> {
        Box::pin(async move {
            if self.warmup > 0 {
                run(self.command(self.warmup).arg(dsn), limit(self.warmup)).await?;
            }
            let logs =
                tempfile::tempdir().map_err(Error::io("make", "a directory for pgbench's logs"))?;
            let prefix = logs.path().join("log");
            let mut command = self.command(self.seconds);
            command
                .arg("--log")
                .arg("--log-prefix")
                .arg(&prefix)
                .arg(dsn);
            meter.begin()?;
            let report = run(&mut command, limit(self.seconds)).await?;
            meter.end()?;
            outcome(&report, latencies(logs.path())?)
        })
    }
}

fn limit(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into()) + GRACE
}

/// What pgbench has reported, with the latencies (µs) that it has logged.
fn outcome(report: &str, mut latencies: Vec<u32>) -> Result<Outcome, Error> {
    let number = |name: &str| {
        let line = report
            .lines()
            .find_map(|line| line.trim().strip_prefix(name));
        let text = line.map(|line| line.trim_start_matches([':', '=', ' ']));
        let number = text.and_then(|text| text.split([' ', '/']).next()?.parse::<f64>().ok());
        number.ok_or_else(|| Error::new(format!("pgbench has reported no {name:?}")).cause(report))
    };
    let committed = number("number of transactions actually processed")?;
    let failed = number("number of failed transactions")?;
    // Stands there only where there was one, in some versions.
    let retries = number("total number of retries").unwrap_or(0.0);
    let aborted = failed + retries;
    let mut metrics = BTreeMap::from([
        ("tps".to_owned(), number("tps")?),
        ("latency_avg_ms".to_owned(), number("latency average")?),
        (
            "abort_rate".to_owned(),
            aborted / (committed + aborted).max(1.0),
        ),
    ]);
    latencies.sort_unstable();
    for (name, share) in [("latency_p50_ms", 0.50), ("latency_p99_ms", 0.99)] {
        // The least latency that this share of the transactions does not exceed.
        let rank = (latencies.len() as f64 * share).ceil() as usize;
        if let Some(micros) = latencies.get(rank.saturating_sub(1)) {
            metrics.insert(name.to_owned(), f64::from(*micros) / 1000.0);
        }
    }
    Ok(Outcome {
        metrics,
        committed: committed as u64,
    })
}

/// Latencies (µs) of the committed transactions in a directory of logs.
fn latencies(dir: &Path) -> Result<Vec<u32>, Error> {
    let mut all = Vec::new();
    for path in entries(dir) {
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", path.display()))?;
        // Client, transaction, latency (`failed` where it has none), …
        all.extend(
            text.lines()
                .filter_map(|line| line.split(' ').nth(2)?.parse::<u32>().ok()),
        );
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
pgbench (15.18 (Debian 15.18-0+deb12u1))
transaction type: <builtin: TPC-B (sort of)>
scaling factor: 1
query mode: simple
number of clients: 8
number of threads: 2
maximum number of tries: 20
duration: 5 s
number of transactions actually processed: 900
number of failed transactions: 10 (1.099%)
number of transactions retried: 60 (6.593%)
total number of retries: 90
latency average = 5.250 ms (including failures)
initial connection time = 9.875 ms
tps = 180.125000 (without initial connection time)
";

    #[test]
    fn the_report_is_read_and_aborted_attempts_are_counted() {
        let outcome = outcome(REPORT, (1..=200).rev().map(|n| n * 1000).collect()).unwrap();
        assert_eq!(outcome.committed, 900);
        let expected = [
            ("abort_rate", 0.1),
            ("latency_avg_ms", 5.25),
            ("latency_p50_ms", 100.0),
            ("latency_p99_ms", 198.0),
            ("tps", 180.125),
        ];
        assert_eq!(
            outcome.metrics,
            expected
                .map(|(name, value)| (name.to_owned(), value))
                .into()
        );
    }

    #[test]
    fn a_report_without_a_figure_is_an_error_that_shows_it() {
        let error = outcome("pgbench: error: everything is broken", vec![])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("actually processed") && error.contains("is broken"),
            "{error}"
        );
    }

    #[test]
    fn failed_transactions_have_no_latency() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("log.1"),
            "0 1 1500 0 1700000000 12 0\n0 2 failed 0 1700000000 15 20\n",
        )
        .unwrap();
        std::fs::write(dir.path().join("log.1.1"), "1 1 2500 0 1700000000 12 1\n").unwrap();
        let mut found = latencies(dir.path()).unwrap();
        found.sort_unstable();
        assert_eq!(found, [1500, 2500]);
    }
}
