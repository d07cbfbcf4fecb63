//! `model` explores one instance to its bounds; `model --fault NAME` shows how a fault is found.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use model::{Fault, Instance};
use stateright::{Checker, Model};

/// Checks the synchronization phase, f replicas being Byzantine.
#[derive(Parser)]
struct Args {
    /// How many replicas: 4, 5 or 6 with f = 1, or 7 with f = 2.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(4..=7))]
    replicas: u8,
    /// How many regencies: 0 to this number less one.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=model::MAX_REGENCIES as i64))]
    regencies: u8,
    /// How many values leaders may propose.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=model::MAX_VALUES as i64))]
    values: u8,
    /// Worker threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Plants a fault; a shortest counterexample is told for each property that it violates.
    #[arg(long)]
    fault: Option<Fault>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match args.replicas {
        4 => check::<3, 1>(&args),
        5 => check::<4, 1>(&args),
        6 => check::<5, 1>(&args),
        _ => check::<5, 2>(&args),
    }
}

/// C correct replicas and F Byzantine ones.
fn check<const C: usize, const F: usize>(args: &Args) -> ExitCode {
    let instance = || Instance::<C, F>::new(args.regencies, args.values, args.fault);
    let began = Instant::now();
    let checker = model::explore(instance(), args.threads);
    println!(
        "{} replicas, {} regencies, {} values: {} states explored, {} steps, longest path {}, {:.1} s",
        args.replicas,
        args.regencies,
        args.values,
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth() - 1,
        began.elapsed().as_secs_f64(),
    );
    let discoveries = checker.discoveries();
    let mut passed = true;
    for property in checker.model().properties() {
        let found = discoveries.contains_key(property.name);
        let failure = property.expectation.discovery_is_failure();
        passed &= found != failure;
        let verdict = match (found, failure) {
            (false, true) => "holds",
            (true, true) => "VIOLATED",
            (true, false) => "reached",
            (false, false) => "NOT REACHED",
        };
        println!("{verdict}: {}", property.name);
        let path = (found && failure).then(|| model::shortest(instance, property.name));
        if let Some(path) = path.flatten() {
            print!("{}", model::tell(checker.model(), &path));
        }
    }
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    }
}
