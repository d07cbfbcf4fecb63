//! The comparison: systems next to each other, their rounds, what was skipped, the machine.

use std::collections::BTreeSet;

use testbed::comparison::{Comparison, Machine, Measured, Spread};

use super::axis::Axis;
use super::cpu;
use super::figures::{count, figure, finite, round, spread};
use super::html::{Column, Html, table, tag, terms};
use super::plot::Plot;
use super::subject::{Subject, Throughput};

/// Height of a system's row in a chart, pixels.
pub const ROW_PX: usize = 64;

pub fn section(comparison: &Comparison, subject: &Subject<'_>) -> Html {
    let throughput = subject.throughput();
    let mut all = tag("h2", "Comparison");
    all.extend([
        systems(comparison, throughput),
        tag(
            "div class=\"pair\"",
            [rounds(comparison, throughput), cpu::chart(comparison)],
        ),
        cpu::by_role(comparison),
        other_metrics(comparison, throughput),
        skipped(comparison),
        tag("h3", "The machine"),
        machine(&comparison.machine),
    ]);
    tag("section id=\"comparison\"", all)
}

/// Rates and the percentiles of what the headline counts stand beside the throughput; every other metric below.
fn beside_throughput(metric: &str) -> bool {
    let percentile = ["_p50_ms", "_p90_ms", "_p99_ms"]
        .iter()
        .any(|end| metric.ends_with(end));
    let counted = ["latency", "new_order", "NEW-ORDER"]
        .iter()
        .any(|start| metric.starts_with(start));
    metric.ends_with("_rate") || (percentile && counted)
}

/// What the rounds measured besides throughput, by name.
fn metrics(comparison: &Comparison, throughput: Throughput, beside: bool) -> Vec<&str> {
    let rounds = comparison
        .systems
        .iter()
        .flat_map(|measured| &measured.rounds);
    let names = rounds
        .flat_map(|round| round.metrics.keys())
        .map(String::as_str);
    let wanted = |name: &&str| *name != throughput.metric && beside_throughput(name) == beside;
    names
        .filter(wanted)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

fn systems(comparison: &Comparison, throughput: Throughput) -> Html {
    let metrics = metrics(comparison, throughput, true);
    let headings: Vec<String> = metrics
        .iter()
        .map(|metric| metric.replace('_', " "))
        .collect();
    let mut columns: Vec<Column<'_>> = vec![
        ("system", false),
        ("rounds", true),
        (throughput.metric, true),
        ("ratio", true),
    ];
    columns.extend(headings.iter().map(|heading| (heading.as_str(), true)));
    let row = |(i, measured): (usize, &Measured)| {
        let ratio = match i {
            0 => "1×".into(),
            _ => cell(comparison.ratio(&measured.system, throughput.metric), "×"),
        };
        let mut cells = vec![
            measured.system.as_str().into(),
            count(measured.rounds.len() as u64).into(),
            cell(measured.spread(throughput.metric), ""),
            ratio,
        ];
        cells.extend(metrics.iter().map(|metric| value(measured, metric)));
        cells
    };
    let rows = comparison.systems.iter().enumerate().map(row).collect();
    let caption = "Medians of rounds (least–greatest); ratios to the first system, round by round";
    table(caption, &columns, rows)
}

/// Rates are shares of 1; everything else is in the unit that its name says.
fn value(measured: &Measured, metric: &str) -> Html {
    let of = measured.spread(metric);
    match metric.ends_with("_rate") {
        true => cell(of.map(in_percent), " %"),
        false => cell(of, ""),
    }
}

fn in_percent(share: Spread) -> Spread {
    let [median, min, max] = [share.median, share.min, share.max].map(|value| value * 100.0);
    Spread { median, min, max }
}

/// A spread with its range on its own line, so that the medians can be read down a column.
pub fn cell(of: Option<Spread>, unit: &str) -> Html {
    let words = spread(of, unit);
    match words.split_once(" (") {
        Some((median, range)) => Html::from([median.into(), tag("small", format!("({range}"))]),
        None => words.into(),
    }
}

fn rounds(comparison: &Comparison, throughput: Throughput) -> Html {
    let systems = &comparison.systems;
    let values = |measured: &Measured| -> Vec<f64> {
        finite(
            measured
                .rounds
                .iter()
                .filter_map(|r| r.metrics.get(throughput.metric).copied()),
        )
        .collect()
    };
    let most = systems.iter().flat_map(values).fold(0.0, f64::max);
    let height = systems.len() * ROW_PX;
    let mut plot = Plot::rows(Axis::from_zero(most), Axis::rows(systems.len()), "", height);
    let mut says = String::new();
    for (i, measured) in systems.iter().enumerate() {
        let (top, values) = (i as f64, values(measured));
        for (n, value) in values.iter().enumerate() {
            // Rounds stand below each other in their order, so that a drift is seen.
            let down = 0.45 + 0.45 * (n as f64 + 0.5) / values.len() as f64;
            let title = format!("round {}: {}", n + 1, figure(*value));
            plot.dot(&format!("c{}", i % 8), (*value, top + down), &title);
        }
        let all = measured.spread(throughput.metric);
        if let Some(all) = all.filter(|all| all.median.is_finite()) {
            let title = format!("median: {}", figure(all.median));
            plot.mark("median", all.median, (top + 0.4, top + 0.95), &title);
        }
        let words = format!("{}: {}", measured.system, spread(all, ""));
        plot.word("row", None, Some(top), &words);
        says.push_str(&words);
        says.push_str(". ");
    }
    let title = format!("Throughput of each round, {}", throughput.unit);
    plot.figure(
        &title,
        &says,
        &[("dot", "round, first above"), ("median", "median")],
    )
}

/// What else the workload measured, so that nothing is only in the JSON.
fn other_metrics(comparison: &Comparison, throughput: Throughput) -> Html {
    let names = metrics(comparison, throughput, false);
    if names.is_empty() {
        return Html::default();
    }
    let mut columns = vec![("metric", false)];
    columns.extend(
        comparison
            .systems
            .iter()
            .map(|measured| (measured.system.as_str(), true)),
    );
    let row = |name: &&str| {
        let mut cells = vec![Html::from(*name)];
        cells.extend(comparison.systems.iter().map(|m| value(m, name)));
        cells
    };
    table(
        "Other metrics, medians of rounds (least–greatest)",
        &columns,
        names.iter().map(row).collect(),
    )
}

fn skipped(comparison: &Comparison) -> Html {
    if comparison.skipped.is_empty() {
        return Html::default();
    }
    let pairs = comparison
        .skipped
        .iter()
        .map(|(system, why)| (system.as_str(), why.as_str().into()));
    Html::from([
        tag("h3", "Systems that could not run"),
        tag("div class=\"skipped\"", terms(pairs.collect())),
    ])
}

fn machine(machine: &Machine) -> Html {
    terms(vec![
        ("CPU", machine.cpu.as_str().into()),
        ("cores", machine.cores.to_string().into()),
        (
            "memory",
            format!("{} MiB", count(machine.memory_mib)).into(),
        ),
        ("kernel", machine.kernel.as_str().into()),
        ("file system", machine.filesystem.as_str().into()),
        (
            "fdatasync of 4 KiB, median",
            format!("{} µs", round(machine.fdatasync_us)).into(),
        ),
        ("load before (1 minute)", round(machine.load_before).into()),
        ("CPU quota", machine.quota.as_str().into()),
        ("links", machine.links.as_str().into()),
    ])
}
