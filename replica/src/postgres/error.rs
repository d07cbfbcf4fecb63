//! What can go wrong in the care for a PostgreSQL server.

use std::io;
use std::path::Path;

/// Names the thing, the cause and, where there is one, the next step.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No usable binaries were found.
    #[error("{0}; to install PostgreSQL, run: apt-get install -y postgresql")]
    NotInstalled(String),
    /// The configuration cannot work.
    #[error("PostgreSQL configuration: {0}")]
    Config(String),
    /// Running as root, and no ordinary account was found to run PostgreSQL with.
    #[error("PostgreSQL refuses to run as root, and {0}")]
    Account(String),
    /// The server's account cannot reach the data directory, or the programs.
    #[error(
        "the account {account}, with which PostgreSQL runs, cannot enter {directory}; \
         allow it with: chmod o+x {directory}, or choose another directory"
    )]
    NotTraversable {
        /// The account's name.
        account: String,
        /// The directory that stands in the way.
        directory: String,
    },
    /// Another process cares for this data directory.
    #[error("{0} is in use by another running replica")]
    InUse(String),
    /// The data directory is of another major version.
    #[error(
        "{directory} was made by PostgreSQL {made}, and the binaries in {bin} are of version \
         {found}; install PostgreSQL {made} or name its binaries in the configuration"
    )]
    OtherMajor {
        /// The data directory.
        directory: String,
        /// The major version that made it.
        made: u32,
        /// Where the binaries lie.
        bin: String,
        /// Their major version.
        found: u32,
    },
    /// A program failed.
    #[error("{program} failed: {output}")]
    Program {
        /// The program's path.
        program: String,
        /// What it said.
        output: String,
    },
    /// The server ended when it should run.
    #[error("PostgreSQL ended ({status}); its log {log} ends with:\n{tail}")]
    Ended {
        /// Exit status or signal.
        status: String,
        /// The log file.
        log: String,
        /// The last lines of it.
        tail: String,
    },
    /// The server does not answer.
    #[error("PostgreSQL did not become ready within {seconds} s: {cause}")]
    NotReady {
        /// How long was waited.
        seconds: u64,
        /// The last refusal.
        cause: String,
    },
    /// What lies in the data directory's place is none.
    #[error("{0} is neither empty nor a PostgreSQL data directory")]
    NoDataDirectory(String),
    /// Processes of an earlier run are still there.
    #[error("PostgreSQL processes of an earlier run do not end: {0:?}; end them by hand")]
    Leftover(Vec<i32>),
    /// A server that was there before does not fit.
    #[error("PostgreSQL server at {server}: {problem}")]
    Unfit {
        /// Where it is.
        server: String,
        /// What does not fit, and the next step.
        problem: String,
    },
    /// A control session failed.
    #[error("control session of PostgreSQL: {}", explain(.0))]
    Sql(#[from] tokio_postgres::Error),
    /// The schema `steel` could not be brought up to date.
    #[error("database {database}: {source}")]
    Migration {
        /// In which database.
        database: String,
        /// Why.
        source: migrations::Error,
    },
    /// The system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, on which path.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

/// What a starting server says while a process of the one before it has not let go of its memory.
const MEMORY_IN_USE: &str = "pre-existing shared memory block";

/// What keeps a server from running on data that are whole.
const MACHINE: [&str; 16] = [
    MEMORY_IN_USE,
    "shared memory segment",
    "could not create semaphores",
    "No space left on device",
    "Disk quota exceeded",
    "Read-only file system",
    "Permission denied",
    "Cannot allocate memory",
    "out of memory",
    "Too many open files",
    "Address already in use",
    "could not create any",
    "lock file",
    "configuration file",
    "configuration parameter",
    "invalid value for parameter",
];

impl Error {
    /// The data are damaged: the server says so, or does not start on them, for no reason that lies with the machine. What is
    /// taken for damage for too little is made anew for nothing, so the machine's reasons are named one by one.
    pub fn is_damage(&self) -> bool {
        match self {
            Error::NoDataDirectory(_) => true,
            Error::Ended { status, tail, .. } => {
                let crashed = ["SIGSEGV", "SIGBUS", "SIGABRT"];
                let gave_up = |line: &str| {
                    let refused_session = line.contains("the database system is");
                    let fatal = line.contains("FATAL:") && !refused_session;
                    let machine = MACHINE.iter().any(|trouble| line.contains(trouble));
                    (line.contains("PANIC:") || fatal) && !machine
                };
                crashed.iter().any(|signal| status.contains(signal)) || tail.lines().any(gave_up)
            }
            Error::Sql(_) | Error::Migration { .. } => self.says_damage(),
            _ => false,
        }
    }

    /// A process of a server that was killed is about to end.
    pub(crate) fn is_memory_in_use(&self) -> bool {
        matches!(self, Error::Ended { tail, .. } if tail.contains(MEMORY_IN_USE))
    }

    /// Somewhere behind this error stands what the server said of its data.
    fn says_damage(&self) -> bool {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = next {
            let said = error.downcast_ref::<tokio_postgres::Error>();
            if let Some(said) = said.and_then(tokio_postgres::Error::as_db_error) {
                return matches!(said.code().code(), "XX001" | "XX002" | "58P01" | "58030");
            }
            next = error.source();
        }
        false
    }

    /// An I/O failure with what was tried on which path.
    pub(crate) fn io<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
        move |source| Error::Io {
            what: format!("cannot {what} {}", path.display()),
            source,
        }
    }
}

/// tokio-postgres says only "db error" of what the server said.
fn explain(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} ({})", db.message(), db.code().code()),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(status: &str, tail: &str) -> Error {
        Error::Ended {
            status: status.into(),
            log: "log".into(),
            tail: tail.into(),
        }
    }

    #[test]
    fn the_machines_troubles_are_no_damage_of_the_data() {
        for (tail, damage) in [
            ("PANIC:  could not locate a valid checkpoint record", true),
            (
                "FATAL:  could not open file \"global/pg_filenode.map\": No such file or directory",
                true,
            ),
            ("FATAL:  the database system is starting up", false),
            (
                "FATAL:  pre-existing shared memory block (key 1, ID 2) is still in use",
                false,
            ),
            (
                "PANIC:  could not write to file \"pg_wal/xlogtemp.1\": No space left on device",
                false,
            ),
            (
                "FATAL:  could not open file \"base/1/2\": Permission denied",
                false,
            ),
            (
                "FATAL:  could not map anonymous shared memory: Cannot allocate memory",
                false,
            ),
            ("FATAL:  lock file \"postmaster.pid\" already exists", false),
            (
                "FATAL:  configuration file \"postgresql.conf\" contains errors",
                false,
            ),
            ("LOG:  database system is shut down", false),
        ] {
            assert_eq!(ended("exit status: 1", tail).is_damage(), damage, "{tail}");
        }
        assert!(ended("signal: 11 (SIGSEGV)", "").is_damage());
    }
}
