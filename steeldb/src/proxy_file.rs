//! The proxy's configuration file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config_file::{load, resolve};
use crate::failure::Failure;

const HEADER: &str = "# The proxy's configuration. Paths are relative to this file.\n";

/// What a proxy is started with. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyFile {
    /// The cluster file.
    pub cluster: PathBuf,
    /// The private key; the cluster file says whose it is.
    pub identity: PathBuf,
    /// How reads outside of transactions are confirmed.
    #[serde(default)]
    pub reads: Reads,
    /// How long a commit may stay unanswered before its outcome is called unknown (SQLSTATE 08007), seconds.
    #[serde(default = "default_patience")]
    pub patience_s: u64,
    /// How it listens.
    #[serde(default)]
    pub front: proxy::ProxyConfig,
}

/// `session`: f+1 matching answers at a height that this proxy has seen. `linearizable`: a quorum of matching answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reads {
    #[default]
    Session,
    Linearizable,
}

fn default_patience() -> u64 {
    30
}

impl ProxyFile {
    pub fn new(cluster: &str, front: proxy::ProxyConfig) -> ProxyFile {
        ProxyFile {
            cluster: cluster.into(),
            identity: "identity".into(),
            reads: Reads::default(),
            patience_s: default_patience(),
            front,
        }
    }

    /// Reads the file as it stands.
    pub fn load(path: &Path) -> Result<ProxyFile, Failure> {
        let file: ProxyFile = load(path)?;
        if !(1..=3600).contains(&file.patience_s) {
            return Err(Failure::usage(format!(
                "the configuration file {}: patience_s = {} must lie between 1 and 3600",
                path.display(),
                file.patience_s
            )));
        }
        Ok(file)
    }

    /// With paths as this process can use them.
    pub fn resolved(self, path: &Path) -> ProxyFile {
        ProxyFile {
            cluster: resolve(path, &self.cluster),
            identity: resolve(path, &self.identity),
            ..self
        }
    }

    pub fn shim_settings(&self) -> client_shim::Settings {
        client_shim::Settings {
            reads: match self.reads {
                Reads::Session => client_shim::Reads::Session,
                Reads::Linearizable => client_shim::Reads::Linearizable,
            },
            patience: Duration::from_secs(self.patience_s),
        }
    }

    pub fn to_text(&self) -> String {
        let text = toml::to_string_pretty(self)
            .expect("strings, numbers and tables are always valid TOML");
        format!("{HEADER}{text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str) -> Result<ProxyFile, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("proxy.toml");
        std::fs::write(&file, text).unwrap();
        ProxyFile::load(&file)
    }

    #[test]
    fn a_file_reads_back_as_it_was_written() {
        let mut file = ProxyFile::new("../cluster.toml", proxy::ProxyConfig::default());
        file.reads = Reads::Linearizable;
        assert_eq!(load_text(&file.to_text()).unwrap(), file);
    }

    #[test]
    fn unknown_keys_are_named_at_both_levels() {
        let good = ProxyFile::new("c", proxy::ProxyConfig::default()).to_text();
        for bad in [
            format!("colour = 1\n{good}"),
            format!("{good}\ncolour = 1\n"),
        ] {
            let error = load_text(&bad).unwrap_err().to_string();
            assert!(
                error.contains("colour") && error.contains("proxy.toml"),
                "{error}"
            );
        }
    }
}
