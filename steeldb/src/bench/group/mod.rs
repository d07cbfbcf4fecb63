//! Replicas of a ledger as processes, each on a host of its own: started, stopped, killed, cut off from each other, asked.

pub mod answers;
pub mod check;
pub mod ledger;
pub mod load;
pub mod member;
mod membership;
mod plan;
mod process;
pub mod scene;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::Cluster;
use nix::sys::signal::Signal;
use testbed::{Host, Network, Route};

use self::ledger::Dump;
use self::member::{ASK_DUMP, ASK_STATE, Standing, Told};
pub use self::plan::{Far, Options, Plan};
use self::process::Process;
use super::layout::{self, Layout};
use crate::failure::Failure;

/// Every host has an address of its own.
const PORT: u16 = 7400;
/// How long the replicas may take to take part.
const START: Duration = Duration::from_secs(30);
/// A word older than this is no word about now.
const FRESH: Duration = Duration::from_secs(1);
/// From one look to the next.
const LOOK: Duration = Duration::from_millis(20);
/// How much of what a replica said last goes into a failure, in bytes.
const TAIL: usize = 1_500;

/// The replicas; all end when this is dropped, and what was made for them is removed.
pub struct Group {
    members: Vec<Member>,
    far: Option<Far>,
    /// The relays of the ways between sites.
    routes: Vec<Route>,
    options: Options,
    network: Option<Arc<Network>>,
    /// The membership now; the layout has the first one.
    cluster: Cluster,
    pub layout: Layout,
}

struct Member {
    process: Option<Process>,
    /// Of its earlier processes too.
    peak_memory: u64,
    host: Host,
}

impl Member {
    fn on(host: Host) -> Member {
        Member {
            process: None,
            peak_memory: 0,
            host,
        }
    }
}

/// One end of a way that can be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Replica(u16),
    /// All clients: they are in this process.
    Clients,
}

impl Group {
    /// The members.
    pub fn ids(&self) -> Vec<u16> {
        self.cluster.replicas.iter().map(|entry| entry.id).collect()
    }

    /// Whether its links are long.
    pub fn is_far(&self) -> bool {
        self.far.is_some()
    }

    /// How many may be faulty.
    pub fn f(&self) -> u16 {
        self.cluster.f
    }

    fn member(&mut self, id: u16) -> &mut Member {
        &mut self.members[usize::from(id)]
    }

    fn errors(&self, id: u16) -> PathBuf {
        self.layout.dir().join(format!("replica-{id}.err"))
    }

    /// Starts a replica that does not run, on the log that it has.
    pub fn start(&mut self, id: u16) -> Result<(), Failure> {
        let failed =
            |cause: std::io::Error| Failure::new(format!("cannot start replica {id}")).cause(cause);
        let program = crate::spawn::program().map_err(failed)?;
        let dir = self.layout.dir();
        let mut errors = std::fs::OpenOptions::new();
        let errors = errors.create(true).append(true).open(self.errors(id));
        let mut command = self.members[usize::from(id)].host.command(program);
        let (first, own) = (layout::cluster_file(dir), layout::own_cluster_file(dir, id));
        let file = if own.exists() { &own } else { &first };
        command
            .args(["bench", "member", "--id", &id.to_string()])
            .arg("--cluster")
            .arg(file)
            .arg("--identity")
            .arg(layout::identity_file(dir, id))
            .arg("--log")
            .arg(layout::log_dir(dir, id))
            .args(self.options.arguments())
            .stderr(errors.map_err(failed)?);
        // One that joins needs the first view too.
        if self.layout.cluster.address(id).is_none() {
            command.arg("--genesis").arg(first);
        }
        self.member(id).process = Some(Process::start(id, command.into())?);
        Ok(())
    }

    /// Starts all, and waits until each takes part.
    pub async fn start_all(&mut self) -> Result<(), Failure> {
        self.ids().into_iter().try_for_each(|id| self.start(id))?;
        let until = Instant::now() + START;
        while self.standings().len() < self.ids().len() {
            self.all_alive()?;
            if Instant::now() > until {
                return Err(Failure::new(format!(
                    "the replicas did not start within {START:?}"
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// SIGKILL. One that does not run is left alone.
    pub async fn kill(&mut self, id: u16) -> Result<(), Failure> {
        self.measure_memory();
        match self.member(id).process.take() {
            Some(process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// SIGSTOP.
    pub fn pause(&mut self, id: u16) -> Result<(), Failure> {
        self.signal(id, Signal::SIGSTOP)
    }

    /// SIGCONT.
    pub fn resume(&mut self, id: u16) -> Result<(), Failure> {
        self.signal(id, Signal::SIGCONT)
    }

    fn signal(&mut self, id: u16, signal: Signal) -> Result<(), Failure> {
        match &self.member(id).process {
            Some(process) => process.signal(signal),
            None => Ok(()),
        }
    }

    /// Loses what one end sends to the other, or no longer.
    pub fn cut(&self, from: End, to: End, lost: bool) -> Result<(), Failure> {
        let failed = |error| Failure::new("cannot change the partition").cause(error);
        let Some(network) = &self.network else {
            return Err(failed("the replicas have no network namespaces".to_owned()));
        };
        let address = |end| -> Ipv4Addr {
            match end {
                End::Replica(id) => self.members[usize::from(id)].host.address(),
                End::Clients => network.gateway(),
            }
        };
        let to = [address(to)];
        let done = match (from, lost) {
            (End::Replica(id), true) => self.members[usize::from(id)].host.lose(&to),
            (End::Replica(id), false) => self.members[usize::from(id)].host.deliver(&to),
            (End::Clients, true) => network.lose(&to),
            (End::Clients, false) => network.deliver(&to),
        };
        done.map_err(|error| failed(error.to_string()))
    }

    /// Where those stand that run and said so just now.
    pub fn standings(&self) -> BTreeMap<u16, Standing> {
        let members = (0..).zip(&self.members);
        members
            .filter(|(id, _)| self.cluster.address(*id).is_some())
            .filter_map(|(id, member)| Some((id, member.process.as_ref()?.standing(FRESH)?)))
            .collect()
    }

    /// The leader that f + 1 replicas or more name, in the latest regency that so many are in.
    pub fn leader(&self) -> Option<u16> {
        let mut named: BTreeMap<(u64, u64, u16), u16> = BTreeMap::new();
        for standing in self.standings().values().filter(|s| !s.synchronizing) {
            let (view, regency) = (standing.view, standing.regency);
            *named.entry((view, regency, standing.leader)).or_default() += 1;
        }
        let mut believed = named.iter().filter(|(_, so_many)| **so_many > self.f());
        believed.next_back().map(|((_, _, leader), _)| *leader)
    }

    /// Fails when a replica ended that nobody killed.
    pub fn all_alive(&mut self) -> Result<(), Failure> {
        for id in self.ids() {
            let process = self.member(id).process.as_mut();
            if let Some(how) = process.and_then(Process::ended) {
                let said = std::fs::read(self.errors(id)).unwrap_or_default();
                let tail = &said[said.len().saturating_sub(TAIL)..];
                return Err(
                    Failure::new(format!("replica {id} ended by itself ({how})"))
                        .cause(String::from_utf8_lossy(tail)),
                );
            }
        }
        Ok(())
    }

    /// What a replica's ledger holds.
    pub async fn dump(&mut self, id: u16) -> Result<Dump, Failure> {
        match self.ask(id, ASK_DUMP).await? {
            Told::Dump(dump) => Ok(dump),
            _ => Err(Failure::new(format!(
                "replica {id} answered something else"
            ))),
        }
    }

    /// A replica's height and the digest of its whole replicated state.
    pub async fn state(&mut self, id: u16) -> Result<(u64, String), Failure> {
        match self.ask(id, ASK_STATE).await? {
            Told::State(height, digest) => Ok((height, digest)),
            _ => Err(Failure::new(format!(
                "replica {id} answered something else"
            ))),
        }
    }

    async fn ask(&mut self, id: u16, what: &str) -> Result<Told, Failure> {
        match &mut self.member(id).process {
            Some(process) => process.ask(id, what).await,
            None => Err(Failure::new(format!("replica {id} does not run"))),
        }
    }

    fn measure_memory(&mut self) {
        for member in &mut self.members {
            let now = member.process.as_ref().and_then(Process::peak_memory);
            member.peak_memory = member.peak_memory.max(now.unwrap_or(0));
        }
    }

    /// The most memory that each replica had resident since the group was made, in bytes.
    pub fn peak_memory(&mut self) -> Vec<u64> {
        self.measure_memory();
        self.members
            .iter()
            .map(|member| member.peak_memory)
            .collect()
    }

    /// What each replica's log takes on the disk, in bytes.
    pub fn disk(&self) -> Vec<u64> {
        let size = |id| bytes_below(&layout::log_dir(self.layout.dir(), id));
        (0..self.members.len() as u16).map(size).collect()
    }
}

/// Files may come and go meanwhile.
fn bytes_below(dir: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => bytes_below(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}
