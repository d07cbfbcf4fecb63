//! Where everything lies in a cluster's directory.
//!
//! ```text
//! DIR/import.toml                  how far an import got
//! DIR/cluster.toml                 members, addresses, public keys
//! DIR/replica-I/replica.toml       a replica's configuration
//! DIR/replica-I/identity           its private key
//! DIR/replica-I/data/              its log and its PostgreSQL
//! DIR/proxy/{proxy.toml,identity}  the front
//! DIR/operator/identity*           the keys of status, verify and the like
//! DIR/logs/*.log                   what the processes say
//! DIR/run/*.pid, *.stopped, lock   what runs here
//! ```

use std::fmt;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// A process of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Member {
    Replica(u16),
    Proxy,
    /// Starts again what has crashed.
    Supervisor,
}

impl Member {
    /// The name of its files.
    fn stem(self) -> String {
        match self {
            Member::Replica(id) => format!("replica-{id}"),
            Member::Proxy => "proxy".into(),
            Member::Supervisor => "supervisor".into(),
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Member::Replica(id) => write!(f, "replica {id}"),
            Member::Proxy => f.write_str("the proxy"),
            Member::Supervisor => f.write_str("the supervisor"),
        }
    }
}

/// A cluster's directory; its path is absolute.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    pub fn new(directory: &Path) -> Result<Layout, Failure> {
        let root = std::path::absolute(directory).map_err(|error| {
            Failure::usage(format!("{} cannot be a directory", directory.display())).cause(error)
        })?;
        Ok(Layout { root })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its presence means that the directory is complete.
    pub fn cluster_file(&self) -> PathBuf {
        self.root.join("cluster.toml")
    }

    /// The directory of a member's configuration and key.
    pub fn home(&self, member: Member) -> PathBuf {
        self.root.join(member.stem())
    }

    /// The configuration of a replica or of the proxy.
    pub fn config(&self, member: Member) -> PathBuf {
        let name = match member {
            Member::Proxy => "proxy.toml",
            Member::Replica(_) | Member::Supervisor => "replica.toml",
        };
        self.home(member).join(name)
    }

    pub fn identity(&self, member: Member) -> PathBuf {
        self.home(member).join("identity")
    }

    /// How far an import got; absent where nothing was imported.
    pub fn import_file(&self) -> PathBuf {
        self.root.join("import.toml")
    }

    pub fn operator_home(&self) -> PathBuf {
        self.root.join("operator")
    }

    pub fn run_dir(&self) -> PathBuf {
        self.root.join("run")
    }

    pub fn log_dir(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub fn log_file(&self, member: Member) -> PathBuf {
        self.log_dir().join(format!("{}.log", member.stem()))
    }

    pub fn pid_file(&self, member: Member) -> PathBuf {
        self.run_dir().join(format!("{}.pid", member.stem()))
    }

    /// While it is there, the supervisor leaves the member alone: it was killed on purpose.
    pub fn stopped_mark(&self, member: Member) -> PathBuf {
        self.run_dir().join(format!("{}.stopped", member.stem()))
    }

    /// Held by whoever starts or stops members.
    pub fn lock_file(&self) -> PathBuf {
        self.run_dir().join("lock")
    }
}

/// Where a cluster lies when nothing is said: `/var/lib/steeldb` for root, else the user's data directory.
pub fn default_root() -> PathBuf {
    if nix::unistd::Uid::effective().is_root() {
        return PathBuf::from("/var/lib/steeldb");
    }
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let data = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")));
    data.unwrap_or_else(|| PathBuf::from(".")).join("steeldb")
}
