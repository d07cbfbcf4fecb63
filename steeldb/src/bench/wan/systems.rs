//! The systems of Table 5.8: who they are, how they are started, what was published of them.

use std::collections::BTreeSet;
use std::time::Duration;

use ::consensus::Mode;
use testbed::Links;

use super::Args;
use crate::bench::group::load::Shape;
use crate::bench::group::scene::Scene;
use crate::bench::group::{Far, Group, Options, Plan};
use crate::failure::Failure;

/// Sites by their place in Table 5.7.
pub const IRELAND: usize = 0;
pub const SAO_PAULO: usize = 1;
pub const OREGON: usize = 2;
pub const SYDNEY: usize = 3;
pub const VIRGINIA: usize = 4;

/// The rows of the table, in its order.
pub const ROWS: [usize; 5] = [OREGON, IRELAND, SYDNEY, SAO_PAULO, VIRGINIA];

/// A leader is given up after this many of the longest round trips, twice.
const PATIENCE_ROUND_TRIPS: u32 = 6;

/// One of the systems.
pub struct System {
    pub name: &'static str,
    pub mode: Mode,
    pub sites: &'static [usize],
    /// Answers come after the WRITE quorum.
    pub tentative: bool,
    /// Sites whose replicas weigh more.
    pub fast: &'static [usize],
    /// Medians and 90th percentiles of Table 5.8, in the order of [`ROWS`]; the last of all clients.
    pub published: [Option<(u32, u32)>; 6],
}

pub const SYSTEMS: [System; 4] = [
    System {
        name: "BFT-SMaRt",
        mode: Mode::Byzantine,
        tentative: false,
        sites: &[IRELAND, SAO_PAULO, OREGON, SYDNEY],
        fast: &[],
        published: [
            Some((587, 605)),
            Some((587, 609)),
            Some((586, 600)),
            Some((587, 609)),
            None,
            Some((587, 606)),
        ],
    },
    System {
        name: "WHEAT",
        mode: Mode::Byzantine,
        tentative: true,
        sites: &[IRELAND, SAO_PAULO, OREGON, SYDNEY, VIRGINIA],
        fast: &[OREGON, VIRGINIA],
        published: [
            Some((178, 336)),
            Some((368, 390)),
            Some((375, 470)),
            Some((377, 482)),
            Some((357, 383)),
            Some((370, 393)),
        ],
    },
    System {
        name: "BFT-SMaRt, crash-only",
        mode: Mode::CrashOnly,
        tentative: false,
        sites: &[IRELAND, OREGON, SYDNEY],
        fast: &[],
        published: [
            Some((174, 336)),
            Some((338, 373)),
            Some((370, 386)),
            None,
            None,
            Some((338, 377)),
        ],
    },
    System {
        name: "WHEAT, crash-only",
        mode: Mode::CrashOnly,
        tentative: false,
        sites: &[IRELAND, OREGON, SYDNEY, VIRGINIA],
        fast: &[VIRGINIA],
        published: [
            Some((72, 92)),
            Some((160, 191)),
            Some((270, 297)),
            None,
            Some((76, 142)),
            Some((149, 273)),
        ],
    },
];

impl System {
    /// Its replica at a site.
    pub fn at(&self, site: usize) -> u16 {
        let place = self.sites.iter().position(|at| *at == site);
        place.expect("the systems' sites are constants, and hold the leader's and the fast ones")
            as u16
    }

    pub async fn start(&self, args: &Args, links: &Links) -> Result<Scene, Failure> {
        let fast: BTreeSet<u16> = self.fast.iter().map(|site| self.at(*site)).collect();
        let patience = longest_round_trip(links) * PATIENCE_ROUND_TRIPS;
        let mut group = Group::create(Plan {
            replicas: self.sites.len() as u16,
            f: Some(1),
            mode: self.mode,
            fast,
            leader: Some(self.at(OREGON)),
            clients: self.sites.len(),
            far: Some(Far {
                links: links.clone(),
                sites: self.sites.to_vec(),
            }),
            options: Options {
                request_timeout: Some(patience.as_millis() as u64),
                reply: args.bytes,
                tentative: self.tentative && !args.no_tentative,
                // Replicas know each other by other addresses each, which a checkpoint would hold.
                checkpoint_every: Some(0),
                ..Options::default()
            },
            ..Plan::default()
        })?;
        group.start_all().await?;
        let clients = self.sites.len() as f64;
        let shape = Shape {
            lanes: 1,
            rate: Some(clients * 1000.0 / args.interval as f64),
            // What an entry needs for itself is part of its size.
            bytes: (args.bytes as usize).saturating_sub(10),
        };
        Scene::start(group, shape).await
    }
}

fn longest_round_trip(links: &Links) -> Duration {
    let sites = 0..links.sites().len();
    let pairs = sites
        .clone()
        .flat_map(|a| sites.clone().map(move |b| (a, b)));
    let round_trip = |(a, b)| {
        links
            .between(a, b)
            .map(|link| link.there.mean + link.back.mean)
    };
    pairs.filter_map(round_trip).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_are_those_of_the_table() {
        for system in &SYSTEMS {
            assert!(system.at(OREGON) < system.sites.len() as u16);
            // 2f heavy ones, crash-only f.
            let expected = match (system.name.starts_with("WHEAT"), system.mode) {
                (false, _) => 0,
                (true, Mode::Byzantine) => 2,
                (true, Mode::CrashOnly) => 1,
            };
            assert_eq!(system.fast.len(), expected, "{}", system.name);
            for (site, published) in ROWS.into_iter().zip(system.published) {
                assert_eq!(
                    system.sites.contains(&site),
                    published.is_some(),
                    "{}",
                    system.name
                );
            }
        }
    }

    #[test]
    fn the_longest_round_trip_is_sydneys_to_sao_paulo() {
        assert_eq!(longest_round_trip(&Links::five_regions()).as_millis(), 359);
    }
}
