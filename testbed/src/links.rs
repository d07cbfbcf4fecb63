//! Delays between sites: none, a LAN's, or five regions of a cloud.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::Error;
use crate::relay::{Delay, Link, Relay};

/// Sites of a LAN: enough for any system here.
const LAN_SITES: usize = 32;

/// The sites of Table 5.7.
const REGIONS: [&str; 5] = ["Ireland", "São Paulo", "Oregon", "Sydney", "Virginia"];

/// Table 5.7 of Sousa's thesis: mean and standard deviation of the round trip, in ms, measured from the row's site to the
/// column's between Amazon EC2 regions over 24 hours.
const ROUND_TRIPS: [[(u64, u64); 5]; 5] = [
    [(0, 0), (211, 10), (171, 11), (340, 11), (88, 10)],
    [(208, 14), (0, 0), (217, 19), (359, 4), (123, 3)],
    [(171, 14), (217, 11), (0, 0), (205, 7), (70, 12)],
    [(336, 26), (359, 4), (205, 10), (0, 0), (255, 12)],
    [(88, 10), (123, 4), (71, 13), (256, 5), (0, 0)],
];

/// Which sites there are and how long a message takes from one to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    name: String,
    sites: Vec<String>,
    /// From the row's site to the column's.
    delays: Vec<Vec<Delay>>,
}

/// How to reach a server from a site: directly, or through a relay that lasts as long as this.
#[derive(Debug)]
pub struct Route {
    pub address: SocketAddr,
    pub relay: Option<Relay>,
}

impl Links {
    /// One site: nothing is delayed and no relay is between.
    pub fn none() -> Links {
        Links {
            name: "loopback".to_owned(),
            sites: vec!["here".to_owned()],
            delays: vec![vec![Delay::default()]],
        }
    }

    /// Machines that all have the same way to each other.
    pub fn lan(one_way: Duration) -> Links {
        let delay = |from, to| Delay {
            mean: if from == to { Duration::ZERO } else { one_way },
            deviation: Duration::ZERO,
        };
        Links {
            name: format!("LAN {} ms one way", one_way.as_secs_f64() * 1000.0),
            sites: (0..LAN_SITES)
                .map(|site| format!("machine {site}"))
                .collect(),
            delays: (0..LAN_SITES)
                .map(|from| (0..LAN_SITES).map(|to| delay(from, to)).collect())
                .collect(),
        }
    }

    /// Ireland, São Paulo, Oregon, Sydney, Virginia: half of Table 5.7's round trip each way.
    pub fn five_regions() -> Links {
        // Two independent ways of deviation s/√2 make a round trip of deviation s.
        let delay = |(mean, deviation)| Delay {
            mean: Duration::from_millis(mean) / 2,
            deviation: Duration::from_millis(deviation).div_f64(std::f64::consts::SQRT_2),
        };
        Links {
            name: "five regions (Table 5.7)".to_owned(),
            sites: REGIONS.map(str::to_owned).to_vec(),
            delays: ROUND_TRIPS.map(|row| row.map(delay).to_vec()).to_vec(),
        }
    }

    /// For the report.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names of the sites. Server `i` of a system sits at site `i` modulo their number.
    pub fn sites(&self) -> &[String] {
        &self.sites
    }

    /// The delays of a connection that `from` opens to `to`; `None` where there are none.
    pub fn between(&self, from: usize, to: usize) -> Option<Link> {
        let (from, to) = (from % self.sites.len(), to % self.sites.len());
        let link = Link {
            there: self.delays[from][to],
            back: self.delays[to][from],
        };
        (link != Link::default()).then_some(link)
    }

    /// The way from a site to a server at another. A relay listens on a free port of `listen`: loopback, or the address of
    /// this process on the hosts' bridge.
    pub fn route(
        &self,
        from: usize,
        to: usize,
        listen: Ipv4Addr,
        server: SocketAddr,
    ) -> Result<Route, Error> {
        let Some(link) = self.between(from, to) else {
            return Ok(Route {
                address: server,
                relay: None,
            });
        };
        // The same run has the same jitter.
        let seed = (from * 1000 + to) as u64;
        let relay = Relay::start((listen, 0).into(), server, link, seed)?;
        Ok(Route {
            address: relay.address(),
            relay: Some(relay),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_regions_are_half_of_the_tables_round_trips_each_way() {
        let links = Links::five_regions();
        let round_trip = |from: usize, to: usize| {
            let link = links.between(from, to).unwrap();
            (link.there.mean * 2).as_millis()
        };
        let [ireland, sao_paulo, oregon, sydney, virginia] = [0, 1, 2, 3, 4];
        assert_eq!(links.sites()[sydney], "Sydney");
        assert_eq!(round_trip(ireland, sao_paulo), 211);
        assert_eq!(round_trip(sao_paulo, ireland), 208);
        assert_eq!(round_trip(sydney, ireland), 336);
        assert_eq!(round_trip(oregon, virginia), 70);
        assert_eq!(round_trip(virginia, oregon), 71);
        assert_eq!(round_trip(virginia, sydney), 256);
        let jitter = links.between(sydney, ireland).unwrap().there.deviation;
        assert_eq!(jitter.as_micros(), 18_384); // 26 ms / √2
        for site in 0..5 {
            assert_eq!(links.between(site, site), None);
            assert_eq!(
                links.between(site, site + 5),
                None,
                "server 5 sits at the first site again"
            );
        }
        // Every mean of the table, so that no typing error in one cell goes unseen.
        let sum: u128 = (0..25)
            .filter(|n| n / 5 != n % 5)
            .map(|n| round_trip(n / 5, n % 5))
            .sum();
        assert_eq!(sum, 810 + 907 + 663 + 1155 + 538);
    }

    #[test]
    fn a_lan_has_one_way_between_all_and_a_single_site_none() {
        let lan = Links::lan(Duration::from_micros(250));
        let link = lan.between(0, 3).unwrap();
        assert_eq!(
            (link.there, link.back),
            (lan.between(3, 1).unwrap().there, link.there)
        );
        assert_eq!(link.there.mean, Duration::from_micros(250));
        assert_eq!(lan.between(2, 2), None);
        assert_eq!(lan.name(), "LAN 0.25 ms one way");
        assert_eq!(Links::none().between(0, 3), None);
    }
}
