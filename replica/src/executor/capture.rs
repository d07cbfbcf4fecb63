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
mod tests {
    use super::*;

    const TRIGGER: &str = "PL/pgSQL function steel.report_rows(text,text,text[],text[],boolean) line 3 at RAISE\n\
        SQL statement \"SELECT steel.report_rows(relation, 'I', o, n, true)\"\n\
        PL/pgSQL function steel.capture_insert() line 19 at PERFORM";
    const FUNCTION: &str = "PL/pgSQL function f() line 1 at SQL statement";

    fn outcome(context: &str, texts: &[&str]) -> Outcome {
        let report = |text: &&str| pgsession::Report {
            json: bytes::Bytes::copy_from_slice(text.as_bytes()),
            context: bytes::Bytes::copy_from_slice(context.as_bytes()),
        };
        Outcome {
            captured: texts.iter().map(report).collect(),
            ..Outcome::default()
        }
    }

    fn direct(texts: &[&str]) -> Result<Captured, Fault> {
        of(&outcome(TRIGGER, texts), Journal::Unasked)
    }

    #[test]
    fn an_event_cut_in_several_notices_is_one_event() {
        let captured = direct(&[
            r#"{"e":"rows","t":"public.t","k":"I","n":["(1)"],"last":false}"#,
            r#"{"e":"rows","t":"public.t","k":"I","n":["(2)"],"last":true}"#,
            r#"{"e":"rows","t":"public.t","k":"I","n":["(3)"],"last":true}"#,
        ])
        .unwrap();
        assert_eq!(captured.write_set.events.len(), 2);
    }

    #[test]
    fn rows_of_a_tree_are_gathered_by_table_in_whatever_order_they_come() {
        let u1 =
            r#"{"e":"rows","t":"public.b","k":"U","o":["(1)"],"n":["(2)"],"row":true,"last":true}"#;
        let u2 =
            r#"{"e":"rows","t":"public.a","k":"U","o":["(3)"],"n":["(4)"],"row":true,"last":true}"#;
        let d = r#"{"e":"rows","t":"public.b","k":"D","o":["(5)"],"n":[],"row":true,"last":true}"#;
        let u3 =
            r#"{"e":"rows","t":"public.b","k":"U","o":["(6)"],"n":["(7)"],"row":true,"last":true}"#;
        let end = r#"{"e":"rows","t":"public.a","k":"U","o":[],"n":[],"last":true}"#;
        let events = |texts: &[&str]| direct(texts).unwrap().write_set.events;
        let all = events(&[u1, u2, d, u3, end]);
        assert_eq!(all.len(), 3);
        assert!(matches!(&all[0], Event::Rows { old, .. } if *old == ["(5)"]));
        assert!(matches!(&all[2], Event::Rows { new, .. } if *new == ["(2)", "(7)"]));
        assert_eq!(events(&[u2, d, u1, u3, end, end]), all);
        assert_eq!(events(&[u1, u2, d, u3]), all);
        // Two statements are two, though nothing lies between them.
        assert_eq!(events(&[u1, end, u3, end]).len(), 2);
    }

    #[test]
    fn what_no_event_trigger_sees_is_a_schema_change_all_the_same() {
        let of_tag = |tag: &str, texts: &[&str]| {
            let outcome = Outcome {
                tag: Some(tag.into()),
                ..outcome(TRIGGER, texts)
            };
            of(&outcome, Journal::Unasked).unwrap().write_set
        };
        for tag in ["COMMENT", "GRANT", "REVOKE", "SECURITY LABEL"] {
            let unseen = of_tag(tag, &[]);
            assert!(unseen.schema_change(), "{tag}");
            let seen = of_tag(tag, &[r#"{"e":"ddl","tag":"X","o":null}"#]);
            assert_eq!(seen.events.len(), 1, "{tag}");
        }
        assert!(!of_tag("REINDEX", &[]).schema_change());
        assert!(!of_tag("SELECT 1", &[]).schema_change());
    }

    #[test]
    fn consecutive_sequence_values_are_one_range() {
        let captured = direct(&[
            r#"{"e":"seq","s":"public.a","v":5}"#,
            r#"{"e":"seq","s":"public.a","v":6}"#,
            r#"{"e":"seq","s":"public.b","v":1}"#,
            r#"{"e":"seq","s":"public.a","v":9}"#,
        ])
        .unwrap();
        assert_eq!(
            replay_json(&captured.sequences),
            r#"{"public.a":[[5,2],[9,1]],"public.b":[[1,1]]}"#
        );
    }

    #[test]
    fn what_currval_and_lastval_say_afterwards_is_the_last_use() {
        let captured = direct(&[
            r#"{"e":"seq","s":"public.a","v":5}"#,
            r#"{"e":"seq","s":"public.b","v":1}"#,
            r#"{"e":"setval","s":"public.b","v":40,"called":true}"#,
            r#"{"e":"setval","s":"public.b","v":90,"called":false}"#,
            r#"{"e":"setval","s":"public.c","v":7,"called":true}"#,
            r#"{"e":"seq","s":"public.a","v":6}"#,
        ])
        .unwrap();
        let last = |s: &SequenceValues| (s.sequence.clone(), s.last());
        let said: Vec<_> = captured.sequences.iter().map(last).collect();
        let wanted = [("c", 7), ("b", 40), ("a", 6)];
        assert_eq!(said, wanted.map(|(s, v)| (format!("public.{s}"), Some(v))));
    }

    #[test]
    fn what_was_used_otherwise_is_found() {
        let of = |uses: &[SequenceUse]| {
            vec![SequenceValues {
                sequence: "public.s".into(),
                uses: uses.to_vec(),
            }]
        };
        let gave = |first, count| SequenceUse::Given { first, count };
        let set = SequenceUse::Set {
            value: 1,
            called: true,
        };
        let recorded = of(&[gave(5, 2), set, gave(2, 1)]);
        let alike = |uses: &[SequenceUse], failed| used_alike(&recorded, &of(uses), failed);
        assert!(alike(&[gave(5, 2), set, gave(2, 1)], false));
        assert!(alike(
            &[SequenceUse::Cycled, gave(5, 2), set, gave(2, 1)],
            false
        ));
        assert!(
            !alike(&[set, gave(5, 2), gave(2, 1)], false),
            "in another order"
        );
        assert!(!alike(&[gave(5, 1), set, gave(2, 1)], false));
        assert!(!alike(
            &[SequenceUse::Anew, gave(5, 2), set, gave(2, 1)],
            false
        ));
        assert!(!used_alike(&recorded, &[], false));
        // How far a statement came that failed is each replica's own, but for what stays.
        assert!(alike(&[gave(5, 1), set], true));
        assert!(!alike(&[gave(5, 2)], true));
        // Which of two was used last is not compared.
        let two = |names: [&str; 2]| {
            names.map(|name| SequenceValues {
                sequence: name.into(),
                uses: vec![gave(1, 1)],
            })
        };
        assert!(used_alike(&two(["a", "b"]), &two(["b", "a"]), false));
    }

    #[test]
    fn what_a_block_drew_that_took_a_change_of_the_schema_back_is_marked() {
        let reports = [
            r#"{"e":"seq","s":"public.s","v":7}"#,
            r#"{"e":"ddl","tag":"ALTER SEQUENCE","o":"public.s","at":1}"#,
            r#"{"e":"seq","s":"public.s","v":1}"#,
        ];
        let kept = of(&outcome(FUNCTION, &reports), Journal::Stands(Some(1))).unwrap();
        assert!(!kept.sequences[0].uses.contains(&SequenceUse::Anew));
        let back = of(&outcome(FUNCTION, &reports), Journal::Stands(Some(0))).unwrap();
        assert_eq!(back.sequences[0].uses[0], SequenceUse::Anew);
    }

    #[test]
    fn an_unreadable_report_is_an_error_not_a_missing_write() {
        assert!(direct(&[r#"{"e":"rows","t":"#]).is_err());
        assert!(direct(&[r#"{"e":"rows","t":"x","k":"Q"}"#]).is_err());
    }

    #[test]
    fn of_a_block_that_failed_only_the_positions_of_sequences_stay() {
        let block = outcome(
            FUNCTION,
            &[
                r#"{"e":"rows","t":"public.t","k":"I","n":["(1)"],"last":true,"at":5}"#,
                r#"{"e":"ddl","tag":"CREATE SEQUENCE","o":"public.new","at":6}"#,
                r#"{"e":"seq","s":"public.old","v":3}"#,
                r#"{"e":"setval","s":"public.new","v":7,"called":true,"at":7}"#,
                r#"{"e":"setval","s":"public.old","v":8,"called":true,"at":8}"#,
                r#"{"e":"rows","t":"public.t","k":"I","n":["(2)"],"last":false,"at":9}"#,
                r#"{"e":"rows","t":"public.t","k":"I","n":["(3)"],"last":true,"at":6}"#,
            ],
        );
        let doubtful = of(&block, Journal::Unasked);
        assert!(matches!(
            doubtful,
            Err(Fault::Journal(journal::Fault::Doubtful))
        ));
        let row = |row: &str| Event::Rows {
            table: "public.t".into(),
            change: RowChange::Insert,
            old: Vec::new(),
            new: vec![row.into()],
        };
        let position = Event::SetValue {
            sequence: "public.old".into(),
            value: 8,
            called: true,
        };
        let captured = of(&block, Journal::Stands(Some(6))).unwrap();
        let all = [row("(1)"), position.clone(), row("(3)")];
        assert_eq!(captured.write_set.events, all);
        assert_eq!(captured.sequences.len(), 1);

        let failed = Outcome {
            error: Some(pgsession::ErrorFields {
                severity: "ERROR".into(),
                sqlstate: "P0001".into(),
                message: "x".into(),
                detail: None,
                hint: None,
                frame: bytes::Bytes::new(),
            }),
            ..block
        };
        let captured = of(&failed, Journal::Unasked).unwrap();
        assert_eq!(captured.write_set.events, [position]);
    }
}
