//! A private PostgreSQL for one test, spoken to through psql.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};

/// A server that stops, and whose files go, when it is dropped.
pub struct Server {
    child: Child,
    dir: tempfile::TempDir,
}

impl Server {
    /// A server with further arguments of `postgres`.
    pub fn with(arguments: &[&str]) -> Server {
        let bin = newest_bin();
        let dir = tempfile::Builder::new().prefix("sql-").tempdir().unwrap();
        if let Some(user) = account() {
            std::os::unix::fs::chown(dir.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw()))
                .unwrap();
        }
        let data = dir.path().join("data");
        let made = command(&bin.join("initdb"))
            .args([
                "-U",
                "steel",
                "--locale=C.UTF-8",
                "-E",
                "UTF8",
                "-N",
                "-A",
                "trust",
                "-D",
            ])
            .arg(&data)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success(), "initdb failed");
        let child = command(&bin.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args([
                "-c",
                "listen_addresses=",
                "-c",
                "fsync=off",
                "-c",
                "shared_buffers=16MB",
                "-c",
            ])
            .arg(format!("unix_socket_directories={}", dir.path().display()))
            .args(arguments)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Server { child, dir };
        let start = Instant::now();
        while !server.psql("select 'ready';\n").contains("ready") {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "the server does not answer"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// The Unix socket on which it listens.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join(".s.PGSQL.5432")
    }

    /// Output and errors of a psql script, unaligned.
    pub fn psql(&self, script: &str) -> String {
        let mut psql = Command::new(newest_bin().join("psql"))
            .args(["-X", "-A", "-U", "steel", "-d", "postgres", "-h"])
            .arg(self.socket().parent().unwrap())
            .env("PGOPTIONS", "-c lc_messages=C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may have gone already, when the server is not up yet.
        let _ = psql.stdin.take().unwrap().write_all(script.as_bytes());
        let output = psql.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        text(&output.stdout) + &text(&output.stderr)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).unwrap();
        let _ = kill(Pid::from_raw(pid), Signal::SIGQUIT);
        let _ = self.child.wait();
    }
}

/// PostgreSQL refuses to run as root, so root lends it an ordinary account.
fn account() -> Option<User> {
    let named = |name| User::from_name(name).ok().flatten();
    Uid::effective().is_root().then(|| {
        named("postgres")
            .or_else(|| named("nobody"))
            .expect("an ordinary account")
    })
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some(user) = account() {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command.current_dir("/").env("TZ", "UTC");
    command
}

fn newest_bin() -> PathBuf {
    let majors = std::fs::read_dir("/usr/lib/postgresql").expect("apt-get install postgresql");
    let newest = majors
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .max()
        .expect("apt-get install postgresql");
    PathBuf::from(format!("/usr/lib/postgresql/{newest}/bin"))
}
