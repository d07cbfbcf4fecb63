//! Many seeds on many threads.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use crate::{Cluster, Plan, Summary};

/// What a range of seeds was like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Seeds run.
    pub seeds: u64,
    /// Seeds that violated something.
    pub failed: u64,
    /// Heights decided.
    pub heights: u64,
    /// Highest regencies, summed.
    pub regencies: u64,
    /// States that correct replicas took over from peers.
    pub installed: u64,
    /// Events handled.
    pub events: u64,
    /// Virtual milliseconds.
    pub virtual_ms: u64,
}

/// One seed's outcome.
pub type Outcome = Result<Summary, String>;

/// Runs a range on `jobs` threads; `each` sees every outcome, in the order in which they end.
pub fn run(
    seeds: Range<u64>,
    jobs: usize,
    plan: fn(u64) -> Plan,
    mut each: impl FnMut(u64, &Outcome, &Totals),
) -> Totals {
    let next = AtomicU64::new(seeds.start);
    let mut totals = Totals::default();
    thread::scope(|scope| {
        let (done, outcomes) = channel();
        for _ in 0..jobs.max(1) {
            let (done, next, end) = (done.clone(), &next, seeds.end);
            scope.spawn(move || work(next, end, plan, &done));
        }
        drop(done);
        for (seed, outcome) in outcomes {
            totals.add(&outcome);
            each(seed, &outcome, &totals);
        }
    });
    totals
}

fn work(next: &AtomicU64, end: u64, plan: fn(u64) -> Plan, done: &Sender<(u64, Outcome)>) {
    loop {
        let seed = next.fetch_add(1, Relaxed);
        if seed >= end {
            return;
        }
        let outcome = Cluster::new(plan(seed), seed, false).run();
        if done.send((seed, outcome)).is_err() {
            return;
        }
    }
}

impl Totals {
    fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        match outcome {
            Ok(summary) => {
                self.heights += summary.height;
                self.regencies += summary.regency;
                self.installed += summary.installed;
                self.events += summary.events;
                self.virtual_ms += summary.took;
            }
            Err(_) => self.failed += 1,
        }
    }
}
