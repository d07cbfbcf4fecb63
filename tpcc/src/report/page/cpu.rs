//! The CPU time that a committed transaction costs, by role: proxies, replicas, PostgreSQL, clients.

use std::collections::BTreeSet;

use testbed::comparison::{Comparison, Measured};

use super::axis::Axis;
use super::figures::{figure, spread};
use super::html::{Column, Html, table};
use super::plot::Plot;
use super::versus::{ROW_PX, cell};

fn roles(comparison: &Comparison) -> Vec<&str> {
    let rounds = comparison
        .systems
        .iter()
        .flat_map(|measured| &measured.rounds);
    let roles = rounds
        .flat_map(|round| round.cpu_seconds.keys())
        .map(String::as_str);
    roles.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Other colours than the first systems have.
fn colour(role: usize) -> String {
    format!("s{}", (role + 2) % 8)
}

/// A bar for each system, of the medians of its roles.
pub fn chart(comparison: &Comparison) -> Html {
    let roles = roles(comparison);
    if roles.is_empty() {
        return Html::default();
    }
    let of = |measured: &Measured, role: &str| {
        let spread = measured.cpu_ms_per_transaction(Some(role));
        spread
            .map(|spread| spread.median)
            .filter(|median| median.is_finite())
    };
    let sum = |measured: &Measured| {
        roles
            .iter()
            .filter_map(|role| of(measured, role))
            .sum::<f64>()
    };
    let systems = &comparison.systems;
    let most = systems.iter().map(sum).fold(0.0, f64::max);
    let height = systems.len() * ROW_PX;
    let mut plot = Plot::rows(
        Axis::from_zero(most),
        Axis::rows(systems.len()),
        " ms",
        height,
    );
    let mut says = String::new();
    for (i, measured) in systems.iter().enumerate() {
        let (top, mut from) = (i as f64, 0.0);
        for (n, role) in roles.iter().enumerate() {
            let Some(ms) = of(measured, role) else {
                continue;
            };
            let title = format!("{role}: {} ms", figure(ms));
            plot.bar(
                &format!("fill {}", colour(n)),
                (from, top + 0.42),
                (from + ms, top + 0.9),
                &title,
            );
            says.push_str(&format!("{}, {title}. ", measured.system));
            from += ms;
        }
        let total = measured.cpu_ms_per_transaction(None);
        plot.word(
            "row",
            None,
            Some(top),
            &format!("{}: {}", measured.system, spread(total, " ms")),
        );
    }
    let classes: Vec<String> = (0..roles.len()).map(colour).collect();
    let key: Vec<(&str, &str)> = classes
        .iter()
        .map(String::as_str)
        .zip(roles.iter().copied())
        .collect();
    plot.figure(
        "CPU ms for a committed transaction, by role (medians)",
        &says,
        &key,
    )
}

pub fn by_role(comparison: &Comparison) -> Html {
    let roles = roles(comparison);
    if roles.is_empty() {
        return Html::default();
    }
    let mut columns: Vec<Column<'_>> = vec![("system", false), ("all", true)];
    columns.extend(roles.iter().map(|role| (*role, true)));
    let row = |measured: &Measured| {
        let of = |role| cell(measured.cpu_ms_per_transaction(role), "");
        let mut cells = vec![measured.system.as_str().into(), of(None)];
        cells.extend(roles.iter().map(|role| of(Some(role))));
        cells
    };
    let rows = comparison.systems.iter().map(row).collect();
    table(
        "CPU ms for a committed transaction by role, medians of rounds (least–greatest)",
        &columns,
        rows,
    )
}
