//! Private PostgreSQL servers for one test binary: started by the first test that needs them, gone with the process.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::Value;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls};

mod programs;

/// The machine's own, which most tests use.
const BIN: &str = "/usr/lib/postgresql/15/bin";
pub const OWN: u32 = 15;

struct Server {
    dir: PathBuf,
    // Its stdin is the server's life: the shell stops the server and removes the directory at its end.
    _shell: Child,
}

/// PostgreSQL refuses to run as root; the tests then use the account `nobody`.
fn as_ordinary_account(command: &mut Command) -> &mut Command {
    if nix::unistd::geteuid().is_root() {
        let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
        command.uid(nobody.uid.as_raw()).gid(nobody.gid.as_raw());
    }
    command
}

fn server(major: u32) -> &'static Server {
    static SERVERS: Mutex<BTreeMap<u32, &'static Server>> = Mutex::new(BTreeMap::new());
    let mut servers = SERVERS.lock().unwrap();
    servers.entry(major).or_insert_with(|| {
        let bin = match major {
            OWN => PathBuf::from(BIN),
            other => programs::programs(other),
        };
        let bin = bin.display();
        let mut shell = as_ordinary_account(&mut Command::new("sh"))
            .arg("-c")
            .arg(format!(
                "set -e; cd /; umask 077; dir=$(mktemp -d /tmp/steel-migrations.XXXXXX); trap 'rm -rf $dir' EXIT
                 {bin}/initdb -N -D $dir/data -U steel -A trust --encoding=UTF8 --locale=C.UTF-8 >&2
                 {bin}/postgres -D $dir/data -c port=5432 -c listen_addresses= -c unix_socket_directories=$dir \
                     -c fsync=off -c max_connections=50 >/dev/null 2>$dir/log </dev/null & pid=$!
                 echo $dir; read _ || true; kill -QUIT $pid; wait $pid || true"
            ))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(
            &mut std::io::BufReader::new(shell.stdout.take().unwrap()),
            &mut line,
        )
        .unwrap();
        let dir = PathBuf::from(line.trim());
        let started = Instant::now();
        while !dir.join(".s.PGSQL.5432").exists() {
            assert!(started.elapsed() < Duration::from_secs(120), "no server");
            std::thread::sleep(Duration::from_millis(20));
        }
        Box::leak(Box::new(Server {
            dir,
            _shell: shell,
        }))
    })
}

/// A session and what the server told it besides the answers.
pub struct Session {
    pub client: Client,
    notices: Arc<Mutex<Vec<(String, String)>>>,
    token: String,
}

pub async fn connect(database: &str, user: &str) -> Session {
    connect_to(OWN, database, user).await
}

/// A session with the server of this major.
pub async fn connect_to(major: u32, database: &str, user: &str) -> Session {
    let config = Config::new()
        .host(server(major).dir.to_str().unwrap())
        .user(user)
        .dbname(database)
        .to_owned();
    let started = Instant::now();
    let (client, mut connection) = loop {
        match config.connect(NoTls).await {
            Ok(pair) => break pair,
            // The socket is there a moment before the server answers.
            Err(error) if started.elapsed() > Duration::from_secs(120) => panic!("{error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let notices = Arc::new(Mutex::new(Vec::new()));
    let sink = notices.clone();
    tokio::spawn(async move {
        let mut messages =
            futures::stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notice(notice) = message {
                sink.lock()
                    .unwrap()
                    .push((notice.code().code().to_owned(), notice.message().to_owned()));
            }
        }
    });
    Session {
        client,
        notices,
        token: String::new(),
    }
}

/// A database of its own with the schema steel, owned by `postgres`.
pub async fn database(name: &str) {
    database_on(OWN, name).await;
}

/// The same at the server of this major.
pub async fn database_on(major: u32, name: &str) {
    let control = connect_to(major, "postgres", "steel").await;
    control
        .client
        .batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0"))
        .await
        .unwrap();
    let mut steel = connect_to(major, name, "steel").await;
    // Roles belong to the server, not to a database: two tests must not create one at once.
    static ROLES: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _one_at_a_time = ROLES.lock().await;
    migrations::migrate(&mut steel.client).await.unwrap();
    control
        .client
        .batch_execute(&format!("ALTER DATABASE {name} OWNER TO postgres"))
        .await
        .unwrap();
}

/// A client's session, as the proxy opens it.
pub async fn session(database: &str) -> Session {
    session_on(OWN, database).await
}

/// The same at the server of this major.
pub async fn session_on(major: u32, database: &str) -> Session {
    let token = connect_to(major, database, "steel")
        .await
        .client
        .query_one("SELECT token FROM steel.secret", &[])
        .await
        .unwrap()
        .get(0);
    Session {
        token,
        ..connect_to(major, database, "postgres").await
    }
}

/// What pg_dump prints.
pub fn pg_dump(database: &str, user: &str) -> String {
    let output = as_ordinary_account(&mut Command::new(format!("{BIN}/pg_dump")))
        .args([
            "-h",
            server(OWN).dir.to_str().unwrap(),
            "-U",
            user,
            database,
        ])
        .current_dir("/")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

impl Session {
    /// Runs SQL and returns what the triggers reported of it.
    pub async fn captured(&self, sql: &str) -> Vec<Value> {
        self.notices.lock().unwrap().clear();
        self.client
            .batch_execute(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        self.take_captured()
    }

    pub fn take_captured(&self) -> Vec<Value> {
        std::mem::take(&mut *self.notices.lock().unwrap())
            .into_iter()
            .filter(|(code, _)| code == migrations::CAPTURE_SQLSTATE)
            .filter_map(|(_, message)| {
                let json = message.strip_prefix(&self.token)?;
                Some(serde_json::from_str(json).unwrap())
            })
            .collect()
    }

    /// Reports as [`Self::captured`], without those that an EXCEPTION block took back.
    pub async fn lasting(&self, sql: &str) -> Vec<Value> {
        let reports = self.captured(sql).await;
        let end: i64 = self.journal().await.expect("a count was begun");
        let at = |report: &Value| report["at"].as_i64();
        let Some(first) = reports.iter().find_map(at) else {
            return reports;
        };
        let depth = |number: i64| usize::try_from(number - first).unwrap();
        let mut held = Vec::new();
        for report in reports {
            let Some(number) = at(&report) else { continue };
            held.truncate(depth(number));
            assert_eq!(held.len(), depth(number), "numbers follow each other");
            held.push(report);
        }
        held.truncate(depth(end + 1));
        held
    }

    pub async fn journal(&self) -> Option<i64> {
        let row = self.client.query_one("SELECT steel.journal()", &[]).await;
        row.unwrap().get(0)
    }

    /// The SQLSTATE with which the SQL fails.
    pub async fn refused(&self, sql: &str) -> String {
        match self.client.batch_execute(sql).await {
            Ok(()) => panic!("not refused: {sql}"),
            Err(error) => error
                .code()
                .map_or(error.to_string(), |code| code.code().to_owned()),
        }
    }

    /// All rows of a query, each as text, sorted.
    pub async fn rows(&self, query: &str) -> Vec<String> {
        let sql = format!("SELECT q.*::text FROM ({query}) q");
        let mut rows: Vec<String> = self
            .client
            .query(&sql, &[])
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"))
            .iter()
            .map(|row| row.get(0))
            .collect();
        rows.sort();
        rows
    }

    pub async fn run(&self, sql: &str) {
        self.client
            .batch_execute(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Notices that are no reports.
    pub fn other_notices(&self) -> Vec<String> {
        std::mem::take(&mut *self.notices.lock().unwrap())
            .into_iter()
            .filter(|(code, _)| code != migrations::CAPTURE_SQLSTATE)
            .map(|(_, message)| message)
            .collect()
    }

    pub fn token(&self) -> &str {
        &self.token
    }
}
