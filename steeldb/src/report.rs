//! The state of a cluster: what its replicas say of themselves, and what runs here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use client_shim::ReplicaStatus;
use cluster::Cluster;
use consensus::ReplicaId;
use serde::Serialize;

use crate::table::table;

/// What a member looks like from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It answers.
    Up,
    /// It answers, and makes its PostgreSQL's data anew.
    Rebuilding,
    /// Its process runs, or it is elsewhere, and it does not answer.
    Silent,
    /// It was ended by `steeldb kill`.
    Killed,
    /// It does not run.
    Down,
    /// It runs on another machine, if it does; from here nothing is known.
    Elsewhere,
}

impl State {
    fn text(self) -> &'static str {
        match self {
            State::Up => "up",
            State::Rebuilding => "rebuilding",
            State::Silent => "silent",
            State::Killed => "killed",
            State::Down => "down",
            State::Elsewhere => "elsewhere",
        }
    }
}

/// What is known of a member besides its answers.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub state: State,
    pub pid: Option<i32>,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub f: u16,
    pub view: u64,
    /// Replicas that must answer for the cluster to serve.
    pub quorum: usize,
    /// Of the regency, epoch and height that at least one correct replica vouches for; absent when too few answer.
    pub leader: Option<u16>,
    pub regency: Option<u64>,
    pub master: Option<u16>,
    pub epoch: Option<u64>,
    pub height: Option<u64>,
    pub replicas: Vec<ReplicaReport>,
    pub proxy: ProxyReport,
}

#[derive(Debug, Serialize)]
pub struct ReplicaReport {
    pub id: u16,
    pub address: SocketAddr,
    pub state: State,
    pub pid: Option<i32>,
    pub leader: Option<u16>,
    pub regency: Option<u64>,
    pub master: Option<u16>,
    pub epoch: Option<u64>,
    /// Last decided height.
    pub decided: Option<u64>,
    /// Last final and applied height.
    pub height: Option<u64>,
    /// How far its applied height is behind the cluster's.
    pub lag: Option<u64>,
    pub open_transactions: Option<u64>,
    pub commits: Option<u64>,
    pub aborts: Option<u64>,
    pub adoptions: Option<u64>,
    /// Replicas to which it has a link.
    pub connected: Option<Vec<u16>>,
    /// Milliseconds to each peer and back.
    pub round_trips_ms: Option<BTreeMap<u16, u64>>,
    pub server_version: Option<String>,
    pub postgres_pid: Option<u32>,
    pub last_error: Option<String>,
    /// When its PostgreSQL's data were last made anew (milliseconds of its clock), and why.
    pub rebuilt_ms: Option<u64>,
    pub rebuilt_why: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct ProxyReport {
    pub listen: SocketAddr,
    pub state: State,
    pub pid: Option<i32>,
}

impl ReplicaReport {
    /// Its PostgreSQL's version as people know it, such as 15.18.
    fn postgres(&self) -> Option<String> {
        let number = self.server_version.as_ref()?.parse().ok()?;
        Some(replica::postgres::shown(number))
    }
}

impl Report {
    /// Puts together what was learned. `seen` is in the order of the cluster's replicas.
    pub fn new(
        cluster: &Cluster,
        statuses: &BTreeMap<ReplicaId, ReplicaStatus>,
        seen: &[Seen],
        proxy: ProxyReport,
    ) -> Report {
        let vouched = |value: fn(&ReplicaStatus) -> u64| {
            let mut named: Vec<u64> = statuses.values().map(value).collect();
            named.sort_unstable_by(|a, b| b.cmp(a));
            named.get(usize::from(cluster.f)).copied()
        };
        let regency = vouched(|s| s.regency);
        let epoch = vouched(|s| s.epoch);
        // What one of those says that are there: the leader follows from the regency, the master from the epoch.
        let leader = statuses
            .values()
            .find(|s| Some(s.regency) == regency)
            .map(|s| s.leader);
        let master = statuses
            .values()
            .find(|s| Some(s.epoch) == epoch)
            .map(|s| s.master);
        let height = vouched(|s| s.applied);
        let replicas = cluster.replicas.iter().zip(seen).map(|(entry, seen)| {
            let status = statuses.get(&ReplicaId(entry.id));
            ReplicaReport {
                id: entry.id,
                address: entry.address,
                state: match seen.state {
                    State::Up if status.is_some_and(|s| s.rebuilding.is_some()) => {
                        State::Rebuilding
                    }
                    state => state,
                },
                pid: seen.pid,
                leader: status.map(|s| s.leader),
                regency: status.map(|s| s.regency),
                master: status.map(|s| s.master),
                epoch: status.map(|s| s.epoch),
                decided: status.map(|s| s.decided),
                height: status.map(|s| s.applied),
                lag: status
                    .zip(height)
                    .map(|(s, height)| height.saturating_sub(s.applied)),
                open_transactions: status.map(|s| s.open_transactions),
                commits: status.map(|s| s.verdicts.0),
                aborts: status.map(|s| s.verdicts.1),
                adoptions: status.map(|s| s.verdicts.2),
                connected: status.map(|s| s.connected.clone()),
                round_trips_ms: status.map(|s| s.round_trips.iter().copied().collect()),
                server_version: status.map(|s| s.server_version.clone()),
                postgres_pid: status.map(|s| s.postgres_pid),
                last_error: status.and_then(|s| s.last_error.clone()),
                rebuilt_ms: status.and_then(|s| s.rebuilt.as_ref().map(|(at, _)| *at)),
                rebuilt_why: status.and_then(|s| s.rebuilt.as_ref().map(|(_, why)| why.clone())),
            }
        });
        Report {
            f: cluster.f,
            view: cluster.view,
            quorum: cluster.membership().quorum(),
            leader,
            regency,
            master,
            epoch,
            height,
            replicas: replicas.collect(),
            proxy,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let answering = self
            .replicas
            .iter()
            .filter(|r| r.state == State::Up)
            .count();
        let health = match answering {
            n if n == self.replicas.len() => "all replicas answer".to_owned(),
            n if n >= self.quorum => format!(
                "{n} of {} replicas answer: the cluster serves",
                self.replicas.len()
            ),
            n => format!(
                "{n} of {} replicas answer, {} are needed: the cluster does not serve",
                self.replicas.len(),
                self.quorum
            ),
        };
        let mut text = format!("{health} (f = {}, view {})\n", self.f, self.view);
        if let (Some(leader), Some(regency), Some(master), Some(epoch), Some(height)) = (
            self.leader,
            self.regency,
            self.master,
            self.epoch,
            self.height,
        ) {
            text += &format!(
                "leader: replica {leader} (regency {regency})   master: replica {master} (epoch {epoch})   height: {height}\n"
            );
        }
        let versions: BTreeSet<String> =
            self.replicas.iter().filter_map(|r| r.postgres()).collect();
        if versions.len() > 1 {
            let versions: Vec<String> = versions.into_iter().collect();
            text += &format!(
                "PostgreSQL {}: what they answer differently is masked (docs/versions.md)\n",
                versions.join(", ")
            );
        }
        let pid = |pid: Option<i32>| pid.map_or("-".to_owned(), |pid| pid.to_string());
        text += &format!(
            "proxy: {} on {}, process {}\n\n",
            self.proxy.state.text(),
            self.proxy.listen,
            pid(self.proxy.pid)
        );
        let rows: Vec<Vec<String>> = self
            .replicas
            .iter()
            .map(|replica| self.row(replica))
            .collect();
        text + &table(
            &[
                "REPLICA",
                "STATE",
                "ROLE",
                "ADDRESS",
                "POSTGRES",
                "PID",
                "REGENCY",
                "EPOCH",
                "DECIDED",
                "APPLIED",
                "LAG",
                "OPEN",
                "COMMITS",
                "ABORTS",
                "ADOPTED",
                "LINKS",
                "LAST ERROR",
            ],
            &rows,
        )
    }

    fn row(&self, replica: &ReplicaReport) -> Vec<String> {
        fn show<T: ToString>(value: &Option<T>) -> String {
            value.as_ref().map_or("-".to_owned(), T::to_string)
        }
        let roles = [("leader", self.leader), ("master", self.master)];
        let roles: Vec<&str> = roles
            .iter()
            .filter(|(_, holder)| *holder == Some(replica.id))
            .map(|(role, _)| *role)
            .collect();
        let error = replica.last_error.as_deref().unwrap_or("-");
        vec![
            replica.id.to_string(),
            replica.state.text().into(),
            if roles.is_empty() {
                "-".into()
            } else {
                roles.join("+")
            },
            replica.address.to_string(),
            show(&replica.postgres()),
            show(&replica.pid),
            show(&replica.regency),
            show(&replica.epoch),
            show(&replica.decided),
            show(&replica.height),
            show(&replica.lag),
            show(&replica.open_transactions),
            show(&replica.commits),
            show(&replica.aborts),
            show(&replica.adoptions),
            show(&replica.connected.as_ref().map(Vec::len)),
            error.replace('\n', " "),
        ]
    }
}
