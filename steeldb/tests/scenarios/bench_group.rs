//! `steeldb bench reconfiguration` and `steeldb bench wan`, short.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

fn report(scratch: &Path, arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_steeldb"))
        .arg("bench")
        .args(arguments)
        .arg("--json")
        .env("TMPDIR", scratch)
        .current_dir(scratch)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["broken"], json!([]), "{report}");
    report
}

#[test]
fn the_membership_changes_under_load_and_is_drawn() {
    let scratch = tempfile::tempdir().unwrap();
    let arguments = [
        "reconfiguration",
        "--duration",
        "20",
        "--clients",
        "4",
        "--rate",
        "100",
    ];
    let report = report(
        scratch.path(),
        &[&arguments[..], &["--picture", "p.svg"]].concat(),
    );
    let events = report["events"].as_array().unwrap();
    let what: Vec<&str> = events.iter().map(|e| e["what"].as_str().unwrap()).collect();
    assert!(
        what[0].contains("added") && what[1].contains("killed"),
        "{what:?}"
    );
    assert!(
        what[2].contains("started again") && what[3].contains("removed"),
        "{what:?}"
    );
    // Nobody takes a killed leader's place before its link had 300 ms to come back. What it had proposed may be answered meanwhile.
    assert!(events[1]["took_s"].as_f64().unwrap() > 0.25, "{report}");
    assert!(report["acknowledged"].as_u64().unwrap() > 100, "{report}");
    let picture = std::fs::read_to_string(scratch.path().join("p.svg")).unwrap();
    assert!(picture.contains("replica 4 is added") && picture.contains("replica 3 is removed"));
    // The picture is all that stays.
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
}

#[test]
fn regions_are_as_far_as_the_table_says() {
    let scratch = tempfile::tempdir().unwrap();
    let arguments = [
        "wan",
        "--duration",
        "8",
        "--interval",
        "500",
        "--no-crash-only",
    ];
    let report = report(scratch.path(), &arguments);
    let systems = report["systems"].as_array().unwrap();
    let rows = |system: &Value| system["rows"].as_array().unwrap().clone();
    assert_eq!(
        systems.iter().map(|s| rows(s).len()).collect::<Vec<_>>(),
        [5, 6]
    );
    for row in systems.iter().flat_map(rows) {
        assert!(row["requests"].as_u64().unwrap() > 0, "{report}");
        // PROPOSE, WRITE, ACCEPT and the answers of a quorum: no site has so many others near that less would do.
        let least = row["p50_ms"].as_f64().unwrap();
        assert!((150.0..20_000.0).contains(&least), "{report}");
    }
}
