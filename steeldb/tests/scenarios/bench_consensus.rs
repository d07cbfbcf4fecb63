//! `steeldb bench consensus`: real replicas, a short measurement, nothing left behind.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn bench(scratch: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_steeldb"))
        .args(["bench", "consensus"])
        .args(arguments)
        .env("TMPDIR", scratch)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The replica processes that still have their files here.
fn replicas_of(scratch: &Path) -> Vec<String> {
    let scratch = scratch.to_str().unwrap();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("cmdline")).ok())
        .filter(|line| line.contains("replica") && line.contains(scratch))
        .collect()
}

fn nothing_is_left(scratch: &Path) {
    assert_eq!(replicas_of(scratch), Vec::<String>::new());
    assert_eq!(std::fs::read_dir(scratch).unwrap().count(), 0);
}

#[test]
fn a_short_measurement_orders_and_reports() {
    let scratch = tempfile::tempdir().unwrap();
    let arguments = [
        "--clients",
        "3",
        "--request",
        "100",
        "--reply",
        "1000",
        "--warmup",
        "1",
        "--duration",
        "2",
        "--json",
    ];
    let output = bench(scratch.path(), &arguments)
        .wait_with_output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |name: &str| report[name].as_f64().unwrap();
    let operations = number("operations");
    assert!(operations > 0.0, "{report}");
    assert!((number("ops_per_second") * number("seconds") - operations).abs() < 1.0);
    let latency = |name: &str| report["latency_ms"][name].as_f64().unwrap();
    assert!(0.0 < latency("p50") && latency("p50") <= latency("p99"));
    // A WRITE and an ACCEPT of at least three replicas precede every answer; at most three requests share a batch.
    assert!(number("fsyncs_per_op") >= 1.0, "{report}");
    assert!((1.0..=3.0).contains(&number("batch")), "{report}");
    assert!(number("replica_cpu_us_per_op") > 0.0);
    assert_eq!(report["request_bytes"], 100);
    assert!(errors.contains("measuring: 2 of 2 s"), "{errors}");
    nothing_is_left(scratch.path());
}

#[test]
fn an_interrupt_ends_the_replicas_and_removes_their_files() {
    let scratch = tempfile::tempdir().unwrap();
    let mut child = bench(scratch.path(), &["--clients", "2", "--no-fsync"]);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    lines
        .find(|line| line.as_ref().unwrap().contains("warming up"))
        .unwrap()
        .unwrap();
    assert_eq!(replicas_of(scratch.path()).len(), 4);
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest:?}");
    let mut printed = String::new();
    child.stdout.unwrap().read_to_string(&mut printed).unwrap();
    assert_eq!(printed, "");
    nothing_is_left(scratch.path());
}

#[test]
fn a_killed_measurement_leaves_no_process() {
    let scratch = tempfile::tempdir().unwrap();
    let mut child = bench(scratch.path(), &["--clients", "1", "--no-fsync"]);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    lines
        .find(|line| line.as_ref().unwrap().contains("warming up"))
        .unwrap()
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !replicas_of(scratch.path()).is_empty() {
        assert!(std::time::Instant::now() < until);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
