//! What the delays alone come to: the latency of one request when nothing else takes time and no delay varies.

use std::collections::BTreeSet;
use std::time::Duration;

use ::consensus::{Mode, ReplicaId, View};
use testbed::Links;

/// A view whose replicas, and the clients beside them, sit at these sites.
pub struct Alone<'a> {
    pub links: &'a Links,
    pub view: &'a View,
    pub sites: &'a [usize],
    /// Replicas execute after the WRITE quorum.
    pub tentative: bool,
}

impl Alone<'_> {
    fn way(&self, from: usize, to: usize) -> Duration {
        let link = self.links.between(self.sites[from], self.sites[to]);
        link.map_or(Duration::ZERO, |link| link.there.mean)
    }

    /// When a quorum's messages have come, each at its time.
    fn quorum(&self, times: impl Iterator<Item = Duration>) -> Duration {
        let mut came: Vec<(Duration, ReplicaId)> =
            times.zip(self.view.replicas.keys().copied()).collect();
        came.sort();
        let mut heard = BTreeSet::new();
        let last = came.into_iter().find(|(_, id)| {
            heard.insert(*id);
            self.view.is_quorum(heard.iter().copied())
        });
        last.map_or(Duration::MAX, |(time, _)| time)
    }

    /// One step from all to all: when each has a quorum of what the others send at these times.
    fn exchange(&self, sent: &[Duration]) -> Vec<Duration> {
        let all = 0..sent.len();
        let heard = |to| self.quorum(all.clone().map(|from| sent[from] + self.way(from, to)));
        all.clone().map(|to| sent[to].max(heard(to))).collect()
    }

    /// The latency at the client beside a replica, in the order of the replicas.
    pub fn latency(&self, client: usize) -> Duration {
        let all = 0..self.sites.len();
        let leader = self.view.leader(0);
        let place = self.view.replicas.keys().position(|id| *id == leader);
        let leader = place.unwrap_or(0);
        // A replica goes on when it has the proposal and the client's own copy of the request.
        let begun = self.way(client, leader);
        let proposed = |to| (begun + self.way(leader, to)).max(self.way(client, to));
        let mut times: Vec<Duration> = all.clone().map(proposed).collect();
        if self.view.mode == Mode::Byzantine {
            times = self.exchange(&times);
        }
        if !self.tentative {
            times = self.exchange(&times);
        }
        self.quorum(all.map(|from| times[from] + self.way(from, client)))
    }
}

#[cfg(test)]
mod tests {
    use ::consensus::PublicKey;

    use super::super::systems::{OREGON, SYSTEMS, System};
    use super::*;

    fn view(system: &System) -> View {
        View {
            f: 1,
            mode: system.mode,
            fast: system
                .fast
                .iter()
                .map(|site| ReplicaId(system.at(*site)))
                .collect(),
            replicas: (0..system.sites.len() as u16)
                .map(|id| (ReplicaId(id), PublicKey([id as u8; 32])))
                .collect(),
            first_leader: Some(ReplicaId(system.at(OREGON))),
            ..View::default()
        }
    }

    fn in_oregon(system: &System, tentative: bool) -> u128 {
        let links = Links::five_regions();
        let alone = Alone {
            links: &links,
            view: &view(system),
            sites: system.sites,
            tentative,
        };
        alone.latency(usize::from(system.at(OREGON))).as_millis()
    }

    /// The thesis: with WHEAT the median in Oregon matches the round trip to Ireland, crash-only the one to Virginia.
    #[test]
    fn the_client_beside_the_leader_waits_as_long_as_the_thesis_says() {
        let [_, wheat, crash_only, wheat_crash_only] = &SYSTEMS;
        assert_eq!(in_oregon(wheat, true), 171);
        assert_eq!(in_oregon(wheat_crash_only, false), 70);
        // Two of three: the round trip to the nearer one.
        assert_eq!(in_oregon(crash_only, false), 171);
    }

    #[test]
    fn each_step_left_out_and_each_weight_shortens_it() {
        let [plain, wheat, ..] = &SYSTEMS;
        let all = [(plain, false), (plain, true), (wheat, false), (wheat, true)];
        let [steps, tentative, weights, both] =
            all.map(|(system, tentative)| in_oregon(system, tentative));
        assert!(
            both < weights && weights < steps,
            "{both} {weights} {steps}"
        );
        assert!(
            both < tentative && tentative < steps,
            "{both} {tentative} {steps}"
        );
    }
}
