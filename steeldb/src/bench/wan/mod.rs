//! `steeldb bench wan`: latencies in five regions, BFT-SMaRt's way against WHEAT's, beside Table 5.8 of Sousa's thesis.

mod alone;
mod report;
mod systems;

use std::time::Duration;

use ::consensus::Mode;
use testbed::Links;

use self::alone::Alone;
use self::report::{Measured, Report, Row};
use self::systems::{ROWS, SYSTEMS, System};
use super::group::answers::Answers;
use super::group::check;
use super::group::scene::Scene;
use super::output::print_json;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::signals;

/// Links are opened and counted in before anything is measured.
const WARM_UP: Duration = Duration::from_secs(10);
/// How long the first answer may take.
const FIRST: Duration = Duration::from_secs(30);

/// Latencies in five regions, in BFT-SMaRt's way and in WHEAT's, beside the thesis' Table 5.8
///
/// Replicas of a ledger as processes, and a client beside each, behind relays that delay what passes as Table 5.7 says (mean and
/// deviation). The leader is in Oregon; Virginia is the additional replica of WHEAT; Oregon and Virginia weigh two votes
/// (crash-only: Virginia), and WHEAT answers tentatively, after the WRITE quorum. Each client sends 1 kB, is answered with
/// 1 kB, and sends again after the interval. The systems run side by side.
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
    /// WHEAT by its weights alone: answers after ACCEPT, as the other systems give them
    #[arg(long)]
    no_tentative: bool,
    /// Print the report as JSON on standard output
    #[arg(long)]
    json: bool,
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
        let (measured, broken) =
            measured(system, scene, from, (&links, !args.no_tentative)).await?;
        report.systems.push(measured);
        let named = broken
            .into_iter()
            .map(|what| format!("{}: {what}", system.name));
        report.broken.extend(named);
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

/// What was measured of a system from this moment on, and the rules that it broke.
async fn measured(
    system: &System,
    scene: Scene,
    from: Duration,
    (links, tentative): (&Links, bool),
) -> Result<(Measured, Vec<String>), Failure> {
    let to = scene.load.now();
    let given_up = (scene.regency_changes() > 0).then(|| "a leader was given up".to_owned());
    let view = scene.group.layout.cluster.membership();
    let alone = Alone {
        links,
        view: &view,
        sites: system.sites,
        tentative: system.tentative && tentative,
    };
    let ended = scene.end().await?;
    let mut broken = check::broken(&ended.records, &ended.replicas);
    broken.extend(given_up);
    let mut rows: Vec<Row> = Vec::new();
    let published = system.published;
    for (site, published) in ROWS.into_iter().zip(published) {
        if let Some(place) = system.sites.iter().position(|at| *at == site) {
            let answers = Answers::of([&ended.records[place]]);
            let row = Row::new(&links.sites()[site], &answers, (from, to), published);
            rows.push(row.beside(alone.latency(place)));
        }
    }
    let all = Answers::of(&ended.records);
    rows.push(Row::new("all", &all, (from, to), published[ROWS.len()]));
    let measured = Measured {
        system: system.name.to_owned(),
        replicas: system.sites.len(),
        rows,
    };
    Ok((measured, broken))
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
