//! `sim --seed N` replays one run with its trace; `sim --seeds A..B` runs a range.

use std::ops::Range;
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use clap::Parser;
use sim::Plan;
use sim::soak::{self, Totals};

/// Progress is told at this interval.
const PROGRESS: Duration = Duration::from_secs(10);

/// Simulates clusters from seeds.
#[derive(Parser)]
struct Args {
    /// Replays one seed and prints its plan and its trace.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Runs the seeds A..B (B excluded) and prints those that fail.
    #[arg(long, value_parser = range, required_unless_present = "seed")]
    seeds: Option<Range<u64>>,
    /// Threads for a range; as many as there are processors unless given.
    #[arg(long)]
    jobs: Option<usize>,
    /// With checkpoints, and absences so long that only those help.
    #[arg(long)]
    absences: bool,
    /// With spare replicas and weighted votes.
    #[arg(long, conflicts_with = "absences")]
    weights: bool,
    /// With leaders that are slow rather than dead.
    #[arg(long, conflicts_with_all = ["absences", "weights"])]
    slow_leaders: bool,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let hint = || format!("`{text}` is no range: write A..B, as in 0..1000");
    let (low, high) = text.split_once("..").ok_or_else(hint)?;
    let low = low.parse().map_err(|_| hint())?;
    let high = high.parse().map_err(|_| hint())?;
    if low < high {
        Ok(low..high)
    } else {
        Err(hint())
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let plan = match (args.absences, args.weights) {
        (true, _) => Plan::with_absences,
        (_, true) => Plan::with_weights,
        _ if args.slow_leaders => Plan::with_slow_leaders,
        _ => Plan::of,
    };
    let held = match (args.seed, args.seeds) {
        (Some(seed), _) => replay(plan(seed), seed),
        (None, Some(seeds)) => {
            let jobs = args.jobs.or(available_parallelism().ok().map(usize::from));
            run_all(seeds, jobs.unwrap_or(1), plan)
        }
        (None, None) => true,
    };
    if held {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    }
}

fn replay(plan: Plan, seed: u64) -> bool {
    println!("{plan:#?}");
    let outcome = sim::Cluster::new(plan, seed, true).run();
    match &outcome {
        Ok(summary) => println!("seed {seed}: no violation; {summary:?}"),
        Err(violation) => println!("seed {seed}: {violation}"),
    }
    outcome.is_ok()
}

fn run_all(seeds: Range<u64>, jobs: usize, plan: fn(u64) -> Plan) -> bool {
    let (began, count) = (Instant::now(), seeds.end - seeds.start);
    let mut told = began;
    let totals = soak::run(seeds, jobs, plan, |seed, outcome, totals| {
        if let Err(violation) = outcome {
            println!("seed {seed}: {violation}");
        }
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            tell_progress(totals, count, began.elapsed());
        }
    });
    println!(
        "{} seeds, {} failed; {} heights decided, {} regencies, {} states taken over, {} events, {} virtual hours; {:.0} s on {jobs} threads",
        totals.seeds,
        totals.failed,
        totals.heights,
        totals.regencies,
        totals.installed,
        totals.events,
        totals.virtual_ms / 3_600_000,
        began.elapsed().as_secs_f64(),
    );
    totals.failed == 0
}

fn tell_progress(totals: &Totals, count: u64, took: Duration) {
    let rate = totals.seeds as f64 / took.as_secs_f64();
    let left = (count - totals.seeds) as f64 / rate;
    eprintln!(
        "{} of {count} seeds, {} failed, {rate:.0} a second, {left:.0} s left",
        totals.seeds, totals.failed
    );
}
