//! What the triggers of the schema `steel` reported of one operation.

use super::journal::{self, Journal};
use pgsession::Outcome;
use serde::Deserialize;
use std::collections::BTreeMap;
use txn::write_set::RowChange;
use txn::{Event, SequenceUse, SequenceValues, WriteSet};

/// An operation's effects.
#[derive(Clone, Debug, Default)]
pub struct Captured {
    pub write_set: WriteSet,
    pub sequences: Vec<SequenceValues>,
}

#[derive(Deserialize)]
#[serde(tag = "e", rename_all = "lowercase")]
enum Report {
    Rows {
        t: String,
        k: String,
        #[serde(default)]
        o: Option<Vec<String>>,
        #[serde(default)]
        n: Option<Vec<String>>,
        #[serde(default)]
        last: bool,
        /// One row of a tree of tables: it belongs to the others of its statement.
        #[serde(default)]
        row: bool,
        #[serde(default)]
        at: Option<i64>,
    },
    Truncate {
        t: String,
        #[serde(default)]
        at: Option<i64>,
    },
    Seq {
        s: String,
        v: i64,
        /// So many from this one on, which are replayed.
        #[serde(default = "one")]
        n: u64,
    },
    Setval {
        s: String,
        v: i64,
        called: bool,
        #[serde(default)]
        at: Option<i64>,
    },
    Ddl {
        tag: String,
        #[serde(default)]
        o: Option<String>,
        #[serde(default)]
        d: Option<String>,
        #[serde(default)]
        at: Option<i64>,
    },
    #[serde(other)]
    Other,
}

fn one() -> u64 {
    1
}

/// Why it cannot be told what an operation did.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The version of the schema `steel` does not fit this program.
    #[error("{0}")]
    Unreadable(String),
    #[error(transparent)]
    Journal(#[from] journal::Fault),
}

/// What an operation did, as far as it lasts. One that failed wrote nothing: what was reported before its error was rolled back
/// with it. The sequences that it moved stay where they are.
///
/// # Errors
/// As [`Fault`] says; [`journal::Fault::Doubtful`] comes of no other journal than [`Journal::Unasked`].
pub fn of(outcome: &Outcome, journal: Journal) -> Result<Captured, Fault> {
    let reports = read(&outcome.captured)?;
    let last = match outcome.error {
        Some(_) => vec![false; reports.len()],
        None => lasting(&reports, journal)?,
    };
    let mut captured = effects(reports, &last)?;
    if outcome.error.is_none()
        && let Some(tag) = &outcome.tag
    {
        shared(tag, &mut captured.write_set);
    }
    Ok(captured)
}

/// Statements that may concern what all databases of a server share. No event trigger sees those, but they leave something all the
/// same: a schema change, which whoever adopts it runs again.
fn shared(tag: &str, write_set: &mut WriteSet) {
    let seen = |event: &Event| matches!(event, Event::Schema { .. });
    if ["COMMENT", "GRANT", "REVOKE", "SECURITY LABEL"].contains(&tag)
        && !write_set.events.iter().any(seen)
    {
        write_set.events.push(Event::Schema {
            tag: tag.to_owned(),
            object: String::new(),
            definition: String::new(),
        });
    }
}

/// Reads the capture notices of one operation, in their order.
fn read(notices: &[pgsession::Report]) -> Result<Vec<(Report, bool)>, Fault> {
    let read = notices.iter().map(|notice| {
        let report = serde_json::from_slice(&notice.json).map_err(|e| {
            Fault::Unreadable(format!(
                "unreadable capture notice ({e}): {}",
                String::from_utf8_lossy(&notice.json[..notice.json.len().min(200)])
            ))
        })?;
        Ok((report, journal::is_nested(&notice.context)))
    });
    read.collect()
}

/// Which reports last. Values of sequences do whatever becomes of the block that drew them.
fn lasting(reports: &[(Report, bool)], journal: Journal) -> Result<Vec<bool>, journal::Fault> {
    let mut last = vec![true; reports.len()];
    let mut counted = Vec::new();
    let mut places = Vec::new();
    for (which, (report, nested)) in reports.iter().enumerate() {
        let (at, nested) = match report {
            Report::Rows { at, .. } | Report::Truncate { at, .. } | Report::Ddl { at, .. } => {
                (at, *nested)
            }
            Report::Setval { at, .. } => (at, false),
            Report::Seq { .. } | Report::Other => continue,
        };
        counted.push(which);
        places.push(journal::Place { at: *at, nested });
    }
    for (which, lasts) in counted.into_iter().zip(journal::lasting(&places, journal)?) {
        last[which] = lasts;
    }
    Ok(last)
}

/// What the reports that last come to.
fn effects(reports: Vec<(Report, bool)>, last: &[bool]) -> Result<Captured, Fault> {
    let mut captured = Captured::default();
    // An event cut in several notices grows until its last part came.
    let mut growing = false;
    // Where the rows of a statement that changes a tree of tables begin.
    let mut tree: Option<usize> = None;
    // Sequences made or altered by what was taken back: their positions went with it.
    let mut gone: Vec<String> = Vec::new();
    // It may have made any of them begin again, and drawn from it.
    let mut changed_back = false;
    for ((report, _), &lasts) in reports.into_iter().zip(last) {
        if lasts && !matches!(report, Report::Rows { row: true, .. } | Report::Seq { .. }) {
            end_tree(&mut tree, &mut captured.write_set.events);
        }
        match report {
            Report::Seq { s, v, n } => values(&mut captured.sequences, s, v, n),
            Report::Setval { s, v, called, .. } if lasts || !gone.contains(&s) => {
                set(&mut captured.sequences, &s, v, called);
                captured.write_set.events.push(Event::SetValue {
                    sequence: s,
                    value: v,
                    called,
                })
            }
            Report::Ddl { o, .. } if !lasts => {
                changed_back = true;
                gone.extend(o);
            }
            Report::Truncate { .. } if !lasts => changed_back = true,
            _ if !lasts => {}
            Report::Rows {
                t,
                k,
                o,
                n,
                last,
                row,
                ..
            } => {
                let change = match k.as_str() {
                    "I" => RowChange::Insert,
                    "U" => RowChange::Update,
                    "D" => RowChange::Delete,
                    other => {
                        let what = format!("unknown row change {other:?} of table {t}");
                        return Err(Fault::Unreadable(what));
                    }
                };
                let (more_old, more_new) = (o.unwrap_or_default(), n.unwrap_or_default());
                let events = &mut captured.write_set.events;
                let part = match row {
                    true => {
                        let begun = *tree.get_or_insert(events.len());
                        events[begun..].iter_mut().find(|event| {
                            matches!(event, Event::Rows { table, change: c, .. } if *table == t && *c == change)
                        })
                    }
                    false => events.last_mut(),
                };
                match part {
                    Some(Event::Rows {
                        table,
                        change: c,
                        old,
                        new,
                    }) if (row || growing) && *table == t && *c == change => {
                        old.extend(more_old);
                        new.extend(more_new);
                    }
                    _ if more_old.is_empty() && more_new.is_empty() => {}
                    _ => events.push(Event::Rows {
                        table: t,
                        change,
                        old: more_old,
                        new: more_new,
                    }),
                }
                growing = !last;
            }
            Report::Truncate { t, .. } => {
                captured.write_set.events.push(Event::Truncate { table: t })
            }
            Report::Ddl { tag, o, d, .. } => captured.write_set.events.push(Event::Schema {
                tag,
                object: o.unwrap_or_default(),
                definition: d.unwrap_or_default(),
            }),
            Report::Setval { .. } | Report::Other => {}
        }
    }
    end_tree(&mut tree, &mut captured.write_set.events);
    if changed_back {
        let sequences = captured.sequences.iter_mut();
        sequences.for_each(|values| values.uses.insert(0, SequenceUse::Anew));
    }
    Ok(captured)
}

/// A statement that changed a tree of tables ends: which of them it came to first is each replica's own. What is deleted comes before
/// what is changed, whose keys may be free by that.
fn end_tree(tree: &mut Option<usize>, events: &mut [Event]) {
    if let Some(begun) = tree.take() {
        events[begun..].sort_by_cached_key(|event| match event {
            Event::Rows { table, change, .. } => {
                Some((*change != RowChange::Delete, table.clone()))
            }
            _ => None,
        });
    }
}

/// Values were given: their sequence becomes the last one.
fn values(sequences: &mut Vec<SequenceValues>, sequence: String, from: i64, many: u64) {
    let known = sequences.iter().rposition(|s| s.sequence == sequence);
    let mut values = match known {
        Some(at) => sequences.remove(at),
        None => SequenceValues {
            sequence,
            uses: Vec::new(),
        },
    };
    match values.uses.last_mut() {
        Some(SequenceUse::Given { first, count })
            if first.checked_add_unsigned(*count) == Some(from) =>
        {
            *count = count.saturating_add(many);
        }
        _ => values.uses.push(SequenceUse::Given {
            first: from,
            count: many,
        }),
    }
    sequences.push(values);
}

/// A sequence was set by hand, which does not make it the last one that gave a value.
fn set(sequences: &mut Vec<SequenceValues>, sequence: &str, value: i64, called: bool) {
    let set = SequenceUse::Set { value, called };
    match sequences.iter_mut().find(|s| s.sequence == sequence) {
        Some(known) => known.uses.push(set),
        None => sequences.insert(
            0,
            SequenceValues {
                sequence: sequence.to_owned(),
                uses: vec![set],
            },
        ),
    }
}

/// Whether sequences were used alike, in a run that recorded and in one that replayed. Which of several was used last is the master's word,
/// and which go round is asked elsewhere. What failed may have come to its error earlier or later; what it set stays set.
pub fn used_alike(recorded: &[SequenceValues], replayed: &[SequenceValues], failed: bool) -> bool {
    let used = |all: &[SequenceValues]| -> BTreeMap<String, Vec<SequenceUse>> {
        let counts = |what: &SequenceUse| match what {
            SequenceUse::Set { .. } => true,
            SequenceUse::Given { .. } | SequenceUse::Anew => !failed,
            SequenceUse::Cycled => false,
        };
        let of = |s: &SequenceValues| s.uses.iter().copied().filter(counts).collect::<Vec<_>>();
        let used = all.iter().map(|s| (s.sequence.clone(), of(s)));
        used.filter(|(_, uses)| !uses.is_empty()).collect()
    };
    used(recorded) == used(replayed)
}

/// The values argument of `steel.replay`.
pub fn replay_json(sequences: &[SequenceValues]) -> String {
    let map: serde_json::Map<String, serde_json::Value> = sequences
        .iter()
        .map(|s| {
            let ranges = s
                .given()
                .map(|(first, count)| serde_json::json!([first, count]));
            (s.sequence.clone(), ranges.collect())
        })
        .collect();
    serde_json::Value::Object(map).to_string()
}

#[cfg(test)]
mod tests;
