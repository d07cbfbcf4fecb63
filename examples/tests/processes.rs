//! A group whose replicas are processes of their own.
#![allow(clippy::unwrap_used)] // a helper of tests panics as tests do

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A replica's process, ended with the scenario.
struct Replica(Child);

impl Replica {
    fn start(dir: &Path, id: u16) -> Replica {
        let mut child = Command::new(env!("CARGO_BIN_EXE_counter"))
            .args(["replica".as_ref(), dir.as_os_str(), id.to_string().as_ref()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, format!("replica {id} runs\n"));
        Replica(child)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn client(dir: &Path, words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_counter"))
        .args(["client".as_ref(), dir.as_os_str()])
        .args(["--"].iter().chain(words))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn four_processes_count_through_kills() {
    let dir = tempfile::tempdir().unwrap();
    // A host of the loopback network that is this process' own.
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let host = Ipv4Addr::new(127, 64 + high % 64, middle, low);
    let addresses: Vec<SocketAddr> = (21_000..21_004).map(|port| (host, port).into()).collect();
    examples::group::init(dir.path(), &addresses).unwrap();
    let mut replicas: Vec<_> = (0..4).map(|id| Replica::start(dir.path(), id)).collect();
    assert_eq!(client(dir.path(), &["add", "5"]), "5");
    replicas.remove(2);
    assert_eq!(client(dir.path(), &["add", "-2"]), "3");
    replicas.push(Replica::start(dir.path(), 2));
    // The leader goes; the one that was killed has to take part.
    replicas.remove(0);
    assert_eq!(client(dir.path(), &["add", "4"]), "7");
    // All lose power at once.
    replicas.clear();
    replicas.extend((0..4).map(|id| Replica::start(dir.path(), id)));
    assert_eq!(client(dir.path(), &["get"]), "7");
}
