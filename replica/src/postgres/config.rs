//! The settings of a private server.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::Error;

/// How to run a private PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresConfig {
    /// The data directory; made when it is missing.
    pub data_dir: PathBuf,
    /// Directory of `initdb` and `postgres`; by default the newest below `/usr/lib/postgresql`,
    /// else what `PATH` finds.
    pub bin_dir: Option<PathBuf>,
    /// Directory of the Unix socket; by default `socket` in the data directory, or, where that path
    /// is too long for a socket, a private one below the temporary directory.
    pub socket_dir: Option<PathBuf>,
    /// Part of the socket's name; nothing listens on TCP.
    pub port: u16,
    /// The account to run with when the replica runs as root; by default `postgres`, else `nobody`.
    pub account: Option<String>,
    /// `shared_buffers` in MiB.
    pub shared_buffers_mib: u32,
    /// `max_connections`, of which 20 are kept for the replica's own control sessions.
    pub max_connections: u32,
    /// Further settings (name, value); they win over the ones chosen here.
    pub settings: Vec<(String, String)>,
}

impl PostgresConfig {
    /// The defaults for one data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        PostgresConfig {
            data_dir: data_dir.into(),
            bin_dir: None,
            socket_dir: None,
            port: 5432,
            account: None,
            shared_buffers_mib: 64,
            max_connections: 200,
            settings: Vec::new(),
        }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let refuse = |text: String| Err(Error::Config(text));
        if self.shared_buffers_mib == 0 || self.shared_buffers_mib > 1 << 20 {
            return refuse(format!(
                "shared_buffers of {} MiB; choose 1 to 1048576",
                self.shared_buffers_mib
            ));
        }
        if self.max_connections < 2 * RESERVED_CONNECTIONS || self.max_connections > 10_000 {
            return refuse(format!(
                "max_connections of {}; choose {} to 10000",
                self.max_connections,
                2 * RESERVED_CONNECTIONS
            ));
        }
        for (name, value) in &self.settings {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
            if name.is_empty() || !name.chars().all(plain) {
                return refuse(format!("{name:?} is no name of a setting"));
            }
            if value.contains(['\n', '\r', '\0']) {
                return refuse(format!("the value of {name} has a line break in it"));
            }
        }
        Ok(())
    }

    /// The text of `steeldb.conf`.
    pub(super) fn server_settings(&self, socket_dir: &Path) -> String {
        let own = [
            ("unix_socket_directories", list_entry(socket_dir)),
            ("port", self.port.to_string()),
            ("max_connections", self.max_connections.to_string()),
            (
                "superuser_reserved_connections",
                RESERVED_CONNECTIONS.to_string(),
            ),
            ("shared_buffers", format!("{}MB", self.shared_buffers_mib)),
        ];
        let fixed = FIXED.iter().map(|&(name, value)| (name, value.to_owned()));
        let further = self.settings.iter().map(|(n, v)| (n.as_str(), v.clone()));
        let mut text = String::from("# Written by SteelDB at every start; changes are lost.\n");
        for (name, value) in own.into_iter().chain(fixed).chain(further) {
            let quoted = value.replace('\\', "\\\\").replace('\'', "''");
            writeln!(text, "{name} = '{quoted}'").expect("a String takes all");
        }
        text
    }
}

/// A path as one entry of a comma-separated list.
fn list_entry(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('"', "\"\""))
}

/// Connections that clients cannot take from the replica itself.
const RESERVED_CONNECTIONS: u32 = 20;

const FIXED: &[(&str, &str)] = &[
    ("listen_addresses", ""),
    ("unix_socket_permissions", "0700"),
    // A replica's own log and `steel.applied` make commits durable (DESIGN.md, "The life of a
    // transaction", 9).
    ("fsync", "on"),
    ("synchronous_commit", "off"),
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    ("max_wal_size", "512MB"),
    ("checkpoint_timeout", "10min"),
    ("log_checkpoints", "off"),
    // Whatever blocks ordered work gives way within milliseconds, so a cycle that lasts is one of open transactions at the
    // master: nobody but PostgreSQL breaks it.
    ("deadlock_timeout", "1s"),
    ("max_locks_per_transaction", "128"),
    // A statement whose session was given up must not hold its locks until it is done.
    ("client_connection_check_interval", "2s"),
    ("autovacuum", "on"),
    ("jit", "off"),
    ("max_parallel_workers_per_gather", "0"),
    ("max_parallel_maintenance_workers", "0"),
    ("track_functions", "none"),
    ("track_io_timing", "off"),
    ("compute_query_id", "off"),
    ("update_process_title", "off"),
    // Clients' errors are theirs to see, not the log's.
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("log_min_messages", "log"),
    ("log_min_error_statement", "panic"),
    ("log_line_prefix", "%m [%p] "),
    // What a value looks like as text must be the same everywhere.
    ("log_timezone", "UTC"),
    ("timezone", "UTC"),
    ("datestyle", "ISO, MDY"),
    ("intervalstyle", "postgres"),
    ("lc_messages", "C"),
    ("lc_monetary", "C"),
    ("lc_numeric", "C"),
    ("lc_time", "C"),
    ("default_text_search_config", "pg_catalog.english"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_and_further_settings_come_last() {
        let mut config = PostgresConfig::new("/d");
        config.settings = vec![("steel.x".into(), r"it's a \".into())];
        config.check().unwrap();
        let text = config.server_settings(Path::new("/a,b \"c\""));
        assert!(
            text.contains(r#"unix_socket_directories = '"/a,b ""c"""'"#),
            "{text}"
        );
        assert!(text.ends_with("steel.x = 'it''s a \\\\'\n"), "{text}");
    }

    #[test]
    fn a_setting_cannot_smuggle_in_another() {
        for (name, value) in [("a b", "1"), ("", "1"), ("a", "1\nb = 2"), ("a'", "1")] {
            let mut config = PostgresConfig::new("/d");
            config.settings = vec![(name.into(), value.into())];
            assert!(
                matches!(config.check(), Err(Error::Config(_))),
                "{name} {value}"
            );
        }
    }
}
