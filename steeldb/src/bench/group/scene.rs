//! A group under load that is watched all the time: what must hold while it runs, what it uses.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Group;
use super::check::{Held, Marks};
use super::load::{LaneRecord, Load, Shape};
use crate::failure::Failure;

/// From one look to the next.
const LOOK: Duration = Duration::from_millis(20);
/// From one measurement of disk and memory to the next.
const MEASURE: Duration = Duration::from_millis(500);
/// How long replicas may take to be where the others were when a fault ended.
pub const CATCH_UP: Duration = Duration::from_secs(60);
/// How long all may take to reach one height when the load has ended.
const SETTLE: Duration = Duration::from_secs(60);
/// Standing still for this long is standing.
const STILL: Duration = Duration::from_secs(1);

pub struct Scene {
    pub load: Load,
    /// Of loads before this one.
    earlier: Vec<LaneRecord>,
    pub group: Group,
    marks: Marks,
    /// Regencies that replicas told of, by view.
    pub regencies: BTreeSet<(u64, u64)>,
    measured: Instant,
    /// The most that each replica's log took, in bytes.
    pub peak_disk: Vec<u64>,
}

/// A run that has ended.
pub struct Ended {
    pub records: Vec<LaneRecord>,
    pub replicas: Vec<Held>,
    pub peak_memory: Vec<u64>,
    pub peak_disk: Vec<u64>,
    pub marks_compared: u64,
}

impl Scene {
    /// Lets all clients of the group begin.
    pub async fn start(mut group: Group, shape: Shape) -> Result<Scene, Failure> {
        Ok(Scene {
            load: Load::start(group.seats()?, shape, 0).await?,
            earlier: Vec::new(),
            marks: Marks::default(),
            regencies: BTreeSet::new(),
            measured: Instant::now(),
            peak_disk: group.disk(),
            group,
        })
    }

    /// Another load instead of the one so far, which ends; lanes are new ones.
    pub async fn renew_load(&mut self, shape: Shape) -> Result<(), Failure> {
        let first_lane = self.load.end_lane();
        let next = Load::idle(first_lane);
        let ended = std::mem::replace(&mut self.load, next);
        self.earlier.extend(ended.finish().await?);
        self.load = Load::start(self.group.seats()?, shape, first_lane).await?;
        Ok(())
    }

    /// Regencies that were installed after the first.
    pub fn regency_changes(&self) -> u64 {
        self.regencies.len().saturating_sub(1) as u64
    }

    /// Looks at everybody once.
    ///
    /// # Errors
    /// When a replica or a client ended by itself, or what replicas tell breaks a rule.
    pub async fn look(&mut self) -> Result<(), Failure> {
        tokio::time::sleep(LOOK).await;
        self.group.all_alive()?;
        self.load.check().await?;
        for (id, standing) in self.group.standings() {
            if standing.notes > 0 {
                return Err(self.broken(id).await);
            }
            self.regencies.insert((standing.view, standing.regency));
            if let Some((height, digest)) = standing.mark
                && let Some(what) = self.marks.see(id, height, &digest)
            {
                return Err(Failure::new("the replicas' states differ").cause(what));
            }
        }
        if self.measured.elapsed() >= MEASURE {
            self.measured = Instant::now();
            self.group.peak_memory();
            let disk = self.group.disk().into_iter();
            let peaks = self.peak_disk.iter_mut().zip(disk);
            peaks.for_each(|(peak, now)| *peak = now.max(*peak));
        }
        Ok(())
    }

    async fn broken(&mut self, id: u16) -> Failure {
        let failure = Failure::new(format!("replica {id} broke the rules of execution"));
        match self.group.dump(id).await {
            Ok(dump) => failure.cause(dump.notes.join("; ")),
            Err(error) => failure.cause(error),
        }
    }

    /// Looks for this long.
    pub async fn pass(&mut self, time: Duration) -> Result<(), Failure> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.look().await?;
        }
        Ok(())
    }

    /// Waits until all replicas run, keep up, and are as far as the furthest is now.
    pub async fn caught_up(&mut self) -> Result<(), Failure> {
        let began = Instant::now();
        let furthest = |group: &Group| {
            let all = group.standings();
            all.values()
                .map(|standing| standing.executed)
                .max()
                .unwrap_or(0)
        };
        let target = furthest(&self.group);
        loop {
            self.look().await?;
            let standings = self.group.standings();
            let behind: Vec<u16> = self
                .group
                .ids()
                .into_iter()
                .filter(|id| {
                    !standings.get(id).is_some_and(|standing| {
                        standing.executed >= target && !standing.lagging && !standing.synchronizing
                    })
                })
                .collect();
            if behind.is_empty() {
                return Ok(());
            }
            if began.elapsed() > CATCH_UP {
                return Err(Failure::new(format!(
                    "replicas {behind:?} did not catch up within {CATCH_UP:?}"
                ))
                .cause(format!(
                    "height {target} is not reached by all: {standings:?}"
                )));
            }
        }
    }

    /// Ends the load, waits until all stand at one height, and asks everybody what they hold.
    pub async fn end(mut self) -> Result<Ended, Failure> {
        let mut records = self.earlier;
        records.extend(self.load.finish().await?);
        let (began, mut still) = (Instant::now(), Instant::now());
        let mut last = Vec::new();
        loop {
            self.group.all_alive()?;
            let heights: Vec<u64> = self
                .group
                .standings()
                .values()
                .map(|s| s.executed)
                .collect();
            let equal = heights.len() == self.group.ids().len()
                && heights.iter().all(|height| *height == heights[0]);
            if !equal || heights != last {
                still = Instant::now();
            }
            if equal && still.elapsed() > STILL {
                break;
            }
            if began.elapsed() > SETTLE {
                return Err(Failure::new(format!(
                    "the replicas did not reach one height within {SETTLE:?} after the load"
                ))
                .cause(format!("{:?}", self.group.standings())));
            }
            last = heights;
            tokio::time::sleep(LOOK).await;
        }
        let mut replicas = Vec::new();
        for replica in self.group.ids() {
            let ledger = self.group.dump(replica).await?;
            let (height, state) = match self.group.is_far() {
                false => self.group.state(replica).await?,
                // Each knows the others by addresses of its own, and the state holds them.
                true => (ledger.height, String::new()),
            };
            replicas.push(Held {
                replica,
                ledger,
                height,
                state,
            });
        }
        Ok(Ended {
            records,
            replicas,
            peak_memory: self.group.peak_memory(),
            peak_disk: self.peak_disk,
            marks_compared: self.marks.compared,
        })
    }
}
