//! The private server: prepared, started, watched and stopped.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use pgsession::{Session, Target};

use super::account::Account;
use super::binaries::Binaries;
use super::initdb::{SETTINGS, initdb, made_by};
use super::leftovers::{clear, kill_postgres};
use super::provision::provision;
use super::socket::socket_dir;
use super::supervise::Postmaster;
use super::{Address, Dumper, Error, Fingerprint, PostgresConfig, SUPERUSER};

/// How long a start may take; recovery after a crash is part of it.
const START: Duration = Duration::from_secs(600);

/// How long what a killed server left over may take to end.
const LEFT_OVER: Duration = Duration::from_secs(10);

/// How long a fast shutdown may take before it turns into an immediate one.
const FAST: Duration = Duration::from_secs(60);

/// How long an immediate shutdown may take before it turns into SIGKILL.
const IMMEDIATE: Duration = Duration::from_secs(15);

/// A log longer than this is begun anew at a start, in bytes; one older log is kept.
const LOG_BYTES: u64 = 16 << 20;

/// How much of the log's end goes into an error, in bytes.
const TAIL: u64 = 2000;

/// Names the cluster that the data directory belongs to.
const ORIGIN: &str = "steeldb.origin";

/// How to end a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Sessions are ended, everything is written to disk.
    Fast,
    /// Everything ends at once; the next start recovers from the log.
    Immediate,
    /// SIGKILL for every process, as in a power failure.
    Kill,
}

/// A private PostgreSQL of one replica. The server ends with this process, even when that is killed.
#[derive(Debug)]
pub struct PostgresServer {
    config: PostgresConfig,
    data_dir: PathBuf,
    socket_dir: PathBuf,
    pub(super) binaries: Binaries,
    pub(super) account: Account,
    postmaster: Option<Postmaster>,
    tokens: BTreeMap<String, Arc<str>>,
    /// The data directory is freshly made and may not be on disk yet.
    fresh: bool,
    /// Held until this value is gone: nobody else cares for this data directory.
    _lock: File,
}

impl PostgresServer {
    /// Finds binaries and account, makes the data directory where there is none, and writes the
    /// settings. Takes about a second the first time.
    pub async fn prepare(config: PostgresConfig) -> Result<PostgresServer, Error> {
        blocking(move || Self::prepare_now(config)).await
    }

    fn prepare_now(config: PostgresConfig) -> Result<PostgresServer, Error> {
        config.check()?;
        let account = Account::choose(config.account.as_deref())?;
        let data_dir = absolute(&config.data_dir)?;
        let lock = lock(&data_dir)?;
        account.check_way_to(&data_dir)?;
        let made = made_by(&data_dir)?;
        let binaries = Binaries::find(config.bin_dir.as_deref(), made)?;
        account.check_way_to(&binaries.program("postgres"))?;
        match made {
            None => initdb(&data_dir, &binaries, &account)?,
            Some(made) if made != binaries.major => {
                return Err(Error::OtherMajor {
                    directory: data_dir.display().to_string(),
                    made,
                    bin: binaries.dir.display().to_string(),
                    found: binaries.major,
                });
            }
            Some(_) => {}
        }
        let socket_dir = socket_dir(&config, &data_dir, &account)?;
        let settings = config.server_settings(&socket_dir);
        account.write_file(&data_dir.join(SETTINGS), &settings)?;
        Ok(PostgresServer {
            config,
            data_dir,
            socket_dir,
            binaries,
            account,
            postmaster: None,
            tokens: BTreeMap::new(),
            fresh: made.is_none(),
            _lock: lock,
        })
    }

    /// Ends what an earlier run has left, starts the server, waits until it is ready, and brings
    /// its roles and schema to this version. A running server is left as it is.
    pub async fn start(&mut self) -> Result<(), Error> {
        if self.is_alive() {
            return Ok(());
        }
        let (data_dir, socket) = (
            self.data_dir.clone(),
            self.socket_dir
                .join(format!(".s.PGSQL.{}", self.config.port)),
        );
        blocking(move || clear(&data_dir, &socket)).await?;
        let until = Instant::now() + LEFT_OVER;
        while let Err(error) = self.launch().await {
            if !error.is_memory_in_use() || Instant::now() >= until {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let address = self.address();
        let (tokens, synced) = tokio::join!(provision(&address), self.reach_disk());
        self.tokens = tokens?;
        synced
    }

    /// Starts the program and waits until it takes sessions.
    async fn launch(&mut self) -> Result<(), Error> {
        let (log, begin) = self.open_log()?;
        let program = self.binaries.program("postgres");
        let mut command = self.account.command(&program);
        command
            .arg("-D")
            .arg(&self.data_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let postmaster = Postmaster::start(command)
            .await
            .map_err(Error::io("run", &program))?;
        tracing::debug!(pid = postmaster.pid(), data_dir = %self.data_dir.display(), "PostgreSQL started");
        self.postmaster = Some(postmaster);
        self.wait_until_ready(START, begin).await
    }

    /// Waits until the server takes sessions.
    pub async fn wait_ready(&self, limit: Duration) -> Result<(), Error> {
        self.wait_until_ready(limit, 0).await
    }

    async fn wait_until_ready(&self, limit: Duration, log_begin: u64) -> Result<(), Error> {
        let target = self.address().control("postgres");
        let start = Instant::now();
        let mut pause = Duration::from_millis(5);
        loop {
            let refused = match Session::connect(&target).await {
                Ok(session) => {
                    session.close().await;
                    return Ok(());
                }
                Err(error) => error,
            };
            if !self.is_alive() {
                return Err(self.ended_error(log_begin).await);
            }
            if start.elapsed() > limit {
                return Err(Error::NotReady {
                    seconds: limit.as_secs(),
                    cause: refused.to_string(),
                });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// Stops the server. Each mode turns into the next harder one when it takes too long.
    pub async fn stop(&mut self, mode: StopMode) -> Result<(), Error> {
        let Some(postmaster) = self.postmaster.take() else {
            return Ok(());
        };
        let gentle = [
            (StopMode::Fast, Signal::SIGINT, FAST),
            (StopMode::Immediate, Signal::SIGQUIT, IMMEDIATE),
        ];
        let from = match mode {
            StopMode::Fast => 0,
            StopMode::Immediate => 1,
            StopMode::Kill => 2,
        };
        for (_, signal, patience) in &gentle[from..] {
            postmaster.signal(*signal);
            if postmaster.ended_within(*patience).await {
                break;
            }
        }
        // Backends outlive a postmaster that was killed.
        let data_dir = self.data_dir.clone();
        blocking(move || kill_postgres(&data_dir)).await?;
        postmaster.ended().await;
        Ok(())
    }

    /// The server process runs. It may still be in recovery.
    pub fn is_alive(&self) -> bool {
        self.postmaster.as_ref().is_some_and(Postmaster::is_alive)
    }

    /// The postmaster's process number, while it runs.
    pub fn pid(&self) -> Option<i32> {
        let postmaster = self.postmaster.as_ref().filter(|p| p.is_alive())?;
        Some(postmaster.pid())
    }

    /// Resolves when the server has ended, with what became of it; at once where none runs.
    pub fn ended(&self) -> impl Future<Output = String> + Send + use<> {
        let end = self.postmaster.as_ref().map(Postmaster::ended);
        async move {
            match end {
                Some(end) => end.await,
                None => "not running".into(),
            }
        }
    }

    /// The data directory was made by this value.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// The cluster that the data directory belongs to, as [`set_origin`](Self::set_origin) wrote it.
    pub fn origin(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.data_dir.join(ORIGIN)).ok()?;
        Some(text.trim().to_owned())
    }

    /// Notes which cluster the data directory belongs to.
    pub fn set_origin(&self, cluster: &str) -> Result<(), Error> {
        let text = format!("{cluster}\n");
        self.account.write_file(&self.data_dir.join(ORIGIN), &text)
    }

    /// Where sessions reach the server.
    pub fn address(&self) -> Address {
        Address {
            socket_dir: self.socket_dir.clone(),
            port: self.config.port,
            superuser: SUPERUSER.into(),
        }
    }

    /// The capture tokens by database, known since the start.
    pub fn tokens(&self) -> &BTreeMap<String, Arc<str>> {
        &self.tokens
    }

    /// A client's session in a database, with that database's capture token.
    pub fn client(&self, user: &str, database: &str) -> Target {
        let token = self.tokens.get(database).cloned();
        self.address().client(user, database, token)
    }

    /// What must be equal at all replicas.
    pub async fn fingerprint(&self) -> Result<Fingerprint, Error> {
        Fingerprint::of(&self.address(), "postgres").await
    }

    /// Runs pg_dump on this server.
    pub fn dumper(&self) -> Dumper {
        Dumper {
            program: self.binaries.program("pg_dump"),
            account: self.account.clone(),
            address: self.address(),
        }
    }

    /// The server's log file.
    pub fn log_path(&self) -> PathBuf {
        self.data_dir.join("postgresql.log")
    }

    /// The log, and where this start's part begins.
    fn open_log(&self) -> Result<(File, u64), Error> {
        let path = self.log_path();
        let length = std::fs::symlink_metadata(&path).map_or(0, |found| found.len());
        if length > LOG_BYTES {
            let old = path.with_extension("log.1");
            std::fs::rename(&path, &old).map_err(Error::io("rename", &path))?;
        }
        if !path.exists() {
            self.account.write_file(&path, "")?;
        }
        let file = OpenOptions::new()
            .append(true)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let begin = file.metadata().map_err(Error::io("open", &path))?.len();
        Ok((file, begin))
    }

    async fn ended_error(&self, log_begin: u64) -> Error {
        let log = self.log_path();
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&log)?;
            let end = file.metadata()?.len();
            file.seek(SeekFrom::Start(log_begin.max(end.saturating_sub(TAIL))))?;
            let mut tail = Vec::new();
            file.take(TAIL).read_to_end(&mut tail)?;
            Ok(tail)
        };
        let tail = read().unwrap_or_default();
        Error::Ended {
            status: self.ended().await,
            log: log.display().to_string(),
            tail: String::from_utf8_lossy(&tail).trim().to_owned(),
        }
    }

    /// `initdb -N` leaves its files to the kernel; from here on they are on disk. Later changes
    /// are in the server's own log.
    async fn reach_disk(&self) -> Result<(), Error> {
        if !self.fresh {
            return Ok(());
        }
        let data_dir = self.data_dir.clone();
        blocking(move || {
            let failed = |source| Error::io("sync", &data_dir)(source);
            let dir = File::open(&data_dir).map_err(failed)?;
            nix::unistd::syncfs(dir).map_err(|errno| Error::io("sync", &data_dir)(errno.into()))
        })
        .await
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if let Some(postmaster) = &self.postmaster {
            postmaster.signal(Signal::SIGQUIT);
        }
    }
}

/// The absolute path, links resolved as far as directories exist; the one above is made.
fn absolute(path: &Path) -> Result<PathBuf, Error> {
    let whole = std::path::absolute(path).map_err(Error::io("find", path))?;
    let (Some(parent), Some(name)) = (whole.parent(), whole.file_name()) else {
        return Err(Error::Config(format!(
            "{} cannot be a data directory",
            path.display()
        )));
    };
    std::fs::create_dir_all(parent).map_err(Error::io("make directory", parent))?;
    let parent = parent.canonicalize().map_err(Error::io("find", parent))?;
    Ok(parent.join(name))
}

/// Two replicas on one data directory would stop each other's server.
fn lock(data_dir: &Path) -> Result<File, Error> {
    let path = PathBuf::from(format!("{}.lock", data_dir.display()));
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse(data_dir.display().to_string())),
        Err(TryLockError::Error(error)) => Err(Error::io("lock", &path)(error)),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::Io {
            what: "a task of the PostgreSQL care was stopped".into(),
            source: std::io::Error::other(error),
        }),
    }
}
