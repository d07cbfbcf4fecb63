//! What the triggers of the schema `steel` reported of one operation.

use serde::Deserialize;
use txn::write_set::RowChange;
use txn::{Event, SequenceValues, WriteSet};

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
            Report::Setval { s, v, called } => captured.write_set.events.push(Event::SetValue {
                sequence: s,
                value: v,
                called,
            }),
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

/// Adds a value to a sequence's ranges, in the order of use.
fn value(sequences: &mut Vec<SequenceValues>, sequence: String, value: i64) {
    let ranges = match sequences.iter_mut().find(|s| s.sequence == sequence) {
        Some(known) => &mut known.ranges,
        None => {
            sequences.push(SequenceValues {
                sequence,
                ranges: vec![(value, 1)],
            });
            return;
        }
    };
    match ranges.last_mut() {
        Some((first, count)) if first.checked_add_unsigned(*count) == Some(value) => *count += 1,
        _ => ranges.push((value, 1)),
    }
}

/// The argument of `steel.replay`.
pub fn replay_json(sequences: &[SequenceValues]) -> String {
    let map: serde_json::Map<String, serde_json::Value> = sequences
        .iter()
        .map(|s| {
            let ranges = s
                .ranges
                .iter()
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
    fn an_unreadable_report_is_an_error_not_a_missing_write() {
        assert!(read(&notices(&[r#"{"e":"rows","t":"#])).is_err());
        assert!(read(&notices(&[r#"{"e":"rows","t":"x","k":"Q"}"#])).is_err());
    }
}
