//! `model` explores one instance to its bounds; `model --fault NAME` shows how a fault is found.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use model::{Fault, Instance};
use stateright::{Checker, HasDiscoveries, Model};

/// Checks the synchronization phase on four replicas, one of them Byzantine.
#[derive(Parser)]
struct Args {
    /// How many regencies: 0 to this number less one.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=model::MAX_REGENCIES as i64))]
    regencies: u8,
    /// How many values leaders may propose.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=model::MAX_VALUES as i64))]
    values: u8,
    /// Worker threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Plants a fault and stops at its first, shortest counterexample.
    #[arg(long)]
    fault: Option<Fault>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let began = Instant::now();
    let checker = Instance::new(args.regencies, args.values, args.fault).checker();
    if args.fault.is_some() {
        // One thread, breadth first: the shortest counterexample.
        let checker = checker.finish_when(HasDiscoveries::AnyFailures);
        report(checker.spawn_bfs().join(), began)
    } else {
        let checker = checker.threads(args.threads).symmetry();
        report(checker.spawn_dfs().join(), began)
    }
}

fn report(checker: impl Checker<Instance>, began: Instant) -> ExitCode {
    let instance = checker.model();
    println!(
        "{} regencies, {} values: {} states explored, {} steps, longest path {}, {:.1} s",
        instance.regencies,
        instance.values,
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f64(),
    );
    let mut passed = true;
    let discoveries = checker.discoveries();
    for property in instance.properties() {
        let discovery = discoveries.get(property.name);
        let failure = property.expectation.discovery_is_failure();
        passed &= discovery.is_some() != failure;
        let verdict = match (discovery.is_some(), failure) {
            (false, true) => "holds",
            (true, true) => "VIOLATED",
            (true, false) => "reached",
            (false, false) => "not reached",
        };
        println!("{verdict}: {}", property.name);
        if let Some(path) = discovery.filter(|_| failure) {
            print!("{}", model::tell(instance, path));
        }
    }
    if passed { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
