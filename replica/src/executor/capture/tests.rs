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
