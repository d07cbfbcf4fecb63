//! A private PostgreSQL for one test file.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use pgsession::{Session, Target};

/// A server that stops, and whose files go, when it is dropped.
pub struct Server {
    child: Child,
    dir: tempfile::TempDir,
}

impl Server {
    pub fn start() -> Server {
        let bin = newest_bin();
        let dir = tempfile::Builder::new()
            .prefix("pgsession-")
            .tempdir()
            .unwrap();
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
            ])
            .arg("-c")
            .arg(format!("unix_socket_directories={}", dir.path().display()))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Server { child, dir }
    }

    pub fn target(&self) -> Target {
        Target {
            socket_dir: self.dir.path().to_owned(),
            port: 5432,
            user: "steel".into(),
            database: "postgres".into(),
            application_name: "test".into(),
            options: vec![("lc_messages".into(), "C".into())],
            token: Some("secret".into()),
            ..Target::default()
        }
    }

    pub async fn session(&self) -> Session {
        self.session_as(&self.target()).await
    }

    pub async fn session_as(&self, target: &Target) -> Session {
        let start = Instant::now();
        loop {
            match Session::connect(target).await {
                Ok(session) => return session,
                Err(error) if start.elapsed() > Duration::from_secs(60) => panic!("{error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGQUIT);
        let _ = self.child.wait();
    }
}

/// PostgreSQL refuses to run as root, so root lends it an ordinary account.
fn account() -> Option<User> {
    if !Uid::effective().is_root() {
        return None;
    }
    let named = |name| User::from_name(name).ok().flatten();
    Some(
        named("postgres")
            .or_else(|| named("nobody"))
            .expect("an ordinary account"),
    )
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
        .filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .max()
        .expect("apt-get install postgresql");
    PathBuf::from(format!("/usr/lib/postgresql/{newest}/bin"))
}
