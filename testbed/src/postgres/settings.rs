//! What the servers of all systems have in common: their programs and their settings.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use crate::Error;

/// Where Debian keeps all majors side by side.
const DEBIAN: &str = "/usr/lib/postgresql";

/// What the servers of all systems have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The directory of `initdb`, `postgres` and `pgbench`.
    pub bin_dir: PathBuf,
    pub shared_buffers_mib: u32,
    pub max_connections: u32,
}

impl Settings {
    /// Debian's newest server, else that of PATH; 64 MiB of shared buffers, 200 connections.
    pub fn found() -> Result<Settings, Error> {
        let majors = crate::names::entries(DEBIAN.as_ref());
        let mut dirs: Vec<(u32, PathBuf)> = majors
            .filter_map(|dir| Some((dir.file_name()?.to_str()?.parse().ok()?, dir.join("bin"))))
            .collect();
        dirs.sort();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let debian = dirs.into_iter().rev().map(|(_, dir)| dir);
        let mut dirs = debian.chain(std::env::split_paths(&path));
        let complete = |dir: &PathBuf| {
            ["initdb", "postgres"]
                .iter()
                .all(|name| dir.join(name).is_file())
        };
        let bin_dir = dirs.find(complete).ok_or_else(|| {
            Error::new("there is no PostgreSQL server")
                .cause(format!(
                    "initdb and postgres are neither in {DEBIAN} nor in PATH"
                ))
                .next("apt-get install postgresql")
        })?;
        Ok(Settings {
            bin_dir,
            shared_buffers_mib: 64,
            max_connections: 200,
        })
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }

    /// `PostgreSQL 15.18`.
    pub fn version(&self) -> String {
        let said = Command::new(self.program("postgres"))
            .arg("--version")
            .output();
        let said = said
            .map(|done| String::from_utf8_lossy(&done.stdout).into_owned())
            .unwrap_or_default();
        let number = said
            .split_whitespace()
            .nth(2)
            .unwrap_or("of an unknown version");
        format!("PostgreSQL {number}")
    }

    /// What stands in every server's configuration. Larger logs between checkpoints than PostgreSQL's default, as SteelDB's
    /// own servers have: a checkpoint begins each measurement.
    pub(super) fn text(&self, address: SocketAddr, further: &[(&str, String)]) -> String {
        let given = [
            ("listen_addresses", address.ip().to_string()),
            ("port", address.port().to_string()),
            ("shared_buffers", format!("{}MB", self.shared_buffers_mib)),
            ("max_connections", self.max_connections.to_string()),
        ];
        let fixed = FIXED
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        let mut text = String::from("# Written by the testbed.\n");
        for (name, value) in given
            .into_iter()
            .chain(fixed)
            .chain(further.iter().cloned())
        {
            writeln!(text, "{name} = '{}'", value.replace('\'', "''")).expect("a String takes all");
        }
        text
    }
}

const FIXED: &[(&str, &str)] = &[
    ("unix_socket_directories", ""),
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("default_transaction_isolation", "repeatable read"),
    ("autovacuum", "on"),
    ("max_wal_size", "512MB"),
    ("checkpoint_timeout", "10min"),
    ("jit", "off"),
    ("max_parallel_workers_per_gather", "0"),
    ("update_process_title", "off"),
    ("log_checkpoints", "off"),
    // Clients' errors are theirs to count.
    ("log_min_messages", "log"),
    // A paused standby answers late, and is not lost for that.
    ("wal_sender_timeout", "0"),
    ("wal_receiver_timeout", "0"),
];

/// Only hosts of this machine reach the address, and they are believed: the data are a benchmark's.
pub(super) const HBA: &str = "# Written by the testbed.\n\
    host all all samenet trust\nhost all all 127.0.0.0/8 trust\n\
    host replication all samenet trust\nhost replication all 127.0.0.0/8 trust\n";
