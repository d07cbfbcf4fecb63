//! How it was measured, and everything as JSON.

use serde_json::json;

use crate::report::run::Settings;

use super::figures::{count, round};
use super::html::{Html, tag, terms};
use super::subject::Subject;

/// Response times of an open loop.
const ARRIVAL_COUNTS: &str = "from the arrival of a transaction, so that its wait for a terminal counts, to the reply to \
    its COMMIT; retries and the pauses between them count";
/// Response times of a closed loop.
const FIRST_STATEMENT_COUNTS: &str = "from a transaction's first statement to the reply to its COMMIT; retries and the \
    pauses between them count. A slow system gets fewer transactions in a closed loop, so the times say nothing of those \
    that would have arrived meanwhile";
const TPM_C: &str = "NEW-ORDERs committed in the measured interval, a minute; those rolled back for an unused item \
    number count (Clause 5.4)";
const UNKNOWN: &str = "the connection was lost during COMMIT (or 08007): nobody knows whether it was committed; such \
    transactions are not counted as committed";
const TURNS: &str = "the systems take turns on one machine; a ratio is taken between rounds of one number, which ran next \
    to each other";
const CPU: &str = "CPU time of all processes of a role in the measured interval, divided by the transactions committed \
    in it";

pub fn section(subject: &Subject<'_>) -> Html {
    let mut all = tag("h2", "How it was measured");
    let mut told: Vec<&Settings> = Vec::new();
    for run in subject.runs {
        // Rounds differ by their seed at most; a page with other settings shows all of them.
        if told.iter().any(|settings| alike(settings, &run.settings)) {
            continue;
        }
        told.push(&run.settings);
        let alike = subject
            .runs
            .iter()
            .filter(|other| alike(&run.settings, &other.settings));
        let seeds: Vec<u64> = alike.map(|other| other.settings.seed).collect();
        all.extend([settings(&run.settings, seeds)]);
    }
    if let Some(comparison) = subject.comparison {
        all.extend([rounds(&comparison.workload)]);
    }
    // Shown as it is by the style sheet when opened, so that people and machines read one copy.
    let data = json!({ "runs": subject.runs, "comparison": subject.comparison });
    all.extend([tag(
        "details",
        [
            tag(
                "summary",
                "Everything on this page as JSON (element “data”)",
            ),
            Html::json(&data.to_string()),
        ],
    )]);
    tag("section id=\"method\"", all)
}

fn alike(a: &Settings, b: &Settings) -> bool {
    let with_seed = |seed| Settings { seed, ..a.clone() };
    with_seed(b.seed) == *b
}

fn settings(settings: &Settings, mut seeds: Vec<u64>) -> Html {
    seeds.sort_unstable();
    seeds.dedup();
    let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
    let waits = match settings.think_times {
        true => "keying and think times of Clause 5.2.5.7",
        false => "none: a terminal starts the next transaction at once",
    };
    let (arrivals, counts) = match settings.arrivals_per_s {
        Some(rate) => (
            format!(
                "open loop: {} transactions arrive a second, whether or not earlier ones have ended",
                round(rate)
            ),
            ARRIVAL_COUNTS,
        ),
        None => (
            "closed loop: a terminal starts a transaction when its last has ended".to_owned(),
            FIRST_STATEMENT_COUNTS,
        ),
    };
    terms(vec![
        ("warehouses", count(settings.warehouses.into()).into()),
        ("terminals", count(settings.terminals.into()).into()),
        (
            "warm-up",
            format!("{} s, not counted", round(settings.warmup_s)).into(),
        ),
        (
            "measured",
            format!("{} s", round(settings.duration_s)).into(),
        ),
        ("isolation", settings.isolation.as_str().into()),
        ("seed", seeds.join(", ").into()),
        ("keying and think times", waits.into()),
        ("load", arrivals.into()),
        ("response times", counts.into()),
        ("tpmC", TPM_C.into()),
        ("unknown", UNKNOWN.into()),
    ])
}

fn rounds(workload: &str) -> Html {
    terms(vec![
        ("workload", workload.into()),
        ("rounds", TURNS.into()),
        ("CPU", CPU.into()),
    ])
}
