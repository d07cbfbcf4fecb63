//! A replica's configuration file.

use crate::postgres::{MayDiffer, PostgresConfig};
use crate::run::Error;
use consensus::MAX_PIPELINE;
use order::log::LogOptions;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;
use txn::limits;

/// Heights between two checkpoints where the configuration says nothing: some minutes of work. Each member writes one in its turn, and
/// keeps the log from its second newest on.
const CHECKPOINT_EVERY: u64 = 5_000;
const LEAST_CHECKPOINT_EVERY: u64 = 10;

/// What a replica is started with. Paths are absolute or relative to the process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Its number in the cluster file.
    pub id: u16,
    pub cluster: PathBuf,
    pub identity: PathBuf,
    /// The decision log lies in `log` below it.
    pub data: PathBuf,
    /// Silence after which the master is suspected, milliseconds; default 1,500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_timeout_ms: Option<u64>,
    /// Each of the two stages before a leader is replaced, milliseconds; default 800.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_timeout_ms: Option<u64>,
    /// Instances of consensus in flight at once, 1 (the next begins when the one before is decided) to 16; default 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<usize>,
    /// Heights between two checkpoints, 10 at least; 0: never, and then the log is never cut. Default 5,000, or 0 where replicas may run
    /// several majors of PostgreSQL: a copy needs f + 1 others of one's own, and without one the whole history. Equal at all replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_every: Option<u64>,
    /// The log is cut by whole segments of this size, MiB, 1 to 1,024; default 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_segment_mib: Option<u32>,
    /// Draws by which a value that the master records of a sequence may lie ahead; default 1,048,576. Equal at all replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence_window: Option<u64>,
    #[serde(default)]
    pub postgres: Postgres,
    #[serde(default)]
    pub repair: Repair,
}

/// How a replica watches over its data, and what it does about damage. Everything has a default.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repair {
    /// Seconds between two tables of the audit in the background, over all replicas; 0: none. Default 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_every_s: Option<u64>,
    /// Whether data that are damaged, or differ from f+1 equal others, are made anew, or only reported; default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automatic: Option<bool>,
    /// Data that are made anew, or a replica that joins, copy the database from others when the history is at least so long
    /// (heights), and apply the history when it is shorter; 0: always copy. Default 20,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_from_height: Option<u64>,
    /// What is sent to each replica that copies, MiB a second at most; default 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_rate_mib_s: Option<u64>,
}

/// The private PostgreSQL of a replica. Everything has a default.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// The data directory; by default `postgres` below the replica's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// A server that somebody else cares for, reached over a Unix socket as the superuser `steel`; then nothing is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dsn: Option<String>,
    /// Directory of `initdb` and `postgres`; by default Debian's newest, else what `PATH` finds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bin_dir: Option<PathBuf>,
    /// Majors of PostgreSQL that were tested together: other replicas' servers may be of any of these, where this one is too.
    /// By default all servers must be of one version.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tested_together: BTreeSet<u32>,
    /// What else may differ between the replicas' servers.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub may_differ: BTreeSet<Differing>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket_dir: Option<PathBuf>,
    /// The account that the server runs with when the replica runs as root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_buffers_mib: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Further settings of the server; they win over SteelDB's choice.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
}

/// What the servers of one cluster may have different, besides their versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Differing {
    /// The ICU library that they were built with.
    Icu,
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// Names the file, and the key that is unknown or wrong.
    pub fn load(path: &Path) -> Result<Config, String> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            format!(
                "cannot read the configuration {}: {e}; write one with `steeldb init`",
                path.display()
            )
        })?;
        toml::from_str(&text)
            .map_err(|e| format!("the configuration {} is not valid: {e}", path.display()))
    }
}

impl Config {
    /// Silence after which the master is suspected, milliseconds.
    pub fn master_timeout_ms(&self) -> u64 {
        self.master_timeout_ms.unwrap_or(1_500)
    }

    /// Each of the two stages before a leader is replaced, milliseconds.
    pub fn request_timeout_ms(&self) -> u64 {
        let default = consensus::Settings::default().request_timeout_ms;
        self.request_timeout_ms.unwrap_or(default)
    }

    /// Instances of consensus in flight at once.
    ///
    /// # Errors
    /// When it is out of bounds.
    pub fn pipeline(&self) -> Result<usize, Error> {
        let default = consensus::Settings::default().pipeline;
        let pipeline = self.pipeline.unwrap_or(default);
        match (1..=MAX_PIPELINE).contains(&pipeline) {
            true => Ok(pipeline),
            false => Err(Error::Config(format!(
                "pipeline = {pipeline}; choose 1 (one instance after the other) to {MAX_PIPELINE}"
            ))),
        }
    }

    /// How the decision log is kept.
    ///
    /// # Errors
    /// When its segments' size is out of bounds.
    pub fn log_options(&self) -> Result<LogOptions, Error> {
        let default = LogOptions::default();
        match self.log_segment_mib {
            None => Ok(default),
            Some(mib @ 1..=1_024) => Ok(LogOptions {
                segment_bytes: mib << 20,
                ..default
            }),
            Some(mib) => Err(Error::Config(format!(
                "log_segment_mib = {mib}; choose 1 to 1024"
            ))),
        }
    }

    /// Heights between two checkpoints; 0: never.
    ///
    /// # Errors
    /// When they are too few.
    pub fn checkpoint_every(&self) -> Result<u64, Error> {
        let default = match self.postgres.tested_together.len() {
            0 | 1 => CHECKPOINT_EVERY,
            _ => 0,
        };
        match self.checkpoint_every.unwrap_or(default) {
            every @ 1..LEAST_CHECKPOINT_EVERY => Err(Error::Config(format!(
                "checkpoint_every = {every}; choose {LEAST_CHECKPOINT_EVERY} or more, or 0 for none, the same at all replicas"
            ))),
            every => Ok(every),
        }
    }

    /// Draws by which a recorded value of a sequence may lie ahead.
    ///
    /// # Errors
    /// When it is out of bounds.
    pub fn sequence_window(&self) -> Result<u64, Error> {
        let window = self.sequence_window.unwrap_or(limits::SEQUENCE_WINDOW);
        match (1..=limits::MAX_SEQUENCE_WINDOW).contains(&window) {
            true => Ok(window),
            false => Err(Error::Config(format!(
                "sequence_window = {window}; choose 1 to {}, the same at all replicas",
                limits::MAX_SEQUENCE_WINDOW
            ))),
        }
    }

    /// Between two tables of the audit in the background; none at all where this is zero.
    pub fn audit_every(&self) -> Duration {
        Duration::from_secs(self.repair.audit_every_s.unwrap_or(300))
    }

    /// Whether damaged data are made anew without an operator.
    pub fn repairs_itself(&self) -> bool {
        self.repair.automatic.unwrap_or(true)
    }

    /// The shortest history, in heights, instead of which the database is copied.
    pub fn copy_from_height(&self) -> u64 {
        self.repair.copy_from_height.unwrap_or(20_000)
    }

    /// Bytes a second that are sent to each replica that copies.
    pub fn copy_bytes_per_second(&self) -> u64 {
        self.repair.copy_rate_mib_s.unwrap_or(64).max(1) << 20
    }

    /// What of the other replicas' servers may differ from this one's.
    pub fn may_differ(&self) -> MayDiffer {
        MayDiffer {
            majors: self.postgres.tested_together.clone(),
            icu: self.postgres.may_differ.contains(&Differing::Icu),
        }
    }

    /// What the care for the private server is told.
    pub fn server(&self) -> PostgresConfig {
        let own = &self.postgres;
        let data_dir = own
            .data_dir
            .clone()
            .unwrap_or_else(|| self.data.join("postgres"));
        let mut config = PostgresConfig::new(data_dir);
        config.bin_dir.clone_from(&own.bin_dir);
        config.socket_dir.clone_from(&own.socket_dir);
        config.account.clone_from(&own.account);
        config.shared_buffers_mib = own.shared_buffers_mib.unwrap_or(config.shared_buffers_mib);
        config.max_connections = own.max_connections.unwrap_or(config.max_connections);
        config.settings = own.settings.clone().into_iter().collect();
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(keys: &str) -> Config {
        let always = "id = 0\ncluster = 'c'\nidentity = 'i'\ndata = 'd'\n";
        toml::from_str(&format!("{always}{keys}")).expect("a configuration")
    }

    #[test]
    fn a_pipeline_has_bounds_and_one_is_one_after_the_other() {
        assert_eq!(with("").pipeline().unwrap(), consensus::DEFAULT_PIPELINE);
        assert_eq!(with("pipeline = 1").pipeline().unwrap(), 1);
        for wrong in ["pipeline = 0", "pipeline = 17"] {
            let error = with(wrong).pipeline().unwrap_err().to_string();
            assert!(
                error.contains(wrong) && error.contains("choose 1"),
                "{error}"
            );
        }
    }

    #[test]
    fn segments_have_bounds() {
        let bytes = |keys| {
            with(keys)
                .log_options()
                .map(|options| options.segment_bytes)
        };
        assert_eq!(bytes("").unwrap(), 64 << 20);
        assert_eq!(bytes("log_segment_mib = 1024").unwrap(), 1 << 30);
        for wrong in ["log_segment_mib = 0", "log_segment_mib = 1025"] {
            let error = bytes(wrong).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn checkpoints_are_not_too_dense() {
        assert_eq!(with("").checkpoint_every().unwrap(), CHECKPOINT_EVERY);
        assert_eq!(with("checkpoint_every = 0").checkpoint_every().unwrap(), 0);
        let mixed = with("postgres.tested_together = [15, 16]");
        assert_eq!(
            mixed.checkpoint_every().unwrap(),
            0,
            "copies need one major"
        );
        let alone = with("postgres.tested_together = [15]");
        assert_eq!(alone.checkpoint_every().unwrap(), CHECKPOINT_EVERY);
        let error = with("checkpoint_every = 9").checkpoint_every().unwrap_err();
        assert!(error.to_string().contains("choose 10"), "{error}");
    }

    #[test]
    fn a_sequence_window_has_bounds() {
        assert_eq!(with("sequence_window = 7").sequence_window().unwrap(), 7);
        let error = with("sequence_window = 0").sequence_window().unwrap_err();
        assert!(error.to_string().contains("choose 1"), "{error}");
    }
}
