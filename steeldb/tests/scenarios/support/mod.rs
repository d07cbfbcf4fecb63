//! Whole clusters for tests: real processes, real PostgreSQL, in a directory and at ports of their own.

// Each test file uses its part of this.
#![allow(dead_code, clippy::unwrap_used)]

pub mod load;
#[path = "../../../../migrations/tests/scenarios/server/programs.rs"]
pub mod programs;
pub mod source;

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio_postgres::{Client, NoTls};

/// Clusters take turns: two of them would only slow each other down.
static TURN: Mutex<()> = Mutex::new(());

/// A running cluster of four replicas; it ends with this value, after a panic too.
pub struct Cluster {
    directory: tempfile::TempDir,
    pub port: u16,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    /// A new cluster that serves.
    pub fn start() -> Cluster {
        let cluster = Cluster::absent();
        cluster.up();
        cluster
    }

    /// A place for a cluster, and nothing in it.
    pub fn absent() -> Cluster {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Cluster {
            directory: tempfile::Builder::new()
                .prefix("steeldb-test-")
                .tempdir()
                .unwrap(),
            port: free_port(),
            _turn: turn,
        }
    }

    /// `steeldb up --detach`; returns its last line, the one to paste.
    pub fn up(&self) -> String {
        let port = self.port.to_string();
        let said = self.succeed(&["up", "--detach", "--port", &port]);
        said.lines().last().unwrap_or_default().to_owned()
    }

    pub fn data(&self) -> PathBuf {
        self.directory.path().join("db")
    }

    /// Runs a subcommand with this cluster's `--data`.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// A subcommand with this cluster's `--data`, not run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_steeldb"));
        command.args(arguments).arg("--data").arg(self.data());
        command
    }

    /// Runs a subcommand that must succeed; returns its standard output.
    pub fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "steeldb {arguments:?}: {}\n{}{}",
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Runs a subcommand that must fail with this exit code; returns its standard error.
    pub fn refuse(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments);
        let said = text(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(code),
            "steeldb {arguments:?}: {said}"
        );
        said
    }

    pub fn status(&self) -> Value {
        serde_json::from_str(&self.succeed(&["status", "--json"])).unwrap()
    }

    pub fn verify(&self) -> String {
        self.succeed(&["verify"])
    }

    pub fn url(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// A session as an application has it.
    pub async fn connect(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Runs a client program against the cluster, which must succeed; returns both its outputs.
    pub fn program(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program)
            .args(arguments)
            .arg(self.url())
            .output()
            .unwrap();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
        said
    }

    /// Changes a replica's private PostgreSQL behind its back, as an intruder would.
    pub fn tamper(&self, replica: u16, sql: &str) {
        self.ask(replica, sql);
    }

    /// What a replica's private PostgreSQL answers to its superuser: the bare rows.
    pub fn ask(&self, replica: u16, sql: &str) -> String {
        let answer = self.try_ask(replica, sql);
        answer.unwrap_or_else(|error| panic!("replica {replica}, {sql}: {error}"))
    }

    /// The same of one that may be making its data anew: then there is no server for a moment.
    pub fn try_ask(&self, replica: u16, sql: &str) -> Result<String, String> {
        let socket = self
            .data()
            .join(format!("replica-{replica}/data/postgres/socket"));
        let output = Command::new("psql")
            .args("-X -q -A -t -v ON_ERROR_STOP=1 -U steel -d postgres -c".split(' '))
            .arg(sql)
            .arg("-h")
            .arg(socket)
            .output()
            .unwrap();
        match output.status.success() {
            true => Ok(text(&output.stdout).trim().to_owned()),
            false => Err(text(&output.stderr)),
        }
    }

    /// The processes of this cluster, with their command lines; ended ones that nobody has collected are none.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let own = self.data().display().to_string();
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter_map(|entry| {
                let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
                let line = std::fs::read(entry.path().join("cmdline")).ok()?;
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                let directory = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
                let ours = line.contains(&own) || directory.starts_with(&own);
                (ours && !line.is_empty()).then_some((pid, line))
            })
            .collect()
    }

    /// SIGKILL for every process of the cluster, as a power failure would do.
    pub fn kill_everything(&self) {
        while let processes = self.processes()
            && !processes.is_empty()
        {
            for (pid, _) in processes {
                let pid = nix::unistd::Pid::from_raw(pid);
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    fn show_logs(&self) {
        for entry in std::fs::read_dir(self.data().join("logs"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let log = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(20)..];
            eprintln!("== {}\n{}", entry.path().display(), tail.join("\n"));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
        if self.data().exists() {
            self.run(&["down"]);
        }
        self.kill_everything();
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn free_port() -> u16 {
    net::free_ports(1, 0)[0]
}
