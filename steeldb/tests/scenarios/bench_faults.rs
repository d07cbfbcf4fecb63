//! `steeldb bench faults`: replicas hurt under load, everything checked, nothing left behind.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn bench(scratch: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_steeldb"))
        .args(["bench", "faults"])
        .args(arguments)
        .env("TMPDIR", scratch)
        .current_dir(scratch)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn done(child: Child) -> (Output, String) {
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, errors)
}

/// Partitions need root.
fn partitions() -> &'static [&'static str] {
    match nix::unistd::geteuid().is_root() {
        true => &[],
        false => &["--no-partitions"],
    }
}

/// Processes that have their files here, and namespaces of this run.
fn left(scratch: &Path, bench: u32) -> Vec<String> {
    let scratch = scratch.to_str().unwrap();
    let mut left: Vec<String> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("cmdline")).ok())
        .filter(|line| line.contains("member") && line.contains(scratch))
        .collect();
    let namespaces = std::fs::read_dir("/run/netns").into_iter().flatten();
    let names = namespaces.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    left.extend(names.filter(|name| name.starts_with(&format!("steeldb-testbed-{bench}-"))));
    left
}

#[test]
fn faults_from_a_seed_lose_nothing_and_leave_nothing_behind() {
    let scratch = tempfile::tempdir().unwrap();
    // Its seed brings a killed leader, stopped followers, cuts.
    let mut arguments = vec!["--duration", "25", "--seed", "5", "--rate", "200", "--json"];
    arguments.extend(["--clients", "8", "--report", "report"]);
    arguments.extend(partitions());
    let child = bench(scratch.path(), &arguments);
    let id = child.id();
    let (output, errors) = done(child);
    assert!(output.status.success(), "{errors}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["broken"], serde_json::json!([]), "{report}");
    let number = |name: &str| report[name].as_u64().unwrap();
    assert!(number("acknowledged") > 200, "{report}");
    assert!(number("acknowledged") + number("unknown") <= number("issued"));
    assert!(number("marks_compared") > 0, "{report}");
    let faults = report["faults"].as_array().unwrap();
    assert!(faults.len() >= 2, "{report}");
    assert_eq!(faults[0]["fault"], "leader killed");
    let kinds = report["by_kind"].as_array().unwrap();
    let kill = kinds
        .iter()
        .find(|kind| kind["fault"] == "leader killed")
        .unwrap();
    assert!(kill["silence_ms"]["worst"].as_f64().unwrap() > 0.0);
    assert!(number("regency_changes") >= 1, "{report}");
    let page = std::fs::read_to_string(scratch.path().join("report/faults.md")).unwrap();
    assert!(page.contains("applied exactly once") && page.contains("| leader killed |"));
    let picture = std::fs::read_to_string(scratch.path().join("report/faults.svg")).unwrap();
    assert!(picture.contains("</svg>"));
    assert_eq!(left(scratch.path(), id), Vec::<String>::new());
}

#[test]
fn killed_leaders_are_timed() {
    let scratch = tempfile::tempdir().unwrap();
    // Whatever else this machine does meanwhile, nobody waits this long.
    let arguments = [
        "--only",
        "leader-kills",
        "--rounds",
        "2",
        "--within",
        "30000",
        "--rate",
        "200",
        "--json",
    ];
    let (output, errors) = done(bench(scratch.path(), &arguments));
    assert!(output.status.success(), "{errors}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let back = report["back_ms"].as_array().unwrap();
    assert_eq!(back.len(), 2, "{report}");
    // The link of a killed leader is given 300 ms to come back.
    assert!(
        back.iter().all(|ms| ms.as_f64().unwrap() > 250.0),
        "{report}"
    );
    assert_eq!(report["broken"], serde_json::json!([]), "{report}");
}

#[test]
fn an_interrupt_ends_the_replicas_and_removes_their_namespaces() {
    let scratch = tempfile::tempdir().unwrap();
    let mut arguments = vec!["--duration", "60", "--seed", "1", "--rate", "100"];
    arguments.extend(partitions());
    let mut child = bench(scratch.path(), &arguments);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    lines
        .find(|line| line.as_ref().unwrap().contains("connecting"))
        .unwrap()
        .unwrap();
    assert!(left(scratch.path(), child.id()).len() >= 4);
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest:?}");
    assert_eq!(left(scratch.path(), child.id()), Vec::<String>::new());
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn without_root_it_says_how_to_do_without_partitions() {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let steeldb = env!("CARGO_BIN_EXE_steeldb");
    let mut command = match nix::unistd::geteuid().is_root() {
        false => Command::new(steeldb),
        true => {
            // Nobody may not look into the directory of the build.
            let copy = scratch.path().join("steeldb");
            std::fs::copy(steeldb, &copy).unwrap();
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
            command.arg(copy);
            command
        }
    };
    let run = command
        .args(["bench", "faults", "--duration", "5"])
        .env("TMPDIR", scratch.path())
        .current_dir(scratch.path());
    let output = run.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("need root") && errors.contains("--no-partitions"),
        "{errors}"
    );
}
