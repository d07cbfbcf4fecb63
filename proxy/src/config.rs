//! The front's configuration.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// How the front listens. Every key has a default; unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyConfig {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Clients served at once; one more gets 53300.
    pub max_connections: usize,
    /// Whether clients of other machines may connect. Without `passwords` whoever reaches the port is let in.
    pub allow_remote: bool,
    /// How long a client may take to introduce itself, and as long again to prove its password (seconds).
    pub startup_timeout_s: u64,
    /// The roles that may log in here, and what their passwords are checked against: `SCRAM-SHA-256$...`, as `steeldb password` prints it
    /// and PostgreSQL keeps it. Absent: every role may, and nobody is asked. (Empty: nobody may.)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passwords: Option<BTreeMap<String, String>>,
}

impl Default for ProxyConfig {
    fn default() -> ProxyConfig {
        ProxyConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 5432)),
            max_connections: 100,
            allow_remote: false,
            startup_timeout_s: 30,
            passwords: None,
        }
    }
}
