//! The table, and what stands behind each of its lines.

use crate::recorder::{Observation, Reading};
use sql::Kind;
use std::collections::{BTreeMap, BTreeSet};

/// What the front makes of one statement.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Handled(&'static str),
    Refused(String),
    /// Taken for a syntax error though PostgreSQL's grammar accepts it.
    Unknown,
}

/// What decides whether the front passes.
pub struct Found {
    /// The part of the statements accepted by PostgreSQL's grammar that is handled or refused by a rule, 0 to 1.
    pub known: f64,
    /// Statements that sort keys in their LIMITs broke.
    pub broken: usize,
}

/// Prints the report. `source`: the text of a script.
pub fn print(seen: &[Observation], source: impl Fn(&str) -> String) -> Found {
    let mut sources: BTreeMap<&str, String> = BTreeMap::new();
    let mut fates: BTreeMap<Fate, usize> = BTreeMap::new();
    let mut distinct = BTreeSet::new();
    let (mut written, mut psqls, mut unparsable, mut both, mut strings) = (0, 0, 0, 0, 0);
    for observation in seen {
        strings += 1;
        let script = sources
            .entry(&observation.script)
            .or_insert_with(|| source(&observation.script));
        let verbatim = script.contains(observation.text.trim());
        if observation.answer.is_unparsable() {
            unparsable += 1;
            both += usize::from(is_syntax_error(observation));
            continue;
        }
        distinct.insert(observation.text.trim());
        for fate in fates_of(observation) {
            if fate == Fate::Unknown {
                println!(
                    "unknown [{}]: {}",
                    observation.script,
                    short(&observation.text)
                );
            }
            *if verbatim { &mut written } else { &mut psqls } += 1;
            *fates.entry(fate).or_default() += 1;
        }
    }
    details(seen);
    let total: usize = fates.values().sum();
    println!(
        "\n{strings} query strings; PostgreSQL's grammar refuses {unparsable} of them, the front at once {both} of these"
    );
    println!(
        "{total} statements accepted by the grammar, {} strings of them distinct: {written} as written in the suite, {psqls} by psql's own \
         commands and variables",
        distinct.len()
    );
    let mut sum = [0; 3];
    for (fate, count) in &fates {
        let (group, name) = match fate {
            Fate::Handled(class) => (0, format!("handled: {class}")),
            Fate::Refused(rule) => (1, format!("refused: {rule}")),
            Fate::Unknown => (2, "unknown".into()),
        };
        sum[group] += count;
        println!("{count:>7}  {name}");
    }
    let known = (sum[0] + sum[1]) as f64 / total.max(1) as f64;
    println!(
        "handled {}, refused by a rule {}, unknown {}: {:.3} % known",
        sum[0],
        sum[1],
        sum[2],
        known * 100.0
    );
    let keyed = |reading: &Reading| {
        reading
            .as_ref()
            .is_ok_and(|statement| !statement.limits.is_empty())
    };
    let limits = seen.iter().filter(|seen| {
        seen.reading
            .as_deref()
            .is_ok_and(|all| all.iter().any(keyed))
    });
    let broken: Vec<_> = seen
        .iter()
        .filter_map(|seen| seen.broken.as_ref())
        .collect();
    println!(
        "{} statements with LIMITs that a key settles, {} broken by it",
        limits.count(),
        broken.len()
    );
    for text in &broken {
        println!("broken: {text}");
    }
    Found {
        known,
        broken: broken.len(),
    }
}

/// Statements whose class may be wrong.
fn details(seen: &[Observation]) {
    let mut wrote = 0;
    let mut escaped = 0;
    let mut reads = 0;
    let mut differing = 0;
    for observation in seen.iter().filter(|seen| !seen.answer.is_unparsable()) {
        let classes: Vec<_> = fates_of(observation);
        let read = classes
            .iter()
            .all(|fate| matches!(fate, Fate::Handled("Read" | "CatalogRead" | "Show")));
        reads += usize::from(read);
        if read && observation.wrote {
            wrote += 1;
            escaped += usize::from(observation.escaped);
            let how = if observation.escaped {
                "escaped"
            } else {
                "25006"
            };
            println!(
                "read that wrote ({how}) [{}]: {}",
                observation.script,
                short(&observation.text)
            );
        }
        if let Some(difference) = &observation.differs {
            differing += 1;
            println!(
                "differs [{}]: {} -- {difference}",
                observation.script,
                short(&observation.text)
            );
        }
    }
    println!(
        "\n{reads} strings of reads: {wrote} wrote, {escaped} of these even READ ONLY; {differing} answers that would be compared differ between two servers"
    );
}

fn is_syntax_error(observation: &Observation) -> bool {
    match &observation.reading {
        Err(_) => true,
        Ok(all) => all
            .iter()
            .any(|reading| matches!(reading, Err(refusal) if refusal.sqlstate == "42601")),
    }
}

fn fates_of(observation: &Observation) -> Vec<Fate> {
    match &observation.reading {
        Err(_) => vec![Fate::Unknown],
        Ok(all) => all.iter().map(fate).collect(),
    }
}

fn fate(reading: &Reading) -> Fate {
    match reading {
        Err(refusal) if refusal.sqlstate == "42601" => Fate::Unknown,
        Err(refusal) => Fate::Refused(format!("{} {}", refusal.sqlstate, refusal.message)),
        Ok(statement) => Fate::Handled(match &statement.kind {
            Kind::Read if statement.calls_user => {
                "Read that calls a user's function: runs as a write"
            }
            Kind::Read => "Read",
            Kind::CatalogRead if statement.calls_user => "CatalogRead that calls a user's function",
            Kind::CatalogRead => "CatalogRead",
            Kind::Show { .. } => "Show",
            Kind::Write => "Write",
            Kind::CopyIn => "CopyIn",
            Kind::Cursor(_) => "Cursor",
            Kind::Ddl => "Ddl",
            Kind::Maintenance { .. } => "Maintenance",
            Kind::Prepare(_) | Kind::Execute(_) | Kind::Deallocate(_) => {
                "Prepare, Execute, Deallocate"
            }
            Kind::Set { .. } | Kind::Reset { .. } | Kind::Discard(_) => "Set, Reset, Discard",
            Kind::Empty => "Empty",
            Kind::Begin(_)
            | Kind::Commit { .. }
            | Kind::Rollback { .. }
            | Kind::Savepoint(_)
            | Kind::Release(_)
            | Kind::RollbackTo(_)
            | Kind::SetTransaction(_) => "transaction control",
        }),
    }
}

fn short(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(230).collect()
}
