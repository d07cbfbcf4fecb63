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
    #[arg(long, group = "kind")]
    absences: bool,
    /// With spare replicas and weighted votes.
    #[arg(long, group = "kind")]
    weights: bool,
    /// With clients that make MAC vectors.
    #[arg(long, group = "kind")]
    macs: bool,
    /// Nobody lies, n = 2f + 1 and some more.
    #[arg(long, group = "kind")]
    crash_only: bool,
    /// With changes of the view.
    #[arg(long, group = "kind")]
    reconfigure: bool,
    /// With fixed members, equal votes, liars.
    #[arg(long, group = "kind")]
    byzantine: bool,
    /// With leaders that are slow rather than dead.
    #[arg(long, group = "kind")]
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
    let forced = [
        (args.byzantine, Plan::byzantine as fn(u64) -> Plan),
        (args.weights, Plan::with_weights),
        (args.absences, Plan::with_absences),
        (args.macs, Plan::with_macs),
        (args.crash_only, Plan::crash_only),
        (args.reconfigure, Plan::reconfiguring),
        (args.slow_leaders, Plan::with_slow_leaders),
    ];
    // Else the seed chooses.
    let forced = forced
        .into_iter()
        .find_map(|(set, plan)| set.then_some(plan));
    let plan = forced.unwrap_or(Plan::of);
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
    let report = soak::run(seeds, jobs, plan, |seed, outcome, totals| {
        if let Err(violation) = outcome {
            println!("seed {seed}: {violation}");
        }
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            tell_progress(totals, count, began.elapsed());
        }
    });
    let all = report.all();
    println!(
        "{}\n{} seeds, {} failed; {} virtual hours in {:.0} s on {jobs} threads",
        report.table(),
        all.seeds,
        all.failed,
        all.virtual_ms / 3_600_000,
        began.elapsed().as_secs_f64(),
    );
    all.failed == 0
}

fn tell_progress(totals: &Totals, count: u64, took: Duration) {
    let rate = totals.seeds as f64 / took.as_secs_f64();
    let left = (count - totals.seeds) as f64 / rate;
    eprintln!(
        "{} of {count} seeds, {} failed, {rate:.0} a second, {left:.0} s left",
        totals.seeds, totals.failed
    );
}
