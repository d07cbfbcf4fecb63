//! Killed servers, killed replicas, and what they leave behind.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use pgsession::Session;

use super::{ask, client, config, room, started};
use crate::postgres::{PostgresServer, StopMode, kill_postgres};

fn runs(pid: i32) -> bool {
    // A process that only waits to be reaped counts as gone.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_postmaster_is_noticed_and_started_again() {
    let dir = room();
    let mut server = started(config(dir.path())).await;
    let mut session = client(&server).await;
    ask(
        &mut session,
        "SET synchronous_commit = on; CREATE TABLE public.t AS SELECT 1 AS a",
    )
    .await;
    let backend = session.pid();
    // A backend in the middle of its work does not notice that the postmaster has gone.
    let busy = tokio::spawn(async move {
        session
            .execute("SELECT count(*) FROM generate_series(1, 10000000000)")
            .await
    });
    let mut other = client(&server).await;
    let working = format!("SELECT state FROM pg_stat_activity WHERE pid = {backend}");
    while ask(&mut other, &working).await.as_deref() != Some("active") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(other);
    kill(Pid::from_raw(server.pid().unwrap()), Signal::SIGKILL).unwrap();
    let end = tokio::time::timeout(Duration::from_secs(5), server.ended())
        .await
        .unwrap();
    assert!(end.contains('9'), "{end}");
    assert!(!server.is_alive());
    assert!(runs(backend), "the test needs a backend that is left over");

    server.start().await.unwrap();
    assert!(!runs(backend));
    assert!(busy.await.unwrap().is_err());
    assert_eq!(
        ask(&mut client(&server).await, "SELECT a FROM public.t")
            .await
            .as_deref(),
        Some("1")
    );

    assert!(kill_postgres(&dir.path().join("data")).unwrap() >= 2);
    tokio::time::timeout(Duration::from_secs(5), server.ended())
        .await
        .unwrap();
    assert_eq!(kill_postgres(&dir.path().join("data")).unwrap(), 0);
    assert_eq!(kill_postgres(&dir.path().join("nowhere")).unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_pid_file_harms_nobody() {
    let dir = room();
    let mut server = started(config(dir.path())).await;
    server.stop(StopMode::Fast).await.unwrap();

    // The number now belongs to a process that has nothing to do with it.
    let mut stranger = server
        .account
        .command("/bin/sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let pid_file = dir.path().join("data/postmaster.pid");
    let text = format!(
        "{}\n{}\n1\n5432\n\n\n",
        stranger.id(),
        dir.path().join("data").display()
    );
    server.account.write_file(&pid_file, &text).unwrap();
    server.start().await.unwrap();
    assert!(
        stranger.try_wait().unwrap().is_none(),
        "an unrelated process was ended"
    );
    stranger.kill().unwrap();
    stranger.wait().unwrap();

    server.stop(StopMode::Fast).await.unwrap();
    server.account.write_file(&pid_file, "garbage").unwrap();
    server.start().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_an_earlier_run_is_stopped_first() {
    let dir = room();
    let mut server = started(config(dir.path())).await;
    server.stop(StopMode::Fast).await.unwrap();
    let mut old = server
        .account
        .command(server.binaries.program("postgres"))
        .arg("-D")
        .arg(dir.path().join("data"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    server.wait_ready_for_test().await;
    server.start().await.unwrap();
    assert!(
        old.wait().unwrap().success(),
        "it was shut down in good order"
    );
    assert_ne!(server.pid(), Some(old.id() as i32));
}

/// Plays a replica in a process of its own, for the two tests below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by other tests"]
async fn a_replica_process() {
    let Some(dir) = std::env::var_os("STEELDB_TEST_DIR") else {
        return;
    };
    let server = started(config(Path::new(&dir))).await;
    assert_eq!(
        ask(&mut client(&server).await, "SELECT 1").await.as_deref(),
        Some("1")
    );
    println!("\npid {}", server.pid().unwrap());
    // Until the other end is closed.
    tokio::task::spawn_blocking(|| std::io::stdin().lines().count())
        .await
        .unwrap();
}

/// What the process still prints; it ends when nobody can read it any more.
type Lines = std::io::Lines<BufReader<std::process::ChildStdout>>;

/// Starts the process above from a copy that any account can run; returns it with its
/// PostgreSQL's number.
fn replica_process(dir: &Path, account: Option<&User>) -> (Child, Lines, i32) {
    let program = dir.join("replica-test");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut command = Command::new(&program);
    command
        .args([
            "--exact",
            "postgres::tests::crash::a_replica_process",
            "--ignored",
            "--nocapture",
        ])
        .env("STEELDB_TEST_DIR", dir)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    if let Some(account) = account {
        command.uid(account.uid.as_raw()).gid(account.gid.as_raw());
    }
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let pid = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("pid ")?.parse().ok())
        .expect("the process tells its PostgreSQL's number");
    (child, lines, pid)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_dies_with_a_replica_that_is_killed() {
    let dir = room();
    let (mut child, _lines, pid) = replica_process(dir.path(), None);
    assert!(runs(pid));
    child.kill().unwrap();
    child.wait().unwrap();
    let start = Instant::now();
    while runs(pid) {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "PostgreSQL outlives its replica"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let server = started(config(dir.path())).await;
    assert_eq!(
        ask(&mut client(&server).await, "SELECT 2").await.as_deref(),
        Some("2")
    );
}

#[test]
fn an_ordinary_user_runs_a_server_too() {
    let Some(user) = Uid::effective()
        .is_root()
        .then(|| User::from_name("nobody").unwrap().unwrap())
    else {
        return; // then all other tests have shown it
    };
    let dir = room();
    std::os::unix::fs::chown(dir.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    let (mut child, _lines, pid) = replica_process(dir.path(), Some(&user));
    let owner =
        std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(format!("/proc/{pid}")).unwrap());
    assert_eq!(owner, user.uid.as_raw());
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let data: PathBuf = dir.path().join("data");
    kill_postgres(&data).unwrap();
}

impl PostgresServer {
    /// Waits for a server that this value did not start.
    async fn wait_ready_for_test(&self) {
        let target = self.address().control("postgres");
        let start = Instant::now();
        while Session::connect(&target).await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
