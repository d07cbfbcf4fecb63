//! `steeldb bench wan`: latencies in five regions, BFT-SMaRt's way against WHEAT's, beside Table 5.8 of Sousa's thesis.

use std::collections::BTreeSet;
use std::time::Duration;

use ::consensus::Mode;
use serde::Serialize;
use testbed::Links;

use super::group::answers::Answers;
use super::group::load::Shape;
use super::group::scene::Scene;
use super::group::{Far, Group, Options, Plan, check};
use super::output::print_json;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::signals;

/// Sites by their place in Table 5.7.
const IRELAND: usize = 0;
const SAO_PAULO: usize = 1;
const OREGON: usize = 2;
const SYDNEY: usize = 3;
const VIRGINIA: usize = 4;

/// A leader is given up after this many of the longest round trips, twice.
const PATIENCE_ROUND_TRIPS: u32 = 6;
/// Links are opened and counted in before anything is measured.
const WARM_UP: Duration = Duration::from_secs(10);
/// How long the first answer may take.
const FIRST: Duration = Duration::from_secs(30);
/// The rows of the table, in its order.
const ROWS: [usize; 5] = [OREGON, IRELAND, SYDNEY, SAO_PAULO, VIRGINIA];

/// Latencies in five regions, in BFT-SMaRt's way and in WHEAT's, beside the thesis' Table 5.8
///
/// Replicas of a ledger as processes, and a client beside each, behind relays that delay what passes as Table 5.7 says (mean and
/// deviation). The leader is in Oregon; Virginia is the additional replica of WHEAT; Oregon and Virginia weigh two votes
/// (crash-only: Virginia). Each client sends 1 kB, is answered with 1 kB, and sends again after the interval. The systems run
/// side by side.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long to measure
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(5..=86_400), value_name = "SECONDS")]
    duration: u64,
    /// From one request of a client to its next, on average; each is drawn between half of it and one and a half times
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(10..=60_000), value_name = "MS")]
    interval: u64,
    /// Size of a request and of a reply
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(..=1 << 20), value_name = "BYTES")]
    bytes: u32,
    /// Leave the crash-only systems out
    #[arg(long)]
    no_crash_only: bool,
    /// Print the report as JSON on standard output
    #[arg(long)]
    json: bool,
}

/// One of the systems.
struct System {
    name: &'static str,
    mode: Mode,
    sites: &'static [usize],
    /// Sites whose replicas weigh more.
    fast: &'static [usize],
    /// Medians and 90th percentiles of Table 5.8, in the order of [`ROWS`]; the last of all clients.
    published: [Option<(u32, u32)>; 6],
}

const SYSTEMS: [System; 4] = [
    System {
        name: "BFT-SMaRt",
        mode: Mode::Byzantine,
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

#[derive(Debug, Serialize)]
struct Report {
    seconds: u64,
    interval_ms: u64,
    bytes: u32,
    links: String,
    systems: Vec<Measured>,
    broken: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Measured {
    system: String,
    replicas: usize,
    rows: Vec<Row>,
}

/// One site's client, or all of them.
#[derive(Debug, Serialize)]
struct Row {
    site: String,
    requests: usize,
    p50_ms: f64,
    p90_ms: f64,
    /// Of Table 5.8.
    published_p50_ms: Option<u32>,
    published_p90_ms: Option<u32>,
}

pub async fn run(args: &Args) -> Result<(), Failure> {
    crate::logging::start_at_terminal()?;
    let stop_wish = signals::stop_wish()?;
    let progress = Progress::start();
    // Whichever way it ends, all that was made is dropped with it.
    tokio::select! {
        done = measure(args, &progress) => done,
        () = stop_wish => Err(Failure::new("interrupted: nothing was measured")),
    }
}

async fn measure(args: &Args, progress: &Progress) -> Result<(), Failure> {
    let links = Links::five_regions();
    let systems = || {
        let wanted = |system: &&System| !args.no_crash_only || system.mode == Mode::Byzantine;
        SYSTEMS.iter().filter(wanted)
    };
    let mut scenes = Vec::new();
    for system in systems() {
        progress.step(format!("starting {}", system.name));
        scenes.push(system.start(args, &links).await?);
    }
    for scene in &scenes {
        scene.load.answers_again(FIRST).await?;
    }
    pass(&mut scenes, WARM_UP, "warming up", progress).await?;
    let from: Vec<Duration> = scenes.iter().map(|scene| scene.load.now()).collect();
    pass(
        &mut scenes,
        Duration::from_secs(args.duration),
        "measuring",
        progress,
    )
    .await?;
    let mut report = Report {
        seconds: args.duration,
        interval_ms: args.interval,
        bytes: args.bytes,
        links: links.name().to_owned(),
        systems: Vec::new(),
        broken: Vec::new(),
    };
    for ((system, scene), from) in systems().zip(scenes).zip(from) {
        let to = scene.load.now();
        if scene.regency_changes() > 0 {
            report
                .broken
                .push(format!("{}: a leader was given up", system.name));
        }
        let ended = scene.end().await?;
        let broken = check::broken(&ended.records, &ended.replicas);
        report.broken.extend(
            broken
                .into_iter()
                .map(|what| format!("{}: {what}", system.name)),
        );
        let mut rows: Vec<Row> = Vec::new();
        let published = system.published;
        for (site, published) in ROWS.into_iter().zip(published) {
            if let Some(place) = system.sites.iter().position(|at| *at == site) {
                let answers = Answers::of([&ended.records[place]]);
                rows.push(Row::new(
                    &links.sites()[site],
                    &answers,
                    (from, to),
                    published,
                ));
            }
        }
        let all = Answers::of(&ended.records);
        rows.push(Row::new("all", &all, (from, to), published[ROWS.len()]));
        report.systems.push(Measured {
            system: system.name.to_owned(),
            replicas: system.sites.len(),
            rows,
        });
    }
    match args.json {
        true => print_json(&report)?,
        false => println!("{}", report.text()),
    }
    match report.broken.is_empty() {
        true => Ok(()),
        false => Err(Failure::new("a rule was broken").cause(report.broken.join("\n"))),
    }
}

async fn pass(
    scenes: &mut [Scene],
    time: Duration,
    what: &str,
    progress: &Progress,
) -> Result<(), Failure> {
    let until = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < until {
        for scene in &mut *scenes {
            scene.look().await?;
        }
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        progress.step(format!("{what}: {} s left", left.as_secs()));
    }
    Ok(())
}

impl System {
    /// Its replica at a site.
    fn at(&self, site: usize) -> u16 {
        let place = self.sites.iter().position(|at| *at == site);
        place.expect("the systems' sites are constants, and hold the leader's and the fast ones")
            as u16
    }

    async fn start(&self, args: &Args, links: &Links) -> Result<Scene, Failure> {
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

impl Row {
    fn new(
        site: &str,
        answers: &Answers,
        (from, to): (Duration, Duration),
        published: Option<(u32, u32)>,
    ) -> Row {
        let ms = |time: Duration| (time.as_secs_f64() * 1e4).round() / 10.0;
        let [p50, p90] = answers.quantiles(from, to, [0.5, 0.9]).map(ms);
        Row {
            site: site.to_owned(),
            requests: answers.between(from, to),
            p50_ms: p50,
            p90_ms: p90,
            published_p50_ms: published.map(|row| row.0),
            published_p90_ms: published.map(|row| row.1),
        }
    }
}

impl Report {
    fn text(&self) -> String {
        let mut text = format!(
            "{}; {} s, a request of {} bytes every {} ms from each site; median / 90th percentile in ms, Table 5.8's in brackets\n\n| client |",
            self.links, self.seconds, self.bytes, self.interval_ms
        );
        for system in &self.systems {
            text += &format!(" {}, n = {} |", system.system, system.replicas);
        }
        text += &format!("\n|{}\n", " --- |".repeat(self.systems.len() + 1));
        let links = Links::five_regions();
        let sites = ROWS.iter().map(|site| links.sites()[*site].as_str());
        for site in sites.chain(["all"]) {
            text += &format!("| {site} |");
            for system in &self.systems {
                let row = system.rows.iter().find(|row| row.site == site);
                text += &row.map_or_else(|| " – |".to_owned(), Row::cell);
            }
            text.push('\n');
        }
        let all = |system: &Measured| system.rows.last().map_or(0.0, |row| row.p50_ms);
        for pair in self.systems.chunks(2) {
            if let [one, other] = pair {
                let (before, after) = (all(one), all(other));
                text += &format!(
                    "\n{} against {}: median {:.0} % less",
                    other.system,
                    one.system,
                    (1.0 - after / before) * 100.0
                );
            }
        }
        text
    }
}

impl Row {
    fn cell(&self) -> String {
        let published = match (self.published_p50_ms, self.published_p90_ms) {
            (Some(p50), Some(p90)) => format!(" ({p50} / {p90})"),
            _ => String::new(),
        };
        format!(" {:.0} / {:.0}{published} |", self.p50_ms, self.p90_ms)
    }
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
