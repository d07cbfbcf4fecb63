//! Systems measured in turns, so that what disturbs the machine for a while disturbs all of them alike.
//!
//! All are started and loaded first, one by one. Then each round measures each system once, beginning with another one
//! each time, while the processes of the others are stopped. A checkpoint precedes each measurement.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;

use crate::comparison::{Comparison, Measured, Round};
use crate::relay::Relay;
use crate::system::{Later, Setup, System};
use crate::{Error, machine};

/// The role of this process and of the load generators that it starts.
pub const CLIENT: &str = "client";

/// The role of the relays' threads in this process: no work of any system.
pub const LINKS: &str = "links";

/// Between waking a system and measuring it: what it has to catch up with is done.
const WAKE: Duration = Duration::from_millis(500);

/// What is measured.
pub trait Workload: Send {
    /// `TPC-C, 1 warehouse, 8 terminals, 20 s`.
    fn describe(&self) -> String;

    /// Makes what the measurement needs, once for each system.
    fn prepare<'a>(&'a mut self, system: &'a str, dsn: &'a str) -> Later<'a, Result<(), Error>>;

    /// One round. The measured interval is from `meter.begin` to `meter.end`; without these calls it is the whole round.
    fn measure<'a>(
        &'a mut self,
        system: &'a str,
        dsn: &'a str,
        meter: &'a mut Meter<'_>,
    ) -> Later<'a, Result<Outcome, Error>>;
}

/// What a workload has measured in a round.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    pub metrics: BTreeMap<String, f64>,
    /// Transactions committed in the measured interval.
    pub committed: u64,
}

/// Measures CPU time between two moments.
pub struct Meter<'a> {
    system: &'a dyn System,
    began: Option<(Instant, BTreeMap<String, f64>)>,
    spent: Option<BTreeMap<String, f64>>,
}

impl<'a> Meter<'a> {
    pub fn new(system: &'a dyn System) -> Meter<'a> {
        Meter {
            system,
            began: None,
            spent: None,
        }
    }

    /// The measured interval begins; what was before, as a warm-up, does not count.
    pub fn begin(&mut self) -> Result<(), Error> {
        self.spent = None;
        self.began = Some((Instant::now(), self.read()?));
        Ok(())
    }

    /// The measured interval ends. A second call changes nothing.
    pub fn end(&mut self) -> Result<(), Error> {
        if let (Some((_, before)), None) = (&self.began, &self.spent) {
            let mut spent = self.read()?;
            for (role, seconds) in &mut spent {
                *seconds = (*seconds - before.get(role).unwrap_or(&0.0)).max(0.0);
            }
            self.spent = Some(spent);
        }
        Ok(())
    }

    /// CPU seconds by role so far.
    fn read(&self) -> Result<BTreeMap<String, f64>, Error> {
        let mut seconds = self.system.cpu_seconds()?;
        let links: f64 = self
            .system
            .relays()
            .into_iter()
            .map(Relay::cpu_seconds)
            .sum();
        seconds.insert(CLIENT.to_owned(), (own_seconds()? - links).max(0.0));
        if links > 0.0 {
            seconds.insert(LINKS.to_owned(), links);
        }
        Ok(seconds)
    }
}

/// CPU seconds of this process and of its children that have ended.
fn own_seconds() -> Result<f64, Error> {
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let of = |who| {
        getrusage(who).map(|usage: Usage| seconds(usage.user_time()) + seconds(usage.system_time()))
    };
    let sum = of(UsageWho::RUSAGE_SELF).and_then(|own| Ok(own + of(UsageWho::RUSAGE_CHILDREN)?));
    sum.map_err(Error::io("read the CPU time of", "this process"))
}

/// A system that has started, and what it has shown.
struct Entry {
    system: Box<dyn System>,
    measured: Measured,
    /// It is left out from here on.
    failed: bool,
}

/// What happens, said line by line to who waits, and kept where a system is left out.
struct Progress<'a> {
    say: &'a mut (dyn FnMut(&str) + Send),
    skipped: BTreeMap<String, String>,
}

impl Progress<'_> {
    fn say(&mut self, line: &str) {
        (self.say)(line);
    }

    fn skip(&mut self, system: &str, reason: String) {
        self.say(&format!("{system}: skipped: {reason}"));
        self.skipped.insert(system.to_owned(), reason);
    }
}

/// Measures the systems in `rounds` rounds on the ground and links of `setup`. A system that cannot start, or fails in a
/// round, is left out from there on, with the reason. `say` hears what happens.
pub async fn compare(
    systems: Vec<Box<dyn System>>,
    rounds: usize,
    workload: &mut dyn Workload,
    setup: &Setup,
    say: &mut (dyn FnMut(&str) + Send),
) -> Result<Comparison, Error> {
    let inside = if setup.ground.network.is_some() {
        ", network namespaces"
    } else {
        ""
    };
    let links = format!("{}{inside}", setup.links.name());
    let mut machine = machine::describe(&setup.ground.base, "no quota".to_owned(), links)?;
    let skipped = BTreeMap::new();
    let mut progress = Progress { say, skipped };
    let mut entries = start(systems, workload, &mut progress).await;
    if let Some(host) = entries
        .iter()
        .find_map(|entry| entry.system.hosts().first().copied())
    {
        machine.quota = host.quota_text();
    }
    let began = Instant::now();
    for number in 0..rounds {
        for place in 0..entries.len() {
            let at = (place + number) % entries.len();
            turn(&mut entries[at], workload, began, &mut progress).await;
        }
    }
    for entry in &mut entries {
        end(&mut *entry.system, &mut progress).await;
    }
    let measured = entries.into_iter().map(|entry| entry.measured);
    Ok(Comparison {
        workload: workload.describe(),
        machine,
        systems: measured
            .filter(|measured| !measured.rounds.is_empty())
            .collect(),
        skipped: progress.skipped,
    })
}

/// Starts and loads the systems, one by one.
async fn start(
    systems: Vec<Box<dyn System>>,
    workload: &mut dyn Workload,
    progress: &mut Progress<'_>,
) -> Vec<Entry> {
    let mut entries = Vec::new();
    for mut system in systems {
        let name = system.name().to_owned();
        progress.say(&format!("{name}: starting and loading"));
        if let Err(error) = ready(&mut *system, workload).await {
            progress.skip(&name, error.to_string());
            end(&mut *system, progress).await;
            continue;
        }
        let measured = Measured {
            system: name,
            description: system.description(),
            rounds: Vec::new(),
        };
        entries.push(Entry {
            system,
            measured,
            failed: false,
        });
    }
    entries
}

/// A system's turn in a round.
async fn turn(
    entry: &mut Entry,
    workload: &mut dyn Workload,
    comparison: Instant,
    progress: &mut Progress<'_>,
) {
    if entry.failed {
        return;
    }
    let name = &entry.measured.system;
    let number = entry.measured.rounds.len() + 1;
    let measured = round(&*entry.system, workload, comparison).await;
    // One that failed must not disturb the others either.
    let paused = entry
        .system
        .set_quota(false)
        .and_then(|()| entry.system.pause());
    match measured.and_then(|round| paused.map(|()| round)) {
        Ok(round) => {
            progress.say(&format!("{name}: round {number}: {}", line(&round)));
            entry.measured.rounds.push(round);
        }
        Err(error) => {
            progress.skip(name, format!("failed in round {number}: {error}"));
            entry.failed = true;
        }
    }
}

/// Starts and loads a system, and stops its processes until its first round.
async fn ready(system: &mut dyn System, workload: &mut dyn Workload) -> Result<(), Error> {
    system.start().await?;
    let (name, dsn) = (system.name().to_owned(), system.dsn());
    workload.prepare(&name, &dsn).await?;
    system.settle().await?;
    system.pause()
}

/// Wakes a system and measures it.
async fn round(
    system: &dyn System,
    workload: &mut dyn Workload,
    comparison: Instant,
) -> Result<Round, Error> {
    system.resume();
    tokio::time::sleep(WAKE).await;
    system.settle().await?;
    system.set_quota(true)?;
    let mut meter = Meter::new(system);
    meter.begin()?;
    let outcome = workload
        .measure(system.name(), &system.dsn(), &mut meter)
        .await?;
    meter.end()?;
    let at = meter.began.map_or(comparison, |(began, _)| began);
    Ok(Round {
        metrics: outcome.metrics,
        committed: outcome.committed,
        cpu_seconds: meter.spent.unwrap_or_default(),
        at_s: at.duration_since(comparison).as_secs_f64(),
    })
}

async fn end(system: &mut dyn System, progress: &mut Progress<'_>) {
    system.resume();
    if let Err(error) = system.stop().await {
        progress.say(&format!("{}: not ended in order: {error}", system.name()));
    }
}

/// A round in a line, for who waits.
fn line(round: &Round) -> String {
    let metrics = round
        .metrics
        .iter()
        .map(|(name, value)| format!("{name} {value:.2}"));
    let cpu: f64 = round.cpu_seconds.values().sum();
    let all: Vec<String> = metrics.chain([format!("CPU {cpu:.2} s")]).collect();
    all.join(", ")
}
