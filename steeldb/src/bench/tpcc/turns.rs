//! TPC-C on several systems in turns.

use std::collections::BTreeMap;

use serde::Serialize;
use testbed::compare::{Meter, Outcome, Workload};
use testbed::comparison::Comparison;
use testbed::{Error, Later};
use tokio::sync::Notify;
use tpcc::report::run::Run;
use tpcc::{Config, Events};

use super::Args;
use super::single;
use crate::bench::compare::{self, Which};
use crate::bench::output;
use crate::failure::Failure;
use crate::progress::Progress;

/// Seconds of warm-up and of the measured interval where nothing is said.
const TIMES: (u64, u64) = (3, 10);

/// What is compared where nothing is said: Pgpool-II is left out, since it is rarely there and doubles the time.
const DEFAULT: [Which; 3] = [Which::Postgresql, Which::Standbys, Which::Steeldb];

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    comparison: &'a Comparison,
    runs: &'a [Run],
}

pub async fn run(args: &Args) -> Result<(), Failure> {
    let progress = Progress::start();
    let mut work = TpcC {
        config: args.config(String::new(), TIMES),
        rounds: args.compare.rounds(),
        runs: Vec::new(),
        progress: &progress,
    };
    let comparison = args.compare.run(&DEFAULT, &mut work, &progress).await?;
    let runs = work.runs;
    drop(progress);
    if args.output.json {
        output::print_json(&Report {
            comparison: &comparison,
            runs: &runs,
        })?;
    } else {
        println!("{}", compare::text(&comparison, "tpmC"));
    }
    args.output
        .write_page("tpcc", "TPC-C compared", &runs, Some(&comparison))?;
    let broken = runs
        .iter()
        .find(|run| run.consistency.starts_with("broken"));
    match broken {
        Some(run) => {
            Err(Failure::new(format!("{} is not consistent", run.system)).cause(&run.consistency))
        }
        None => Ok(()),
    }
}

/// The workload, with what each of its runs has found.
struct TpcC<'a> {
    config: Config,
    rounds: usize,
    runs: Vec<Run>,
    progress: &'a Progress,
}

impl TpcC<'_> {
    fn on(&self, system: &str, dsn: &str) -> Config {
        Config {
            dsn: dsn.to_owned(),
            system: Some(system.to_owned()),
            // After the last round: it reads everything, and what it finds holds for the earlier ones too.
            check: self.runs.iter().filter(|run| run.system == system).count() + 1 == self.rounds,
            ..self.config.clone()
        }
    }
}

impl Workload for TpcC<'_> {
    fn describe(&self) -> String {
        let config = &self.config;
        let load = match (config.arrivals_per_s, config.think_times) {
            (Some(rate), _) => format!(
                "{rate} transactions a second arrive, at most {} at once",
                config.terminals
            ),
            (None, true) => format!("{} terminals with think times", config.terminals),
            (None, false) => format!("{} terminals", config.terminals),
        };
        format!(
            "TPC-C, {} warehouse{}, {load}, {} s",
            config.warehouses,
            if config.warehouses == 1 { "" } else { "s" },
            config.duration.as_secs()
        )
    }

    fn prepare<'a>(&'a mut self, system: &'a str, dsn: &'a str) -> Later<'a, Result<(), Error>> {
        Box::pin(async move {
            let mut config = self.on(system, dsn);
            if system == "pgpool" {
                config.load_by = tpcc::LoadBy::Insert;
            }
            single::load(&config, self.progress)
                .await
                .map_err(|failure| Error::new(failure.to_string()))
        })
    }

    fn measure<'a>(
        &'a mut self,
        system: &'a str,
        dsn: &'a str,
        meter: &'a mut Meter<'_>,
    ) -> Later<'a, Result<Outcome, Error>> {
        Box::pin(async move {
            let config = self.on(system, dsn);
            let begun = Notify::new();
            let show = single::stand(&config, self.progress);
            let run = tpcc::run(&config, Events::default(), |stand| {
                begun.notify_one();
                show(stand);
            });
            let interval = async {
                // The terminals are connected.
                begun.notified().await;
                tokio::time::sleep(config.warmup).await;
                meter.begin()?;
                tokio::time::sleep(config.duration).await;
                meter.end()
            };
            let (run, metered) = tokio::join!(run, interval);
            let run = run.map_err(|error| Error::new("TPC-C did not run").cause(error))?;
            metered?;
            let outcome = outcome(&run);
            self.runs.push(run);
            Ok(outcome)
        })
    }
}

fn outcome(run: &Run) -> Outcome {
    let committed: u64 = run.kinds.iter().map(|kind| kind.committed).sum();
    let retries: u64 = run
        .kinds
        .iter()
        .flat_map(|kind| kind.retries.values())
        .sum();
    let mut metrics = BTreeMap::from([
        ("tpmC".to_owned(), run.tpm_c),
        ("tpmTotal".to_owned(), run.tpm_total),
        (
            "abort_rate".to_owned(),
            retries as f64 / (committed + retries).max(1) as f64,
        ),
    ]);
    if let Some(new_order) = run.kinds.iter().find(|kind| kind.name == "NEW-ORDER") {
        let times = new_order.response_ms;
        for (name, value) in [("p50", times.p50), ("p90", times.p90), ("p99", times.p99)] {
            metrics.insert(format!("new_order_{name}_ms"), value);
        }
    }
    Outcome { metrics, committed }
}
