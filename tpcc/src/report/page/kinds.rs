//! The kinds of transaction: counts and percentiles, the shape of their response times, their statements.

use std::collections::BTreeSet;

use crate::report::run::{Kind, Percentiles};

use super::axis::Axis;
use super::figures::{NONE, count, figure, percent};
use super::html::{Column, Html, table};
use super::plot::Plot;

/// Height of a row of the chart of distributions, pixels.
const ROW_PX: usize = 62;

pub fn counts(kinds: &[Kind]) -> Html {
    let columns: [Column<'_>; 14] = [
        ("kind", false),
        ("committed", true),
        ("share", true),
        ("rolled back", true),
        ("failed", true),
        ("unknown", true),
        ("retries", true),
        ("mean", true),
        ("p50", true),
        ("p90", true),
        ("p95", true),
        ("p99", true),
        ("p99.9", true),
        ("max", true),
    ];
    let row = |kind: &Kind| {
        let mut cells = vec![
            kind.name.clone(),
            count(kind.committed),
            percent(kind.share),
            count(kind.rolled_back),
            count(kind.failed),
            count(kind.unknown),
            retries(kind),
        ];
        let Percentiles {
            mean,
            p50,
            p90,
            p95,
            p99,
            p999,
            max,
        } = kind.response_ms;
        // Nothing committed has no response time, whatever an empty histogram says.
        let time = |ms| {
            if kind.committed > 0 {
                figure(ms)
            } else {
                NONE.to_owned()
            }
        };
        cells.extend([mean, p50, p90, p95, p99, p999, max].map(time));
        cells.into_iter().map(Html::from).collect()
    };
    table(
        "Kinds of transaction; response times in ms",
        &columns,
        kinds.iter().map(row).collect(),
    )
}

/// `123 × 40001, 4 × 40P01`.
fn retries(kind: &Kind) -> String {
    let retries = kind
        .retries
        .iter()
        .map(|(state, n)| format!("{} × {state}", count(*n)));
    match kind.retries.is_empty() {
        true => "0".to_owned(),
        false => retries.collect::<Vec<_>>().join(", "),
    }
}

/// A row of bars per kind over one logarithmic axis, with the median and the 99th percentile.
pub fn distributions(kinds: &[Kind]) -> Html {
    let seen: Vec<&Kind> = kinds
        .iter()
        .filter(|kind| kind.histogram.iter().any(|b| b.1 > 0))
        .collect();
    if seen.is_empty() {
        return Html::default();
    }
    let edges = seen
        .iter()
        .flat_map(|kind| buckets(kind))
        .flat_map(|(low, high, _)| [low, high]);
    let x = Axis::log(edges);
    let mut plot = Plot::rows(x, Axis::rows(seen.len()), " ms", seen.len() * ROW_PX);
    let mut says = String::new();
    for (i, kind) in seen.iter().enumerate() {
        let base = i as f64 + 1.0;
        let most = kind
            .histogram
            .iter()
            .map(|bucket| bucket.1)
            .max()
            .unwrap_or(1)
            .max(1) as f64;
        for (low, high, n) in buckets(kind) {
            let height = 0.6 * n as f64 / most;
            let title = format!("{} to {} ms: {}", figure(low), figure(high), count(n));
            plot.bar("fill hue", (low, base), (high, base - height), &title);
        }
        let Percentiles { p50, p99, .. } = kind.response_ms;
        for (class, ms) in [("p50", p50), ("p99", p99)] {
            plot.mark(
                class,
                ms,
                (base, base - 0.66),
                &format!("{class}: {} ms", figure(ms)),
            );
        }
        let words = format!("{}: p50 {}, p99 {} ms", kind.name, figure(p50), figure(p99));
        plot.word("row", None, Some(i as f64), &words);
        says.push_str(&words);
        says.push_str(". ");
    }
    let title = "Response times by kind, ms, logarithmic; heights relative within a kind";
    plot.figure(
        title,
        &says,
        &[("p50", "median"), ("p99", "99th percentile")],
    )
}

/// (lower edge, upper edge, count) of the buckets that hold something.
fn buckets(kind: &Kind) -> Vec<(f64, f64, u64)> {
    let histogram = &kind.histogram;
    // The first bucket is as wide as the second: all have one ratio.
    let ratio = match histogram.as_slice() {
        [(first, _), (second, _), ..] if *first > 0.0 && second > first => second / first,
        _ => 1.2,
    };
    let lower = |i: usize, upper: f64| {
        if i == 0 {
            upper / ratio
        } else {
            histogram[i - 1].0
        }
    };
    let all = histogram.iter().enumerate();
    let all = all.map(|(i, &(upper, n))| (lower(i, upper), upper, n));
    all.filter(|(low, high, n)| *n > 0 && low.is_finite() && high.is_finite())
        .collect()
}

/// How many statements a committed transaction sent, by verb.
pub fn statements(kinds: &[Kind]) -> Html {
    let verbs: BTreeSet<&str> = kinds
        .iter()
        .flat_map(|k| k.statements.keys())
        .map(String::as_str)
        .collect();
    if verbs.is_empty() {
        return Html::default();
    }
    let mut columns: Vec<Column<'_>> = vec![("kind", false)];
    columns.extend(verbs.iter().map(|verb| (*verb, true)));
    columns.push(("all", true));
    let row = |kind: &Kind| {
        let each = |n: u64| match kind.committed {
            0 => Html::from(NONE),
            committed => figure(n as f64 / committed as f64).into(),
        };
        let of = |verb: &&str| each(kind.statements.get(*verb).copied().unwrap_or(0));
        let mut cells = vec![Html::from(kind.name.as_str())];
        cells.extend(verbs.iter().map(of));
        cells.push(each(kind.statements.values().sum()));
        cells
    };
    table(
        "Statements in a committed transaction, mean",
        &columns,
        kinds.iter().map(row).collect(),
    )
}
