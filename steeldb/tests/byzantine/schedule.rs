//! What the attackers do when: drawn from a seed, so that a run that failed is run again.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use replica::executor::lies::Lie;

use crate::bank::Bank;
use crate::liar::Liar;
use crate::place::Place;

/// Outcomes that clients are told during each episode: somebody is served, whatever the attackers do.
const SERVED: usize = 20;
/// Episodes of a run, however slow the machine is.
const LEAST: usize = 5;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Episode {
    /// The liar with this place among the liars tells these lies.
    Lies(usize, Vec<Lie>),
    /// It is silent for so many milliseconds.
    Silence(usize, u64),
    /// It crashes with its PostgreSQL, and comes back.
    Crash(usize),
    /// All liars are honest while the operator makes one of them the master; then it lies.
    Master(usize),
    /// All liars are honest while a correct replica crashes and comes back: no more than f are faulty at once.
    CorrectCrash(u16),
    /// The proxy's key is used for this attack.
    Mallory(String),
}

/// Episodes without end.
pub struct Schedule {
    draws: StdRng,
    liars: usize,
    correct: Vec<u16>,
}

impl Schedule {
    pub fn new(seed: u64, liars: usize, correct: Vec<u16>) -> Schedule {
        Schedule {
            draws: StdRng::seed_from_u64(seed),
            liars,
            correct,
        }
    }

    fn lies(&mut self) -> Vec<Lie> {
        let count = self.draws.random_range(1..=3);
        let one = |_| Lie::ALL[self.draws.random_range(0..Lie::ALL.len())];
        (0..count).map(one).collect()
    }
}

impl Iterator for Schedule {
    type Item = Episode;

    fn next(&mut self) -> Option<Episode> {
        let liar = self.draws.random_range(0..self.liars);
        Some(match self.draws.random_range(0..12) {
            0..4 => Episode::Lies(liar, self.lies()),
            4 => Episode::Silence(liar, self.draws.random_range(200..2_500)),
            5 => Episode::Crash(liar),
            6..8 => Episode::Master(liar),
            8 => Episode::CorrectCrash(*self.correct.choose(&mut self.draws)?),
            _ => {
                let seed: u32 = self.draws.random();
                let attacks = [
                    "unrun".to_owned(),
                    "equivocate".to_owned(),
                    "forge".to_owned(),
                    format!("garbage {seed}"),
                    format!("open {}", seed % 400),
                ];
                Episode::Mallory(attacks.choose(&mut self.draws)?.clone())
            }
        })
    }
}

/// Takes f replicas over, then runs episodes for so long, and [`LEAST`] at least; the liars, honest by now.
pub async fn run(place: &Place, bank: &mut Bank, seed: u64, duration: Duration) -> Vec<Liar> {
    let n = place.replicas();
    let f = usize::from((n - 1) / 3);
    let mut liars = Vec::new();
    for replica in 0..f as u16 {
        liars.push(Liar::take_over(&place.cluster, replica).await);
    }
    let correct: Vec<u16> = (f as u16..n).collect();
    let mut mallory = place.mallory();
    let until = Instant::now() + duration;
    for (number, episode) in Schedule::new(seed, f, correct).enumerate() {
        if number >= LEAST && Instant::now() >= until {
            break;
        }
        let start = Instant::now();
        match &episode {
            Episode::Lies(liar, lies) => liars[*liar].tell(lies).await,
            Episode::Silence(liar, ms) => {
                liars[*liar].silent(true);
                tokio::time::sleep(Duration::from_millis(*ms)).await;
                bank.more(SERVED).await;
                liars[*liar].silent(false);
            }
            Episode::Crash(liar) => liars[*liar].crash(&place.cluster).await,
            Episode::Master(liar) => {
                quiet(&mut liars).await;
                place.make_master(liars[*liar].replica);
                liars[*liar].tell(&[Lie::Answers]).await;
            }
            Episode::CorrectCrash(replica) => {
                quiet(&mut liars).await;
                let replica = replica.to_string();
                place.cluster.succeed(&["kill", "--replica", &replica]);
                bank.more(SERVED).await;
                place.cluster.succeed(&["start", "--replica", &replica]);
            }
            Episode::Mallory(attack) => {
                mallory.order(attack).await;
            }
        }
        bank.more(SERVED).await;
        println!("{number}: {episode:?}, {} ms", start.elapsed().as_millis());
    }
    quiet(&mut liars).await;
    liars
}

async fn quiet(liars: &mut [Liar]) {
    for liar in liars {
        liar.tell(&[]).await;
    }
}

#[test]
fn a_seed_draws_its_episodes_again_and_every_kind() {
    let drawn = |seed| -> Vec<Episode> {
        let schedule = Schedule::new(seed, 2, vec![2, 3, 4, 5, 6]);
        schedule.take(200).collect()
    };
    assert_eq!(drawn(7), drawn(7));
    assert_ne!(drawn(7), drawn(8));
    let kinds: std::collections::BTreeSet<_> = drawn(7)
        .iter()
        .map(|episode| format!("{episode:?}").split('(').next().map(str::to_owned))
        .collect();
    assert_eq!(kinds.len(), 6, "{kinds:?}");
}
