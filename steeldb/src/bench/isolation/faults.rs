//! What goes wrong when: drawn from a seed, done, undone.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use super::cluster::Running;
use super::wires::End;
use crate::commands::{kill, start};
use crate::failure::Failure;
use crate::layout::Member;
use crate::members;
use crate::operator::Operator;
use crate::progress::Progress;

/// Before the first fault, and after the last.
const CALM: Duration = Duration::from_secs(2);
/// How long a replica may take to catch up.
const BACK: Duration = Duration::from_secs(180);
/// How long replicas may take to say who is the master.
const ASK: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_millis(100);
const REPLICAS: u16 = 4;

/// Which faults may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// SIGKILL of a replica and its PostgreSQL
    Kills,
    /// SIGSTOP of a replica, now and then of two, when nothing can be ordered
    Pauses,
    /// The master is killed, stopped or cut off until another one is chosen
    Master,
    /// SIGKILL of a proxy: its sessions go on at others
    Proxies,
    /// Replicas that others do not reach
    Partitions,
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill(Victim),
    Pause(Victim),
    /// Of this replica and the next: beyond f.
    PauseTwo(u16),
    /// The n-th, counted round.
    KillProxy(u16),
    /// From all others and the proxies.
    Isolate(Victim),
    /// From the other replicas; proxies reach it.
    CutFromReplicas(Victim),
    /// From the proxies alone.
    CutFromProxies(Victim),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Replica(u16),
    Master,
}

#[derive(Clone, Copy, Debug)]
struct Episode {
    fault: Fault,
    lasts: Duration,
    quiet: Duration,
}

/// Episodes without end.
struct Schedule {
    draws: StdRng,
    kinds: Vec<Kind>,
    longest: f64,
}

impl Schedule {
    fn new(seed: u64, kinds: &[Kind], run: Duration) -> Schedule {
        Schedule {
            draws: StdRng::seed_from_u64(seed),
            kinds: kinds.to_vec(),
            longest: (run.as_secs_f64() / 6.0).clamp(2.0, 10.0),
        }
    }

    fn of_kind(&mut self, kind: Kind) -> Fault {
        let victim = Victim::Replica(self.draws.random_range(0..REPLICAS));
        let die = self.draws.random_range(0..6);
        match kind {
            Kind::Kills => Fault::Kill(victim),
            Kind::Pauses if die == 0 => Fault::PauseTwo(self.draws.random_range(0..REPLICAS)),
            Kind::Pauses => Fault::Pause(victim),
            Kind::Proxies => Fault::KillProxy(self.draws.random_range(0..1_000)),
            Kind::Partitions => match die {
                0..3 => Fault::Isolate(victim),
                3..5 => Fault::CutFromReplicas(victim),
                _ => Fault::CutFromProxies(victim),
            },
            // Its ways can be held where `Partitions` has them laid.
            Kind::Master if die >= 4 && self.kinds.contains(&Kind::Partitions) => {
                Fault::Isolate(Victim::Master)
            }
            Kind::Master if die >= 2 => Fault::Pause(Victim::Master),
            Kind::Master => Fault::Kill(Victim::Master),
        }
    }
}

impl Iterator for Schedule {
    type Item = Episode;

    fn next(&mut self) -> Option<Episode> {
        let kind = *self.kinds.choose(&mut self.draws)?;
        let fault = self.of_kind(kind);
        let seconds: f64 = match fault {
            Fault::PauseTwo(_) => self.draws.random_range(1.0..3.0),
            // Longer than the master's time-out.
            _ if kind == Kind::Master => self.draws.random_range(2.0..5.0),
            _ if self.draws.random_ratio(1, 4) => self.draws.random_range(4.0..10.0),
            _ => self.draws.random_range(0.3..4.0),
        };
        Some(Episode {
            fault,
            lasts: Duration::from_secs_f64(seconds.min(self.longest)),
            quiet: Duration::from_secs_f64(self.draws.random_range(1.0..3.0)),
        })
    }
}

/// What happened, in seconds after the clients' start.
#[derive(Clone, Debug, Serialize)]
pub struct Happened {
    pub fault: String,
    pub who: Vec<u16>,
    pub from_s: f64,
    pub to_s: f64,
    /// When whom it hit had caught up.
    pub back_s: f64,
}

/// Runs episodes until the time is over; then all is mended.
pub async fn run(
    running: &mut Running,
    seed: u64,
    kinds: &[Kind],
    clock: Instant,
    duration: Duration,
    progress: &Progress,
) -> Result<Vec<Happened>, Failure> {
    let mut happened: Vec<Happened> = Vec::new();
    tokio::time::sleep(CALM).await;
    for episode in Schedule::new(seed, kinds, duration) {
        let left = duration.saturating_sub(clock.elapsed());
        if left < episode.lasts + CALM {
            break;
        }
        let one = one(running, &episode, clock).await?;
        progress.note(&format!(
            "{:6.1} s  {} {:?} for {:.1} s; caught up {:.1} s later",
            one.from_s,
            one.fault,
            one.who,
            one.to_s - one.from_s,
            one.back_s - one.to_s
        ));
        happened.push(one);
        tokio::time::sleep(episode.quiet).await;
    }
    tokio::time::sleep(duration.saturating_sub(clock.elapsed())).await;
    Ok(happened)
}

async fn one(
    running: &mut Running,
    episode: &Episode,
    clock: Instant,
) -> Result<Happened, Failure> {
    let from_s = clock.elapsed().as_secs_f64();
    let fault = episode.fault;
    let who = who(running, fault).await?;
    hurt(running, fault, &who).await?;
    tokio::time::sleep(episode.lasts).await;
    let to_s = clock.elapsed().as_secs_f64();
    heal(running, fault, &who).await?;
    Ok(Happened {
        fault: fault.to_string(),
        who,
        from_s,
        to_s,
        back_s: clock.elapsed().as_secs_f64(),
    })
}

/// The replicas that it hits, or the proxy.
async fn who(running: &Running, fault: Fault) -> Result<Vec<u16>, Failure> {
    let victim = match fault {
        Fault::PauseTwo(first) => return Ok(vec![first, (first + 1) % REPLICAS]),
        Fault::KillProxy(n) => return Ok(vec![n % running.fronts().len() as u16]),
        Fault::Kill(victim)
        | Fault::Pause(victim)
        | Fault::Isolate(victim)
        | Fault::CutFromReplicas(victim)
        | Fault::CutFromProxies(victim) => victim,
    };
    Ok(vec![match victim {
        Victim::Replica(id) => id,
        Victim::Master => master(running).await?.1,
    }])
}

/// The latest epoch that a replica knows, and its master.
pub async fn master(running: &Running) -> Result<(u64, u16), Failure> {
    let operator = Operator::connect(&running.layout, &running.cluster).await?;
    let until = Instant::now() + BACK;
    loop {
        let statuses = operator.shim.statuses(ASK).await;
        let latest = statuses.values().map(|s| (s.epoch, s.master)).max();
        match latest {
            Some(latest) => return Ok(latest),
            None if Instant::now() > until => {
                return Err(Failure::new("no replica says who is the master"));
            }
            // Its links come up one by one.
            None => tokio::time::sleep(AGAIN).await,
        }
    }
}

async fn hurt(running: &mut Running, fault: Fault, who: &[u16]) -> Result<(), Failure> {
    for id in who {
        match fault {
            Fault::Kill(_) => {
                let (layout, id) = (running.layout.clone(), *id);
                let killed = tokio::task::spawn_blocking(move || kill::kill(&layout, id)).await;
                killed.map_err(|error| Failure::new("a kill was not done").cause(error))??;
            }
            Fault::Pause(_) | Fault::PauseTwo(_) => signal(running, *id, Signal::SIGSTOP)?,
            Fault::KillProxy(_) => running.kill_proxy(*id).await?,
            Fault::Isolate(_) | Fault::CutFromReplicas(_) | Fault::CutFromProxies(_) => {
                running.wires.cut(*id, |end| cuts(fault, end), true);
            }
        }
    }
    Ok(())
}

fn cuts(fault: Fault, other: End) -> bool {
    match fault {
        Fault::CutFromReplicas(_) => matches!(other, End::Replica(_)),
        Fault::CutFromProxies(_) => matches!(other, End::Proxy(_)),
        _ => true,
    }
}

async fn heal(running: &mut Running, fault: Fault, who: &[u16]) -> Result<(), Failure> {
    for id in who {
        match fault {
            Fault::Kill(_) => {}
            Fault::Pause(_) | Fault::PauseTwo(_) => signal(running, *id, Signal::SIGCONT)?,
            Fault::KillProxy(_) => return running.start_proxy(*id),
            Fault::Isolate(_) | Fault::CutFromReplicas(_) | Fault::CutFromProxies(_) => {
                running.wires.cut(*id, |end| cuts(fault, end), false);
            }
        }
    }
    for id in who {
        start::bring_back(&running.layout, *id, BACK, &Progress::unseen()).await?;
    }
    Ok(())
}

fn signal(running: &Running, id: u16, signal: Signal) -> Result<(), Failure> {
    let Some(process) = members::process(&running.layout, Member::Replica(id)) else {
        return Ok(());
    };
    process
        .signal(signal)
        .map_err(|error| Failure::new(format!("cannot send {signal} to replica {id}")).cause(error))
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (victim, how) = match self {
            Fault::PauseTwo(_) => return f.write_str("two replicas stopped"),
            Fault::KillProxy(_) => return f.write_str("proxy killed"),
            Fault::Kill(victim) => (victim, "killed"),
            Fault::Pause(victim) => (victim, "stopped"),
            Fault::Isolate(victim) => (victim, "isolated"),
            Fault::CutFromReplicas(victim) => (victim, "cut from replicas"),
            Fault::CutFromProxies(victim) => (victim, "cut from proxies"),
        };
        let victim = match victim {
            Victim::Replica(_) => "replica",
            Victim::Master => "master",
        };
        write!(f, "{victim} {how}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const RUN: Duration = Duration::from_secs(600);
    const ALL: [Kind; 5] = [
        Kind::Kills,
        Kind::Pauses,
        Kind::Master,
        Kind::Proxies,
        Kind::Partitions,
    ];

    fn names(seed: u64, kinds: &[Kind]) -> Vec<String> {
        let episodes = Schedule::new(seed, kinds, RUN).take(300);
        episodes.map(|episode| episode.fault.to_string()).collect()
    }

    #[test]
    fn a_seed_draws_its_faults_again_and_all_that_were_asked_for() {
        assert_eq!(names(7, &ALL), names(7, &ALL));
        assert_ne!(names(7, &ALL), names(8, &ALL));
        let kinds: BTreeSet<String> = names(7, &ALL).into_iter().collect();
        assert_eq!(kinds.len(), 10, "{kinds:?}");
    }

    #[test]
    fn what_was_not_asked_for_does_not_come() {
        let names = names(7, &[Kind::Master]);
        let allowed = ["master killed", "master stopped"];
        assert!(
            names.iter().all(|name| allowed.contains(&name.as_str())),
            "{names:?}"
        );
        assert!(Schedule::new(7, &[], RUN).next().is_none());
    }
}
