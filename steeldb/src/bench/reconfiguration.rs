//! `steeldb bench reconfiguration`: throughput over time while a replica is added, the leader crashes and comes back, and a replica
//! is removed; the course of Figure 4.9 in Sousa's thesis.

use std::path::PathBuf;
use std::time::Duration;

use ::consensus::{ReplicaId, Step};
use client_shim::invoker::{Client, Settings};
use cluster::FIRST_CLIENT;
use serde::Serialize;

use super::chart::{Chart, Mark};
use super::group::answers::Answers;
use super::group::load::Shape;
use super::group::scene::Scene;
use super::group::{Group, Plan, check};
use super::output::print_json;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::signals;

/// The replica that is added, and the one that is removed, as in the figure.
const ADDED: u16 = 4;
const REMOVED: u16 = 3;
/// When it happens, as shares of the run: seconds 120, 240, 370 and 510 of the figure's 600.
const ADD: f64 = 0.2;
const CRASH: f64 = 0.4;
const RESTART: f64 = 370.0 / 600.0;
const REMOVE: f64 = 0.85;
/// How long the service may be gone.
const AGAIN: Duration = Duration::from_secs(60);
/// What throughput is averaged over, at each side of an event.
const AROUND: Duration = Duration::from_secs(5);
/// From one value of the picture to the next.
const STEP: Duration = Duration::from_millis(250);

/// Throughput while replicas are added, killed, restarted and removed
///
/// Four replicas of a ledger as processes and closed-loop clients, which write entries of 100 bytes. At a fifth of the time replica 4 is
/// added, then the leader is killed and later started again, then replica 3 is removed. Clients follow the membership by
/// themselves. At the end every acknowledged entry must be applied exactly once at every member. The picture is an SVG file.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long it takes; events come at the figure's shares of it
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(20..=86_400), value_name = "SECONDS")]
    duration: u64,
    /// Closed-loop clients
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=500), value_name = "N")]
    clients: u16,
    /// Entries a second, all clients together [default: as many as are answered]
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// What an entry carries
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(..=1 << 20), value_name = "BYTES")]
    bytes: u32,
    /// Where the picture goes
    #[arg(
        long,
        default_value = "steeldb-bench-reconfiguration.svg",
        value_name = "FILE"
    )]
    picture: PathBuf,
    /// Print the report as JSON on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    clients: u16,
    bytes: u32,
    seconds: f64,
    acknowledged: u64,
    ops_per_second: f64,
    events: Vec<Event>,
    peak_memory_mib: Vec<u64>,
    peak_disk_mib: Vec<u64>,
    broken: Vec<String>,
}

/// One event and what clients noticed.
#[derive(Debug, Serialize)]
struct Event {
    what: String,
    at_s: f64,
    /// Until it was done: the change answered, the replica where the others were, another leader seen.
    took_s: f64,
    /// The longest time without an answer to any client around it.
    silence_ms: f64,
    /// Entries a second in the five seconds before and after.
    before: f64,
    after: f64,
}

/// An event, in times after the load's start.
struct Happened {
    what: String,
    at: Duration,
    took: Duration,
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
    progress.step("starting 4 replicas");
    let mut group = Group::create(Plan {
        replicas: 4,
        spares: 1,
        clients: usize::from(args.clients),
        administrator: true,
        ..Plan::default()
    })?;
    group.start_all().await?;
    let administrator = administrator(&group).await?;
    let shape = Shape {
        lanes: 1,
        rate: args.rate,
        bytes: args.bytes as usize,
    };
    let mut scene = Scene::start(group, shape).await?;
    scene.load.answers_again(AGAIN).await?;
    let happened = course(&mut scene, &administrator, args, progress).await?;
    progress.step("waiting until all members stand at one height");
    let ended = scene.end().await?;
    administrator.close().await;
    let answers = Answers::of(&ended.records);
    let mut broken = check::broken(&ended.records, &ended.replicas);
    let members: Vec<u16> = ended.replicas.iter().map(|held| held.replica).collect();
    if members != [0, 1, 2, ADDED] {
        broken.push(format!("the members at the end are {members:?}"));
    }
    let length = Duration::from_secs(args.duration);
    write_picture(args, &chart(args, &happened, &answers))?;
    let mib = |all: &[u64]| all.iter().map(|bytes| bytes >> 20).collect();
    let report = Report {
        clients: args.clients,
        bytes: args.bytes,
        seconds: length.as_secs_f64(),
        acknowledged: answers.len() as u64,
        ops_per_second: answers.between(Duration::ZERO, length) as f64 / length.as_secs_f64(),
        events: happened.iter().map(|event| event.seen(&answers)).collect(),
        peak_memory_mib: mib(&ended.peak_memory),
        peak_disk_mib: mib(&ended.peak_disk),
        broken,
    };
    match args.json {
        true => print_json(&report)?,
        false => println!("{}", report.text()),
    }
    eprintln!("the picture is in {}", args.picture.display());
    match report.broken.is_empty() {
        true => Ok(()),
        false => Err(Failure::new("a rule was broken").cause(report.broken.join("\n"))),
    }
}

/// The client that may change the membership: the last one listed.
async fn administrator(group: &Group) -> Result<Client, Failure> {
    let failed = |cause: String| Failure::new("the administrator cannot start").cause(cause);
    let layout = &group.layout;
    let place = (FIRST_CLIENT..).zip(&layout.clients).last();
    let (id, identity) = place.ok_or_else(|| failed("there is none".to_owned()))?;
    let me = ::consensus::ClientId(id);
    let started = Client::connect(&layout.cluster, me, identity.clone(), Settings::default());
    started.await.map_err(|error| failed(error.to_string()))
}

async fn course(
    scene: &mut Scene,
    administrator: &Client,
    args: &Args,
    progress: &Progress,
) -> Result<Vec<Happened>, Failure> {
    let mut happened = Vec::new();
    let length = Duration::from_secs(args.duration);

    until(scene, length.mul_f64(ADD), progress).await?;
    let begun = Begun::now(scene, progress, format!("replica {ADDED} is added"));
    let step = scene.group.joining(ADDED)?;
    change(scene, administrator, step).await?;
    scene.group.start(ADDED)?;
    scene.caught_up().await?;
    happened.push(begun.done(scene));

    until(scene, length.mul_f64(CRASH), progress).await?;
    let leader = scene.group.leader().unwrap_or(0);
    let begun = Begun::now(scene, progress, format!("leader {leader} is killed"));
    scene.group.kill(leader).await?;
    another_leads(scene, leader).await?;
    happened.push(begun.done(scene));

    until(scene, length.mul_f64(RESTART), progress).await?;
    let begun = Begun::now(
        scene,
        progress,
        format!("replica {leader} is started again"),
    );
    scene.group.start(leader)?;
    scene.caught_up().await?;
    happened.push(begun.done(scene));

    until(scene, length.mul_f64(REMOVE), progress).await?;
    let begun = Begun::now(scene, progress, format!("replica {REMOVED} is removed"));
    let id = ReplicaId(REMOVED);
    change(scene, administrator, Step::RemoveReplica { id }).await?;
    scene.load.answers_again(AGAIN).await?;
    happened.push(begun.done(scene));
    scene.group.kill(REMOVED).await?;

    until(scene, length, progress).await?;
    Ok(happened)
}

async fn another_leads(scene: &mut Scene, gone: u16) -> Result<(), Failure> {
    let until = scene.load.now() + AGAIN;
    while scene.group.leader().is_none_or(|leader| leader == gone) {
        scene.look().await?;
        if scene.load.now() > until {
            return Err(Failure::new(format!(
                "no leader followed {gone} within {AGAIN:?}"
            )));
        }
    }
    scene.load.answers_again(AGAIN).await
}

async fn until(scene: &mut Scene, time: Duration, progress: &Progress) -> Result<(), Failure> {
    while scene.load.now() < time {
        scene
            .pass(Duration::from_secs(1).min(time.saturating_sub(scene.load.now())))
            .await?;
        progress.step(format!(
            "{:.0} s, {} entries acknowledged",
            scene.load.now().as_secs_f64(),
            scene.load.answered()
        ));
    }
    Ok(())
}

async fn change(scene: &mut Scene, administrator: &Client, step: Step) -> Result<(), Failure> {
    let (change, after) = scene.group.changed(step)?;
    let changed = administrator.reconfigure(&change).await;
    changed.map_err(|error| Failure::new("the membership did not change").cause(error))?;
    scene.group.adopt(after)
}

struct Begun {
    what: String,
    at: Duration,
}

impl Begun {
    fn now(scene: &Scene, progress: &Progress, what: String) -> Begun {
        let at = scene.load.now();
        progress.note(&format!("{:6.1} s  {what}", at.as_secs_f64()));
        Begun { what, at }
    }

    fn done(self, scene: &Scene) -> Happened {
        Happened {
            took: scene.load.now() - self.at,
            what: self.what,
            at: self.at,
        }
    }
}

impl Happened {
    fn seen(&self, answers: &Answers) -> Event {
        let rate = |from, to: Duration| {
            answers.between(from, to) as f64 / (to - from).as_secs_f64().max(1e-3)
        };
        let done = self.at + self.took;
        let silence = answers.longest_silence(self.at, done + Duration::from_secs(1));
        Event {
            what: self.what.clone(),
            at_s: self.at.as_secs_f64(),
            took_s: self.took.as_secs_f64(),
            silence_ms: silence.as_secs_f64() * 1e3,
            before: rate(self.at.saturating_sub(AROUND), self.at),
            after: rate(done, done + AROUND),
        }
    }
}

fn chart(args: &Args, happened: &[Happened], answers: &Answers) -> Chart {
    let step = STEP.as_secs_f64();
    let mark = |event: &Happened| Mark {
        from: event.at,
        to: event.at,
        label: event.what.clone(),
        kind: 0,
    };
    let mut values: Vec<f64> = answers
        .per(STEP)
        .iter()
        .map(|count| *count as f64 / step)
        .collect();
    values.truncate((args.duration as f64 / step) as usize);
    Chart {
        title: format!(
            "Entries acknowledged a second: {} clients, n = 4, 5, 4 and f = 1",
            args.clients
        ),
        unit: "entries/s".into(),
        step: STEP,
        values,
        marks: happened.iter().map(mark).collect(),
        key: vec![("event", "#cc0000")],
    }
}

fn write_picture(args: &Args, chart: &Chart) -> Result<(), Failure> {
    std::fs::write(&args.picture, chart.svg()).map_err(|error| {
        Failure::new(format!(
            "cannot write the picture {}",
            args.picture.display()
        ))
        .cause(error)
        .next("give another place with --picture FILE")
    })
}

impl Report {
    fn text(&self) -> String {
        let mut text = format!(
            "{} clients, {} bytes, {:.0} s: {:.0} entries/s; {} acknowledged{}\n\n\
             | event | at, s | done after, s | longest silence, ms | entries/s before | after |\n\
             | --- | --- | --- | --- | --- | --- |",
            self.clients,
            self.bytes,
            self.seconds,
            self.ops_per_second,
            self.acknowledged,
            match self.broken.is_empty() {
                true => ", each applied exactly once at every member".to_owned(),
                false => format!(". BROKEN: {}", self.broken.join("; ")),
            }
        );
        for event in &self.events {
            text += &format!(
                "\n| {} | {:.1} | {:.2} | {:.0} | {:.0} | {:.0} |",
                event.what, event.at_s, event.took_s, event.silence_ms, event.before, event.after
            );
        }
        text
    }
}
