//! What a page is about: runs, a comparison, or both, seen system by system.

use testbed::comparison::{Comparison, Spread};

use crate::report::run::Run;

pub struct Subject<'a> {
    pub runs: &'a [Run],
    pub comparison: Option<&'a Comparison>,
}

/// What a system's throughput is counted in.
#[derive(Clone, Copy)]
pub struct Throughput {
    /// The name of the metric in a comparison.
    pub metric: &'static str,
    /// `4 120 …`.
    pub unit: &'static str,
}

impl<'a> Subject<'a> {
    /// Each once; the comparison's order first, since its first is what the others are compared with.
    pub fn systems(&self) -> Vec<&'a str> {
        let compared = self
            .comparison
            .iter()
            .flat_map(|comparison| &comparison.systems);
        let named = compared.map(|measured| measured.system.as_str());
        let mut systems: Vec<&str> = Vec::new();
        for system in named.chain(self.runs.iter().map(|run| run.system.as_str())) {
            if !systems.contains(&system) {
                systems.push(system);
            }
        }
        systems
    }

    pub fn runs_of(&self, system: &str) -> Vec<&'a Run> {
        self.runs
            .iter()
            .filter(|run| run.system == system)
            .collect()
    }

    pub fn throughput(&self) -> Throughput {
        let mut rounds = self
            .comparison
            .iter()
            .flat_map(|comparison| &comparison.systems);
        let tpcc =
            !self.runs.is_empty() || rounds.any(|measured| measured.spread("tpmC").is_some());
        match tpcc {
            true => Throughput {
                metric: "tpmC",
                unit: "NEW-ORDERs a minute",
            },
            false => Throughput {
                metric: "tps",
                unit: "transactions a second",
            },
        }
    }

    /// A system's throughput, round by round: as its runs say or, without runs, its comparison.
    pub fn rounds_of(&self, system: &str) -> Vec<f64> {
        let runs = self.runs_of(system);
        if !runs.is_empty() {
            return runs.iter().map(|run| run.tpm_c).collect();
        }
        let metric = self.throughput().metric;
        let measured = self
            .comparison
            .iter()
            .flat_map(|comparison| &comparison.systems);
        let rounds = measured
            .filter(|measured| measured.system == system)
            .flat_map(|m| &m.rounds);
        rounds
            .filter_map(|round| round.metrics.get(metric).copied())
            .collect()
    }

    /// Ratio of a system's throughput to the first's, round by round; `None` for the first.
    pub fn ratio(&self, system: &str) -> Option<Spread> {
        let first = *self.systems().first()?;
        if system == first {
            return None;
        }
        if let Some(comparison) = self.comparison {
            return comparison.ratio(system, self.throughput().metric);
        }
        let (base, other) = (self.rounds_of(first), self.rounds_of(system));
        let pairs = base.into_iter().zip(other).filter(|(base, _)| *base != 0.0);
        Spread::of(pairs.map(|(base, other)| other / base))
    }
}
