//! The examples do what the guide says.
#![allow(clippy::unwrap_used)] // a helper of tests panics as tests do

use std::process::Command;

fn demo(binary: &str) -> String {
    let output = Command::new(binary).arg("demo").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// What the client was told, without the remarks.
fn results(output: &str) -> Vec<&str> {
    let lines = output.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once(": ").unwrap().1).collect()
}

#[test]
fn the_counter_counts_while_a_replica_stops_and_comes_back() {
    let output = demo(env!("CARGO_BIN_EXE_counter"));
    assert_eq!(
        results(&output),
        ["5", "3", "3", "8", "6", "6", "11", "9", "9"]
    );
}

#[test]
fn the_map_keeps_what_it_is_told() {
    let output = demo(env!("CARGO_BIN_EXE_kv-map"));
    let once = ["(none)", "blue", "blue", "red", "0"];
    assert_eq!(results(&output), [once, once, once].concat());
}
