//! `steeldb bench tpcc`: the same binary against one PostgreSQL, Pgpool-II and SteelDB; a replica that dies in the middle.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Cluster, text};
use serde_json::Value;

fn kinds(run: &Value) -> &Vec<Value> {
    run["kinds"].as_array().unwrap()
}

/// Committed transactions of all kinds.
fn committed(run: &Value) -> u64 {
    kinds(run)
        .iter()
        .map(|kind| kind["committed"].as_u64().unwrap())
        .sum()
}

#[test]
fn one_server_pgpool_and_steeldb_are_measured_by_the_same_binary_and_stay_consistent() {
    let scratch = tempfile::tempdir().unwrap();
    let page = scratch.path().join("report.html");
    let output = Command::new(env!("CARGO_BIN_EXE_steeldb"))
        .args([
            "bench",
            "tpcc",
            "--compare=postgresql,pgpool,steeldb",
            "--rounds",
            "1",
        ])
        .args([
            "--warmup",
            "1",
            "--duration",
            "4",
            "--terminals",
            "4",
            "--cores",
            "all",
            "--json",
            "--report",
        ])
        .arg(&page)
        .env("TMPDIR", scratch.path())
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let comparison = &report["comparison"];
    assert_eq!(comparison["skipped"], serde_json::json!({}), "{said}");
    let runs = report["runs"].as_array().unwrap();
    let systems: Vec<&str> = runs
        .iter()
        .map(|run| run["system"].as_str().unwrap())
        .collect();
    assert_eq!(systems, ["postgresql", "pgpool", "steeldb"]);
    for (run, measured) in runs.iter().zip(comparison["systems"].as_array().unwrap()) {
        let system = &run["system"];
        assert_eq!(run["consistency"], "ok", "{system}: {}", run["conditions"]);
        assert_eq!(run["conditions"].as_array().unwrap().len(), 12);
        assert!(run["tpmC"].as_f64().unwrap() > 0.0, "{system}");
        assert!(run["tpmTotal"].as_f64().unwrap() >= run["tpmC"].as_f64().unwrap());
        assert_eq!(run["errors"], serde_json::json!([]), "{system}");
        // What the round counts is what the run committed, and its work was seen where it was done.
        let round = &measured["rounds"][0];
        assert_eq!(
            round["committed"].as_u64(),
            Some(committed(run)),
            "{system}"
        );
        assert!(
            round["cpu_seconds"]["postgresql"].as_f64().unwrap() > 0.0,
            "{system}"
        );
    }
    let steeldb = &comparison["systems"][2]["rounds"][0]["cpu_seconds"];
    for role in ["replica", "proxy"] {
        assert!(steeldb[role].as_f64().unwrap() > 0.0, "{role}: {steeldb}");
    }
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(page.contains("pgpool") && page.contains("</html>"));
    let left: Vec<_> = std::fs::read_dir(scratch.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["report.html"], "nothing else is left");
}

#[test]
fn a_replica_that_dies_in_the_middle_costs_no_terminal_its_connection() {
    let cluster = Cluster::start();
    let page = cluster.data().with_file_name("report.html");
    // The leader and master dies: the one whose loss is felt most.
    let said = cluster.succeed(&[
        "bench",
        "tpcc",
        "--terminals",
        "4",
        "--warmup",
        "2",
        "--duration",
        "22",
        "--kill",
        "0",
        "--kill-at",
        "7",
        "--back-at",
        "14",
        "--json",
        "--report",
        page.to_str().unwrap(),
    ]);
    let run: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(run["consistency"], "ok", "{}", run["conditions"]);
    assert_eq!(
        run["reconnects"], 0,
        "terminals stay connected: {}",
        run["errors"]
    );
    for kind in kinds(&run) {
        assert_eq!(
            (&kind["failed"], &kind["unknown"]),
            (&0.into(), &0.into()),
            "{kind}"
        );
    }
    let events: Vec<&str> = run["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["what"].as_str().unwrap())
        .collect();
    assert_eq!(
        events,
        [
            "replica 0 killed",
            "replica 0 started",
            "replica 0 caught up"
        ]
    );
    // Work goes on before, between and after.
    let seconds = run["timeline"].as_array().unwrap();
    let work = |from: u64, to: u64| -> u64 {
        let inside = seconds
            .iter()
            .filter(|second| (from..to).contains(&second["at_s"].as_u64().unwrap()));
        inside
            .map(|second| second["committed"].as_u64().unwrap())
            .sum()
    };
    assert!(
        work(2, 7) > 0 && work(9, 14) > 0 && work(15, 24) > 0,
        "{seconds:?}"
    );
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(page.contains("replica 0 killed"));
    assert!(cluster.verify().contains("identical"));
}

#[test]
fn an_interrupted_comparison_leaves_nothing_behind() {
    let scratch = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_steeldb"))
        .args(["bench", "tpcc", "--compare=steeldb", "--rounds", "1"])
        .env("TMPDIR", scratch.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    // Four replicas, their servers and the proxy run by now.
    lines
        .find(|line| line.as_ref().unwrap().starts_with("loading"))
        .unwrap()
        .unwrap();
    assert!(processes_of(scratch.path()) > 4);
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest:?}");
    assert!(rest.last().unwrap().contains("interrupted"), "{rest:?}");
    assert_eq!(processes_of(scratch.path()), 0);
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}

/// Processes whose command line names something in a directory.
fn processes_of(scratch: &std::path::Path) -> usize {
    let scratch = scratch.to_str().unwrap();
    let lines = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(scratch)).count()
}
