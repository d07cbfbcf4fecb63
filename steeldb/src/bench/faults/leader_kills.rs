//! The leader is killed under load again and again: how long until somebody is served.

use std::time::Duration;

use serde::Serialize;

use super::inject::Injected;
use super::report::ms;
use super::schedule::{Fault, Hurt, Victim};
use crate::bench::group::answers::Answers;
use crate::bench::group::scene::Scene;
use crate::failure::Failure;
use crate::progress::Progress;

/// How long the leader stays down: long enough to see that the service goes on without it.
const DOWN: Duration = Duration::from_secs(2);
/// Between all being back and the next kill.
const QUIET: Duration = Duration::from_secs(2);
/// How long a killed leader's group may take to answer again before the run is given up.
const AGAIN: Duration = Duration::from_secs(60);

/// The distribution of what was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    pub rounds: usize,
    pub clients: usize,
    pub rate: f64,
    /// From the kill to the first answer to an entry that was sent when the leader was dead: nobody but a new one can have proposed it.
    /// Answers to what the dead one had proposed may come in between. Ascending.
    pub back_ms: Vec<f64>,
    pub median_ms: f64,
    pub p90_ms: f64,
    pub worst_ms: f64,
    pub within_ms: u64,
    /// Latency between the kills, p50 and p99.
    pub calm_latency_ms: [f64; 2],
    pub acknowledged: u64,
    pub broken: Vec<String>,
}

/// When a leader was killed, and when it was dead for certain.
pub struct Kill {
    from: Duration,
    dead: Duration,
}

/// Kills so many leaders.
pub async fn run(
    scene: &mut Scene,
    rounds: usize,
    progress: &Progress,
) -> Result<Vec<Kill>, Failure> {
    let mut kills = Vec::new();
    scene.pass(QUIET).await?;
    for round in 1..=rounds {
        progress.step(format!("killing the leader: {round} of {rounds}"));
        let from = scene.load.now();
        let fault = Fault::One(Victim::Leader, Hurt::Kill);
        let injected = Injected::begin(&mut scene.group, &fault).await?;
        let dead = scene.load.now();
        scene.pass(DOWN).await?;
        scene.load.answers_again(AGAIN).await?;
        kills.push(Kill { from, dead });
        injected.end(&mut scene.group)?;
        scene.caught_up().await?;
        scene.pass(QUIET).await?;
    }
    Ok(kills)
}

impl Report {
    pub fn new(
        (clients, rate, within_ms): (usize, f64, u64),
        kills: &[Kill],
        answers: &Answers,
        mut broken: Vec<String>,
    ) -> Report {
        let mut back: Vec<f64> = kills
            .iter()
            .map(|kill| match answers.to_what_came_after(kill.dead) {
                Some(at) => ms(at - kill.from),
                None => f64::INFINITY,
            })
            .collect();
        back.sort_by(f64::total_cmp);
        let at = |share: f64| back[((back.len() as f64 * share) as usize).min(back.len() - 1)];
        let worst = at(1.0);
        if worst >= within_ms as f64 {
            broken.push(format!(
                "the service was back after {worst:.0} ms in the worst round; {within_ms} are allowed"
            ));
        }
        let first = kills.first().map_or(Duration::ZERO, |kill| kill.from);
        Report {
            rounds: kills.len(),
            clients,
            rate,
            median_ms: at(0.5),
            p90_ms: at(0.9),
            worst_ms: worst,
            back_ms: back,
            within_ms,
            calm_latency_ms: answers
                .quantiles(Duration::ZERO, first, [0.5, 0.99])
                .map(ms),
            acknowledged: answers.len() as u64,
            broken,
        }
    }

    pub fn text(&self) -> String {
        let [p50, p99] = self.calm_latency_ms;
        format!(
            "{} leaders killed under load ({} clients, {:.0} entries/s; calm: p50 {p50:.1} ms, p99 {p99:.1} ms)\n\
             service back  median {:.0} ms, p90 {:.0}, worst {:.0} (allowed {})\n\
             all           {:?}\n\
             {} entries acknowledged{}",
            self.rounds,
            self.clients,
            self.rate,
            self.median_ms,
            self.p90_ms,
            self.worst_ms,
            self.within_ms,
            self.back_ms,
            self.acknowledged,
            match self.broken.is_empty() {
                true => ", each applied exactly once at every replica".to_owned(),
                false => format!("\nBROKEN: {}", self.broken.join("; ")),
            }
        )
    }
}
