//! Many seeds on many threads.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use crate::plan::Kind;
use crate::{Cluster, Plan, Summary};

/// What some seeds were like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Seeds run.
    pub seeds: u64,
    /// Seeds that violated something.
    pub failed: u64,
    /// Heights decided.
    pub heights: u64,
    /// Views that began.
    pub views: u64,
    /// Regencies that correct replicas entered.
    pub regencies: u64,
    /// Crashes.
    pub crashes: u64,
    /// What liars said instead of the truth.
    pub lies: u64,
    /// States that correct replicas took over from peers.
    pub installed: u64,
    /// Events handled.
    pub events: u64,
    /// Virtual milliseconds.
    pub virtual_ms: u64,
}

/// One seed's outcome.
pub type Outcome = Result<Summary, String>;

/// Totals of each kind of plan, without liars and with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report(BTreeMap<(Kind, bool), Totals>);

struct Done {
    seed: u64,
    sort: (Kind, bool),
    outcome: Outcome,
}

/// Runs a range on `jobs` threads; `each` sees every outcome, in the order in which they end.
pub fn run(
    seeds: Range<u64>,
    jobs: usize,
    plan: fn(u64) -> Plan,
    mut each: impl FnMut(u64, &Outcome, &Totals),
) -> Report {
    let next = AtomicU64::new(seeds.start);
    let (mut report, mut totals) = (Report::default(), Totals::default());
    thread::scope(|scope| {
        let (done, outcomes) = channel();
        for _ in 0..jobs.max(1) {
            let (done, next, end) = (done.clone(), &next, seeds.end);
            scope.spawn(move || work(next, end, plan, &done));
        }
        drop(done);
        for Done {
            seed,
            sort,
            outcome,
        } in outcomes
        {
            report.0.entry(sort).or_default().add(&outcome);
            totals.add(&outcome);
            each(seed, &outcome, &totals);
        }
    });
    report
}

fn work(next: &AtomicU64, end: u64, plan: fn(u64) -> Plan, done: &Sender<Done>) {
    loop {
        let seed = next.fetch_add(1, Relaxed);
        if seed >= end {
            return;
        }
        let plan = plan(seed);
        let sort = (plan.kind, plan.has_liars());
        let outcome = Cluster::new(plan, seed, false).run();
        let ended = Done {
            seed,
            sort,
            outcome,
        };
        if done.send(ended).is_err() {
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
                self.views += summary.views;
                self.regencies += summary.regencies;
                self.crashes += summary.crashes;
                self.lies += summary.lies;
                self.installed += summary.installed;
                self.events += summary.events;
                self.virtual_ms += summary.took;
            }
            Err(_) => self.failed += 1,
        }
    }

    fn plus(&self, other: &Self) -> Self {
        Self {
            seeds: self.seeds + other.seeds,
            failed: self.failed + other.failed,
            heights: self.heights + other.heights,
            views: self.views + other.views,
            regencies: self.regencies + other.regencies,
            crashes: self.crashes + other.crashes,
            lies: self.lies + other.lies,
            installed: self.installed + other.installed,
            events: self.events + other.events,
            virtual_ms: self.virtual_ms + other.virtual_ms,
        }
    }
}

impl Report {
    /// Of one kind, with liars or without.
    pub fn of(&self, kind: Kind, liars: bool) -> Totals {
        self.0.get(&(kind, liars)).copied().unwrap_or_default()
    }

    /// Of all kinds together.
    pub fn all(&self) -> Totals {
        let totals = self.0.values();
        totals.fold(Totals::default(), |sum, totals| sum.plus(totals))
    }

    /// A table with a line for each kind, to see that the schedules did something.
    pub fn table(&self) -> String {
        let mut table = String::new();
        let all = self.all();
        let columns = [
            "kind of plan",
            "seeds",
            "failed",
            "decisions",
            "views",
            "regencies",
            "crashes",
            "lies",
            "states",
            "events",
        ];
        let rows = self.0.iter().map(|((kind, liars), totals)| {
            let liars = if *liars { ", liars" } else { "" };
            (format!("{}{liars}", kind.name()), totals)
        });
        let [name, rest @ ..] = columns;
        let _ = write!(table, "{name:<24}");
        for column in rest {
            let _ = write!(table, "{column:>11}");
        }
        for (name, t) in rows.chain([("all".to_owned(), &all)]) {
            let _ = write!(table, "\n{name:<24}");
            let figures = [
                t.seeds,
                t.failed,
                t.heights,
                t.views,
                t.regencies,
                t.crashes,
                t.lies,
                t.installed,
                t.events,
            ];
            for figure in figures {
                let _ = write!(table, "{figure:>11}");
            }
        }
        table
    }
}
