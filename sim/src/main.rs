//! `sim --seed N` replays one run with its trace; `sim --seeds A..B` runs a range.

use std::process::ExitCode;

use clap::Parser;

/// Simulates clusters from seeds.
#[derive(Parser)]
struct Args {
    /// Replays one seed and prints its trace.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Runs the seeds A..B (B excluded) and prints those that fail.
    #[arg(long, value_parser = range, required_unless_present = "seed")]
    seeds: Option<std::ops::Range<u64>>,
    /// With checkpoints, and absences so long that only those help.
    #[arg(long)]
    absences: bool,
}

fn range(text: &str) -> Result<std::ops::Range<u64>, String> {
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
    let plan = if args.absences {
        sim::Plan::with_absences
    } else {
        sim::Plan::of
    };
    let run = |seed, trace| sim::Cluster::new(plan(seed), seed, trace).run();
    if let Some(seed) = args.seed {
        return match run(seed, true) {
            Ok(summary) => {
                println!("seed {seed}: no violation; {summary:?}");
                ExitCode::SUCCESS
            }
            Err(violation) => {
                println!("seed {seed}: {violation}");
                ExitCode::from(1)
            }
        };
    }
    let seeds = args.seeds.unwrap_or(0..0);
    let (mut failed, mut heights, mut regencies, mut installed) = (0u64, 0, 0, 0);
    for seed in seeds.clone() {
        match run(seed, false) {
            Ok(summary) => {
                heights += summary.height;
                regencies += summary.regency;
                installed += summary.installed;
            }
            Err(violation) => {
                failed += 1;
                println!("seed {seed}: {violation}");
            }
        }
    }
    let count = seeds.end - seeds.start;
    println!(
        "{count} seeds, {failed} failed; {heights} heights decided, {regencies} regencies, {installed} states taken over"
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    }
}
