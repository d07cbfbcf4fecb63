//! A system under test: servers on hosts behind one address for clients.

mod lone;
mod pgpool;
mod standbys;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::pin::Pin;

pub use lone::Lone;
pub use pgpool::Pgpool;
pub use standbys::Standbys;

use crate::links::{Links, Route};
use crate::postgres::Settings;
use crate::relay::Relay;
use crate::{Error, Ground};

/// What a method of a trait object answers later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The database of the clients in the systems of this crate.
pub const DATABASE: &str = "bench";

/// What all systems of a comparison have in common.
#[derive(Debug, Clone)]
pub struct Setup {
    pub ground: Ground,
    pub links: Links,
    /// The site of the clients.
    pub client_site: usize,
    pub settings: Settings,
}

impl Setup {
    /// The way of the clients to a server at `site`.
    pub fn from_client(&self, site: usize, server: std::net::SocketAddr) -> Result<Route, Error> {
        self.route(self.client_site, site, server)
    }

    /// The way between two sites.
    pub fn route(
        &self,
        from: usize,
        to: usize,
        server: std::net::SocketAddr,
    ) -> Result<Route, Error> {
        let network = self.ground.network.as_ref();
        let listen = network.map_or(Ipv4Addr::LOCALHOST, |network| network.gateway());
        self.links.route(from, to, listen, server)
    }

    /// `PostgreSQL 15.18, repeatable read`, for a description.
    fn version(&self) -> String {
        format!("{}, repeatable read", self.settings.version())
    }
}

/// A system that can be measured. Dropped at any time, it leaves no process and no directory behind.
pub trait System: Send + Sync {
    /// One word, unique in a comparison.
    fn name(&self) -> &str;

    /// For people, one line: versions, how many servers, isolation, what is durable when.
    fn description(&self) -> String;

    /// Starts it without quotas, and returns when clients can work.
    fn start(&mut self) -> Later<'_, Result<(), Error>>;

    /// How clients reach it, for tokio-postgres and libpq. Known once it has started.
    fn dsn(&self) -> String;

    /// Its hosts. Empty before it has started.
    fn hosts(&self) -> Vec<&crate::Host>;

    /// Its relays, whose CPU time is no work of the system, though it is spent in this process.
    fn relays(&self) -> Vec<&Relay> {
        Vec::new()
    }

    /// Brings it to rest before a measurement: a checkpoint at every server.
    fn settle(&self) -> Later<'_, Result<(), Error>>;

    /// Whether its processes may be stopped while others are measured.
    fn can_pause(&self) -> bool {
        true
    }

    /// Ends it and removes what it made.
    fn stop(&mut self) -> Later<'_, Result<(), Error>>;
}

/// What follows from a system's hosts.
impl dyn System + '_ {
    /// CPU seconds since the start, by role.
    pub fn cpu_seconds(&self) -> Result<BTreeMap<String, f64>, Error> {
        let mut sum = BTreeMap::new();
        for host in self.hosts() {
            for (role, seconds) in host.cpu_seconds()? {
                *sum.entry(role).or_default() += seconds;
            }
        }
        Ok(sum)
    }

    pub fn set_quota(&self, on: bool) -> Result<(), Error> {
        self.hosts()
            .into_iter()
            .try_for_each(|host| host.set_quota(on))
    }

    /// Stops all its processes until `resume`, if that does it no harm.
    pub fn pause(&self) -> Result<(), Error> {
        let hosts = self.hosts().into_iter().filter(|_| self.can_pause());
        hosts.into_iter().try_for_each(crate::Host::pause)
    }

    pub fn resume(&self) {
        self.hosts().into_iter().for_each(crate::Host::resume);
    }
}
