//! The runs of one system: the one with the median throughput in full, the others in a table.

use crate::report::run::{Kind, Run};

use super::consistency::{self, Verdict};
use super::figures::{NONE, count, figure, finite, moment, percent};
use super::html::{Column, Html, table, tag, tag_with};
use super::plot::sparkline;
use super::subject::Subject;
use super::{kinds, timeline};

/// Nothing for a system that has no run.
pub fn section(i: usize, system: &str, subject: &Subject<'_>) -> Option<Html> {
    let runs = subject.runs_of(system);
    let shown = median(&runs)?;
    let run = runs[shown];
    let heading = match runs.len() {
        1 => system.to_owned(),
        n => format!(
            "{system}, round {} of {n}: the one with the median tpmC",
            shown + 1
        ),
    };
    let mut all = tag("h2", [tag("i class=\"key hue\"", ""), heading.into()]);
    all.extend([tag(
        "p class=\"what\"",
        [
            Html::from(format!(
                "{} · started {} ",
                run.server,
                moment(&run.started)
            )),
            Verdict::of(&[run]).badge(),
        ],
    )]);
    all.extend([
        tiles(run),
        timeline::section(run),
        kinds::counts(&run.kinds),
    ]);
    all.extend([
        kinds::distributions(&run.kinds),
        kinds::statements(&run.kinds),
    ]);
    all.extend([errors(run), conditions(&runs, shown)]);
    if runs.len() > 1 {
        all.extend([rounds(&runs, shown)]);
    }
    // The system's colour, here as in the comparison.
    let attributes = [
        ("id", format!("system-{i}")),
        ("style", format!("--hue:var(--c{})", i % 8)),
    ];
    Some(tag_with("section", &attributes, all))
}

/// The place of the run with the median tpmC; of the lower of two.
fn median(runs: &[&Run]) -> Option<usize> {
    let mut order: Vec<usize> = (0..runs.len()).collect();
    order.sort_by(|&a, &b| runs[a].tpm_c.total_cmp(&runs[b].tpm_c));
    order.get(runs.len().saturating_sub(1) / 2).copied()
}

fn new_order(run: &Run) -> Option<&Kind> {
    run.kinds
        .iter()
        .find(|kind| kind.name == "NEW-ORDER" && kind.committed > 0)
}

fn retries(run: &Run) -> u64 {
    run.kinds
        .iter()
        .flat_map(|kind| kind.retries.values())
        .sum()
}

fn sum(run: &Run, of: fn(&Kind) -> u64) -> u64 {
    run.kinds.iter().map(of).sum()
}

fn tiles(run: &Run) -> Html {
    let committed = sum(run, |kind| kind.committed);
    let each = retries(run) as f64 / committed as f64;
    let p90 = new_order(run).map_or(f64::NAN, |kind| kind.response_ms.p90);
    let tile =
        |value: String, what: &str| tag("div class=\"tile\"", [tag("b", value), tag("span", what)]);
    let all = [
        tile(figure(run.tpm_c), "NEW-ORDERs a minute (tpmC)"),
        tile(figure(run.tpm_total), "transactions a minute"),
        tile(figure(p90), "ms: 90 % of NEW-ORDERs are faster"),
        tile(percent(each), "retries for each committed transaction"),
        tile(count(sum(run, |kind| kind.failed)), "failed"),
        tile(count(sum(run, |kind| kind.unknown)), "unknown outcomes"),
        tile(count(run.reconnects), "connections made anew"),
    ];
    tag("div class=\"tiles\"", Html::from(all))
}

fn errors(run: &Run) -> Html {
    if run.errors.is_empty() {
        return tag("p class=\"note\"", "Clients saw no errors.");
    }
    let columns = [
        ("SQLSTATE", false),
        ("times", true),
        ("first message", false),
    ];
    let row = |seen: &crate::report::run::Seen| {
        vec![
            seen.sqlstate.as_str().into(),
            count(seen.count).into(),
            seen.message.as_str().into(),
        ]
    };
    table(
        "Errors that clients saw",
        &columns,
        run.errors.iter().map(row).collect(),
    )
}

/// The conditions after the run shown or, where they were not checked then, after the last that they were checked after.
fn conditions(runs: &[&Run], shown: usize) -> Html {
    let place = checked(runs, shown);
    let run = runs[place];
    let round = match runs.len() {
        1 => " ".to_owned(),
        _ => format!(", after round {} ", place + 1),
    };
    let title = format!("Consistency conditions of Clause 3.3.2{round}");
    let heading = tag("h3", [title.into(), Verdict::of(&[run]).badge()]);
    Html::from([heading, consistency::list(&run.conditions)])
}

fn checked(runs: &[&Run], shown: usize) -> usize {
    let has = |run: &&Run| !run.conditions.is_empty();
    match has(&runs[shown]) {
        true => shown,
        false => runs.iter().rposition(has).unwrap_or(shown),
    }
}

/// All rounds in short, with what happened and what is broken in those that are not shown in full.
fn rounds(runs: &[&Run], shown: usize) -> Html {
    let columns: [Column<'_>; 12] = [
        ("round", false),
        ("started", false),
        ("NEW-ORDERs over time", false),
        ("tpmC", true),
        ("all a minute", true),
        ("p50", true),
        ("p90", true),
        ("p99", true),
        ("retries", true),
        ("failed", true),
        ("unknown", true),
        ("consistency", false),
    ];
    let rows = runs
        .iter()
        .enumerate()
        .map(|(i, run)| round(i, run, i == shown))
        .collect();
    let mut all = tag("h3", "All rounds");
    all.extend([table(
        "Rounds in short; response times of NEW-ORDER in ms",
        &columns,
        rows,
    )]);
    for (i, run) in runs.iter().enumerate().filter(|(i, _)| *i != shown) {
        if !run.events.is_empty() {
            let what = format!("In round {}: {}.", i + 1, timeline::told(&run.events));
            all.extend([tag("p class=\"note\"", what)]);
        }
        let broken: Vec<_> = run
            .conditions
            .iter()
            .filter(|c| !c.holds)
            .cloned()
            .collect();
        if !broken.is_empty() && i != checked(runs, shown) {
            let heading = tag("h4", format!("Broken in round {}", i + 1));
            all.extend([heading, consistency::list(&broken)]);
        }
    }
    all
}

fn round(i: usize, run: &Run, shown: bool) -> Vec<Html> {
    let times = new_order(run).map(|kind| kind.response_ms);
    let time = |ms: Option<f64>| Html::from(ms.map_or_else(|| NONE.to_owned(), figure));
    let new_orders: Vec<f64> = finite(run.timeline.iter().map(|s| s.new_orders as f64)).collect();
    let name = format!("{}{}", i + 1, if shown { " (above)" } else { "" });
    vec![
        name.into(),
        moment(&run.started).into(),
        sparkline(&new_orders, "NEW-ORDERs, second by second"),
        figure(run.tpm_c).into(),
        figure(run.tpm_total).into(),
        time(times.map(|t| t.p50)),
        time(times.map(|t| t.p90)),
        time(times.map(|t| t.p99)),
        count(retries(run)).into(),
        count(sum(run, |kind| kind.failed)).into(),
        count(sum(run, |kind| kind.unknown)).into(),
        Verdict::of(&[run]).badge(),
    ]
}
