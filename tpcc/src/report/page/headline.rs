//! The top of the page: what was measured on what, and the result in a sentence per system.

use testbed::comparison::Spread;

use crate::report::run::{Run, Settings};

use super::consistency::Verdict;
use super::figures::{count, figure, finite, moment, round, spread};
use super::html::{Html, tag, tag_with};
use super::subject::Subject;

pub fn section(title: &str, subject: &Subject<'_>) -> Html {
    let systems = subject.systems();
    let cards = systems
        .iter()
        .enumerate()
        .map(|(i, system)| card(i, system, subject));
    let parts = [
        tag("h1", title),
        tag("p class=\"what\"", what(subject)),
        tag("div class=\"cards\"", cards.collect::<Html>()),
        caveat(subject),
    ];
    tag("header", parts)
}

/// `TPC-C, 1 warehouse, 8 terminals · 2026-11-20 14:03 UTC · 3 rounds`.
fn what(subject: &Subject<'_>) -> String {
    let runs = subject.runs;
    let workload = match (subject.comparison, runs.first()) {
        (Some(comparison), _) => comparison.workload.clone(),
        (None, Some(run)) => workload(&run.settings),
        (None, None) => "Nothing was measured".to_owned(),
    };
    let first = runs
        .iter()
        .map(|run| run.started.as_str())
        .min()
        .map(moment);
    let machine = subject.comparison.map(|comparison| {
        let machine = &comparison.machine;
        format!("{} cores, {}", machine.cores, machine.cpu)
    });
    let parts = [Some(workload), first, machine].into_iter().flatten();
    parts.collect::<Vec<_>>().join(" · ")
}

fn workload(settings: &Settings) -> String {
    let plural = if settings.warehouses == 1 { "" } else { "s" };
    format!(
        "TPC-C, {} warehouse{plural}, {} terminals, {} s",
        count(settings.warehouses.into()),
        count(settings.terminals.into()),
        round(settings.duration_s),
    )
}

fn card(i: usize, system: &str, subject: &Subject<'_>) -> Html {
    let runs = subject.runs_of(system);
    let rounds = subject.rounds_of(system);
    let throughput = subject.throughput();
    let median = Spread::of(finite(rounds.iter().copied()));
    let ratio = subject.ratio(system);
    let verdict = (!runs.is_empty()).then(|| Verdict::of(&runs));
    let big = [
        tag(
            "b",
            median.map_or_else(|| super::figures::NONE.to_owned(), |m| figure(m.median)),
        ),
        tag("span", format!(" {}", throughput.metric)),
        tag(
            "em",
            ratio.map_or_else(String::new, |ratio| format!("{}×", figure(ratio.median))),
        ),
    ];
    let first = subject.systems().first().copied().unwrap_or_default();
    let class = match verdict {
        Some(Verdict::Broken(_)) => "card alarm",
        _ => "card",
    };
    tag_with(
        "article",
        &[("class", class.to_owned())],
        [
            tag(
                "h2",
                [
                    tag_with("i", &[("class", format!("key c{}", i % 8))], ""),
                    system.into(),
                ],
            ),
            tag("p class=\"version\"", version(system, &runs, subject)),
            tag("p class=\"big\"", big),
            verdict.as_ref().map_or_else(Html::default, Verdict::badge),
            tag(
                "p",
                sentence(
                    system,
                    first,
                    &rounds,
                    ratio,
                    throughput.unit,
                    verdict.as_ref(),
                ),
            ),
        ],
    )
}

/// The server's own words, or the comparison's where there is no run.
fn version(system: &str, runs: &[&Run], subject: &Subject<'_>) -> String {
    let systems = subject
        .comparison
        .iter()
        .flat_map(|comparison| &comparison.systems);
    let described = systems
        .filter(|measured| measured.system == system)
        .map(|m| &m.description);
    let server = runs
        .first()
        .map(|run| &run.server)
        .filter(|server| !server.is_empty());
    let mut parts: Vec<&str> = server
        .into_iter()
        .chain(described)
        .map(String::as_str)
        .collect();
    parts.retain(|part| !part.is_empty());
    parts.join(" · ")
}

fn sentence(
    system: &str,
    first: &str,
    rounds: &[f64],
    ratio: Option<Spread>,
    unit: &str,
    verdict: Option<&Verdict>,
) -> String {
    let Some(median) = Spread::of(finite(rounds.iter().copied())) else {
        return format!("{system} has no result.");
    };
    let of = match rounds.len() {
        1 => "one round".to_owned(),
        n => format!(
            "median of {n} rounds, {}–{}",
            figure(median.min),
            figure(median.max)
        ),
    };
    let ratio = ratio.map_or_else(String::new, |ratio| {
        format!(", {} of {first}", spread(Some(ratio), "×"))
    });
    let verdict = verdict.map_or_else(String::new, |verdict| format!("; {}", verdict.sentence()));
    format!(
        "{system}: {} {unit} ({of}){ratio}{verdict}.",
        figure(median.median)
    )
}

const ADVICE: &str = "Compare them with each other, and with nothing published. Without think times and with few \
    warehouses a few hot rows decide, so contention is far higher than the standard intends.";

/// Whoever reads a tpmC thinks of audited results; these are none.
fn caveat(subject: &Subject<'_>) -> Html {
    let says_tpcc = subject
        .comparison
        .is_some_and(|c| c.workload.contains("TPC-C"));
    if subject.runs.is_empty() && !says_tpcc {
        return Html::default();
    }
    let mut why = vec!["nobody has audited them".to_owned()];
    if subject.runs.iter().any(|run| !run.settings.think_times) {
        why.push("terminals did not wait between transactions (no keying and think times)".into());
    }
    if let Some(warehouses) = subject.runs.iter().map(|run| run.settings.warehouses).min() {
        let (verb, plural) = if warehouses == 1 {
            ("was", "")
        } else {
            ("were", "s")
        };
        why.push(format!(
            "there {verb} only {} warehouse{plural} (the standard allows at most 12.86 tpmC each)",
            count(warehouses.into())
        ));
    }
    tag(
        "p class=\"caveat\"",
        [
            tag("strong", "These figures are no official TPC-C results"),
            format!(": {}. {ADVICE}", why.join("; ")).into(),
        ],
    )
}
