//! `--compare`: systems measured in turns on hosts of this machine; what `bench tpcc` and `bench pgbench` have in common.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use testbed::comparison::Comparison;
use testbed::{Ground, Links, Lone, Network, Pgpool, Settings, Setup, Standbys, System, Workload};

use super::steel::SteelDb;
use crate::directory;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::signals;

/// How systems are compared
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// The systems, separated by commas: postgresql (one server), standbys (a primary that waits for 2 of 3 synchronous
    /// standbys), pgpool (Pgpool-II, snapshot isolation, 4 servers), steeldb. Ratios are to the first
    #[arg(
        long,
        value_name = "SYSTEMS",
        value_delimiter = ',',
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "postgresql,standbys,pgpool,steeldb"
    )]
    pub compare: Vec<Which>,
    /// How often each system is measured, in turns
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99), value_name = "N")]
    rounds: u16,
    /// What each host (a replica with its PostgreSQL; a lone PostgreSQL) has of this machine's processors, in cores, or
    /// `all`; the proxy, Pgpool-II and the clients have no limit
    #[arg(long, default_value = "0.4", value_name = "CORES")]
    cores: Cores,
    /// The way between hosts: `loopback`, `lan:MS` (one way), or `regions` (Ireland, São Paulo, Oregon, Sydney, Virginia)
    #[arg(long, default_value = "loopback", value_name = "LINKS")]
    links: Distance,
    /// The clients' site, by its number; the proxy and Pgpool-II stand there too
    #[arg(long, default_value_t = 0, value_name = "SITE")]
    client_site: usize,
    /// A network namespace for each host (needs root)
    #[arg(long)]
    namespaces: bool,
    /// Where the servers' data lie while it runs [default: a new directory below TMPDIR]
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Which {
    Postgresql,
    Standbys,
    Pgpool,
    Steeldb,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Cores(Option<f64>);

impl FromStr for Cores {
    type Err = String;

    fn from_str(text: &str) -> Result<Cores, String> {
        match text.parse::<f64>() {
            _ if text == "all" => Ok(Cores(None)),
            Ok(cores) if (0.05..=1024.0).contains(&cores) => Ok(Cores(Some(cores))),
            _ => Err("write a number of cores from 0.05, such as 0.4, or `all`".into()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Distance(Links);

impl FromStr for Distance {
    type Err = String;

    fn from_str(text: &str) -> Result<Distance, String> {
        let lan = text.strip_prefix("lan:").map(str::parse::<f64>);
        match (text, lan) {
            ("loopback", _) => Ok(Distance(Links::none())),
            ("regions", _) => Ok(Distance(Links::five_regions())),
            (_, Some(Ok(ms))) if (0.01..=10_000.0).contains(&ms) => {
                Ok(Distance(Links::lan(Duration::from_secs_f64(ms / 1000.0))))
            }
            _ => Err("write `loopback`, `lan:MS` such as lan:0.25, or `regions`".into()),
        }
    }
}

impl Args {
    pub fn rounds(&self) -> usize {
        usize::from(self.rounds)
    }

    /// Measures the workload on all systems.
    pub async fn run(
        &self,
        default: &[Which],
        workload: &mut dyn Workload,
        progress: &Progress,
    ) -> Result<Comparison, Failure> {
        let failed =
            |error: testbed::Error| Failure::new("the systems were not compared").cause(error);
        // Removed last.
        let scratch = self.base.is_none().then(scratch).transpose()?;
        let made = scratch.as_ref().map(tempfile::TempDir::path);
        let base = self.base.as_deref().or(made).unwrap_or(Path::new("."));
        directory::make(base, directory::Purpose::LeadsToPostgres)?;
        let network = match self.namespaces {
            true => Some(Network::new().map_err(failed)?),
            false => None,
        };
        let setup = Setup {
            ground: Ground {
                base: base.to_owned(),
                cores: self.cores.0,
                network,
            },
            links: self.links.0.clone(),
            client_site: self.client_site,
            settings: Settings::found().map_err(failed)?,
        };
        let which = match self.compare.as_slice() {
            [] => default,
            given => given,
        };
        let systems = which.iter().map(|which| which.system(&setup)).collect();
        let mut say = |line: &str| progress.note(line);
        // What was started ends where the measurement is dropped.
        let stop_wish = signals::stop_wish()?;
        tokio::select! {
            compared = testbed::compare(systems, self.rounds(), workload, &setup, &mut say) => compared.map_err(failed),
            () = stop_wish => Err(Failure::new("interrupted: nothing was measured")),
        }
    }
}

fn scratch() -> Result<tempfile::TempDir, Failure> {
    let made = tempfile::Builder::new().prefix("steeldb-bench-").tempdir();
    made.map_err(|error| {
        Failure::new("cannot make a directory for the servers' data")
            .cause(error)
            .next("set TMPDIR to a directory with some GiB of space, or give --base DIR")
    })
}

impl Which {
    fn system(self, setup: &Setup) -> Box<dyn System> {
        let setup = setup.clone();
        match self {
            Which::Postgresql => Box::new(Lone::new(setup)),
            Which::Standbys => Box::new(Standbys::new(setup)),
            Which::Pgpool => Box::new(Pgpool::new(setup)),
            Which::Steeldb => Box::new(SteelDb::new(setup)),
        }
    }
}

/// The comparison for a terminal.
pub fn text(comparison: &Comparison, throughput: &str) -> String {
    let rows: Vec<Vec<String>> = comparison
        .systems
        .iter()
        .map(|measured| {
            let spread = measured.spread(throughput);
            let ratio = comparison.ratio(&measured.system, throughput);
            let cpu = measured.cpu_ms_per_transaction(None);
            vec![
                measured.system.clone(),
                spread.map_or("-".into(), |s| format!("{:.0}", s.median)),
                spread.map_or("-".into(), |s| format!("{:.0} to {:.0}", s.min, s.max)),
                ratio.map_or("-".into(), |r| format!("{:.3}", r.median)),
                ratio.map_or("-".into(), |r| format!("{:.3} to {:.3}", r.min, r.max)),
                cpu.map_or("-".into(), |c| format!("{:.2}", c.median)),
            ]
        })
        .collect();
    let head = [
        "SYSTEM",
        throughput,
        "SPREAD",
        "RATIO",
        "SPREAD",
        "CPU ms/tx",
    ];
    let mut text = crate::table::table(&head, &rows);
    for (system, why) in &comparison.skipped {
        text.push_str(&format!("\n{system} was not measured: {why}"));
    }
    let machine = &comparison.machine;
    text.push_str(&format!(
        "\n\n{}; {} cores of {}, {}; links: {}; fdatasync {:.0} µs",
        comparison.workload,
        machine.cores,
        machine.cpu,
        machine.quota,
        machine.links,
        machine.fdatasync_us
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_distances_are_read_or_refused_with_an_example() {
        assert_eq!("0.5".parse::<Cores>().unwrap(), Cores(Some(0.5)));
        assert_eq!("all".parse::<Cores>().unwrap(), Cores(None));
        assert!("0".parse::<Cores>().unwrap_err().contains("0.4"));
        assert_eq!("loopback".parse::<Distance>().unwrap().0, Links::none());
        assert_eq!(
            "lan:0.25".parse::<Distance>().unwrap().0.name(),
            "LAN 0.25 ms one way"
        );
        assert!(
            "lan:-1"
                .parse::<Distance>()
                .unwrap_err()
                .contains("lan:0.25")
        );
        assert!("moon".parse::<Distance>().is_err());
    }
}
