//! Faults drawn from a seed, one episode after another, under steady load.

use std::time::{Duration, Instant};

use super::inject::Injected;
use super::schedule::{Episode, Fault, Schedule};
use crate::bench::group::answers::Answers;
use crate::bench::group::scene::{Ended, Scene};
use crate::failure::Failure;
use crate::progress::Progress;

/// Before the first episode.
const CALM: Duration = Duration::from_secs(3);
/// How long answers that were under way when a spell beyond f began may still come.
const UNDER_WAY: Duration = Duration::from_millis(500);
/// How long the first answer after a fault may take.
const AGAIN: Duration = Duration::from_secs(60);

/// What happened, in times after the load's start.
#[derive(Clone, Debug)]
pub struct Happened {
    pub fault: Fault,
    pub victims: Vec<u16>,
    pub from: Duration,
    /// When all of it was there.
    pub done: Duration,
    pub to: Duration,
    /// When clients were answered again and all replicas were as far as the furthest was at the fault's end.
    pub caught_up: Duration,
}

/// Runs episodes until the time is over.
pub async fn run(
    scene: &mut Scene,
    seed: u64,
    partitions: bool,
    duration: Duration,
    progress: &Progress,
) -> Result<Vec<Happened>, Failure> {
    let mut happened = Vec::new();
    scene.pass(CALM).await?;
    for episode in Schedule::new(seed, partitions, duration) {
        let left = duration.saturating_sub(scene.load.now());
        if left < episode.lasts + episode.quiet + CALM {
            scene.pass(left).await?;
            break;
        }
        let one = one(scene, &episode).await?;
        progress.note(&format!(
            "{:6.1} s  {} (replicas {:?}) for {:.1} s; all caught up {:.1} s later",
            one.from.as_secs_f64(),
            one.fault,
            one.victims,
            (one.to - one.from).as_secs_f64(),
            (one.caught_up - one.to).as_secs_f64(),
        ));
        happened.push(one);
        progress.step(format!(
            "{} faults in {:.0} of {} s, {} entries acknowledged",
            happened.len(),
            scene.load.now().as_secs_f64(),
            duration.as_secs(),
            scene.load.answered()
        ));
        scene.pass(episode.quiet).await?;
    }
    Ok(happened)
}

async fn one(scene: &mut Scene, episode: &Episode) -> Result<Happened, Failure> {
    let from = scene.load.now();
    let began = Instant::now();
    let injected = Injected::begin(&mut scene.group, &episode.fault).await?;
    let done = scene.load.now();
    scene
        .pass(episode.lasts.saturating_sub(began.elapsed()))
        .await?;
    let to = scene.load.now();
    injected.end(&mut scene.group)?;
    scene.load.answers_again(AGAIN).await?;
    scene.caught_up().await?;
    Ok(Happened {
        fault: episode.fault.clone(),
        victims: injected.victims,
        from,
        done,
        to,
        caught_up: scene.load.now(),
    })
}

/// Spells beyond f in which something was answered: a quorum of too few must have ordered it.
pub fn served_without_quorum(happened: &[Happened], answers: &Answers) -> Vec<String> {
    let spells = happened
        .iter()
        .filter(|h| matches!(h.fault, Fault::Beyond(_)));
    let served = spells.filter_map(|spell| {
        let count = answers.between(spell.done + UNDER_WAY, spell.to);
        (count > 0).then(|| {
            format!(
                "{count} entries were acknowledged with replicas {:?} {} (from second {:.1})",
                spell.victims,
                spell.fault,
                spell.from.as_secs_f64()
            )
        })
    });
    served.collect()
}

/// Bounds that were passed, in words.
pub fn beyond_bounds(ended: &Ended, memory_mib: u64, disk_mib: u64) -> Vec<String> {
    let over = |what: &str, peaks: &[u64], limit: u64| -> Vec<String> {
        let over = (0..).zip(peaks).filter(|(_, peak)| **peak > limit << 20);
        over.map(|(id, peak): (u16, &u64)| {
            format!(
                "replica {id} took {} MiB of {what}; the bound is {limit}",
                peak >> 20
            )
        })
        .collect()
    };
    let mut all = over("memory", &ended.peak_memory, memory_mib);
    all.extend(over("disk", &ended.peak_disk, disk_mib));
    all
}
