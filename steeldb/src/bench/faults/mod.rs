//! `steeldb bench faults`: replicas of a ledger that are killed, stopped and cut off under load, and what the clients notice.

mod chaos;
mod inject;
mod leader_kills;
pub mod overload;
mod page;
mod report;
mod schedule;

use std::path::PathBuf;
use std::time::Duration;

use self::report::{Asked, Report};
use super::group::answers::Answers;
use super::group::load::Shape;
use super::group::scene::{Ended, Scene};
use super::group::{Group, Options, Plan, check};
use super::output::print_json;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::signals;

/// With four replicas each writes its state at every fourth of these heights, and keeps the log of twice as many.
const CHECKPOINT_EVERY: u64 = 250;
const SEGMENT_BYTES: u32 = 1 << 20;
/// How long the first answer may take.
const FIRST: Duration = Duration::from_secs(30);

/// Kill, stop and cut off replicas under load, and check that nothing is lost, done twice or reordered
///
/// Four replicas of a ledger as processes, each in a network namespace of its own, with the total order over real links and
/// logs. Clients write numbered entries at a steady pace. Faults come from a seed: kill -9, SIGSTOP, cuts in both directions or in one
/// (what is sent is lost in silence), the leader being the victim every other time; now and then more than f at once, when nothing
/// may be served. At the end every acknowledged entry must be applied exactly once at every replica, in its client's
/// order, and all replicas must be equal; else the exit code is 1.
///
/// Namespaces need root and iproute2; whatever is made is removed at the end, and what a killed run leaves by the next run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only a part: leaders killed one after another, or five times the load that saturates with busy processors and no faults
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// How long faults go on, or how long the overload does [default: 60; overload: 20]
    #[arg(long, value_parser = clap::value_parser!(u64).range(5..=86_400), value_name = "SECONDS")]
    duration: Option<u64>,
    /// Leaders to kill, with --only leader-kills
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000), value_name = "N")]
    rounds: u16,
    /// With --only leader-kills, the longest that the service may be gone
    #[arg(long, default_value_t = 1000, value_name = "MS")]
    within: u64,
    /// With --only overload, busy loops for each processor
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(..=16), value_name = "N")]
    busy: u16,
    /// Which faults come when [default: drawn, and told]
    #[arg(long)]
    seed: Option<u64>,
    /// Replicas on loopback addresses, and no cuts between them: needs no root
    #[arg(long)]
    no_partitions: bool,
    /// Clients, each with one entry under way
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=500), value_name = "N")]
    clients: u16,
    /// Entries a second, all clients together
    #[arg(long, default_value_t = 500.0, value_parser = rate, value_name = "N")]
    rate: f64,
    /// Replicas execute and answer after the WRITE quorum, and undo it where another value is decided
    #[arg(long)]
    tentative: bool,
    /// What an entry carries
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(..=1 << 20), value_name = "BYTES")]
    bytes: u32,
    /// The most memory that a replica may have resident
    #[arg(long, default_value_t = 512, value_name = "MIB")]
    memory: u64,
    /// The most that a replica's log and checkpoints may take on the disk
    #[arg(long, default_value_t = 64, value_name = "MIB")]
    disk: u64,
    /// Where faults.md, faults.svg and faults.json go
    #[arg(long, default_value = "steeldb-bench-faults", value_name = "DIR")]
    report: PathBuf,
    /// Print the report as JSON on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Only {
    LeaderKills,
    Overload,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    match (1.0..=1e6).contains(&rate) {
        true => Ok(rate),
        false => Err("it must be 1 to 1000000".to_owned()),
    }
}

pub async fn run(args: &Args) -> Result<(), Failure> {
    crate::logging::start_at_terminal()?;
    let stop_wish = signals::stop_wish()?;
    let progress = Progress::start();
    let work = async {
        match args.only {
            None => chaos(args, &progress).await,
            Some(Only::LeaderKills) => leader_kills(args, &progress).await,
            Some(Only::Overload) => overload(args, &progress).await,
        }
    };
    // Whichever way it ends, all that was made is dropped with it.
    tokio::select! {
        done = work => done,
        () = stop_wish => Err(Failure::new("interrupted: nothing was checked")),
    }
}

/// Replicas that run, and clients that are served.
async fn set_up(plan: Plan, shape: Shape, progress: &Progress) -> Result<Scene, Failure> {
    progress.step(format!("starting {} replicas", plan.replicas));
    let clients = plan.clients;
    let mut group = Group::create(plan)?;
    group.start_all().await?;
    progress.step(format!("connecting {clients} clients"));
    let scene = Scene::start(group, shape).await?;
    scene.load.answers_again(FIRST).await?;
    Ok(scene)
}

impl Args {
    /// Four replicas with their default settings, and these clients.
    fn plan(&self) -> Plan {
        Plan {
            replicas: 4,
            clients: usize::from(self.clients),
            options: Options {
                tentative: self.tentative,
                ..Options::default()
            },
            ..Plan::default()
        }
    }

    fn steady(&self) -> Shape {
        Shape {
            lanes: 1,
            rate: Some(self.rate),
            bytes: self.bytes as usize,
        }
    }
}

async fn chaos(args: &Args, progress: &Progress) -> Result<(), Failure> {
    let partitions = !args.no_partitions;
    let duration = Duration::from_secs(args.duration.unwrap_or(60));
    let asked = Asked {
        seed: args.seed.unwrap_or_else(rand::random),
        partitions,
        tentative: args.tentative,
        clients: usize::from(args.clients),
        rate: args.rate,
        memory_limit_mib: args.memory,
        disk_limit_mib: args.disk,
    };
    progress.note(&format!("seed {}", asked.seed));
    // Checkpoints come often, and logs are cut in small pieces: a run of minutes sees many, and who was away for seconds may
    // need another's state.
    let mut plan = args.plan();
    plan.namespaces = partitions;
    plan.options.checkpoint_every = Some(CHECKPOINT_EVERY);
    plan.options.segment_bytes = Some(SEGMENT_BYTES);
    let mut scene = set_up(plan, args.steady(), progress).await?;
    let told = |failure: Failure| failure.next(format!("repeat it with --seed {}", asked.seed));
    let happened = chaos::run(&mut scene, asked.seed, partitions, duration, progress)
        .await
        .map_err(told)?;
    let regency_changes = scene.regency_changes();
    progress.step("waiting until all replicas stand at one height");
    let ended = scene.end().await.map_err(told)?;
    let answers = Answers::of(&ended.records);
    let mut broken = check::broken(&ended.records, &ended.replicas);
    broken.extend(chaos::served_without_quorum(&happened, &answers));
    broken.extend(chaos::beyond_bounds(&ended, args.memory, args.disk));
    let report = Report::new(&asked, &happened, &ended, regency_changes, &answers, broken);
    let chart = page::chart(&happened, &answers, duration);
    report.write(&args.report, &chart)?;
    match args.json {
        true => print_json(&report)?,
        false => println!("{}", report.markdown()),
    }
    eprintln!("the report is in {}", args.report.display());
    verdict(&report.broken)
}

async fn leader_kills(args: &Args, progress: &Progress) -> Result<(), Failure> {
    let clients = usize::from(args.clients);
    // No cuts: the kernel tells others that the leader's connections are gone, as it does on every machine whose process dies.
    let mut scene = set_up(args.plan(), args.steady(), progress).await?;
    let rounds = usize::from(args.rounds);
    let kills = leader_kills::run(&mut scene, rounds, progress).await?;
    let changes = scene.regency_changes();
    let ended = scene.end().await?;
    let answers = Answers::of(&ended.records);
    let mut broken = check::broken(&ended.records, &ended.replicas);
    if changes < rounds as u64 {
        broken.push(format!(
            "{rounds} leaders were killed, and {changes} regencies installed"
        ));
    }
    let setting = (clients, args.rate, args.within);
    let report = leader_kills::Report::new(setting, &kills, &answers, broken);
    match args.json {
        true => print_json(&report)?,
        false => println!("{}", report.text()),
    }
    verdict(&report.broken)
}

async fn overload(args: &Args, progress: &Progress) -> Result<(), Failure> {
    let plan = Plan {
        clients: overload::CLIENTS,
        ..args.plan()
    };
    let shape = overload::shape(1, args.bytes as usize);
    let mut scene = set_up(plan, shape, progress).await?;
    let duration = Duration::from_secs(args.duration.unwrap_or(20));
    let (bytes, busy) = (args.bytes as usize, usize::from(args.busy));
    let seen = overload::run(&mut scene, bytes, busy, duration, progress).await?;
    let last = scene.load.first_lane();
    let ended = scene.end().await?;
    let Ended {
        records, replicas, ..
    } = &ended;
    let of_last: Vec<_> = records
        .iter()
        .filter(|record| record.id.1 >= last)
        .collect();
    let answers = Answers::of(of_last);
    let acknowledged = records
        .iter()
        .map(|record| record.answers.len() as u64)
        .sum();
    let broken = check::broken(records, replicas);
    let report = overload::Report::new(seen, &answers, acknowledged, broken);
    match args.json {
        true => print_json(&report)?,
        false => println!("{}", report.text()),
    }
    verdict(&report.broken)
}

fn verdict(broken: &[String]) -> Result<(), Failure> {
    match broken.is_empty() {
        true => Ok(()),
        false => Err(Failure::new("a rule was broken").cause(broken.join("\n"))),
    }
}
