//! The process of an attacker: this test's own program, started again with a role.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::support::Cluster;
use crate::{liar, mallory};

/// What the process is, and the file that it begins with.
const ROLE: &str = "BYZANTINE_ROLE";
const FILE: &str = "BYZANTINE_FILE";
/// Marks the lines that answer the test; the test program writes lines of its own.
const ANSWER: &str = "> ";
/// How long an order may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// Not a test of its own: what the other tests start.
#[test]
#[ignore = "the process of an attacker, which the other tests start"]
fn attacker() {
    let (Ok(role), Some(file)) = (std::env::var(ROLE), std::env::var_os(FILE)) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let file = PathBuf::from(file);
    match role.as_str() {
        "replica" => runtime.block_on(liar::run(&file)),
        "client" => runtime.block_on(mallory::run(&file)),
        other => panic!("no role {other}"),
    }
    // A read of standard input may be under way; nobody waits for it.
    std::process::exit(0);
}

/// Answers the last order.
pub fn answer(text: &str) {
    println!("{ANSWER}{text}");
}

/// An attacker's process; it is killed when this is dropped.
pub struct Actor {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Actor {
    /// Starts one with a role. Its working directory shows that it belongs to the cluster.
    pub fn start(cluster: &Cluster, role: &str, file: &Path) -> Actor {
        let log = cluster.data().join(format!("logs/attacker-{role}.log"));
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["actor::attacker", "--exact", "--ignored", "--nocapture"])
            .env(ROLE, role)
            .env(FILE, file)
            .current_dir(cluster.data())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Actor {
            orders: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()).lines(),
            child,
        }
    }

    /// Gives an order; what the attacker answers when it is done.
    pub async fn order(&mut self, order: &str) -> String {
        let done = async {
            let line = format!("{order}\n");
            self.orders.write_all(line.as_bytes()).await.unwrap();
            loop {
                let line = self.answers.next_line().await.unwrap();
                let line = line.unwrap_or_else(|| panic!("the attacker has ended: {order}"));
                if let Some(answer) = line.strip_prefix(ANSWER) {
                    return answer.to_owned();
                }
            }
        };
        let answered = timeout(PATIENCE, done).await;
        answered.unwrap_or_else(|_| panic!("no answer to the order {order}"))
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().expect("it was not waited for");
        kill(Pid::from_raw(pid as i32), signal).unwrap();
    }

    /// SIGKILL.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// The next order of the test; none when it has ended.
pub type Orders = Lines<BufReader<tokio::io::Stdin>>;

pub fn orders() -> Orders {
    BufReader::new(tokio::io::stdin()).lines()
}
