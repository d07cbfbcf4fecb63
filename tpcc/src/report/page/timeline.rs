//! A run over time: throughput, response time, retries, with what happened to the system.

use crate::report::run::{Event, Run, Second};

use super::axis::Axis;
use super::figures::{count, figure, round};
use super::html::{Html, tag};
use super::plot::Plot;

/// Above this ratio of greatest to least, a linear axis hides the least.
const LOG_FROM: f64 = 20.0;

pub fn section(run: &Run) -> Html {
    let mut all = match run.timeline.is_empty() {
        true => tag("p class=\"none\"", "This run has no timeline."),
        false => Html::from([throughput(run), response(run), retries(run)]),
    };
    all.extend([events(&run.events)]);
    all
}

/// The interval that counts, in seconds since the first terminal started.
fn measured(run: &Run) -> (f64, f64) {
    let warmup = run.settings.warmup_s.max(0.0);
    (warmup, warmup + run.settings.duration_s.max(0.0))
}

/// The axes and what all charts of a run over time have in common.
fn over_time(run: &Run, y: Axis) -> Plot {
    let (from, to) = measured(run);
    let last = run
        .timeline
        .iter()
        .map(|second| second.at_s + 1)
        .max()
        .unwrap_or(1)
        .into();
    let mut plot = Plot::new(Axis::linear(0.0, last), y, " s");
    if from > 0.0 {
        plot.band(0.0, from.min(last), "warm-up");
    }
    if to < last {
        plot.band(to, last, "");
    }
    let events = run
        .events
        .iter()
        .map(|event| (event.at_s, event.what.as_str()));
    plot.events(events.collect());
    plot
}

/// The middle of the second, where its value stands.
fn middle(second: &Second) -> f64 {
    f64::from(second.at_s) + 0.5
}

fn throughput(run: &Run) -> Html {
    let per_minute = |of: fn(&Second) -> u64| -> Vec<(f64, f64)> {
        let point = |second| (middle(second), of(second) as f64 * 60.0);
        run.timeline.iter().map(point).collect()
    };
    let (all, new_orders) = (per_minute(|s| s.committed), per_minute(|s| s.new_orders));
    let most = all
        .iter()
        .chain(&new_orders)
        .map(|point| point.1)
        .fold(0.0, f64::max);
    let mut plot = over_time(run, Axis::from_zero(most));
    for (class, points) in [("s5", all), ("hue", new_orders)] {
        plot.area(class, &points);
        let line: Vec<_> = points.into_iter().map(|(x, y)| (x, Some(y))).collect();
        plot.line(class, &line);
    }
    let pause = pause(run);
    let says = format!(
        "NEW-ORDERs and all transactions a minute, second by second. {pause} Events: {}.",
        told(&run.events)
    );
    let key = [("hue", "NEW-ORDER"), ("s5", "all transactions")];
    let chart = plot.figure("Throughput, transactions a minute", &says, &key);
    Html::from([chart, tag("p class=\"note\"", pause)])
}

/// The longest time without a commit, which a reader looks for after a replica was killed.
fn pause(run: &Run) -> String {
    let (from, to) = measured(run);
    let inside = |s: &&Second| f64::from(s.at_s) >= from && f64::from(s.at_s) + 1.0 <= to;
    let (mut longest, mut now) = ((0, 0), (0, 0));
    for second in run.timeline.iter().filter(inside) {
        now = match (second.committed, now.1) {
            (0, 0) => (second.at_s, 1),
            (0, seconds) => (now.0, seconds + 1),
            _ => (0, 0),
        };
        if now.1 > longest.1 {
            longest = now;
        }
    }
    match longest {
        (_, 0) => "In every measured second something was committed.".to_owned(),
        (at, 1) => format!("The longest pause without a commit: 1 s, from second {at}."),
        (at, seconds) => {
            format!("The longest pause without a commit: {seconds} s, from second {at}.")
        }
    }
}

fn response(run: &Run) -> Html {
    let value = |second: &Second| {
        second
            .new_order_p50_ms
            .filter(|ms| ms.is_finite() && *ms > 0.0)
    };
    let points: Vec<_> = run.timeline.iter().map(|s| (middle(s), value(s))).collect();
    let values: Vec<f64> = points.iter().filter_map(|point| point.1).collect();
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    if most == 0.0 {
        return tag(
            "p class=\"none\"",
            "No NEW-ORDER ended, so there is no response time.",
        );
    }
    let (axis, log) = match most > least * LOG_FROM {
        true => (Axis::log(values), ", logarithmic"),
        false => (Axis::from_zero(most), ""),
    };
    let mut plot = over_time(run, axis);
    plot.line("hue", &points);
    let says = format!("Between {} and {} ms.", figure(least), figure(most));
    plot.figure(
        &format!("Response time of NEW-ORDER, median of each second, ms{log}"),
        &says,
        &[],
    )
}

fn retries(run: &Run) -> Html {
    let most = run
        .timeline
        .iter()
        .map(|s| s.retries.max(s.failed))
        .max()
        .unwrap_or(0);
    let mut plot = over_time(run, Axis::from_zero(most as f64));
    for second in &run.timeline {
        let (at, retries, failed) = (f64::from(second.at_s), second.retries, second.failed);
        let corners = |n: u64, from, to| ((at + from, 0.0), (at + to, n as f64));
        for (class, n, (from, to)) in [
            ("fill s4", retries, corners(retries, 0.1, 0.9)),
            ("fill s6", failed, corners(failed, 0.3, 0.7)),
        ] {
            if n > 0 {
                plot.bar(class, from, to, "");
            }
        }
    }
    let sum = |of: fn(&Second) -> u64| count(run.timeline.iter().map(of).sum());
    let says = format!(
        "{} retries, {} failed.",
        sum(|s| s.retries),
        sum(|s| s.failed)
    );
    let key = [("s4", "retries"), ("s6", "failed transactions")];
    plot.figure("Retries and failures a second", &says, &key)
}

/// In words.
pub fn told(events: &[Event]) -> String {
    let told = events
        .iter()
        .map(|event| format!("at {} s {}", round(event.at_s), event.what));
    match events.is_empty() {
        true => "none".to_owned(),
        false => told.collect::<Vec<_>>().join(", "),
    }
}

fn events(events: &[Event]) -> Html {
    if events.is_empty() {
        return Html::default();
    }
    tag(
        "p class=\"note\"",
        format!("What happened: {}.", told(events)),
    )
}
