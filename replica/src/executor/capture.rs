//! What the triggers of the schema `steel` reported of one operation.

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
    },
    Truncate {
        t: String,
    },
    Seq {
        s: String,
        v: i64,
    },
    Setval {
        s: String,
        v: i64,
        called: bool,
    },
    Ddl {
        tag: String,
        #[serde(default)]
        o: Option<String>,
        #[serde(default)]
        d: Option<String>,
    },
    #[serde(other)]
    Other,
}

/// What an operation did. One that failed wrote nothing: what was reported before its error was rolled back with it. The
/// sequences that it moved stay where they are.
///
/// # Errors
/// As [`read`].
pub fn of(outcome: &pgsession::Outcome) -> Result<Captured, String> {
    let mut captured = read(&outcome.captured)?;
    if outcome.error.is_some() {
        captured.write_set = super::lasting::of_failed(captured.write_set);
    }
    Ok(captured)
}

/// Reads the capture notices of one operation, in their order.
///
/// # Errors
/// When one is not what the schema `steel` reports: then its version does not fit this program.
fn read(notices: &[bytes::Bytes]) -> Result<Captured, String> {
    let mut captured = Captured::default();
    // An event cut in several notices grows until its last part came.
    let mut growing = false;
    for notice in notices {
        let report: Report = serde_json::from_slice(notice).map_err(|e| {
            format!(
                "unreadable capture notice ({e}): {}",
                String::from_utf8_lossy(&notice[..notice.len().min(200)])
            )
        })?;
        match report {
            Report::Rows { t, k, o, n, last } => {
                let change = match k.as_str() {
                    "I" => RowChange::Insert,
                    "U" => RowChange::Update,
                    "D" => RowChange::Delete,
                    other => return Err(format!("unknown row change {other:?} of table {t}")),
                };
                let (more_old, more_new) = (o.unwrap_or_default(), n.unwrap_or_default());
                match captured.write_set.events.last_mut() {
                    Some(Event::Rows {
                        table,
                        change: c,
                        old,
                        new,
                    }) if growing && *table == t && *c == change => {
                        old.extend(more_old);
                        new.extend(more_new);
                    }
                    _ if more_old.is_empty() && more_new.is_empty() => {}
                    _ => captured.write_set.events.push(Event::Rows {
                        table: t,
                        change,
                        old: more_old,
                        new: more_new,
                    }),
                }
                growing = !last;
            }
            Report::Truncate { t } => captured.write_set.events.push(Event::Truncate { table: t }),
            Report::Seq { s, v } => value(&mut captured.sequences, s, v),
            Report::Setval { s, v, called } => {
                set(&mut captured.sequences, &s, v, called);
                captured.write_set.events.push(Event::SetValue {
                    sequence: s,
                    value: v,
                    called,
                });
            }
            Report::Ddl { tag, o, d } => captured.write_set.events.push(Event::Schema {
                tag,
                object: o.unwrap_or_default(),
                definition: d.unwrap_or_default(),
            }),
            Report::Other => {}
        }
    }
    Ok(captured)
}

/// A value was given: its sequence becomes the last one.
fn value(sequences: &mut Vec<SequenceValues>, sequence: String, value: i64) {
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
            if first.checked_add_unsigned(*count) == Some(value) =>
        {
            *count += 1;
        }
        _ => values.uses.push(SequenceUse::Given {
            first: value,
            count: 1,
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

/// Whether sequences were set by hand alike, in a run that recorded and in one that replayed, where values are not reported.
pub fn set_alike(recorded: &[SequenceValues], replayed: &[SequenceValues]) -> bool {
    let sets = |all: &[SequenceValues]| -> BTreeMap<String, Vec<(i64, bool)>> {
        let set = all
            .iter()
            .map(|s| (s.sequence.clone(), s.sets().collect::<Vec<_>>()));
        set.filter(|(_, sets)| !sets.is_empty()).collect()
    };
    sets(recorded) == sets(replayed)
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
mod tests {
    use super::*;
    use bytes::Bytes;

    fn notices(texts: &[&str]) -> Vec<Bytes> {
        texts
            .iter()
            .map(|t| Bytes::copy_from_slice(t.as_bytes()))
            .collect()
    }

    #[test]
    fn an_event_cut_in_several_notices_is_one_event() {
        let captured = read(&notices(&[
            r#"{"e":"rows","t":"public.t","k":"I","n":["(1)"],"last":false}"#,
            r#"{"e":"rows","t":"public.t","k":"I","n":["(2)"],"last":true}"#,
            r#"{"e":"rows","t":"public.t","k":"I","n":["(3)"],"last":true}"#,
        ]))
        .unwrap();
        assert_eq!(captured.write_set.events.len(), 2);
    }

    #[test]
    fn consecutive_sequence_values_are_one_range() {
        let captured = read(&notices(&[
            r#"{"e":"seq","s":"public.a","v":5}"#,
            r#"{"e":"seq","s":"public.a","v":6}"#,
            r#"{"e":"seq","s":"public.b","v":1}"#,
            r#"{"e":"seq","s":"public.a","v":9}"#,
        ]))
        .unwrap();
        assert_eq!(
            replay_json(&captured.sequences),
            r#"{"public.a":[[5,2],[9,1]],"public.b":[[1,1]]}"#
        );
    }

    #[test]
    fn what_currval_and_lastval_say_afterwards_is_the_last_use() {
        let captured = read(&notices(&[
            r#"{"e":"seq","s":"public.a","v":5}"#,
            r#"{"e":"seq","s":"public.b","v":1}"#,
            r#"{"e":"setval","s":"public.b","v":40,"called":true}"#,
            r#"{"e":"setval","s":"public.b","v":90,"called":false}"#,
            r#"{"e":"setval","s":"public.c","v":7,"called":true}"#,
            r#"{"e":"seq","s":"public.a","v":6}"#,
        ]))
        .unwrap();
        let last = |s: &SequenceValues| (s.sequence.clone(), s.last());
        let said: Vec<_> = captured.sequences.iter().map(last).collect();
        let wanted = [("c", 7), ("b", 40), ("a", 6)];
        assert_eq!(said, wanted.map(|(s, v)| (format!("public.{s}"), Some(v))));
        // A replay reports what was set, not what was given.
        let replayed = read(&notices(&[
            r#"{"e":"setval","s":"public.c","v":7,"called":true}"#,
            r#"{"e":"setval","s":"public.b","v":40,"called":true}"#,
            r#"{"e":"setval","s":"public.b","v":90,"called":false}"#,
        ]))
        .unwrap();
        assert!(set_alike(&captured.sequences, &replayed.sequences));
        let mut other = replayed.sequences.clone();
        other[0].uses.pop();
        assert!(!set_alike(&captured.sequences, &other));
    }

    #[test]
    fn an_unreadable_report_is_an_error_not_a_missing_write() {
        assert!(read(&notices(&[r#"{"e":"rows","t":"#])).is_err());
        assert!(read(&notices(&[r#"{"e":"rows","t":"x","k":"Q"}"#])).is_err());
    }
}
