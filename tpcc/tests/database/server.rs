//! A private PostgreSQL for this binary's one test: gone with the process, however it ends.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

const BIN: &str = "/usr/lib/postgresql/15/bin";
/// For what is sure to come.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Server {
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

impl Server {
    pub fn start() -> Server {
        let mut shell = as_ordinary_account(&mut Command::new("sh"))
            .arg("-c")
            .arg(format!(
                "set -e; cd /; umask 077; dir=$(mktemp -d /tmp/steel-tpcc.XXXXXX); trap 'rm -rf $dir' EXIT
                 {BIN}/initdb -N -D $dir/data -U tpcc -A trust --encoding=UTF8 --locale=C.UTF-8 >&2
                 {BIN}/postgres -D $dir/data -c listen_addresses= -c unix_socket_directories=$dir \
                     -c fsync=off -c full_page_writes=off -c autovacuum=off -c jit=off -c work_mem=64MB -c shared_buffers=256MB \
                     -c max_wal_size=4GB >/dev/null 2>$dir/log </dev/null & pid=$!
                 echo $dir; read _ || true; kill -QUIT $pid; wait $pid || true"
            ))
            // A signal to the tests' group must not take the shell before it has tidied up.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = shell.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
        Server {
            dir: Path::new(line.trim()).to_owned(),
            _shell: shell,
        }
    }

    pub fn dsn(&self, database: &str) -> String {
        format!("host={} user=tpcc dbname={database}", self.dir.display())
    }

    pub async fn connect(&self, database: &str) -> Client {
        let began = Instant::now();
        loop {
            match tokio_postgres::connect(&self.dsn(database), NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    return client;
                }
                // It is starting.
                Err(_) if began.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// A database like another one, to which nobody may be connected.
    pub async fn copy(&self, name: &str, template: &str) -> String {
        let control = self.connect("postgres").await;
        let began = Instant::now();
        let sql = format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy");
        loop {
            match control.batch_execute(&sql).await {
                Ok(()) => return self.dsn(name),
                // Sessions that were just closed take a moment to end.
                Err(_) if began.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{sql}: {error:?}"),
            }
        }
    }

    /// Room for the next copy.
    pub async fn drop(&self, name: &str) {
        let sql = format!("DROP DATABASE {name} WITH (FORCE)");
        let control = self.connect("postgres").await;
        control.batch_execute(&sql).await.unwrap();
    }
}

/// The one number that a query returns.
pub async fn number(client: &Client, sql: &str) -> i64 {
    let row = client
        .query_one(&format!("SELECT ({sql})::bigint"), &[])
        .await;
    row.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
        .get(0)
}
