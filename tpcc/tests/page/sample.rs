//! What a bench might find: two systems, three rounds each; in the rounds of one, a replica is killed and started again.

use std::collections::BTreeMap;

use testbed::comparison::{Comparison, Machine, Measured, Round};
use tpcc::report::run::{Condition, Event, Kind, Percentiles, Run, Second, Seen, Settings};

/// Deterministic noise from 0 to 1.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as f64 / (1u64 << 31) as f64
    }
}

pub const RULES: [&str; 12] = [
    "W_YTD = sum(D_YTD) of each warehouse",
    "D_NEXT_O_ID - 1 = max(O_ID) = max(NO_O_ID) of each district",
    "max(NO_O_ID) - min(NO_O_ID) + 1 = number of rows in NEW-ORDER of each district",
    "sum(O_OL_CNT) = number of rows in ORDER-LINE of each district",
    "O_CARRIER_ID is null if and only if there is a row in NEW-ORDER",
    "O_OL_CNT = number of rows in ORDER-LINE of each order",
    "OL_DELIVERY_D is null if and only if O_CARRIER_ID is null",
    "W_YTD = sum(H_AMOUNT) of each warehouse",
    "D_YTD = sum(H_AMOUNT) of each district",
    "C_BALANCE = sum(OL_AMOUNT) - sum(H_AMOUNT) of each customer",
    "number of orders - number of new orders = 2100 plus the delivered of each district",
    "C_BALANCE + C_YTD_PAYMENT = sum(OL_AMOUNT) of each customer",
];

fn kind(name: &str, committed: u64, share: f64, median: f64, noise: &mut Noise) -> Kind {
    let edge = |i: i32| median * 0.2 * 1.18_f64.powi(i);
    let shape = |i: i32| (-((f64::from(i) - 9.5) / 4.0).powi(2) / 2.0).exp() + 0.02 * noise.next();
    let shapes: Vec<f64> = (0..40).map(shape).collect();
    let all: f64 = shapes.iter().sum();
    let bucket =
        |(i, shape): (usize, &f64)| (edge(i as i32), (committed as f64 * shape / all) as u64);
    Kind {
        name: name.to_owned(),
        committed,
        rolled_back: if name == "NEW-ORDER" {
            committed / 100
        } else {
            0
        },
        failed: 2,
        unknown: u64::from(name == "PAYMENT"),
        retries: BTreeMap::from([("40001".to_owned(), committed / 9), ("40P01".to_owned(), 3)]),
        share,
        response_ms: Percentiles {
            mean: median * 1.3,
            p50: median,
            p90: median * 2.1,
            p95: median * 3.0,
            p99: median * 8.0,
            p999: median * 40.0,
            max: median * 120.0,
        },
        histogram: shapes.iter().enumerate().map(bucket).collect(),
        statements: BTreeMap::from([
            ("select".to_owned(), committed * 12),
            ("update".to_owned(), committed * 11),
            ("insert".to_owned(), committed * 13),
        ]),
    }
}

fn timeline(rate: f64, median: f64, dip: Option<u32>, noise: &mut Noise) -> Vec<Second> {
    let second = |at_s: u32| {
        let since = dip.filter(|dip| at_s >= *dip).map(|dip| at_s - dip);
        let level = match since {
            Some(0) => 0.3,
            Some(1..=3) => 0.0,
            Some(4) => 0.6,
            _ => 1.0,
        };
        let level = level * (f64::from(at_s) / 4.0).min(1.0) * (0.88 + 0.24 * noise.next());
        let slow = if since.is_some_and(|since| since <= 4) {
            60.0
        } else {
            0.9 + 0.3 * noise.next()
        };
        let new_orders = (rate * level) as u64;
        Second {
            at_s,
            new_orders,
            committed: (rate * level / 0.45) as u64,
            retries: (rate * level * 0.2 * noise.next()) as u64,
            failed: if since == Some(0) { 6 } else { 0 },
            new_order_p50_ms: (new_orders > 0).then_some(median * slow),
        }
    };
    (0..75).map(second).collect()
}

pub fn run(system: &str, round: u64, rate: f64, median: f64) -> Run {
    let noise = &mut Noise(round * 77 + rate as u64);
    let killed = system == "steeldb";
    let new_orders = (rate * 60.0) as u64;
    let mix = [
        ("PAYMENT", 0.43, 0.6),
        ("ORDER-STATUS", 0.04, 0.4),
        ("DELIVERY", 0.04, 2.2),
        ("STOCK-LEVEL", 0.04, 0.8),
    ];
    let mut kinds = vec![kind("NEW-ORDER", new_orders, 0.45, median, noise)];
    kinds.extend(mix.map(|(name, share, slower)| {
        kind(
            name,
            (rate * 60.0 * share / 0.45) as u64,
            share,
            median * slower,
            noise,
        )
    }));
    Run {
        system: system.to_owned(),
        server: if killed {
            "17.6 (SteelDB 0.1.0)"
        } else {
            "17.6 (Debian 17.6-1)"
        }
        .to_owned(),
        started: format!("2026-11-20T14:0{round}:00Z"),
        settings: Settings {
            warehouses: 1,
            terminals: 8,
            warmup_s: 10.0,
            duration_s: 60.0,
            think_times: false,
            arrivals_per_s: None,
            seed: 40 + round,
            isolation: "repeatable read".to_owned(),
        },
        tpm_c: rate * 60.0,
        tpm_total: rate * 60.0 / 0.45,
        consistency: "ok".to_owned(),
        conditions: (1..)
            .zip(RULES)
            .map(|(number, rule)| held(number, rule))
            .collect(),
        kinds,
        timeline: timeline(rate, median, killed.then_some(34), noise),
        events: if killed {
            killed_and_back()
        } else {
            Vec::new()
        },
        errors: vec![Seen {
            sqlstate: "40001".to_owned(),
            message: "could not serialize access due to concurrent update".to_owned(),
            count: new_orders / 9,
        }],
        reconnects: if killed { 2 } else { 0 },
    }
}

fn held(number: u8, rule: &str) -> Condition {
    Condition {
        number,
        rule: rule.to_owned(),
        holds: true,
        detail: None,
    }
}

pub fn killed_and_back() -> Vec<Event> {
    let event = |at_s, what: &str| Event {
        at_s,
        what: what.to_owned(),
    };
    vec![
        event(34.2, "replica 2 killed"),
        event(38.4, "new leader: replica 3"),
        event(52.0, "replica 2 started again"),
    ]
}

pub fn runs() -> Vec<Run> {
    let rates = [(1, 142.0, 61.0), (2, 151.0, 66.0), (3, 147.0, 58.0)];
    let of = |(round, plain, ours)| {
        [
            run("postgresql", round, plain, 4.1),
            run("steeldb", round, ours, 13.0),
        ]
    };
    rates.into_iter().flat_map(of).collect()
}

fn measured(
    system: &str,
    description: &str,
    rates: &[f64],
    roles: &[(&str, f64)],
    metric: &str,
) -> Measured {
    let round = |(i, rate): (usize, &f64)| Round {
        metrics: [
            (metric, *rate),
            ("new_order_p50_ms", 600.0 / rate * 3.0),
            ("new_order_p90_ms", 1400.0 / rate * 3.0),
            ("new_order_p99_ms", 5200.0 / rate * 3.0),
            ("abort_rate", 0.011),
            ("bytes_sent_per_transaction", 2900.0),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into(),
        committed: *rate as u64,
        cpu_seconds: roles
            .iter()
            .map(|(role, ms)| ((*role).to_owned(), ms * rate / 1000.0))
            .collect(),
        at_s: i as f64 * 90.0,
    };
    Measured {
        system: system.to_owned(),
        description: description.to_owned(),
        rounds: rates.iter().enumerate().map(round).collect(),
    }
}

pub fn comparison(workload: &str, metric: &str) -> Comparison {
    let skipped = (
        "pgpool",
        "pgpool is not installed: apt-get install pgpool2, then run again",
    );
    Comparison {
        workload: workload.to_owned(),
        machine: Machine {
            cpu: "AMD EPYC 7763 64-Core Processor".to_owned(),
            cores: 8,
            memory_mib: 31_900,
            kernel: "Linux 6.1.0-28-amd64".to_owned(),
            filesystem: "ext4 on /dev/nvme0n1p2".to_owned(),
            fdatasync_us: 412.0,
            load_before: 0.21,
            quota: "0.50 cores a host by cgroup v1".to_owned(),
            links: "LAN 0.1 ms".to_owned(),
        },
        systems: vec![
            measured(
                "postgresql",
                "one server, durable when flushed",
                &[8520.0, 9060.0, 8820.0],
                &[("postgresql", 1.9), ("client", 0.7)],
                metric,
            ),
            measured(
                "steeldb",
                "4 replicas (f = 1), durable when decided",
                &[3660.0, 3960.0, 3480.0],
                &[
                    ("postgresql", 7.4),
                    ("replica", 5.2),
                    ("proxy", 1.1),
                    ("client", 0.8),
                ],
                metric,
            ),
        ],
        skipped: BTreeMap::from([skipped].map(|(system, why)| (system.to_owned(), why.to_owned()))),
    }
}
