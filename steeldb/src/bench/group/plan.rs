//! What a group is made of, and how it is made.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use ::consensus::{ClientId, Mode};
use cluster::{Cluster, FIRST_CLIENT};
use testbed::{Ground, Host, Links, Network, Route};

use super::load::Seat;
use super::{Group, Member, PORT};
use crate::bench::layout::{self, Layout};
use crate::failure::Failure;

/// What a group is made of.
#[derive(Default)]
pub struct Plan {
    pub replicas: u16,
    /// Further ones, which have keys and hosts and may become members.
    pub spares: u16,
    /// As many as n allows, if nothing else is said.
    pub f: Option<u16>,
    pub mode: Mode,
    /// WHEAT: who weighs more.
    pub fast: BTreeSet<u16>,
    /// Who leads first.
    pub leader: Option<u16>,
    pub clients: usize,
    /// One more client, which may change the membership.
    pub administrator: bool,
    /// Each replica in a network namespace of its own.
    pub namespaces: bool,
    /// How far all are from each other.
    pub far: Option<Far>,
    pub options: Options,
}

/// Replicas and clients at the sites of long links.
pub struct Far {
    pub links: Links,
    /// The site of each replica, and of the client of the same number.
    pub sites: Vec<usize>,
}

/// What replicas are started with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Stages of a leader's time-out in ms, if not the default.
    pub request_timeout: Option<u64>,
    /// Length of a result, if more than the ledger has to say.
    pub reply: u32,
    /// Heights from checkpoint to checkpoint, if not the default; 0: none.
    pub checkpoint_every: Option<u64>,
    /// Bytes of a log's segment, if not the default; logs are cut by whole segments.
    pub segment_bytes: Option<u32>,
    /// They answer after the WRITE quorum.
    pub tentative: bool,
}

impl Options {
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--reply".to_owned(), self.reply.to_string()];
        let optional = [
            ("--request-timeout", self.request_timeout),
            ("--checkpoint-every", self.checkpoint_every),
            ("--segment-bytes", self.segment_bytes.map(u64::from)),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                arguments.extend([name.to_owned(), value.to_string()]);
            }
        }
        if self.tentative {
            arguments.push("--tentative".to_owned());
        }
        arguments
    }
}

fn failed(error: testbed::Error) -> Failure {
    Failure::new("cannot make the replicas' hosts").cause(error)
}

impl Group {
    /// Makes hosts, keys and files; nothing runs yet.
    pub fn create(plan: Plan) -> Result<Group, Failure> {
        let network = match plan.namespaces {
            true => Some(Network::new().map_err(|error| {
                failed(error).next(
                    "run it as root with iproute2 installed, or without partitions: --no-partitions",
                )
            })?),
            false => None,
        };
        let scratch = Layout::scratch()?;
        let ground = Ground {
            base: scratch.dir().to_owned(),
            cores: None,
            network: network.clone(),
        };
        let member = |id| {
            let host = Host::new(&format!("replica-{id}"), "replica", &ground);
            host.map_err(failed).map(Member::on)
        };
        let members: Vec<Member> = (0..plan.replicas + plan.spares)
            .map(member)
            .collect::<Result<_, Failure>>()?;
        let address = |member: &Member| SocketAddr::from((member.host.address(), PORT));
        let addresses: Vec<SocketAddr> = members.iter().map(address).collect();
        let clients = plan.clients + usize::from(plan.administrator);
        let layout = scratch.cluster(&addresses, clients, |cluster| {
            cluster.replicas.truncate(usize::from(plan.replicas));
            cluster.f = plan.f.unwrap_or((plan.replicas - 1) / 3);
            (cluster.mode, cluster.leader) = (plan.mode, plan.leader);
            cluster.fast = plan.fast.clone();
            let last = cluster.clients.last().filter(|_| plan.administrator);
            cluster.administrators = last.map(|client| client.id).into_iter().collect();
        })?;
        let mut group = Group {
            cluster: layout.cluster.clone(),
            layout,
            members,
            far: plan.far,
            routes: Vec::new(),
            options: plan.options,
            network,
        };
        group.lay_routes()?;
        Ok(group)
    }

    /// Where replicas are far from each other each has a cluster file of its own, in which those that it dials stand at the
    /// address of the way there: of two replicas the higher one dials.
    fn lay_routes(&mut self) -> Result<(), Failure> {
        if self.far.is_none() {
            return Ok(());
        }
        for id in self.ids() {
            let own = self.seen_from(usize::from(id), |other| other < id)?;
            let file = layout::own_cluster_file(self.layout.dir(), id);
            std::fs::write(&file, own.to_text()).map_err(|error| {
                Failure::new(format!("cannot write {}", file.display())).cause(error)
            })?;
        }
        Ok(())
    }

    /// The cluster as it is dialled from a place.
    fn seen_from(&mut self, place: usize, dials: impl Fn(u16) -> bool) -> Result<Cluster, Failure> {
        let mut seen = self.cluster.clone();
        let Some(Far { links, sites }) = &self.far else {
            return Ok(seen);
        };
        for entry in seen.replicas.iter_mut().filter(|entry| dials(entry.id)) {
            let to = sites[usize::from(entry.id)];
            let route: Route = links
                .route(sites[place], to, Ipv4Addr::LOCALHOST, entry.address)
                .map_err(failed)?;
            entry.address = route.address;
            self.routes.push(route);
        }
        Ok(seen)
    }

    /// A seat for each client but the administrator: the client of a number sits where the replica of the same number does.
    pub fn seats(&mut self) -> Result<Vec<Seat>, Failure> {
        let administrators = self.layout.cluster.administrators.clone();
        let clients = self.layout.clients.clone();
        let clients = (FIRST_CLIENT..).zip(clients);
        let seats = clients.filter(|(id, _)| !administrators.contains(id));
        let mut all = Vec::new();
        for (place, (id, identity)) in seats.enumerate() {
            all.push(Seat {
                me: ClientId(id),
                identity,
                cluster: self.seen_from(place, |_| true)?,
            });
        }
        Ok(all)
    }
}
