//! What a comparison has measured: several systems, several rounds each, interleaved in one run; medians, ratios, spread.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One round of one system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// What the workload measured, by name: `tpmC`, `tps`, `latency_p50_ms`, `abort_rate`, … Higher is not always better.
    pub metrics: BTreeMap<String, f64>,
    /// Transactions committed in the measured interval.
    pub committed: u64,
    /// CPU seconds spent in the measured interval by role: `postgresql`, `replica`, `proxy`, `pgpool`, `client`, …; a role
    /// that several hosts play is summed over them.
    pub cpu_seconds: BTreeMap<String, f64>,
    /// Start of the measured interval, seconds after the comparison began.
    pub at_s: f64,
}

/// A system and its rounds, in the order in which they ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// `postgresql`, `standbys`, `pgpool`, `steeldb`.
    pub system: String,
    /// For people, one line: versions, how many servers, isolation, what is durable when.
    pub description: String,
    pub rounds: Vec<Round>,
}

/// The machine, for whoever reads the figures elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub memory_mib: u64,
    pub kernel: String,
    /// File system below the data directories, and the median of 200 fdatasync of 4 KiB there, microseconds.
    pub filesystem: String,
    pub fdatasync_us: f64,
    /// 1-minute load before the first round: whether the machine was quiet.
    pub load_before: f64,
    /// `0.50 cores a host by cgroup v1`, or why there is no quota.
    pub quota: String,
    /// `loopback`, `LAN 0.1 ms`, `five regions (Table 5.7)`, `network namespaces` …
    pub links: String,
}

/// A whole comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// `TPC-C, 1 warehouse, 8 terminals, 20 s` …
    pub workload: String,
    pub machine: Machine,
    /// The first is what the others are compared with.
    pub systems: Vec<Measured>,
    /// Systems that were asked for and could not run, with the reason and the next step.
    pub skipped: BTreeMap<String, String>,
}

/// Median with the least and the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// `None` where there is no value.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Spread { median, min, max })
    }
}

impl Measured {
    /// Spread of a metric over the rounds that have it.
    pub fn spread(&self, metric: &str) -> Option<Spread> {
        Spread::of(
            self.rounds
                .iter()
                .filter_map(|round| round.metrics.get(metric).copied()),
        )
    }

    /// Spread of CPU milliseconds per committed transaction, of one role or of all.
    pub fn cpu_ms_per_transaction(&self, role: Option<&str>) -> Option<Spread> {
        let of = |round: &Round| {
            let seconds: f64 = match role {
                Some(role) => *round.cpu_seconds.get(role)?,
                None => round.cpu_seconds.values().sum(),
            };
            (round.committed > 0).then(|| seconds * 1000.0 / round.committed as f64)
        };
        Spread::of(self.rounds.iter().filter_map(of))
    }
}

impl Comparison {
    /// Ratio of a system's metric to the first system's, round by round (rounds of one number ran next to each other, so that
    /// what disturbed the machine disturbed both), as median and spread.
    pub fn ratio(&self, system: &str, metric: &str) -> Option<Spread> {
        let base = self.systems.first()?;
        let other = self
            .systems
            .iter()
            .find(|measured| measured.system == system)?;
        let pairs = base.rounds.iter().zip(&other.rounds);
        Spread::of(pairs.filter_map(|(base, other)| {
            let (base, other) = (*base.metrics.get(metric)?, *other.metrics.get(metric)?);
            (base != 0.0).then(|| other / base)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((spread.median, spread.min, spread.max), (2.5, 1.0, 4.0));
        assert_eq!(Spread::of([]), None);
    }
}
