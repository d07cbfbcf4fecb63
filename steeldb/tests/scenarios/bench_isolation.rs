//! `steeldb bench isolation`: random transactions through two proxies, a killed and a stopped replica, everything checked.

use std::path::Path;
use std::process::Command;

use crate::support::text;
use isolation::{Op, Outcome, Record, parse, to_lines};
use serde_json::Value;

#[test]
fn no_anomaly_under_kills_and_cuts_and_the_replicas_are_equal() {
    let scratch = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_steeldb"))
        .args(["bench", "isolation", "--duration", "12", "--seed", "3"])
        .args(["--proxies", "2", "--clients", "6", "--json"])
        .args(["--report", "report"])
        .env("TMPDIR", scratch.path())
        .current_dir(scratch.path())
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["found"]["forbidden"], serde_json::json!([]));
    assert_eq!(report["replicas_equal"], true, "{report}");
    assert_eq!(report["replay_differences"], serde_json::json!([]));
    assert!(report["replayed"].as_u64().unwrap() > 50, "{report}");
    assert!(report["committed"].as_u64().unwrap() > 100, "{report}");
    assert!(!report["faults"].as_array().unwrap().is_empty(), "{said}");
    // They met: snapshot isolation had something to judge.
    assert!(report["aborts"]["40001"].as_u64().unwrap() > 0, "{report}");
    let history = std::fs::read_to_string(scratch.path().join("report/history.jsonl")).unwrap();
    let records = parse(&history).unwrap();
    assert_eq!(
        records.len() as u64,
        report["transactions"].as_u64().unwrap()
    );
    let left: Vec<_> = std::fs::read_dir(scratch.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["report"], "nothing else is left");
    a_history_that_was_tampered_with_is_refused(records, scratch.path());
}

/// One reader of the run does not see what was at the beginning of a list.
fn a_history_that_was_tampered_with_is_refused(mut records: Vec<Record>, dir: &Path) {
    let all = dir.join("all.jsonl");
    std::fs::write(&all, to_lines(&records)).unwrap();
    let (code, said) = checked(&all);
    assert_eq!(code, Some(0), "{said}");
    let committed = records
        .iter_mut()
        .filter(|record| record.outcome == Outcome::Committed);
    let seen = committed
        .flat_map(|record| &mut record.ops)
        .find_map(|op| match op {
            Op::List { seen, .. } => seen.as_mut().filter(|seen| seen.len() > 2),
            _ => None,
        });
    seen.unwrap().remove(0);
    std::fs::write(&all, to_lines(&records)).unwrap();
    let (code, said) = checked(&all);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("anomaly incompatible-order"), "{said}");
}

fn checked(history: &Path) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_steeldb"))
        .args(["bench", "isolation", "--check"])
        .arg(history)
        .output()
        .unwrap();
    (output.status.code(), text(&output.stderr))
}
